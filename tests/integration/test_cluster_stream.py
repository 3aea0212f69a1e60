"""A witness that no UDP reaches: its heartbeats go over TCP, and its vote decides. Real parts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.cluster import ask, logged, status
from tests.integration.voters import RESOURCES, SERVER, WITNESS, Voters, never_two, running_voters, up
from tests.lab import wait_until

pytestmark = pytest.mark.lab

NO_UDP = """
table ip firewall {
    chain input { type filter hook input priority 0; policy accept; meta l4proto udp counter drop; }
    chain output { type filter hook output priority 0; policy accept; meta l4proto udp counter drop; }
}
"""
CONFIG = SERVER + RESOURCES + WITNESS + "transport = tcp\n"
SETTLE = 60.0  # seconds of a busy machine


@pytest.fixture(scope="module")
def running() -> Iterator[Voters]:
    with running_voters(CONFIG, 3) as voters:
        voters.nodes[2].run(["nft", "-f", "-"], input=NO_UDP)
        yield voters


@pytest.fixture
def voters(running: Voters) -> Voters:
    running.settle()
    return running


def test_all_hear_each_other_and_no_udp_comes_or_goes(voters: Voters) -> None:
    """The witness neither gets nor sends a datagram over UDP, and is UP for everybody."""
    a, _, witness = voters.nodes
    wait_until(voters.is_whole, SETTLE, voters.logs)
    rules = witness.run(["nft", "list", "table", "ip", "firewall"]).stdout
    assert rules.count("counter packets 0") == 2, rules
    counters = status(witness)["counters"]
    assert counters["datagrams_sent"] > 0
    assert counters["datagrams_received"] == 0, "over UDP"
    assert logged(a, "cmnode3: heartbeats go over TCP")


def test_its_vote_decides(voters: Voters) -> None:
    """The home node loses its power: with the witness's word the backup takes over, within T_dead or so."""
    marks = voters.marks()
    with never_two(voters):
        voters.cut_power_and_come_home()
    assert voters.told("granted by 2 of 3 voters|running: cmnode1 is dead", marks)


def test_a_broken_connection_is_made_anew(voters: Voters) -> None:
    """Cut off, the witness is dead for the others; nothing moves, and after the heal it is heard again."""
    a, _, witness = voters.nodes
    with never_two(voters):
        for node in voters.nodes[:2]:
            voters.lab.cut(node, witness)
        wait_until(lambda: up(a) == {"cmnode1", "cmnode2"}, SETTLE, voters.logs)
        assert voters.place() == (["cmnode1"], ["cmnode1"])
        voters.lab.heal_all()
        wait_until(voters.is_whole, SETTLE, voters.logs)
        witness.kill_drcm()
        witness.start_drcm(wait=30.0)
        wait_until(voters.is_whole, SETTLE, voters.logs)
    assert voters.place() == (["cmnode1"], ["cmnode1"])


def test_going_over_to_udp_while_it_runs(voters: Voters) -> None:
    """The firewall is opened, `transport` deleted on all nodes: the connections end, nobody is dead."""
    marks = voters.marks()
    witness = voters.nodes[2]
    witness.run(["nft", "delete", "table", "ip", "firewall"])
    for node in voters.nodes:
        node.write_config(CONFIG.replace("transport = tcp\n", ""))
        assert "read again" in ask(node, op="reload")["text"]
    wait_until(lambda: status(witness)["counters"]["datagrams_received"] > 50, SETTLE, voters.logs)
    wait_until(voters.is_whole, SETTLE, voters.logs)
    assert not voters.told("not heard for .*: dead", marks)
