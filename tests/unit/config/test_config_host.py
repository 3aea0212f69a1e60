"""cm.cfg against a machine: one made up for the rules, and the real one for the looking."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from drcm.config.faults import Faults
from drcm.config.hostchecks import Host, check_host, this_host
from drcm.config.load import load_config
from drcm.config.reading import read_text

DIRECTORY = stat.S_IFDIR | 0o755
SCRIPT = stat.S_IFREG | 0o755
PLAIN = stat.S_IFREG | 0o644
TEMPLATE = "/etc/drcm/crontabs/user_crons"
FILES = {
    "/var/run/drcm": DIRECTORY,
    "/var/log/drcm": DIRECTORY,
    "/var/spool/drcm": DIRECTORY,
    TEMPLATE: PLAIN,
}


def machine(files: dict[str, int], crontab: str = "* * * * * root true\n") -> Host:
    """A machine called one.example.org with these files."""
    return Host(
        name="one.example.org",
        interfaces=frozenset({"lo", "ens192"}),
        mode=lambda path: files.get(path, 0),
        text=lambda path: crontab,
        has_address=lambda ip: ip == "192.168.1.1",
        has_user=lambda name: name == "root",
    )


def told(text: str, host: Host) -> list[str]:
    reading = read_text(text, "F")
    assert reading.draft is not None
    faults = Faults("F")
    check_host(reading.draft, host, faults)
    return [str(fault).removeprefix("F:") for fault in faults.in_order()]


def test_a_node_with_everything_in_place(good: str) -> None:
    """Built-in scripts need not lie on the disk: drcm's own agents serve."""
    assert told(good, machine(FILES)) == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {TEMPLATE: 0},
            "5: ERROR - the template /etc/drcm/crontabs/user_crons is not there on one.example.org",
        ),
        ({TEMPLATE: DIRECTORY}, "5: ERROR - the template /etc/drcm/crontabs/user_crons is no file"),
        (
            {"/etc/drcm/resources/service.sh": PLAIN},
            "9: ERROR - /etc/drcm/resources/service.sh is not executable: chmod 755",
        ),
        (
            {"/etc/drcm/resources/service.sh": DIRECTORY},
            "9: ERROR - /etc/drcm/resources/service.sh is no file",
        ),
        ({"/var/log/drcm": PLAIN}, "1: ERROR - log_dir /var/log/drcm is no directory"),
        ({"/var/log/drcm": 0}, "1: INFO - log_dir /var/log/drcm is not there yet"),
    ],
)
def test_what_lies_on_the_disk(good: str, files: dict[str, int], expected: str) -> None:
    """Templates, scripts and directories are looked at, and told at their lines."""
    found = told(good, machine(FILES | files))
    assert len(found) == 1
    assert found[0].startswith(expected)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "hostname = one.example.org",
            "hostname = one.exmple.org",
            "12: ERROR - no [CM_NODE] has hostname = one.example.org, which `uname -n` prints here "
            "(did you mean 'one.exmple.org'?)",
        ),
        (
            "keep_alive_ip = 192.168.1.1",
            "keep_alive_ip = 192.168.1.9",
            "13: WARNING - keep_alive_ip 192.168.1.9 is on",
        ),
        (
            "ens192|eno8303",
            "eth5|eth6:1",
            "7: WARNING - front: one.example.org has no interface eth5 or eth6:1 (it has",
        ),
        (
            "httpd, /etc/drcm/resources/service.sh",
            "httpd, /opt/servce.sh",
            "9: ERROR - there is no script /opt/servce.sh on one.example.org: expected a file, "
            "or one of drcm's own (did you mean 'service.sh'?)",
        ),
        (
            "httpd, /etc/drcm/resources/service.sh",
            "httpd, script",
            "9: ERROR - there is no script script on",
        ),
        (
            "user_crons",
            "user.crons",
            "5: WARNING - /etc/drcm/crontabs/user.crons: cron ignores files of such a name",
        ),
        (
            "[CM_NODE]\nnodename = one\n",
            "[CM_APPLICATIONS]\nldm, ldm:users, a, b\n[CM_NODE]\nnodename = one\nnode_applications = ldm\n",
            "11: ERROR - ldm: there is no user ldm on one.example.org",
        ),
        (
            "email = root",
            "email = root\nsmtp_password_file = /etc/secret",
            "37: ERROR - smtp_password_file /etc/secret is not there",
        ),
    ],
)
def test_what_the_machine_is(good: str, old: str, new: str, expected: str) -> None:
    """Names, addresses, interfaces, users and passwords are looked at, and told at their lines."""
    files = FILES | {"/etc/drcm/crontabs/user.crons": PLAIN}
    found = told(good.replace(old, new, 1), machine(files))
    assert len(found) == 1, found
    assert found[0].startswith(expected), found


def test_a_password_file_of_everybody(good: str) -> None:
    """A password that others can read is an error, with the cure."""
    text = good.replace("email = root", "email = root\nsmtp_password_file = /etc/secret")
    found = told(text, machine(FILES | {"/etc/secret": PLAIN}))
    assert found == [
        "37: ERROR - smtp_password_file /etc/secret can be read by others: chmod 600 /etc/secret"
    ]
    assert told(text, machine(FILES | {"/etc/secret": stat.S_IFREG | 0o600})) == []


def test_a_line_that_cron_does_not_read(good: str) -> None:
    """The template's own lines are checked as cron reads them."""
    found = told(good, machine(FILES, "# jobs\nA=b\n61 * * * * root true\n"))
    assert len(found) == 1
    assert found[0].startswith(
        "5: WARNING - /etc/drcm/crontabs/user_crons line 3: '61 * * * *': expected five"
    )


def test_a_template_that_can_not_be_read(good: str) -> None:
    """A template that is no text is told, not raised."""

    def binary(path: str) -> str:
        return b"\xff".decode()

    found = told(good, replace(machine(FILES), text=binary))
    assert found[0].startswith(f"5: ERROR - the template {TEMPLATE} can't be read: 'utf-8' codec")


def test_a_node_is_not_asked_for_what_it_never_runs(good: str) -> None:
    """The witness has no scripts, templates and interfaces, and needs none."""
    witness = replace(machine({}), name="three.example.org", has_address=lambda ip: True)
    text = good.replace("httpd, /etc/drcm/resources/service.sh", "httpd, /opt/mine.sh")
    assert [fault for fault in told(text, witness) if "INFO" not in fault] == []
    two = replace(witness, name="two.example.org")
    needed = [fault.split(":")[0] for fault in told(text, two) if "INFO" not in fault]
    assert needed == ["5", "9"]  # the template of what it backs up, the script of what it runs


def test_the_real_machine(tmp_path: Path) -> None:
    """this_host() sees this machine's name, loopback, users and files as they are."""
    host = this_host()
    assert host.name == os.uname().nodename == socket.gethostname()
    assert "lo" in host.interfaces
    assert host.has_address("127.0.0.1")
    assert not host.has_address("192.0.2.77")  # TEST-NET: on nobody's interface
    assert host.has_user("root")
    assert not host.has_user("no-such-user")
    (tmp_path / "f").write_text("x")
    assert stat.S_ISREG(host.mode(str(tmp_path / "f")))
    assert stat.S_ISDIR(host.mode(str(tmp_path)))
    assert host.mode(str(tmp_path / "none")) == 0
    assert host.mode("/" + "x" * 300) == 0
    assert host.text(str(tmp_path / "f")) == "x"


def test_load_looks_at_this_machine(tmp_path: Path, good: str, faults_of: Callable[[str], list[str]]) -> None:
    """Only with host checks does another machine's file have an error."""
    path = tmp_path / "cm.cfg"
    path.write_text(good)
    faults = [str(fault) for fault in load_config(path).faults]
    assert any(f"has hostname = {os.uname().nodename}" in fault for fault in faults)
    assert load_config(path, host=machine(FILES)).cluster is not None
