import io
import json
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from drcm.cluster.client import Client, find_node, prompt
from drcm.cluster.command import Options, _checked, _options, _parser, main
from drcm.cluster.control import ControlServer
from drcm.cluster.transport.keys import Keys, generate, load
from drcm.cluster.transport.tls import server_context
from drcm.config.load import require_config
from drcm.config.model import Server
from drcm.errors import DrcmError

CONFIG = """\
[CM_SERVER]
udpport = {port}
tcpport = {port}
quorum = two_node
[CM_CRONTABS]
system, /etc/drcm/crontabs/system_crons, /etc/cron.d, /etc/drcm/resources/crontab.sh
[CM_NODE]
nodename = cmnode1
hostname = host1
keep_alive_ip = 127.0.0.1
node_crontabs = system
[CM_NODE]
nodename = cmnode2
hostname = host2
keep_alive_ip = 127.0.0.2
node_backup_crontabs = cmnode1:system
"""


@dataclass
class Node:
    """A node of which only the control server runs; the environment and the config of who asks it."""

    environ: dict[str, str]
    config: Path
    port: int


async def dispatch(request: dict[str, Any], local: bool) -> dict[str, Any]:
    running = [{"home": "cmnode1", "kind": "cron", "nickname": "system", "since": "2026-11-22 19:50:31"}]
    answers: dict[str, dict[str, Any]] = {
        "ping": {"node": "cmnode1", "version": "2.0.0"},
        "status": {"node": "cmnode1", "nodes": [], "resources": [], "running": running, "sets": []},
        "rstats": {"node": "cmnode1", "lines": ["cron:system,2026-11-22 19:50:31"]},
        "printcfg": {"text": "[CM_SERVER]\n\x1b[31mudpport\n"},
    }
    return {"ok": True} | answers[request["op"]]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """cmnode1 answers on loopback; cmnode2 has no daemon, and the daemon of who asks is down."""
    import asyncio

    auth = tmp_path / ".auth"
    generate(auth)
    loop = asyncio.new_event_loop()
    server = ControlServer(dispatch, tmp_path / "there.sock", "127.0.0.1", 0, server_context(load(auth)))
    loop.run_until_complete(server.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    config = tmp_path / "cm.cfg"
    config.write_text(CONFIG.format(port=server.port))
    names = {"DRCM_CONFIG": config, "DRCM_AUTH_DIR": auth, "DRCM_RUN_DIR": tmp_path / "run"}
    yield Node({**os.environ, **{name: str(path) for name, path in names.items()}}, config, server.port)
    asyncio.run_coroutine_threadsafe(server.close(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


def run(node: Node, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys; from drcm.cluster.command import main; sys.exit(main())"]
    return subprocess.run(
        [*command, *arguments],
        env=node.environ,
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_cm_stat(node: Node) -> None:
    """The state of the cluster from a node whose own daemon is down, in the lines of 1.41."""
    result = run(node, "--client", "--command=cm_stat")
    assert "Node status: Cluster has 1 node DOWN\n" in result.stdout
    assert "Resource status: All cluster resources in NORMAL state\n" in result.stdout
    assert "Cluster status: DOWN nodes\n" in result.stdout
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("name", ["cmnode1", "host1", "127.0.0.1"])
def test_rstats_of_one_node(node: Node, name: str) -> None:
    """A node is named by its nodename, its hostname or its keep alive IP."""
    result = run(node, "--client", "--command=rstats", f"-n{name}")
    assert result.stdout == (
        "rstats cmnode1@127.0.0.1 successful\ncron:system,2026-11-22 19:50:31\nrstats cmnode1@127.0.0.1 end\n"
    )
    assert result.returncode == 0


def test_ping(node: Node) -> None:
    """Five pings of one node: a line each with the milliseconds, and a sum."""
    result = run(node, "--client", "--command=ping", "-ncmnode1", "-c5")
    *lines, total = result.stdout.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("cmnode1 (127.0.0.1): answers in ") for line in lines)
    assert all(line.endswith(" ms, drcm 2.0.0") for line in lines)
    assert (total, result.returncode) == ("5 of 5 answered", 0)


def test_ping_of_a_dead_node(node: Node) -> None:
    """All nodes are pinged; one that does not answer is told, and makes the exit code 69."""
    result = run(node, "--client", "--command=ping")
    assert "cmnode1 (127.0.0.1): answers in" in result.stdout
    assert "cmnode2 (127.0.0.2): no answer: 127.0.0.2 port" in result.stdout
    assert result.returncode == 69


def test_printcfg(node: Node) -> None:
    """The settings as this node reads them, or another does; no escape reaches a terminal."""
    here = run(node, "--client", "--command=printcfg")
    assert f"tcpport = {node.port}\n" in here.stdout
    there = run(node, "--client", "--command=printcfg", "-ncmnode1")
    assert there.stdout.startswith("[CM_SERVER]\n")
    assert "\x1b" not in there.stdout


def test_agents(node: Node) -> None:
    """What this node has, without a daemon; one of them in detail; a misspelt one is told."""
    told = run(node, "--client", "--command=agents").stdout
    assert "service.sh                A system service\n" in told
    assert "ocf:heartbeat:AGENT" in told
    one = run(node, "--client", "--command=agents Dummy").stdout
    assert one.startswith("ocf:heartbeat:Dummy: Example stateless resource agent\n  state (string, default")
    assert "Time limits unless cm.cfg says otherwise: start 20 s, stop 20 s" in one
    assert "nfs.sh SOURCE TARGET mount|unmount" in run(node, "--client", "--command=agents nfs.sh").stdout
    wrong = run(node, "--client", "--command=agents Dumy")
    assert "no OCF agent ocf:heartbeat:Dumy on this node (did you mean 'Dummy'?)" in wrong.stderr
    assert wrong.returncode == 2


@pytest.mark.parametrize("command", ["frobnicate", "ping a b", "rstats 'x"])
def test_unknown_command(node: Node, command: str) -> None:
    """What is no command is a usage error on standard error, with a way to the help."""
    result = run(node, "--client", f"--command={command}")
    assert result.stdout == ""
    assert "See: help" in result.stderr
    assert result.returncode == 2


def test_unknown_node(node: Node) -> None:
    """A node that cm.cfg does not have is refused with those that it has."""
    result = run(node, "--client", "--command=ping nosuch")
    assert "cmnode1, cmnode2" in result.stderr
    assert result.returncode == 2


def test_without_a_key(node: Node, tmp_path: Path) -> None:
    """A node without the key can't ask, and is told how to get one."""
    (tmp_path / ".auth" / "authkey").unlink()
    result = run(node, "--client", "--command=cm_stat")
    assert "--generate-authkey" in result.stderr
    assert (result.stdout, result.returncode) == ("", 77)


def test_prompt_from_a_pipe(node: Node) -> None:
    """Piped commands are answered one after the other, without a prompt; an error does not end them."""
    result = run(node, "--client", typed="help\nnonsense\n\nrstats cmnode1\nquit\nhelp\n")
    assert result.stdout.count("leave the prompt") == 1
    assert result.stdout.endswith("rstats cmnode1@127.0.0.1 end\n")
    assert "DRCM>" not in result.stdout
    assert "nonsense" in result.stderr
    assert result.returncode == 0


def test_prompt_on_a_terminal(node: Node) -> None:
    """On a terminal there is the prompt `DRCM> `, and Ctrl-D leaves it."""
    ours, theirs = pty.openpty()
    command = "import sys; from drcm.cluster.command import main; sys.exit(main())"
    child = subprocess.Popen(
        [sys.executable, "-c", command, "--client"],
        env={**node.environ, "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    read_until(ours, b"DRCM> ")
    os.write(ours, b"rstats localhost\n")
    assert b"expected a node of" in read_until(ours, b"DRCM> ")
    os.write(ours, b"\x04")
    assert child.wait(60) == 2  # that of the last command
    os.close(ours)


def read_until(descriptor: int, end: bytes) -> bytes:
    text, deadline = b"", time.monotonic() + 10
    while not text.endswith(end):
        assert time.monotonic() < deadline, text
        text += os.read(descriptor, 1024)
    return text


def test_localhost_is_this_host(node: Node) -> None:
    """localhost is the node whose hostname this machine has, not the one with 127.0.0.1."""
    cluster = require_config(node.config, host_checks=False)
    assert find_node(cluster, "localhost", "host2").name == "cmnode2"
    with pytest.raises(DrcmError, match="localhost"):
        find_node(cluster, "localhost", "elsewhere")


def test_exit_code_of_the_prompt(node: Node) -> None:
    """The prompt ends with the code of its last command."""
    from drcm.paths import paths

    out = io.StringIO()
    client = Client(require_config(node.config, host_checks=False), paths(node.environ), "host1", out)
    assert prompt(client, io.StringIO("help\n")) == 0
    assert prompt(client, io.StringIO("ping cmnode2\nexit\nhelp\n")) == 69


def test_generate_authkey(node: Node, tmp_path: Path) -> None:
    """The key is made once, and again only by force."""
    node.environ["DRCM_AUTH_DIR"] = str(tmp_path / "new")
    assert run(node, "--generate-authkey").returncode == 0
    again = run(node, "--generate-authkey")
    assert "--force" in again.stderr
    assert again.returncode == 77
    assert run(node, "--generate-authkey", "--force").returncode == 0
    assert isinstance(load(tmp_path / "new"), Keys)


def test_check_config_writes_a_template(node: Node, tmp_path: Path) -> None:
    """--check-config with no file there writes the template and exits 2, as 1.41 did."""
    missing = tmp_path / "new.cfg"
    assert run(node, "--check-config", f"--config-file={missing}").returncode == 2
    assert "[CM_SERVER]" in missing.read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--command=ping"],
        ["-ncmnode1"],
        ["-c5"],
        ["--force"],
        ["--yes"],
        ["--host-key", "cmnode2=ssh-ed25519 AAAA"],
        ["--setup-ssh", "--host-key", "cmnode2"],
        ["--client", "--check-config"],
        ["--client", "-c0"],
        ["--client", "-cmany"],
        ["--log-level=6"],
        ["--log-level=-1"],
        ["--clien"],
    ],
)
def test_misuse(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An option that would be ignored, or has no meaning, is a usage error."""
    with pytest.raises(SystemExit) as caught:
        _checked(_parser(), arguments)
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


def options(*arguments: str) -> Options:
    return _options(_checked(_parser(), arguments), Path("/etc/drcm/cm.cfg"))


def test_options_of_the_daemon_go_before_the_file() -> None:
    """What the command line says of logging goes before cm.cfg; the rest of cm.cfg stays."""
    server = Server(udpport=4000, log_level=1, enable_logging=True)
    assert options().applied_to(server) == server
    changed = options("--log-level=4", "--debug-level=2", "--log-file=/tmp/x/y.log", "--log-file-clear")
    assert changed.applied_to(server) == Server(
        udpport=4000,
        log_level=4,
        debug=True,
        debug_level=2,
        log_dir="/tmp/x",
        logfile="y.log",
        clear_log=True,
    )
    assert options("--log-file=z.log").applied_to(server).log_dir == server.log_dir
    assert not options("--log-disable", "--verbose").applied_to(server).enable_logging
    assert options("--verbose-level=3").applied_to(server).verbose


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--help names every option of 1.41 and gives examples; --version names the program."""
    for option in ("--help", "--version"):
        with pytest.raises(SystemExit) as caught:
            main([option])
        assert caught.value.code == 0
    text = capsys.readouterr().out
    legacy = (
        "help version check-config debug debug-level verbose verbose-level config-file log-file log-level"
    )
    for name in f"{legacy} log-file-clear log-disable client command generate-authkey setup-ssh".split():
        assert f"--{name}" in text
    assert "drcm-server --client --command=rstats -ncmnode2" in text
    assert "drcm-server 2." in text


def test_command_starts_fast() -> None:
    """Nothing heavy is imported before it is known what is wanted (E8)."""
    program = "import sys, json, drcm.cluster.command; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"cryptography", "msgspec", "rich", "asyncio", "paramiko", "sh", "apscheduler", "logging"}
    assert heavy & set(json.loads(result.stdout)) == set()
