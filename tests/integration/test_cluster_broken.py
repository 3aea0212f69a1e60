"""What breaks in ways that a restart does not mend: starts that fail, stops and monitors that hang, an
address that somebody keeps deleting, a node that must be fenced first.

One cluster of two lives through it all, in the order of this file; its services are in trouble from the
beginning, each in its own way. With failback = manual nothing moves that a test does not look at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.cluster import IP, SLOWER, Cluster, ask, logged, make, status, wait_logged
from tests.integration.obedient import HANG, HANGING, Obedient, install
from tests.lab import Lab, Node, wait_until
from tests.lab.watch import Watch, has_address, runs

pytestmark = pytest.mark.lab

LIMIT = 90.0  # seconds of a busy machine; each takes 1 to 20
FENCE, FENCED, SWITCH = "/etc/drcm/fence.sh", "/etc/drcm/fenced", "/etc/drcm/power-switch"
# Notes whom it is to cut off and how many of the address are here by then; works once there is a switch.
FENCE_SCRIPT = f"""#!/bin/sh
echo "$DRCM_NODE $(ip -o address show dev eth0 to {IP} | wc -l)" >>{FENCED}
[ -e {SWITCH} ] || {{ echo no route to the power switch; exit 1; }}
"""
UNWILLING, CLINGING, DEAF = Obedient("unwilling"), Obedient("clinging"), Obedient("deaf")
SERVICES = (UNWILLING, CLINGING, DEAF)

CONFIG = f"""{SLOWER}
failback = manual

[CM_IPADDRS]
web, {IP}, 24, eth0, /etc/drcm/resources/ipv4addr.sh

[CM_SERVICES]
{UNWILLING.row()}
{CLINGING.row()}
{DEAF.row()}

[CM_RESOURCE]
resource = service:*
stop_timeout = 6
monitor_timeout = 8

[CM_RESOURCE]
resource = ip:web, service:unwilling, service:clinging
restart_limit = 0

[CM_NODE]
nodename = cmnode1
hostname = cmnode1
keep_alive_ip = 10.77.0.1
fence_command = {FENCE}
services_check = 1
node_floating_ip_addrs = web
node_services = unwilling, deaf
node_backup_services = cmnode2:clinging

[CM_NODE]
nodename = cmnode2
hostname = cmnode2
keep_alive_ip = 10.77.0.2
services_check = 1
node_services = clinging
node_backup_floating_ip_addrs = cmnode1:web
node_backup_services = cmnode1:unwilling, cmnode1:deaf
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Never do two nodes have the address or run a service, whatever happens."""
    with Lab() as lab:
        made = make(lab, CONFIG)
        for node in made.nodes:
            install(node)
            node.write(FENCE, FENCE_SCRIPT, 0o755)
        UNWILLING.tell(made.a, "start", "echo there is no licence; exit 1")
        DEAF.tell(made.a, "watch", f"rm /etc/drcm/deaf.watch; {HANG}")
        CLINGING.tell(made.b, "watch", "exit 1")
        CLINGING.tell(made.b, "stop", HANG)
        things = {one.name: runs(one.pid_file) for one in SERVICES} | {IP: has_address(IP)}
        with Watch(made.nodes, things) as watch:
            for node in made.nodes:
                node.start_drcm()
            yield made
            assert watch.doubles == []


def is_open(node: Node, key: str) -> bool:
    """Whether this alert of `node` is not over yet."""
    told = json.loads(node.report("--json", check=False).stdout)["alerts"]
    return any(one["key"] == key for one in told)


def raised(node: Node, key: str) -> list[str]:
    """Each time that this alert was raised or resolved."""
    return logged(node, f" {re.escape(key)}: ")


def wait_for(cluster: Cluster, condition: Callable[[], object]) -> None:
    wait_until(condition, LIMIT, cluster.logs)


def resource(node: Node, nickname: str) -> dict[str, Any]:
    """What `status` on `node` says of one resource."""
    found = (one for one in status(node).get("resources", ()) if one["nickname"] == nickname)
    return dict(next(found, {}))


def test_a_monitor_that_hangs_is_a_failure_and_ends(cluster: Cluster) -> None:
    """It ignores TERM. Its service is restarted in its place, and counted; none of its processes stays."""
    a = cluster.a
    wait_for(cluster, lambda: DEAF.pid(a))
    hung = DEAF.pid(a)
    wait_for(cluster, lambda: DEAF.pid(a) not in (0, hung))
    wait_logged(a, r"obedient.sh deaf watch: not done after 8 s.*restarting it here \(failed 1 of 3\)", LIMIT)
    wait_for(cluster, lambda: resource(a, "deaf").get("state") == "running")
    assert resource(a, "deaf")["failures"]["count"] == 1
    assert not a.pids(HANGING)


def test_a_start_that_fails_moves_and_what_fails_everywhere_stops_with_one_alert(cluster: Cluster) -> None:
    """Not tried twice where it failed; an operator's cleanup starts it once it is mended."""
    a, b = cluster.nodes
    wait_for(cluster, lambda: UNWILLING.pid(b))
    assert UNWILLING.pid(a) == 0
    assert len(logged(a, "ERROR .*unwilling did not start: .*there is no licence")) == 1

    UNWILLING.tell(b, "start", "echo nor here; exit 1")
    UNWILLING.kill(b)
    key = "stopped:cmnode1/service:unwilling"
    wait_for(cluster, lambda: is_open(a, key) or is_open(b, key))
    wait_for(cluster, lambda: not resource(b, "unwilling").get("holder"))
    (told,) = raised(a, key) + raised(b, key)
    for words in (
        "RUNS NOWHERE",
        "cmnode1: service:unwilling did not start",
        "cmnode2: service:unwilling failed",
    ):
        assert words in told
    assert "--command='cleanup service:unwilling'" in told
    assert (UNWILLING.pid(a), UNWILLING.pid(b)) == (0, 0)

    for node in cluster.nodes:
        UNWILLING.mend(node)
    assert "forgotten" in a.console("cleanup service:unwilling").stdout
    wait_for(cluster, lambda: UNWILLING.pid(a))
    wait_for(cluster, lambda: not is_open(a, key) and not is_open(b, key))


def test_a_stop_that_hangs_blocks_until_somebody_says_that_it_is_down(cluster: Cluster) -> None:
    """Tried again and again, never started elsewhere; cmnode1 takes it once its end is confirmed."""
    a, b = cluster.nodes
    refusal = "service:clinging did not stop: .*not done after 6 s"
    wait_for(cluster, lambda: len(logged(b, refusal)) >= 2)
    assert resource(a, "clinging")["state"] == resource(b, "clinging")["state"] == "blocked"
    assert CLINGING.pid(b)
    assert CLINGING.pid(a) == 0
    assert "confirm-stopped service:clinging" in raised(b, "blocked:cmnode2/service:clinging")[0]
    assert "is not blocked on this node" in a.console("confirm-stopped service:clinging", check=False).stderr

    CLINGING.kill(b)
    b.console("confirm-stopped service:clinging")
    wait_for(cluster, lambda: CLINGING.pid(a))
    CLINGING.mend(b)
    wait_for(cluster, lambda: not b.pids(HANGING))


def test_a_silent_node_is_fenced_before_anything_of_it_starts(cluster: Cluster) -> None:
    """Nothing of it starts as long as that fails; once for all that it held when it works."""
    a, b = cluster.nodes
    wait_for(cluster, lambda: cluster.holders() == [a.name])
    a.power_cut()
    wait_for(cluster, lambda: b.path(FENCED).exists() and len(b.read(FENCED).splitlines()) >= 2)
    assert cluster.holders() == []
    assert not any(one.pid(b) for one in SERVICES)
    wait_for(cluster, lambda: is_open(b, "fence-failed:cmnode1"))
    assert "no route to the power switch" in raised(b, "fence-failed:cmnode1")[0]

    failed = len(b.read(FENCED).splitlines())
    b.write(SWITCH, "")
    wait_for(cluster, lambda: cluster.holders() == [b.name] and all(one.pid(b) for one in SERVICES))
    assert set(b.read(FENCED).splitlines()) == {"cmnode1 0"}
    assert len(b.read(FENCED).splitlines()) <= failed + 2  # one more may have failed meanwhile
    wait_for(cluster, lambda: not is_open(b, "fence-failed:cmnode1"))


def test_an_address_that_somebody_keeps_deleting_moves_in_the_end(cluster: Cluster) -> None:
    """Put back ten times within a minute, not for ever."""
    a, b = cluster.nodes
    for one in SERVICES:
        one.forget(a)
    a.power_on()
    a.start_drcm()
    wait_for(cluster, lambda: [one["state"] for one in ask(b, op="status")["nodes"]] == ["UP", "UP"])
    loop = f"while ip link show eth0 >/dev/null; do ip address delete {IP}/24 dev eth0; sleep 0.05; done"
    deleter = b.spawn(["sh", "-c", loop])
    try:
        wait_for(cluster, lambda: cluster.holders() == [a.name])
    finally:
        deleter.kill()
    wait_logged(b, "ip:web failed: .*removed 10 times within a minute by somebody else", LIMIT)


def test_what_cm_cfg_lost_while_the_daemon_was_away_is_stopped(cluster: Cluster) -> None:
    """By the daemon that comes back within the lease; the rest of what ran there it goes on with."""
    b = cluster.b
    wait_for(cluster, lambda: all(resource(b, one.name).get("state") == "running" for one in SERVICES))
    kept = [UNWILLING.pid(b), CLINGING.pid(b)]
    mark = len(b.daemon_log())
    lines = [line for line in CONFIG.splitlines() if line != DEAF.row()]
    for node in cluster.nodes:
        node.write_config("\n".join(lines).replace(", cmnode1:deaf", "").replace(", deaf", ""))
    b.kill_drcm()
    assert DEAF.pid(b)
    b.start_drcm()
    wait_for(cluster, lambda: not DEAF.pid(b))
    wait_logged(b, "cmnode1/service:deaf: released: cm.cfg no longer has it here", LIMIT, mark)
    assert [UNWILLING.pid(b), CLINGING.pid(b)] == kept
