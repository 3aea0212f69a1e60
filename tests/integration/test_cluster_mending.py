"""A real service that breaks, and one whose monitor hangs, on two real nodes: restarted, then moved."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.cluster import (
    TREE,
    Cluster,
    bring_up,
    config,
    conflicts,
    contents,
    make,
    wait_logged,
)
from tests.integration.obedient import HANG, HANGING, Obedient, install
from tests.lab import Lab, wait_until

pytestmark = pytest.mark.lab

LIMIT = 90.0  # seconds of a busy machine; each takes 2 to 30

FLAKY = Obedient("flaky")
COVERED, BESIDE = "/etc/drcm/covered", "/etc/drcm/beside"
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


def test_nothing_is_started_beside_a_tree_that_is_not_there(cluster: Cluster) -> None:
    """Something comes to lie over the root on the writer just as the set is moved by hand: the last pass
    fails, and the service is not started again beside the tree. The set goes to the backup, which has what
    the first pass brought; home again, all is as it was."""
    a, b = cluster.nodes
    FLAKY.tell(a, "stop", f"[ -e {COVERED} ] || {{ : > {COVERED}; mount -t tmpfs none {TREE}; }}")
    FLAKY.tell(a, "start", f"grep -q '^none {TREE} ' /proc/mounts && : > {BESIDE}")
    a.write(f"{TREE}/newest", f"written on {a.name}\n")
    a.sync("--failover", "--yes", check=False)
    wait_logged(a, "not mounted, or not the set's", LIMIT)
    cluster.wait_place(b, LIMIT)
    wait_until(lambda: FLAKY.pid(b), LIMIT, cluster.logs)
    assert not a.path(BESIDE).exists()
    assert "newest" in contents(b)

    a.run(["umount", TREE])
    FLAKY.mend(a)
    wait_until(lambda: a.console("cleanup", check=False).returncode == 0, LIMIT, cluster.logs)
    cluster.wait_place(a, LIMIT)
    wait_until(lambda: FLAKY.pid(a), LIMIT, cluster.logs)
    cluster.settle(LIMIT)
    assert conflicts(a) == conflicts(b) == {}
