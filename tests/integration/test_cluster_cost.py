"""What a daemon costs its machine, and how it is scheduled."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cluster import (
    Cluster,
    config,
    running_cluster,
)
from tests.lab import Node, wait_until

pytestmark = pytest.mark.lab

MOST_MEMORY = 48 << 10  # kB: 43 to 45 MiB when idle, and some for threads that a busy machine adds


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster(config(), files=20) as made:
        yield made


def daemon_on_the_machine(node: Node) -> Path:
    """/proc/PID of the node's daemon as the real machine numbers it."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _is_daemon_of(node, process):
            return process
    raise AssertionError(f"no daemon on {node.name}")


def _is_daemon_of(node: Node, process: Path) -> bool:
    try:
        same = os.readlink(process / "ns/pid") == os.readlink(f"/proc/{node.init_pid}/ns/pid")
        return same and b"bin/drcm-server\0" in (process / "cmdline").read_bytes() + b"\0"
    except OSError:
        return False


def lines(file: Path) -> dict[str, str]:
    return dict(line.split(":", 1) for line in file.read_text().splitlines() if ":" in line)


def test_memory_of_an_idle_daemon(cluster: Cluster) -> None:
    """An idle daemon at template settings holds little over 45 MiB, all locked; nothing that only a child
    or another command needs is loaded."""
    cluster.settle()
    for node in cluster.nodes:
        found = lines(daemon_on_the_machine(node) / "status")
        assert int(found["VmRSS"].split()[0]) <= MOST_MEMORY, found["VmRSS"]
        assert int(found["VmLck"].split()[0]) > 0
        maps = (daemon_on_the_machine(node) / "maps").read_text()
        assert "_bcrypt" not in maps, "paramiko is loaded"


def test_daemon_is_real_time_and_its_children_are_not(cluster: Cluster) -> None:
    """The daemon's main thread runs SCHED_RR, its other threads below it, and its children not at all."""
    daemon = daemon_on_the_machine(cluster.a)
    assert os.sched_getscheduler(int(daemon.name)) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR
    others = [int(one.name) for one in (daemon / "task").iterdir() if one.name != daemon.name]
    assert others
    highest = os.sched_getparam(int(daemon.name)).sched_priority
    assert all(os.sched_getparam(one).sched_priority < highest for one in others)
    seen = wait_until(lambda: _policies_of_children(cluster.a), 30.0, "a child of the daemon")
    assert seen == {os.SCHED_OTHER}


def _policies_of_children(node: Node) -> set[int]:
    """How the drcm-sync and rsync that run there now are scheduled."""
    found = set()
    space = os.readlink(f"/proc/{node.init_pid}/ns/pid")
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and os.readlink(process / "ns/pid") == space:
                words = (process / "cmdline").read_bytes().split(b"\0")
                if any(word.endswith((b"/drcm-sync", b"rsync")) for word in words[:2]):
                    found.add(os.sched_getscheduler(int(process.name)))
        except OSError:
            continue
    return found
