"""Somebody on the LAN without the key: what he records, changes or makes up is dropped, never answered."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from drcm import clock
from tests.integration.cluster import (
    BACKUP,
    HOME,
    IP,
    Cluster,
    logged,
    running_cluster,
    settled_facts,
    status,
    wait_logged,
)
from tests.lab import Host, Node, wait_until
from tests.lab.host import REPOSITORY

pytestmark = pytest.mark.lab

SCRIPT = str(REPOSITORY / "tests/integration/stranger.py")
PORT = "53897"
NOISE = 100_000
SEED = 20260101


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with running_cluster(files=3) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def stranger(running: Cluster) -> Host:
    made = running.lab.add_host("stranger", "10.77.0.66")
    made.power_on()
    return made


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    running.settle()
    return running


def script(host: Host, *words: str, input: str = "", timeout: float = 120.0) -> str:
    return host.run([sys.executable, "-I", "-S", SCRIPT, *words], input=input, timeout=timeout).stdout


def recorded(at: Node, source: Node, count: int = 10) -> list[str]:
    """Heartbeats of `source` as they arrive at `at`, hex."""
    return script(at, "record", str(count), PORT, source.ip).split()


GOOD = ("datagrams_sent", "datagrams_unsent", "datagrams_received")


def dropped(node: Node) -> Counter[str]:
    """What the daemon dropped so far, by reason."""
    counted = status(node)["counters"]
    return Counter({name: n for name, n in counted.items() if name not in GOOD})


def test_recorded_heartbeat_sent_again_counts_nothing(cluster: Cluster, stranger: Host) -> None:
    """Legacy fault 4: a sniffed heartbeat, sent again from another address, is dropped and not answered."""
    heard = recorded(cluster.b, cluster.a)
    before, facts = dropped(cluster.b), settled_facts(cluster.b)
    back = script(stranger, "send", cluster.b.ip, PORT, input="\n".join(heard))
    assert back.strip() == "0", "it was answered"
    assert dropped(cluster.b) - before == Counter(datagrams_replayed=len(heard))
    assert settled_facts(cluster.b) == facts


def test_heartbeat_with_one_flipped_bit_counts_nothing(cluster: Cluster, stranger: Host) -> None:
    """Each bit of a heartbeat is sealed: with any one flipped it is dropped, and not answered."""
    whole = bytes.fromhex(recorded(cluster.b, cluster.a, 1)[0])
    flipped = [
        (int.from_bytes(whole) ^ (1 << bit)).to_bytes(len(whole)).hex() for bit in range(len(whole) * 8)
    ]
    before, facts = dropped(cluster.b), settled_facts(cluster.b)
    back = script(stranger, "send", cluster.b.ip, PORT, input="\n".join(flipped))
    assert back.strip() == "0", "it was answered"
    after = dropped(cluster.b) - before
    assert after["datagrams_replayed"] == 0, "a changed datagram passed for the one that was recorded"
    assert after["datagrams_forged"] > len(flipped) // 2
    assert settled_facts(cluster.b) == facts


def test_random_datagrams_change_nothing(cluster: Cluster, stranger: Host) -> None:
    """100,000 random datagrams, some with a good header, change nothing, move nothing, get no answer."""
    before, facts = dropped(cluster.b), settled_facts(cluster.b)
    marks = [len(node.daemon_log()) for node in cluster.nodes]
    begun = clock.now()
    with cluster.client.probe(IP) as probe:
        probe.wait_answer()
        back = script(stranger, "noise", cluster.b.ip, PORT, str(NOISE), str(SEED), HOME)
        probe.wait_answer(5.0, after=clock.now())
        assert [gap for gap in probe.gaps(0.5) if gap.end > begun] == []
    assert back.strip() == "0", "it was answered"
    read = sum((dropped(cluster.b) - before).values())
    assert read > NOISE / 2, f"only {read} reached the daemon: this proves little"
    assert settled_facts(cluster.b) == facts
    for node, mark in zip(cluster.nodes, marks, strict=True):
        assert logged(node, "dead|claiming|released|Traceback", mark) == []


def test_heartbeats_of_a_dead_node_do_not_bring_it_back(cluster: Cluster, stranger: Host) -> None:
    """Recorded heartbeats of a node that lost its power do not make it live, also not for a peer that was
    restarted since and has never seen them."""
    heard = recorded(cluster.b, cluster.a, 30)
    cluster.a.power_cut()
    cluster.wait_place(cluster.b)
    cluster.b.power_cut()
    cluster.b.power_on()
    cluster.b.start_drcm()
    mark = len(cluster.b.daemon_log())
    wait_until(lambda: status(cluster.b).get("nodes"), 10.0, cluster.logs)
    for first in range(0, len(heard), 6):
        some = "\n".join(heard[first : first + 6])
        assert script(stranger, "send", cluster.b.ip, PORT, input=some).strip() == "0"
        states = {one["name"]: one["state"] for one in status(cluster.b)["nodes"]}
        assert states[HOME] != "UP"
        assert states[BACKUP] == "UP"
    assert logged(cluster.b, f"{HOME} is heard", mark) == []
    wait_logged(cluster.b, "set:testfs: running", 30.0)
