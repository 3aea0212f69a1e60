"""The faults of 1.41 (LEGACY.md, by number) on a real cluster. Fault 1 is in test_cluster_restart.py, 4 in
test_wire_hostile.py."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator

import pytest

from drcm import clock
from drcm.errors import EXIT_NO_INPUT
from tests.integration.cluster import (
    BACKUP,
    HOME,
    IP,
    TREE,
    Cluster,
    contents,
    logged,
    role,
    running_cluster,
    status,
    wait_logged,
)
from tests.lab import Host, wait_until
from tests.lab.host import REPOSITORY

pytestmark = pytest.mark.lab

HOUR, DAY = 3600.0, 86400.0
STRANGER = str(REPOSITORY / "tests/integration/stranger.py")
AUTHORIZED = "/root/.ssh/authorized_keys"
SHORT = 30.0  # seconds of a starved machine for a takeover; the neighbour entry is good for ten minutes
BIG = 300 << 20  # bytes: a second or two of transfer


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    running.settle()
    return running


def failback_due(cluster: Cluster) -> str:
    """To whom cmnode2 owes a failback."""
    return next((one["failback"] for one in status(cluster.b).get("sets", ())), "")


def is_up(cluster: Cluster, name: str) -> bool:
    """Whether cmnode2 hears that node."""
    return any(one["name"] == name and one["state"] == "UP" for one in status(cluster.b).get("nodes", ()))


def fail_over(cluster: Cluster, text: str) -> None:
    """The primary dies; the backup takes over and writes `text` to a file that both have."""
    cluster.a.power_cut()
    cluster.wait_place(cluster.b)
    cluster.b.write(f"{TREE}/d0/f0", text)


# -- 2: the debt of the backup ---------------------------------------------------------------------


def test_2_failback_is_due_after_a_day_and_a_reboot(cluster: Cluster) -> None:
    """What the backup owes the primary outlives two hours, a day, and a reboot that empties /run."""
    fail_over(cluster, "newer, and old soon\n")
    wait_until(lambda: failback_due(cluster) == HOME, 10.0, cluster.logs)
    for seconds in (2 * HOUR, DAY):
        cluster.b.power_cut()
        cluster.b.step_clock(seconds)
        cluster.b.power_on()
        cluster.b.start_drcm()
        wait_until(lambda: failback_due(cluster) == HOME, 10.0, cluster.logs)
        wait_until(  # a daemon with a faked clock is slow, and may not answer in time
            lambda: "due to cmnode1" in cluster.b.report(check=False).stdout, 10.0, cluster.logs
        )
    cluster.settle(60.0)
    assert cluster.a.read(f"{TREE}/d0/f0") == "newer, and old soon\n"
    assert cluster.b.read(f"{TREE}/d0/f0") == "newer, and old soon\n"
    assert failback_due(cluster) == ""


def test_2_failed_failback_stays_due_and_is_made_good(cluster: Cluster) -> None:
    """A failback that fails exits non-zero, is shown as due, moves nothing, and is completed by itself."""
    fail_over(cluster, "newer, not to be lost\n")
    allowed = cluster.a.read(AUTHORIZED)
    cluster.a.write(AUTHORIZED, "", 0o600)
    mark = len(cluster.b.daemon_log())
    try:
        cluster.a.power_on()
        cluster.a.start_drcm()
        wait_logged(cluster.b, "drcm-sync testfs .*cmnode1: exit [1-9]", 30.0, mark)
        by_hand = cluster.b.sync("testfs", check=False)
        assert by_hand.returncode != 0
        assert HOME in by_hand.stderr
        assert failback_due(cluster) == HOME
        assert role(cluster.b) == "writer"
        assert cluster.holders() == [BACKUP]
        told = json.loads(cluster.b.report("--json", check=False).stdout)
        assert any("failback to cmnode1 is due" in reason for reason in told["reasons"])
    finally:
        cluster.a.write(AUTHORIZED, allowed, 0o600)
    cluster.settle(60.0)
    assert cluster.a.read(f"{TREE}/d0/f0") == "newer, not to be lost\n"


def test_2_failback_cut_in_the_middle_is_made_good(cluster: Cluster) -> None:
    """The link dies in the middle of the failback: nothing goes home half, all of it goes home later."""
    fail_over(cluster, "newer, cut\n")
    big = os.urandom(BIG)
    cluster.b.write(f"{TREE}/big", big)
    cluster.a.power_on()
    cluster.a.start_drcm()
    wait_until(lambda: cluster.b.pids(r"^\S*rsync .*/testfs/"), 30.0, cluster.logs)
    cluster.lab.cut(cluster.a, cluster.b)
    wait_until(lambda: not is_up(cluster, HOME), 20.0, cluster.logs)
    assert not cluster.a.path(f"{TREE}/big").exists(), "it was to be cut in the middle"
    assert role(cluster.a) != "writer"
    assert failback_due(cluster) == HOME
    cluster.lab.heal_all()
    cluster.settle(90.0)
    assert cluster.a.read(f"{TREE}/d0/f0") == "newer, cut\n"
    assert cluster.a.path(f"{TREE}/big").read_bytes() == big


# -- 3: the source that is empty, or not there -----------------------------------------------------


def test_3_empty_source_never_empties_the_target(cluster: Cluster) -> None:
    """All files of the source are gone at once: nothing is deleted on the other side, the guard is named."""
    before = contents(cluster.b)
    assert before
    aside = cluster.a.directory / "aside"
    aside.mkdir()
    folders = [path.name for path in cluster.a.path(TREE).iterdir() if path.name != ".drcm"]
    for name in folders:
        cluster.a.path(f"{TREE}/{name}").rename(aside / name)
    ended = cluster.a.sync("testfs", check=False)
    assert ended.returncode == EXIT_NO_INPUT, ended.stdout + ended.stderr
    assert "it is empty" in ended.stderr
    assert "--override=empty" in ended.stderr
    wait_logged(cluster.a, "drcm-sync testfs .*exit 66", 10.0)
    assert contents(cluster.b) == before
    for name in folders:
        (aside / name).rename(cluster.a.path(f"{TREE}/{name}"))
    cluster.settle(60.0)
    assert contents(cluster.a) == before


def test_3_unmounted_source_never_empties_the_target(cluster: Cluster) -> None:
    """The source is not mounted: refused by the missing marker; nothing is deleted on the other side."""
    before = contents(cluster.b)
    cluster.a.run(["umount", "--lazy", TREE])
    ended = cluster.a.sync("testfs", check=False)
    assert ended.returncode == EXIT_NO_INPUT, ended.stdout + ended.stderr
    assert "not mounted" in ended.stderr
    assert cluster.a.run(["ls", "-A", TREE]).stdout == "", "something was written below the mount point"
    assert contents(cluster.b) == before
    cluster.a.power_cut()  # its next boot mounts it again
    assert contents(cluster.b) == before
    cluster.settle(60.0)
    assert contents(cluster.a) == contents(cluster.b) == before


# -- 6: the floating address -----------------------------------------------------------------------


def neighbour(host: Host) -> str:
    """The MAC that the host has for the floating address."""
    found = json.loads(host.run(["ip", "-j", "neigh", "show", IP, "dev", "eth0"]).stdout)
    return next((str(one.get("lladdr", "")) for one in found), "")


def test_6_takeover_is_announced(cluster: Cluster) -> None:
    """The new holder sends gratuitous ARP: a client whose neighbour entry would be good for ten minutes
    reaches it at once."""
    client = cluster.client
    client.run(["sh", "-c", "echo 600000 > /proc/sys/net/ipv4/neigh/eth0/base_reachable_time_ms"])
    heard = client.directory / "arp.txt"
    listening = client.spawn([sys.executable, "-I", "-S", STRANGER, "arp", IP, "60"], stdout=heard)
    wait_until(lambda: "listening" in heard.read_text(), 10.0, "the listener")
    client.run(["ip", "neigh", "replace", IP, "lladdr", cluster.a.mac, "dev", "eth0", "nud", "reachable"])
    with client.probe(IP) as probe:
        probe.wait_answer()
        assert neighbour(client) == cluster.a.mac
        cut = cluster.a.power_cut()
        probe.wait_answer(SHORT, after=cut + 0.3)
    assert neighbour(client) == cluster.b.mac
    wait_until(lambda: heard.read_text().count(cluster.b.mac) >= 4, 10.0, "a burst of announcements")
    listening.kill()


def test_6_address_in_use_elsewhere_is_not_added(cluster: Cluster) -> None:
    """Another machine has the address: it is not added a second time, the log names that machine's MAC."""
    other = cluster.lab.add_host("other", "10.77.0.77")
    other.power_on()
    for node in (cluster.b, cluster.a):
        node.power_cut()
    other.run(["ip", "address", "add", f"{IP}/24", "dev", "eth0"])
    marks = {}
    for node in cluster.nodes:
        node.power_on()
        marks[node.name] = len(node.daemon_log())
        node.start_drcm()
    wait_until(
        lambda: any(
            logged(node, f"{IP} is in use .*{other.mac}", marks[node.name]) for node in cluster.nodes
        ),
        30.0,
        cluster.logs,
    )
    assert cluster.holders() == ["other"]
    other.power_cut()
    wait_until(lambda: len(cluster.holders()) == 1, 90.0, cluster.logs)
    cluster.a.power_cut()  # else it declines for a minute after its failed start


def test_6_address_deleted_by_hand_is_put_back(cluster: Cluster) -> None:
    """Somebody deletes the floating address on its holder: it is back, in its place."""
    with cluster.client.probe(IP) as probe:
        probe.wait_answer()
        cluster.a.run(["ip", "address", "del", f"{IP}/24", "dev", "eth0"])
        probe.wait_answer(after=clock.now())
    assert cluster.holders() == [HOME]
    assert role(cluster.a) == "writer"
