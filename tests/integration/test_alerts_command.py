"""drcm-alert as people and the daemon call it, against a real SMTP server."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from smtp_server import here, port, serving  # the fixtures are used by name

from drcm.paths import Paths

__all__ = ["here", "port"]


def configured(here: Paths, port: int, alerts: str) -> None:
    """A cm.cfg of two nodes, this host among them, with `alerts` in [CM_ALERTS]."""
    node = "[CM_NODE]\nnodename = {}\nhostname = {}\nkeep_alive_ip = {}\n"
    here.config.write_text(
        node.format("cmnode1", os.uname().nodename, "127.0.0.2")
        + node.format("cmnode2", "elsewhere", "127.0.0.1")
        + "[CM_REPLICATION]\ncluster_name = NFS-CLUSTER1\n"
        + f"[CM_ALERTS]\nsmtp_host = 127.0.0.1\nsmtp_port = {port}\n{alerts}\n"
    )


def drcm_alert(here: Paths, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    names = {"CONFIG": here.config, "STATE_DIR": here.state, "RUN_DIR": here.run}
    environ = {**os.environ, **{f"DRCM_{name}": str(path) for name, path in names.items()}}
    argv = [sys.executable, "-c", "import sys; from drcm.alerts.command import main; sys.exit(main())"]
    return subprocess.run(
        [*argv, *arguments], env=environ, input=given, capture_output=True, text=True, timeout=60, check=False
    )


def test_test_says_what_each_channel_answered(here: Paths, port: int) -> None:
    """Every address is tried, past throttle and spool; one that fails makes exit code 1."""
    configured(here, port, "email = root, bad@example.org\nsms = 0171@sms.example")
    with serving(port) as mailbox:
        done = drcm_alert(here, "test")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "email root: OK, accepted",
        "email bad@example.org: FAILED, 550 no such user",
        "sms 0171@sms.example: OK, accepted",
        "Not every channel works.",
    ]
    assert mailbox.got[0][1]["Subject"] == "[!ACTION!] Cluster Alert Test Message"
    assert not here.state.exists()


def test_test_where_all_is_well(here: Paths, port: int) -> None:
    """Exit code 0, and the reminder that accepted is not received."""
    configured(here, port, "email = root")
    with serving(port):
        done = drcm_alert(here, "test")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "email root: OK, accepted\nAccepted is not received: look whether it arrives.\n"


def test_send_says_when_it_was_throttled_and_for_how_long(here: Paths, port: int) -> None:
    """Other people's scripts get exit code 0 either way."""
    configured(here, port, "email = root\nthrottle_hours = 2")
    with serving(port) as mailbox:
        first = drcm_alert(here, "send", "-s", "[!ACTION!] Backup failed", "-f", "-", given="no space\n")
        second = drcm_alert(here, "send", "-s", "[!ACTION!] Backup failed")
        other = drcm_alert(here, "send", "-s", "Disk slow", "-b", "sda")
    assert [done.returncode for done in (first, second, other)] == [0, 0, 0]
    assert first.stdout == "custom:Backup failed: open, sent.\n"
    assert "throttled" in second.stdout
    assert "the next message may go in 2 h" in second.stdout
    assert mailbox.subjects == ["[!ACTION!] Backup failed", "[!ACTION!] Disk slow"]
    assert "no space" in mailbox.got[0][1].get_content()


def test_raise_list_resolve_flush(here: Paths, port: int) -> None:
    """What the daemon runs as a child: noted while the server is down, listed, told later."""
    configured(here, port, "email = root")
    down = drcm_alert(here, "raise", "node-dead:cmnode2", "-s", "Node cmnode2 is DOWN")
    assert down.returncode == 0
    assert down.stdout == "node-dead:cmnode2: open, 1 messages wait in the spool.\n"
    assert "refused" in down.stderr
    listed = drcm_alert(here, "list")
    assert "critical  node-dead:cmnode2" in listed.stdout
    assert "1 messages could not be sent yet" in listed.stdout
    told = json.loads(drcm_alert(here, "list", "--json").stdout)
    assert (told["schema"], told["alerts"][0]["key"], told["unsent"]) == (1, "node-dead:cmnode2", 1)
    with serving(port) as mailbox:
        assert drcm_alert(here, "flush").stdout == "Sent to 1 recipients; 0 messages wait.\n"
        over = drcm_alert(here, "resolve", "node-dead:cmnode2", "-b", "Heard again.")
    assert over.stdout == "node-dead:cmnode2: resolved, sent.\n"
    assert len(mailbox.got) == 2
    assert drcm_alert(here, "list").stdout == "No open alerts.\n"


def test_without_recipients_it_says_so(here: Paths, port: int) -> None:
    """One line, its cure, exit code 78; what the daemon raises is noted all the same."""
    configured(here, port, "")
    for verb in (("test",), ("send", "-s", "x"), ("flush",)):
        done = drcm_alert(here, *verb)
        assert done.returncode == 78
        assert "[CM_ALERTS] names nobody to tell" in done.stderr
    noted = drcm_alert(here, "raise", "guard:testfs", "-s", "Source is empty")
    assert noted.returncode == 0
    assert "noted; nobody is told" in noted.stdout
    assert "guard:testfs" in drcm_alert(here, "list").stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("send",), 2),
        (("send", "-s", " \n "), 2),
        (("raise", "x", "-s", "y"), 2),
        (("send", "-s", "x", "-f", "/no"), 66),
    ],
)
def test_wrong_use_is_said_in_words(here: Paths, port: int, arguments: tuple[str, ...], code: int) -> None:
    """Usage errors end with 2, a missing file with 66, none with a traceback."""
    configured(here, port, "email = root")
    done = drcm_alert(here, *arguments)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "drcm-alert" in done.stderr or "-c:" in done.stderr


def test_a_broken_config_mutes_nothing(here: Paths, port: int) -> None:
    """What the daemon raises while cm.cfg has errors goes to whom the last good one named."""
    configured(here, port, "email = root")
    with serving(port) as mailbox:
        drcm_alert(here, "flush")
        here.config.write_text("[CM_SERVER\nudpport = x")
        done = drcm_alert(here, "raise", "node-dead:cmnode2", "-s", "Node cmnode2 is DOWN")
    assert (done.returncode, mailbox.subjects) == (0, ["[!ACTION!] Node cmnode2 is DOWN"])
    assert "Going by the last good one" in done.stderr
    assert "NFS-CLUSTER1, node cmnode1" in mailbox.got[0][1].get_content()


def test_help_loads_nothing_heavy() -> None:
    """--help imports neither smtplib nor ssl nor rich: it is quick."""
    heavy = "import sys; from drcm.alerts import command; command._parser().format_help(); "
    check = heavy + "print([m for m in ('smtplib', 'ssl', 'rich', 'email') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
