"""A daemon that is killed and started again, alone: the node and what it runs live on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from drcm import clock
from tests.integration.cluster import (
    IP,
    TREE,
    Cluster,
    config,
    generation,
    listing,
    logged,
    role,
    running_cluster,
    slower,
    status,
    wait_logged,
)
from tests.lab import wait_until

pytestmark = pytest.mark.lab

BEATS = 45  # of 0.1 s: longer than T_dead, so that a death would have been seen


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with running_cluster(slower(config())) as cluster:
        yield cluster


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    running.settle()
    return running


def wait_beats(cluster: Cluster, count: int = BEATS) -> None:
    """Until cmnode2 has sent so many datagrams more: time as the cluster counts it."""
    wanted = status(cluster.b)["counters"]["datagrams_sent"] + count
    wait_until(lambda: status(cluster.b)["counters"]["datagrams_sent"] >= wanted, 20.0, "beats of cmnode2")


def test_killed_daemon_back_within_a_second_moves_and_changes_nothing(cluster: Cluster) -> None:
    """kill -9 of the primary's daemon, started again at once: no gap, no claim, not one file changes."""
    cluster.wait_run(cluster.a)
    before = [listing(node) for node in cluster.nodes]
    number = generation(cluster.a)
    mark, killed = len(cluster.b.daemon_log()), clock.now()
    with cluster.client.probe(IP) as probe:
        probe.wait_answer()
        cluster.a.kill_drcm()
        cluster.a.start_drcm()
        wait_until(lambda: role(cluster.a) == "writer", 10.0, cluster.logs)
        wait_beats(cluster)
        probe.wait_answer(5.0, after=clock.now())
        assert [gap for gap in probe.gaps(0.5) if gap.end > killed] == []
    assert logged(cluster.b, "claiming|dead", mark) == []
    assert cluster.holders() == cluster.crontabs() == ["cmnode1"]
    assert generation(cluster.a) == number
    for node, was in zip(cluster.nodes, before, strict=True):
        assert listing(node) == was


def test_killed_backup_daemon_changes_nothing(cluster: Cluster) -> None:
    """kill -9 of the backup's daemon, started again: the primary goes on and no file changes."""
    cluster.wait_run(cluster.a)
    before = [listing(node) for node in cluster.nodes]
    mark = len(cluster.a.daemon_log())
    cluster.b.kill_drcm()
    cluster.b.start_drcm()
    wait_until(lambda: role(cluster.b) == "replica", 10.0, cluster.logs)
    wait_beats(cluster)
    assert cluster.holders() == ["cmnode1"]
    assert role(cluster.a) == "writer"
    assert logged(cluster.a, "cmnode1/.*(claiming|released)", mark) == []
    for node, was in zip(cluster.nodes, before, strict=True):
        assert listing(node) == was


def test_daemon_away_longer_than_t_dead_loses_nothing_of_the_living_primary(cluster: Cluster) -> None:
    """Legacy fault 1: the primary's daemon alone is away for seconds and the backup takes over; what the
    living primary had not sent is never overwritten without a copy, and new files of it are not lost."""
    cluster.a.write(f"{TREE}/d0/f0", "agreed by both\n")
    cluster.wait_same()
    mark = len(cluster.b.daemon_log())
    cluster.a.kill_drcm()
    cluster.a.write(f"{TREE}/d0/f0", "newer, on the living primary\n")
    cluster.a.write(f"{TREE}/unsent", "never sent\n")
    wait_logged(cluster.b, "set:testfs: running", 15.0, mark)
    cluster.b.write(f"{TREE}/d0/f0", "changed on the backup too\n")
    assert cluster.a.read(f"{TREE}/unsent") == "never sent\n"
    assert cluster.a.read(f"{TREE}/d0/f0") == "newer, on the living primary\n"
    cluster.settle()
    newest = {path.read_text() for path in cluster.a.path(TREE).rglob("f0") if path.is_file()}
    unsent = {path.read_text() for path in cluster.a.path(TREE).rglob("unsent") if path.is_file()}
    assert "newer, on the living primary\n" in newest, "it was overwritten without a copy"
    assert unsent == {"never sent\n"}
    assert cluster.a.read(f"{TREE}/d0/f0") == "changed on the backup too\n"
