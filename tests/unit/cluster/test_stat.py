import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drcm.cluster.stat import cm_stat_text, resource_lines, rstats_text
from drcm.config.model import Cluster, Kind, Node, ResourceRef, Server
from drcm.errors import PeerError

REFS = (ResourceRef(Kind.CRONTAB, "system"), ResourceRef(Kind.ADDRESS, "web"))
ONE = Node("cmnode1", "host1", "192.168.2.1", resources=REFS)
TWO = Node("cmnode2", "host2", "192.168.2.15", resources=(ResourceRef(Kind.SERVICE, "httpd"),))
CLUSTER = Cluster(Server(), (ONE, TWO), ())
SILENT = PeerError("192.168.2.15 port 53897: does not answer")


def runs(home: str, kind: str, nickname: str) -> dict[str, str]:
    return {"home": home, "kind": kind, "nickname": nickname, "since": "2026-11-22 19:50:31"}


WEB, SYSTEM, HTTPD = (
    runs("cmnode1", "ip", "web"),
    runs("cmnode1", "cron", "system"),
    runs("cmnode2", "service", "httpd"),
)


def status(*running: dict[str, str], **more: Any) -> dict[str, Any]:
    return {"ok": True, "running": list(running), "nodes": [], "resources": [], "sets": []} | more


def sums(cluster: Cluster, answers: dict[str, Any]) -> list[str]:
    """The lines that scripts grep."""
    marks = ("Node status:", "Resource status:", "Cluster status:")
    return [line for line in cm_stat_text(cluster, answers).splitlines() if line.startswith(marks)]


def test_healthy_cluster() -> None:
    """Everything at home: the three lines of 1.41 to the letter."""
    answers = {"cmnode1": status(SYSTEM, WEB), "cmnode2": status(HTTPD)}
    assert sums(CLUSTER, answers) == [
        "Node status: All cluster nodes are UP",
        "Resource status: All cluster resources in NORMAL state",
        "Cluster status: HEALTHY",
    ]
    assert cm_stat_text(CLUSTER, answers) == (
        "Member status: cluster drcm, 2 nodes\n"
        "  Node     Address       Status  Note\n"
        "  cmnode1  192.168.2.1   UP\n"
        "  cmnode2  192.168.2.15  UP\n"
        "Node status: All cluster nodes are UP\n"
        "\n"
        "Resources:\n"
        "  Resource       Home     Runs on  Status     Note\n"
        "  ip:web         cmnode1  cmnode1  OK-Normal\n"
        "  cron:system    cmnode1  cmnode1  OK-Normal\n"
        "  service:httpd  cmnode2  cmnode2  OK-Normal\n"
        "Resource status: All cluster resources in NORMAL state\n"
        "\n"
        "Cluster health:\n"
        "Cluster status: HEALTHY\n"
    )


def test_failed_over() -> None:
    """A dead node whose service was taken over: one of each, in the singular."""
    answers = {"cmnode1": status(SYSTEM, WEB, HTTPD), "cmnode2": SILENT}
    assert sums(CLUSTER, answers) == [
        "Node status: Cluster has 1 node DOWN",
        "Resource status: Cluster has 1 failed over resource",
        "Cluster status: DOWN nodes FAILEDOVER resources",
    ]
    text = cm_stat_text(CLUSTER, answers)
    assert "cmnode2  192.168.2.15  DOWN    192.168.2.15 port 53897: does not answer\n" in text
    assert "service:httpd  cmnode2  cmnode1  OK-Backup" in text


def test_plurals() -> None:
    """Two of each, in the plural."""
    three = replace(CLUSTER, nodes=(ONE, TWO, Node("cmnode3", "host3", "192.168.2.3")))
    answers = {"cmnode1": SILENT, "cmnode2": SILENT, "cmnode3": status(SYSTEM, WEB, HTTPD)}
    assert sums(three, answers) == [
        "Node status: Cluster has 2 nodes DOWN",
        "Resource status: Cluster has 3 failed over resources",
        "Cluster status: DOWN nodes FAILEDOVER resources",
    ]


def test_missing_resource() -> None:
    """What runs nowhere is MISSING, with the reason that its home gives; never called normal."""
    reason = {
        "home": "cmnode1",
        "kind": "ip",
        "nickname": "web",
        "holder": "",
        "reason": "start failed: exit 1",
    }
    answers = {"cmnode1": status(SYSTEM, resources=[reason]), "cmnode2": status(HTTPD)}
    assert sums(CLUSTER, answers) == [
        "Node status: All cluster nodes are UP",
        "Resource status: Cluster has 1 missing resource",
        "Cluster status: MISSING resources",
    ]
    assert "ip:web         cmnode1  -        MISSING    start failed: exit 1" in cm_stat_text(
        CLUSTER, answers
    )


def test_all_parts_at_once() -> None:
    """Down, failed over and missing at once are all named."""
    assert sums(CLUSTER, {"cmnode1": status(WEB, HTTPD), "cmnode2": SILENT})[1:] == [
        "Resource status: Cluster has 1 failed over resource",
        "Resource status: Cluster has 1 missing resource",
        "Cluster status: DOWN nodes FAILEDOVER resources MISSING resources",
    ]


def test_resource_that_runs_twice() -> None:
    """A resource on two nodes is no healthy cluster."""
    answers = {"cmnode1": status(SYSTEM, WEB), "cmnode2": status(HTTPD, WEB)}
    assert sums(CLUSTER, answers)[1:] == [
        "Resource status: Cluster has 1 resource running on two nodes",
        "Cluster status: DUPLICATE resources",
    ]


def test_set_with_a_problem() -> None:
    """A diverged set is no healthy cluster, and is named."""
    trouble = [{"name": "testfs", "problem": "DIVERGED: both sides changed"}, {"name": "www", "problem": ""}]
    answers = {"cmnode1": status(SYSTEM, WEB), "cmnode2": status(HTTPD, sets=trouble)}
    assert sums(CLUSTER, answers)[-1] == "Cluster status: PROBLEM sets"
    assert "  Set testfs on cmnode2: DIVERGED: both sides changed\n" in cm_stat_text(CLUSTER, answers)
    assert "www" not in cm_stat_text(CLUSTER, answers)


def test_node_that_only_its_peers_hear() -> None:
    """A node whose console port is shut, but which the others hear, is UP, and what it holds is shown."""
    peers = [{"name": "cmnode2", "state": "UP"}]
    held = [HTTPD | {"holder": "cmnode2", "reason": ""}]
    answers = {"cmnode1": status(SYSTEM, WEB, nodes=peers, resources=held), "cmnode2": SILENT}
    assert sums(CLUSTER, answers) == [
        "Node status: All cluster nodes are UP",
        "Resource status: All cluster resources in NORMAL state",
        "Cluster status: HEALTHY",
    ]
    assert "heard by the others, but 192.168.2.15 port 53897: does not answer" in cm_stat_text(
        CLUSTER, answers
    )


def test_word_of_others_for_the_dead_counts_nothing() -> None:
    """What an old view says of a node that is down does not make its resource run."""
    held = [HTTPD | {"holder": "cmnode2", "reason": ""}]
    answers = {"cmnode1": status(SYSTEM, WEB, resources=held), "cmnode2": SILENT}
    assert sums(CLUSTER, answers)[1] == "Resource status: Cluster has 1 missing resource"


def test_nodes_that_do_not_hear_each_other() -> None:
    """A node that answers the console but whose beats a peer misses is shown so."""
    answers = {
        "cmnode1": status(SYSTEM, WEB, nodes=[{"name": "cmnode2", "state": "DOWN"}]),
        "cmnode2": status(HTTPD),
    }
    assert "cmnode2  192.168.2.15  UP      not heard by cmnode1\n" in cm_stat_text(CLUSTER, answers)


def test_witness_and_inactive_nodes() -> None:
    """A witness is named as one; an inactive node counts neither as up nor as down, nor its resources."""
    nodes = (ONE, replace(TWO, active=False), Node("w", "hostw", "192.168.2.3", witness=True))
    answers = {"cmnode1": status(SYSTEM, WEB), "w": status()}
    text = cm_stat_text(replace(CLUSTER, nodes=nodes), answers)
    assert "Cluster status: HEALTHY" in text
    assert "cmnode2  192.168.2.15  INACTIVE  node_is_active = 0\n" in text
    assert "w        192.168.2.3   UP        witness\n" in text


def test_nobody_answers() -> None:
    """With no answer at all the report still comes, and says that all are down."""
    assert sums(CLUSTER, {"cmnode1": SILENT, "cmnode2": SILENT})[0] == "Node status: Cluster has 2 nodes DOWN"


def test_rstats_lines() -> None:
    """What runs at home and what was taken over, in the order of starting; nothing is a line of its own."""
    assert resource_lines("cmnode2", [WEB, HTTPD]) == [
        "backup_ip:web,2026-11-22 19:50:31",
        "service:httpd,2026-11-22 19:50:31",
    ]
    assert resource_lines("cmnode2", []) == ["No CM resources started"]


@pytest.mark.parametrize(
    ("node", "expected"),
    [("cmnode1", "cron:system,2026-11-22 19:50:31\n"), ("cmnode2", "")],
)
def test_rstats_for_the_script_of_the_guide(tmp_path: Path, node: str, expected: str) -> None:
    """The guide's sed and grep cut out one node's lines, and nothing where it is silent."""
    lines = resource_lines("cmnode1", [SYSTEM])
    text = rstats_text([TWO, ONE], {"cmnode1": {"ok": True, "lines": lines}, "cmnode2": SILENT})
    assert text.startswith("rstats cmnode2@192.168.2.15 failed: 192.168.2.15 port 53897: does not answer\n")
    assert "rstats cmnode1@192.168.2.1 successful\n" in text
    assert text.endswith("rstats cmnode1@192.168.2.1 end\n")
    script = f'sed -n "/{node}/,/{node}/p" | grep -v {node}'
    cut = subprocess.run(["sh", "-c", script], input=text, capture_output=True, text=True, check=False)
    assert cut.stdout == expected
