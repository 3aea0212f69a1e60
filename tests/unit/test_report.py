"""The report: the same words on a terminal, in a pipe and as JSON."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from drcm.cluster.transport import keys, tls
from drcm.console import console
from drcm.report import show
from drcm.reportview import Health, Source, document

TIME = "2026-11-22T19:50:29Z"
TARGET = {"node": "cmnode2", "verdict": "equal", "complete": True}
HEALTHY: dict[str, Any] = {
    "ok": True,
    "node": "cmnode1",
    "address": "192.168.122.11",
    "cluster": "NFS-CLUSTER1",
    "quorum": True,
    "nodes": [
        {"name": "cmnode1", "state": "UP", "heard_seconds_ago": 0.0, "witness": False},
        {"name": "cmnode2", "state": "UP", "heard_seconds_ago": 0.1, "witness": False},
        {"name": "cmnode3", "state": "UP", "heard_seconds_ago": 0.04, "witness": True},
    ],
    "resources": [
        {
            "home": "cmnode1",
            "kind": "ip",
            "nickname": "web",
            "holder": "cmnode1",
            "state": "running",
            "backup": False,
            "reason": "",
        },
    ],
    "running": [],
    "sets": [
        {
            "name": "testfs",
            "primary": "cmnode1",
            "backups": ["cmnode2"],
            "role": "writer",
            "writer": "cmnode1",
            "generation": 7,
            "generation_id": "a1b2",
            "run": "40-1a2b3c4d",
            "position": ["a1b2", "40-1a2b3c4d"],
            "failback": "",
            "problem": "",
            "last_good": "2026-11-22T19:50:00Z",
            "lag_seconds": 29.4,
            "targets": [TARGET],
        },
    ],
    "explain": {"cmnode1/set:testfs": "cmnode1 writes: it is home and holds the grants of 2 of 3."},
}
DEGRADED: dict[str, Any] = {
    **HEALTHY,
    "node": "cmnode2",
    "nodes": [{"name": "cmnode1", "state": "DOWN", "heard_seconds_ago": 61.5}, HEALTHY["nodes"][1]],
    "resources": [
        {**HEALTHY["resources"][0], "holder": "cmnode2", "backup": True},
        {"home": "cmnode1", "kind": "cron", "nickname": "jobs", "reason": "no template"},
    ],
    "sets": [{**HEALTHY["sets"][0], "writer": "cmnode2", "failback": "cmnode1", "targets": []}],
}
ALERT = {
    "key": "node-dead:cmnode1",
    "severity": "critical",
    "subject": "Node cmnode1 is \x1b[31mDOWN",
    "since": "2026-11-22 19:49:27 UTC",
}

HEALTHY_TEXT = """\
Cluster NFS-CLUSTER1: HEALTHY (seen from cmnode1 at 2026-11-22T19:50:29Z)

NODES
NODE     STATE  HEARD      ROLE
cmnode1  UP     asked      member
cmnode2  UP     0.1 s ago  member
cmnode3  UP     0.0 s ago  witness

RESOURCES
RESOURCE  HOME     RUNS ON  PLACE      STATE
ip:web    cmnode1  cmnode1  OK-Normal  running

SETS
SET     ROLE    WRITER   GENERATION  RUN          LAG   LAST GOOD SYNC        FAILBACK  COPIES
testfs  writer  cmnode1  7           40-1a2b3c4d  29 s  2026-11-22T19:50:00Z  -         cmnode2 equal
"""
DEGRADED_TEXT = """\
Cluster NFS-CLUSTER1: DEGRADED (seen from cmnode2 at 2026-11-22T19:50:29Z)
  - node cmnode1 is DOWN
  - ip:web of cmnode1 runs on its backup cmnode2
  - cron:jobs of cmnode1 runs nowhere (no template)
  - set testfs: failback to cmnode1 is due
  - open alert node-dead:cmnode1: Node cmnode1 is \\x1b[31mDOWN

NODES
NODE     STATE  HEARD       ROLE
cmnode1  DOWN   61.5 s ago  member
cmnode2  UP     asked       member

RESOURCES
RESOURCE   HOME     RUNS ON  PLACE      STATE
ip:web     cmnode1  cmnode2  OK-Backup  running
cron:jobs  cmnode1  -        DOWN       -

SETS
SET     ROLE    WRITER   GENERATION  RUN          LAG   LAST GOOD SYNC        FAILBACK        COPIES
testfs  writer  cmnode2  7           40-1a2b3c4d  29 s  2026-11-22T19:50:00Z  due to cmnode1  -

OPEN ALERTS (of this node)
SEVERITY  KEY                SINCE                    SUBJECT
critical  node-dead:cmnode1  2026-11-22 19:49:27 UTC  Node cmnode1 is \\x1b[31mDOWN

1 alert messages could not be sent yet: drcm-alert flush
"""


class Terminal(io.StringIO):
    """A stream that says that somebody looks at it."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def shown(told: dict[str, Any], stream: io.StringIO, **environ: str) -> str:
    show(told, console(stream=stream, environ={"LANG": "C.UTF-8", "TERM": "xterm", **environ}))
    return stream.getvalue()


def healthy() -> dict[str, Any]:
    return document(Source(TIME, HEALTHY))


def degraded() -> dict[str, Any]:
    return document(Source(TIME, DEGRADED, [ALERT], 1))


@pytest.mark.parametrize(("told", "text"), [(healthy(), HEALTHY_TEXT), (degraded(), DEGRADED_TEXT)])
def test_a_pipe_gets_plain_aligned_text(told: dict[str, Any], text: str) -> None:
    """No colour, no box, no wrapping whatever COLUMNS says, and no escape sequence of somebody else."""
    assert shown(told, io.StringIO(), COLUMNS="20") == text


def test_a_terminal_gets_the_same_words_within_its_width() -> None:
    """Every word of the plain report is there without colour, and no line is wider than the screen."""
    screen = shown(degraded(), Terminal(), COLUMNS="130", NO_COLOR="1")
    words = [word for line in DEGRADED_TEXT.splitlines() for word in line.split()]
    assert [word for word in words if word not in screen.split()] == []
    assert max(map(len, screen.splitlines())) <= 130


def test_a_terminal_gets_colour_unless_no_color_says_no() -> None:
    """Colour comes on top of words, and NO_COLOR takes it away."""
    assert "\x1b[1;31mDOWN" in shown(degraded(), Terminal(), COLUMNS="130")
    assert "31m" not in shown(degraded(), Terminal(), COLUMNS="130", NO_COLOR="1").replace("\\x1b[31m", "")


def test_the_document_is_stable() -> None:
    """Schema 1: these keys, whatever the daemon says."""
    told = healthy()
    assert set(told) == {
        *("schema", "time", "health", "reasons", "cluster", "node", "address", "quorum", "nodes"),
        *("resources", "running", "sets", "explain", "alerts", "unsent_messages"),
    }
    assert (told["schema"], told["time"], told["health"]) == (1, TIME, "healthy")
    assert set(document(Source(TIME, None))) == set(told)


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"nodes": [{}], "resources": [{}], "sets": [{}]},
        {"nodes": None, "resources": "x", "sets": [1, None]},
        {"sets": [{"targets": None, "lag_seconds": "soon"}], "quorum": {"has": True}, "news": 1},
    ],
)
def test_a_daemon_of_another_version_is_shown_as_far_as_it_goes(status: dict[str, Any]) -> None:
    """Missing and unknown keys are no obstacle."""
    told = document(Source(TIME, status))
    assert shown(told, io.StringIO()).startswith("Cluster of this node: ")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"quorum": False}, "this node has no quorum"),
        ({"sets": [{"name": "a", "role": "diverged"}]}, "set a is diverged"),
        ({"sets": [{"name": "a", "problem": "no tree"}]}, "set a: no tree"),
        (
            {"sets": [{"name": "a", "targets": [{"node": "n", "verdict": "DIVERGED: x"}]}]},
            "set a has DIVERGED on n",
        ),
        (
            {"resources": [{**HEALTHY["resources"][0], "state": "blocked", "reason": "D state"}]},
            "ip:web on cmnode1 is blocked (D state)",
        ),
        ({"nodes": [{"name": "n", "state": "UNKNOWN"}]}, "node n is UNKNOWN"),
    ],
)
def test_what_is_not_as_it_should_be_is_said(change: dict[str, Any], reason: str) -> None:
    """Each trouble has its own line, and makes the whole degraded."""
    told = document(Source(TIME, {**HEALTHY, **change}))
    assert told["reasons"] == [reason]
    assert told["health"] is Health.DEGRADED


# -- the command -----------------------------------------------------------------------------------


@contextmanager
def answering(listener: socket.socket, status: dict[str, Any], context: Any = None) -> Iterator[None]:
    """A daemon that gives `status` to one question."""

    def answer() -> None:
        connection, _ = listener.accept()
        with context.wrap_socket(connection, server_side=True) if context else connection as talk:
            request = json.loads(talk.makefile().readline())
            reply = status if request == {"op": "status"} else {"ok": False, "error": "what?"}
            talk.sendall(json.dumps(reply).encode() + b"\n")

    thread = threading.Thread(target=answer)
    thread.start()
    yield
    thread.join(10)
    listener.close()
    assert not thread.is_alive()


def report(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    names = {"CONFIG": "cm.cfg", "AUTH_DIR": "auth", "STATE_DIR": "state", "RUN_DIR": "run"}
    environ = {**os.environ, **{f"DRCM_{name}": str(folder / file) for name, file in names.items()}}
    argv = [sys.executable, "-c", "import sys; from drcm.report import main; sys.exit(main())", *arguments]
    return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=False)


def local(folder: Path) -> socket.socket:
    (folder / "run").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "run" / "drcm.sock"))
    listener.listen()
    return listener


@pytest.mark.parametrize(("status", "code"), [(HEALTHY, 0), (DEGRADED, 1)])
def test_the_local_daemon_is_asked_and_the_exit_code_tells(
    tmp_path: Path, status: dict[str, Any], code: int
) -> None:
    """0 healthy, 1 degraded, with one JSON document; no cm.cfg is needed for it."""
    with answering(local(tmp_path), status):
        done = report(tmp_path, "--json")
    assert (done.returncode, done.stderr) == (code, "")
    assert json.loads(done.stdout)["cluster"] == "NFS-CLUSTER1"


def test_without_any_daemon_the_answer_is_unknown(tmp_path: Path) -> None:
    """Exit code 3, and the reasons, on standard output as any report."""
    done = report(tmp_path)
    assert done.returncode == 3
    assert done.stdout.startswith("Cluster of this node: UNKNOWN")
    assert "drcm-server does not run on this node" in done.stdout


def two_nodes(folder: Path, port: int) -> None:
    """A cm.cfg where this host's daemon is down and cmnode2 listens on `port` of the loopback."""
    node = "[CM_NODE]\nnodename = {}\nhostname = {}\nkeep_alive_ip = {}\n"
    (folder / "cm.cfg").write_text(
        f"[CM_SERVER]\ntcpport = {port}\nudpport = {port}\n"
        + node.format("cmnode1", os.uname().nodename, "127.0.0.2")
        + node.format("cmnode2", "elsewhere", "127.0.0.1")
    )
    material = os.urandom(keys.KEY_BYTES)
    (folder / "auth").mkdir(mode=0o700)
    (folder / "auth" / "authkey").write_bytes(material)
    (folder / "auth" / "authkey").chmod(0o600)


@pytest.mark.parametrize("arguments", [(), ("--node", "cmnode2"), ("--node", "elsewhere")])
def test_another_node_answers_over_tls(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Where no daemon runs here, or another node is named, that one is asked with the cluster's key."""
    listener = socket.create_server(("127.0.0.1", 0))
    two_nodes(tmp_path, listener.getsockname()[1])
    context = tls.server_context(keys.load(tmp_path / "auth"))
    with answering(listener, {**HEALTHY, "node": "cmnode2"}, context):
        done = report(tmp_path, "--json", *arguments)
    told = json.loads(done.stdout)
    assert told["node"] == "cmnode2"
    assert told["reasons"] == ([] if arguments else ["drcm-server does not run on this node"])


def test_a_node_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    """The names that cm.cfg knows are in the cure."""
    two_nodes(tmp_path, 53897)
    done = report(tmp_path, "--node", "nonsense")
    assert done.returncode == 2
    assert "cmnode1, cmnode2" in done.stderr
