"""A set with watch = 1: each change is on the other node a second later; without one nothing runs."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.integration.cluster import (
    TREE,
    Cluster,
    ask,
    config,
    contents,
    running_cluster,
    slower,
    status,
    wait_logged,
)
from tests.lab import Node, wait_until
from tests.lab.host import BIN

pytestmark = pytest.mark.lab

SETTLE = 120.0  # seconds of a busy machine
IDLE = 15.0  # seconds: by the clock alone a run would come within ten
CHILD = "bin/drcm-sync --config /etc/drcm/cm.cfg testfs --watch"
RUN = "bin/drcm-sync --config /etc/drcm/cm.cfg testfs --json"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster(slower(config().replace("every = 1s", "watch = 1")), files=5) as running:
        wait_logged(running.a, "testfs: watching /testfs", SETTLE)
        yield running


def quiet(node: Node) -> None:
    """No run is under way, none is due."""
    wait_until(lambda: _rests(node), SETTLE, "a moment in which nothing runs")


def _rests(node: Node, seconds: float = 2.0) -> bool:
    before = runs(node)
    time.sleep(seconds)
    return runs(node) == before and not node.pids(RUN)


def runs(node: Node) -> int:
    """The number of the newest run."""
    return int(status(node)["sets"][0]["run"].partition("-")[0])


def test_each_change_goes_over_and_nothing_runs_without_one(cluster: Cluster) -> None:
    quiet(cluster.a)
    before = runs(cluster.a)
    time.sleep(IDLE)
    assert runs(cluster.a) == before, "it ran although nothing had changed"
    cluster.a.write(f"{TREE}/new/deep/file", "1\n")
    cluster.wait_same()
    cluster.a.write(f"{TREE}/new/deep/file", "2\n")
    cluster.wait_same()
    cluster.a.path(f"{TREE}/new/deep").rename(cluster.a.path(f"{TREE}/moved"))
    cluster.wait_same()
    cluster.a.path(f"{TREE}/moved/file").unlink()
    cluster.wait_same()
    cluster.a.path(f"{TREE}/d0/f0").chmod(0o640)
    wait_until(lambda: cluster.b.path(f"{TREE}/d0/f0").stat().st_mode & 0o777 == 0o640, SETTLE, cluster.logs)


def test_what_changes_all_the_time_is_synced_again_and_again_not_all_the_time(cluster: Cluster) -> None:
    """Runs follow each other while it is changed, and none is counted as skipped."""
    quiet(cluster.a)
    before, end, number = runs(cluster.a), time.monotonic() + SETTLE, 0
    while runs(cluster.a) < before + 3 and time.monotonic() < end:
        number += 1
        cluster.a.write(f"{TREE}/busy", f"{number}\n")
        time.sleep(0.05)
    assert before + 3 <= runs(cluster.a) < before + number / 2
    cluster.wait_same()
    counters = ask(cluster.a, op="status").get("counters", {})
    assert counters.get("runs_skipped:testfs", 0) == 0


def test_without_its_child_it_is_synced_by_the_clock_and_watched_again(cluster: Cluster) -> None:
    quiet(cluster.a)
    mark = len(cluster.a.daemon_log())
    for pid in cluster.a.pids(CHILD):
        cluster.a.kill(pid)
    wait_logged(cluster.a, "testfs is not watched, it is synced every 10 s", SETTLE, mark)
    cluster.a.write(f"{TREE}/by the clock", "x\n")
    cluster.wait_same()
    wait_logged(cluster.a, "testfs: watching /testfs", SETTLE, mark)
    assert len(cluster.a.pids(CHILD)) == 1


def test_who_serves_watches(cluster: Cluster) -> None:
    """After a power cut the backup does, the other one when all is home again; nobody else."""
    assert not cluster.b.pids(CHILD)
    cluster.a.power_cut()
    cluster.wait_place(cluster.b, SETTLE)
    wait_until(lambda: cluster.b.pids(CHILD), SETTLE, cluster.logs)
    cluster.b.write(f"{TREE}/by cmnode2", "x\n")
    cluster.settle(SETTLE)
    assert "by cmnode2" in contents(cluster.a)
    wait_until(lambda: cluster.a.pids(CHILD) and not cluster.b.pids(CHILD), SETTLE, cluster.logs)
    cluster.a.write(f"{TREE}/by cmnode1", "x\n")
    cluster.wait_same()


def test_the_child_ends_with_its_daemon(cluster: Cluster) -> None:
    wait_until(lambda: cluster.a.pids(CHILD), SETTLE, cluster.logs)
    cluster.a.kill_drcm()
    wait_until(lambda: not cluster.a.pids(CHILD), SETTLE, cluster.logs)
    cluster.settle(SETTLE)


def test_a_person_sees_what_changes(cluster: Cluster) -> None:
    """Into a pipe, a line a burst; it ends when nobody reads any more."""
    node, told = cluster.b, cluster.b.log("watch")
    looking = node.spawn(["sh", "-c", f"{BIN}/drcm-sync testfs --watch | sed -u 2q"], stdout=told)
    wait_until(lambda: told.exists() and "watching /testfs" in told.read_text(), SETTLE, "the program")
    node.write(f"{TREE}/.drcm/tmp/own", "x\n")
    node.write(f"{TREE}/odd\nname", "x\n")
    assert looking.wait(SETTLE) == 0
    assert told.read_text().splitlines()[1].startswith(f"changed '{TREE}/odd\\nname'")
    node.write(f"{TREE}/once more", "x\n")
    wait_until(lambda: not node.pids("testfs --watch"), SETTLE, "its end")
