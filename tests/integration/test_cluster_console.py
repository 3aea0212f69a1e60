"""The console over a real cluster: 1.41's lines to the letter, from any node, and soon."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest

from tests.integration.cluster import Cluster, running_cluster, wait_logged
from tests.lab import Node, wait_until

pytestmark = pytest.mark.lab

DATE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
LONGEST_ANSWER = 20.0  # seconds: 2 for a dead node, and Python's start on a busy machine


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with running_cluster(files=3) as cluster:
        yield cluster


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    running.settle()
    return running


def verdicts(node: Node) -> list[str]:
    """The lines of cm_stat that scripts grep."""
    text = node.console("cm_stat", check=False).stdout
    return [line for line in text.splitlines() if re.match("(Node|Resource|Cluster) status: ", line)]


def test_healthy_cluster_says_so_on_both_nodes(cluster: Cluster) -> None:
    """All up and at home: the three lines of 1.41, whichever node is asked."""
    healthy = [
        "Node status: All cluster nodes are UP",
        "Resource status: All cluster resources in NORMAL state",
        "Cluster status: HEALTHY",
    ]
    for node in cluster.nodes:  # each looks at its own copy four times a second
        wait_until(lambda node=node: verdicts(node) == healthy, 10.0, lambda node=node: str(verdicts(node)))


def test_rstats_and_ping_speak_as_1_41_did(cluster: Cluster) -> None:
    """rstats frames what each node runs, ping names who answered."""
    lines = cluster.b.console("rstats").stdout.splitlines()
    assert lines[0] == "rstats cmnode1@10.77.0.1 successful"
    first = lines[: lines.index("rstats cmnode1@10.77.0.1 end")]
    assert sorted(re.sub(DATE, "DATE", line) for line in first[1:]) == ["cron:system,DATE", "ip:web,DATE"]
    second = lines.index("rstats cmnode2@10.77.0.2 successful")
    assert lines[second + 1 : second + 3] == ["No CM resources started", "rstats cmnode2@10.77.0.2 end"]
    assert "cmnode1" in cluster.b.console("ping cmnode1").stdout


def test_dead_backup_is_one_node_down_and_costs_no_patience(cluster: Cluster) -> None:
    """With the backup dead nothing has failed over; asking takes no longer than the bound for one node."""
    cluster.b.power_cut()
    wait_logged(cluster.a, "cmnode2: not heard for", 15.0)
    begun = time.monotonic()
    lines = verdicts(cluster.a)
    assert time.monotonic() - begun < LONGEST_ANSWER
    assert lines == [
        "Node status: Cluster has 1 node DOWN",
        "Resource status: All cluster resources in NORMAL state",
        "Cluster status: DOWN nodes",
    ]


def test_failed_over_cluster_says_so_and_how(cluster: Cluster) -> None:
    """With the primary dead: two failed over resources, and backup_ in front of them in rstats."""
    cluster.a.power_cut()
    cluster.wait_place(cluster.b)
    assert verdicts(cluster.b) == [
        "Node status: Cluster has 1 node DOWN",
        "Resource status: Cluster has 2 failed over resources",
        "Cluster status: DOWN nodes FAILEDOVER resources",
    ]
    text = cluster.b.console("rstats cmnode2", check=False).stdout
    kept = sorted(re.findall(rf"^(\S+:\S+),{DATE}$", text, re.MULTILINE))
    assert kept == ["backup_cron:system", "backup_ip:web"]


def test_node_without_a_daemon_can_ask(cluster: Cluster) -> None:
    """A node whose own daemon is down has the key, so it can ask the others."""
    cluster.a.stop_drcm()
    cluster.wait_place(cluster.b)
    expected = [
        "Node status: Cluster has 1 node DOWN",
        "Resource status: Cluster has 2 failed over resources",
        "Cluster status: DOWN nodes FAILEDOVER resources",
    ]
    # cmnode2 heard it say goodbye: for T_dead more it passes for a node whose console alone is shut.
    wait_until(lambda: verdicts(cluster.a) == expected, 10.0, lambda: f"{verdicts(cluster.a)}")
    assert json.loads(cluster.a.report("--json", check=False).stdout)["node"] == "cmnode2"
