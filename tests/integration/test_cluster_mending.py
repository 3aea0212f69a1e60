"""A real service that breaks, and one whose monitor hangs, on two real nodes: restarted, then moved."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.cluster import (
    TREE,
    Cluster,
    bring_up,
    config,
    contents,
    make,
    wait_logged,
)
from tests.integration.obedient import HANG, HANGING, Obedient, install
from tests.lab import Lab, wait_until

pytestmark = pytest.mark.lab

LIMIT = 90.0  # seconds of a busy machine; each takes 2 to 30

FLAKY = Obedient("flaky")
SERVICE = f"""
[CM_SERVICES]
{FLAKY.row()}

[CM_RESOURCE]
resource = service:flaky
start_timeout = 20
stop_timeout = 8
monitor_timeout = 10
restart_limit = 1
"""


def text() -> str:
    """The two nodes' cm.cfg with the service, looked at every second."""
    made = config(more=SERVICE).replace(
        "node_floating_ip_addrs = web",
        "node_floating_ip_addrs = web\nnode_services = flaky\nservices_check = 1",
    )
    return made.replace(
        "node_backup_crontabs",
        "node_backup_services = cmnode1:flaky\nservices_check = 1\nnode_backup_crontabs",
    )


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Lab() as lab:
        cluster = make(lab, text())
        for node in cluster.nodes:
            install(node)
        cluster.a.write(f"{TREE}/f", "content\n")
        bring_up(cluster)
        yield cluster


def test_it_is_restarted_then_moves_and_nothing_is_left_behind(cluster: Cluster) -> None:
    """A killed service is back in its place; a monitor that hangs then moves it, with the newest file."""
    a, b = cluster.nodes
    assert FLAKY.pid(a)
    former = FLAKY.kill(a)
    wait_until(lambda: FLAKY.pid(a) not in (0, former), LIMIT, cluster.logs)
    assert cluster.holders() == [a.name]
    assert "failed 1 of 1, clears in" in b.console("cm_stat").stdout
    assert "failed 1 of 1" in a.report().stdout

    FLAKY.tell(a, "watch", HANG)
    a.write(f"{TREE}/newest", f"written on {a.name}\n")
    cluster.wait_place(b, LIMIT)
    wait_until(lambda: FLAKY.pid(b), LIMIT, cluster.logs)
    assert "newest" in contents(b)
    wait_logged(a, "obedient.sh flaky watch: not done after 10 s", LIMIT)
    wait_until(lambda: not a.pids(HANGING), LIMIT, cluster.logs)  # of hung monitors nothing is left
    assert FLAKY.pid(a) == 0
