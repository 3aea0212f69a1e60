"""An operator moves all to the backup and home again: `drcm-sync --failover`, `--failback`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from drcm import errors
from tests.integration.cluster import IP, TREE, Cluster, ask, contents_of_own, listing, role, running_cluster
from tests.lab import wait_until

pytestmark = pytest.mark.lab

LONGEST = 60.0  # seconds of interruption on a very busy machine; about 0.5 on an idle one


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as made:
        yield made


def test_a_dry_run_and_refusals_change_nothing(cluster: Cluster) -> None:
    """It tells what would move and what the pass would carry; where nothing is held it names the node."""
    before = listing(cluster.b)
    told = cluster.a.sync("--failover", "--dry-run").stdout
    assert "can move until drcm-sync --failback there" in told
    assert "testfs: what a run would do" in told
    elsewhere = cluster.b.sync("--failover", "testfs", "--yes", check=False)
    assert elsewhere.returncode == errors.EXIT_WRONG_ROLE
    assert "On cmnode1: drcm-sync --failover testfs" in elsewhere.stderr
    assert cluster.a.sync("--failback", "--yes", check=False).returncode == errors.EXIT_WRONG_ROLE
    assert cluster.a.sync("--failover", "nosuch", check=False).returncode == errors.EXIT_CONFIG
    assert role(cluster.a) == "writer"
    assert listing(cluster.b) == before


def test_over_and_home_again(cluster: Cluster) -> None:
    """What was written last arrives, the steps are told, it stays there, and --failback brings it home."""
    with cluster.client.probe(IP) as probe:
        probe.wait_answer()
        cluster.a.write(f"{TREE}/last", "written just before\n")
        told = cluster.a.sync("--failover", "--yes").stdout
        cluster.wait_place(cluster.b)
        for step in ("bulk pass 1", "the services stop", "last pass", "released to", "running on cmnode2"):
            assert step in told, told
        assert "cmnode1/set:testfs runs on cmnode2; interrupted for" in told
        assert cluster.b.read(f"{TREE}/last") == "written just before\n"
        cluster.wait_run(cluster.b)
        wait_until(
            lambda: _reason(cluster).endswith("drcm-sync --failback brings it home"), 60.0, cluster.logs
        )
        assert cluster.holders() == ["cmnode2"]
        cluster.b.write(f"{TREE}/over there", "there\n")
        document = json.loads(cluster.b.sync("--failback", "--yes", "--json").stdout)
        cluster.wait_place(cluster.a)
        (moved,) = document["moves"]
        assert (document["ok"], moved["state"], moved["to"]) == (True, "running", "cmnode1")
        assert moved["interruption"] < LONGEST
        assert cluster.a.read(f"{TREE}/over there") == "there\n"
        assert contents_of_own(cluster.a, "conflicts") == {}
        assert max(gap.seconds for gap in probe.gaps()) < LONGEST


def _reason(cluster: Cluster) -> str:
    return str(ask(cluster.b, op="status")["explain"]["cmnode1/set:testfs"])


def test_a_guard_stops_it_before_the_services_stop(cluster: Cluster) -> None:
    """A bulk pass that fails leaves all as it is: no interruption, the reason told, exit 1."""
    cluster.settle()  # a copy that has not come back to this generation yet is refused before any pass
    marker = cluster.b.path(f"{TREE}/.drcm/set.json")
    marker.rename(marker.with_name("away"))
    try:
        done = cluster.a.sync("--failover", "testfs", "--yes", check=False)
        assert done.returncode in (errors.EXIT_FAILED, errors.EXIT_WRONG_ROLE)
        assert "set.json" in done.stderr or "marker" in done.stderr
        assert "the services stop" not in done.stdout
        assert cluster.holders() == ["cmnode1"]
    finally:
        marker.with_name("away").rename(marker)
    wait_until(lambda: role(cluster.a) == "writer", 60.0, cluster.logs)
    for node in cluster.nodes:  # by now the daemons have looked through the trash
        wait_until(node.path("/var/lib/drcm/trash/testfs.json").exists, 120.0, cluster.logs)
