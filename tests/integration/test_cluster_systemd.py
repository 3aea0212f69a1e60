"""A unit of a real systemd: each host runs one, as a user's; process 1 it can be on a real machine only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.cluster import SLOWER, ask, logged
from tests.lab import Lab, Node, make_cluster, wait_until

pytestmark = pytest.mark.lab

SETTLE_SECONDS = 60.0
TOOLS = "/etc/drcm/tools"
HIERARCHIES = [Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup")]  # hybrid, or cgroup v2 alone
GROUP = "drcm-lab-systemd"

CONFIG = """
[CM_SERVICES]
web, web, systemd:web.service

[CM_NODE]
nodename = cmnode1
hostname = cmnode1
keep_alive_ip = 10.77.0.1
services_check = 1
node_services = web

[CM_NODE]
nodename = cmnode2
hostname = cmnode2
keep_alive_ip = 10.77.0.2
services_check = 1
node_backup_services = cmnode1:web
"""
UNIT = "[Service]\nExecStart=/bin/sleep 4242\n"
SYSTEMCTL = '#!/bin/sh\nXDG_RUNTIME_DIR=/run/user/0 exec /usr/bin/systemctl --user "$@"\n'
# A user's systemd manages the cgroup that it is started in, and wants to see that a system's runs too.
BOOT = f"""
set -e
mkdir -p /run/systemd/system /run/user/0/systemd/user
cp {TOOLS}/web.service /run/user/0/systemd/user/
if grep -q name=systemd /proc/self/cgroup; then
    mount -t tmpfs tmpfs /sys/fs/cgroup
    mkdir /sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
    cd /sys/fs/cgroup/systemd
else
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    cd /sys/fs/cgroup
fi
mkdir -p {GROUP}/$(hostname)
echo 0 >{GROUP}/$(hostname)/cgroup.procs
cd /
XDG_RUNTIME_DIR=/run/user/0 SYSTEMD_LOG_TARGET=console exec /lib/systemd/systemd --user
"""


def boot(node: Node) -> None:
    """What stands for process 1, then drcm."""
    node.spawn(["sh", "-c", BOOT], stdout=node.log("systemd"))
    wait_until(
        lambda: "LoadState=loaded" in node.run(["systemctl", "show", "web.service"], check=False).stdout,
        SETTLE_SECONDS,
        lambda: f"systemd: {node.log('systemd').read_text()}",
    )
    node.start_drcm(wait=SETTLE_SECONDS)


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[Node, Node]]:
    try:
        with Lab() as lab:
            a, b = (lab.add_node(f"cmnode{n}", f"10.77.0.{n}") for n in (1, 2))
            make_cluster(lab, SLOWER + CONFIG, (a, b))
            for node in (a, b):
                node.write(f"{TOOLS}/systemctl", SYSTEMCTL, 0o755)
                node.write(f"{TOOLS}/web.service", UNIT)
                node.variables["PATH"] = f"{TOOLS}:{node.environment()['PATH']}"
            lab.power_on()
            for node in (a, b):
                boot(node)
            yield a, b
    finally:
        forget_cgroups()


def forget_cgroups() -> None:
    for top in HIERARCHIES:
        for folder in sorted((top / GROUP).glob("**/"), key=lambda one: len(one.parts), reverse=True):
            with suppress(OSError):
                folder.rmdir()


def sleepers(node: Node) -> list[int]:
    return node.pids("^/bin/sleep 4242") if node.is_on else []


def wait_on(node: Node, other: Node) -> None:
    """It runs there, in the eyes of both: systemd's and drcm's."""

    def so() -> bool:
        running = [f"{one['kind']}:{one['nickname']}" for one in ask(node, op="status").get("running", ())]
        return running == ["service:web"] and len(sleepers(node)) == 1 and not sleepers(other)

    wait_until(so, SETTLE_SECONDS, lambda: node.daemon_log()[-3000:])


def test_it_starts_at_home(nodes: tuple[Node, Node]) -> None:
    """systemd has it, in a cgroup of its own."""
    a, b = nodes
    wait_on(a, b)
    assert a.run(["systemctl", "is-active", "web.service"]).stdout == "active\n"
    (pid,) = sleepers(a)
    assert f"{GROUP}/cmnode1/app.slice/web.service\n" in a.run(["cat", f"/proc/{pid}/cgroup"]).stdout


@pytest.mark.parametrize("blow", ["kill", "stop"])
def test_what_broke_is_repaired_where_it_is(nodes: tuple[Node, Node], blow: str) -> None:
    """Its process is killed, or somebody stops the unit: drcm's watch has it started again."""
    a, b = nodes
    (pid,), mark = sleepers(a), len(a.daemon_log())
    a.kill(pid) if blow == "kill" else a.run(["systemctl", "stop", "web.service"])
    wait_until(lambda: sleepers(a) not in ([pid], []), SETTLE_SECONDS, lambda: a.daemon_log()[mark:])
    wait_on(a, b)
    assert logged(a, "web.service: (failed|inactive)", mark)


def test_it_moves_with_a_power_cut_and_comes_home(nodes: tuple[Node, Node]) -> None:
    """The backup's systemd starts it; when the home is back it is stopped there and started here."""
    a, b = nodes
    a.power_cut()
    wait_on(b, a)
    a.power_on()
    boot(a)
    wait_on(a, b)


def test_a_unit_that_will_not_start_moves(nodes: tuple[Node, Node]) -> None:
    """systemd says so at once; the other node has it, with the reason in the alert."""
    a, b = nodes
    a.write("/run/user/0/systemd/user/web.service", "[Service]\nExecStart=/nonexistent\n")
    a.run(["systemctl", "daemon-reload"])
    mark = len(a.daemon_log())
    a.kill(sleepers(a)[0])
    wait_on(b, a)
    assert logged(a, "service:web", mark)
