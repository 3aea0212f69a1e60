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
from tests.lab import Lab, Node, wait_until

pytestmark = pytest.mark.lab

LIMIT = 90.0  # seconds of a busy machine; each takes 2 to 30

# A service that does as files beside cm.cfg tell it, which each node has of its own.
SCRIPT = """#!/bin/sh
alive() { grep -qs 987654 "/proc/$(cat /etc/drcm/flaky-pid 2>/dev/null)/cmdline"; }
case $2 in
start)
    alive || { setsid sleep 987654 </dev/null >/dev/null 2>&1 & echo $! >/etc/drcm/flaky-pid; } ;;
stop)
    alive && kill "$(cat /etc/drcm/flaky-pid)"; rm -f /etc/drcm/flaky-pid ;;
status) alive ;;
watch)
    [ -e /etc/drcm/flaky-hang ] && sleep 765432
    alive ;;
esac
"""
SERVICE = """
[CM_SERVICES]
flaky, flaky, /etc/drcm/resources/flaky.sh

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
            node.write("/etc/drcm/resources/flaky.sh", SCRIPT, 0o755)
        cluster.a.write(f"{TREE}/f", "content\n")
        bring_up(cluster)
        yield cluster


def pid(node: Node) -> int:
    """Of the service's process there; 0 where it does not run."""
    try:
        found = int(node.read("/etc/drcm/flaky-pid"))
    except (FileNotFoundError, ValueError):
        return 0
    return found if found in node.pids("sleep 987654") else 0


def kill_service(node: Node) -> int:
    """Its pid until now."""
    former = pid(node)
    node.kill(former)
    return former


def test_it_is_restarted_then_moves_and_nothing_is_left_behind(cluster: Cluster) -> None:
    """A killed service is back in its place; a monitor that hangs then moves it, with the newest file."""
    a, b = cluster.nodes
    assert pid(a)
    former = kill_service(a)
    wait_until(lambda: pid(a) not in (0, former), LIMIT, cluster.logs)
    assert cluster.holders() == [a.name]
    assert "failed 1 of 1, clears in" in b.console("cm_stat").stdout
    assert "failed 1 of 1" in a.report().stdout

    a.write("/etc/drcm/flaky-hang", "")
    a.write(f"{TREE}/newest", f"written on {a.name}\n")
    cluster.wait_place(b, LIMIT)
    wait_until(lambda: pid(b), LIMIT, cluster.logs)
    assert "newest" in contents(b)
    wait_logged(a, "flaky.sh flaky watch: not done after 10 s", LIMIT)
    wait_until(lambda: not a.pids("sleep 765432"), LIMIT, cluster.logs)  # of hung monitors nothing is left
    assert pid(a) == 0
