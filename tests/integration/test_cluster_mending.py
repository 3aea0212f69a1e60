"""A real service that breaks, hangs and will not stop, on two real nodes: restart, move, block, fence."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.integration.cluster import (
    TREE,
    Cluster,
    bring_up,
    config,
    contents,
    make,
    status,
    wait_logged,
)
from tests.lab import Lab, Node, wait_until

pytestmark = pytest.mark.lab

LIMIT = 90.0  # seconds of a busy machine; each takes 2 to 30

# A service that does as it is told by files in /srv. Its one process is /srv/pid.
SCRIPT = """#!/bin/sh
alive() { [ -e /srv/pid ] && kill -0 "$(cat /srv/pid)" 2>/dev/null; }
case $2 in
start)
    [ -e /srv/nostart ] && { echo "the disk is full" >&2; exit 1; }
    alive || { setsid sleep 987654 </dev/null >/dev/null 2>&1 & echo $! >/srv/pid; } ;;
stop)
    [ -e /srv/nostop ] && { trap '' TERM; sleep 876543; }
    alive && kill "$(cat /srv/pid)"; rm -f /srv/pid ;;
status) alive ;;
watch)
    [ -e /srv/hang ] && sleep 765432
    alive ;;
esac
"""
# Asks whoever watches the lab to cut the power, and waits until that is done.
FENCE = """#!/bin/sh
echo "$1 $DRCM_NODE" >/srv/fence-asked
while [ ! -e /srv/fence-done ]; do sleep 0.1; done
"""
SERVICE = """
[CM_SERVICES]
flaky, flaky, /etc/drcm/resources/flaky.sh

[CM_RESOURCE]
resource = service:flaky
start_timeout = 20
stop_timeout = 8
monitor_timeout = 8
restart_limit = 1
"""


def text() -> str:
    """The two nodes' cm.cfg with the service, looked at every second; only cmnode1 can be fenced."""
    made = config(more=SERVICE).replace(
        "node_floating_ip_addrs = web",
        "node_floating_ip_addrs = web\nnode_services = flaky\nservices_check = 1\n"
        "fence_command = /etc/drcm/fence 'outlet 1'",
    )
    return made.replace(
        "node_backup_crontabs",
        "node_backup_services = cmnode1:flaky\nservices_check = 1\nnode_backup_crontabs",
    )


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with Lab() as lab:
        cluster = make(lab, text())
        for node in cluster.nodes:
            node.write("/etc/drcm/resources/flaky.sh", SCRIPT, 0o755)
            node.write("/etc/drcm/fence", FENCE, 0o755)
        cluster.a.write(f"{TREE}/f", "content\n")
        bring_up(cluster)
        yield cluster


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    """All is well, at home, and no failure counts."""
    for node in running.nodes:
        for switch in ("nostart", "nostop", "hang", "fence-asked", "fence-done"):
            node.path(f"/srv/{switch}").unlink(missing_ok=True)
    running.b.console("cleanup")
    running.settle(LIMIT)
    return running


def pid(node: Node) -> int:
    """Of the service's process there; 0 where it does not run."""
    try:
        found = int(node.read("/srv/pid"))
    except (FileNotFoundError, ValueError):
        return 0
    return found if found in node.pids("sleep 987654") else 0


def state(node: Node) -> str:
    """What the node says of the service."""
    found = (one for one in status(node).get("resources", ()) if one["nickname"] == "flaky")
    return next((one["state"] for one in found), "")


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
    assert "failed 1 of 1, clears in 10 min" in b.console("cm_stat").stdout
    assert "failed 1 of 1" in a.report().stdout

    a.write("/srv/hang", "")
    a.write(f"{TREE}/newest", f"written on {a.name}\n")
    cluster.wait_place(b, LIMIT)
    wait_until(lambda: pid(b), LIMIT, cluster.logs)
    assert "newest" in contents(b)
    wait_logged(a, "flaky.sh flaky watch: not done after 8 s", LIMIT)
    wait_until(lambda: not a.pids("sleep 765432"), LIMIT, cluster.logs)  # of hung monitors nothing is left
    assert pid(a) == 0


def test_a_start_that_fails_goes_to_the_next_node_and_comes_home_by_cleanup(cluster: Cluster) -> None:
    """The home node can't start it any more: the backup can; cleanup, and it is at home again."""
    a, b = cluster.nodes
    a.write("/srv/nostart", "")
    begun = len(a.daemon_log())
    kill_service(a)
    wait_logged(a, "service:flaky did not start: .*the disk is full", LIMIT, begun)
    cluster.wait_place(b, LIMIT)
    wait_until(lambda: pid(b), LIMIT, cluster.logs)
    a.path("/srv/nostart").unlink()
    told = b.console("cleanup service:flaky").stdout
    assert told.count("service:flaky: failures, moves and refusals are forgotten") == 2
    cluster.wait_place(a, LIMIT)
    assert "failed" not in b.console("cm_stat").stdout


def test_what_cannot_be_stopped_is_started_nowhere_until_somebody_says_it_is_down(cluster: Cluster) -> None:
    """On a node without a fence command: blocked, told, and freed by confirm-stopped alone."""
    a, b = cluster.nodes
    a.power_cut()
    cluster.b.path("/srv/fence-done").touch()
    cluster.wait_place(b, LIMIT)
    a.power_on()
    b.write("/srv/nostop", "")
    wait_until(lambda: pid(b), LIMIT, cluster.logs)
    kill_service(b)
    wait_until(lambda: state(b) == "blocked", LIMIT, cluster.logs)
    refused = a.console("confirm-stopped service:flaky", check=False)
    assert refused.returncode != 0
    a.start_drcm()
    wait_until(lambda: state(a) == "blocked", LIMIT, cluster.logs)  # heard, and not taken over
    assert "is not blocked on this node" in a.console("confirm-stopped service:flaky", check=False).stderr
    assert pid(a) == 0
    assert "counts as stopped" in b.console("confirm-stopped service:flaky").stdout
    cluster.wait_place(a, LIMIT)
    wait_until(lambda: pid(a), LIMIT, cluster.logs)


def test_a_node_that_cannot_stop_it_is_fenced_before_another_starts_it(cluster: Cluster) -> None:
    """The fence command runs with its argument; nothing starts before it has ended well."""
    a, b = cluster.nodes
    a.write("/srv/nostop", "")
    kill_service(a)
    wait_until(lambda: state(a) == "blocked", LIMIT, cluster.logs)
    wait_until(lambda: b.path("/srv/fence-asked").exists(), LIMIT, cluster.logs)
    assert b.read("/srv/fence-asked") == "outlet 1 cmnode1\n"
    a.power_cut()
    wait_logged(b, "cmnode1: not heard for", LIMIT)
    wait_logged(b, "cmnode1: fencing it: it can't stop", LIMIT)
    assert (pid(b), cluster.holders()) == (0, [])
    os.sync()
    b.path("/srv/fence-done").touch()
    cluster.wait_place(b, LIMIT)
    wait_until(lambda: pid(b), LIMIT, cluster.logs)
