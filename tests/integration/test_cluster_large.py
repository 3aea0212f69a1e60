"""Thirty-two nodes: they form one cluster, and three that die at once take nothing with them."""

from __future__ import annotations

import pytest

from tests.integration.cluster import status
from tests.integration.voters import holders, ring, running_voters, up
from tests.lab import wait_until

pytestmark = pytest.mark.lab

NODES, HOMES = 32, 8
DEAD = (2, 3, 20)  # two of them hold something, next to each other
SERVER = """
[CM_SERVER]
keep_alive_interval = 0.5
dead_node_count = 12
boot_wait = 10
"""
FORM_SECONDS = 150.0  # of two busy cores that start 32 daemons; it takes some 40


@pytest.mark.timeout(400)
def test_thirty_two_nodes_survive_the_death_of_three() -> None:
    """Every node hears all others; when three die at once, what they held is taken over in order, all else
    stays where it is, and the 29 go on as one cluster. No state takes more than one datagram."""
    with running_voters(SERVER + ring(NODES, HOMES, 3), NODES) as voters:
        nodes = voters.nodes

        def placed(wanted: dict[int, str]) -> bool:
            return all(holders(nodes, number) == [name] for number, name in wanted.items())

        at_home = {number: f"cmnode{number}" for number in range(1, HOMES + 1)}
        wait_until(lambda: placed(at_home), FORM_SECONDS, voters.logs)
        wait_until(lambda: all(len(up(node)) == NODES for node in nodes), FORM_SECONDS, voters.logs)
        marks = voters.marks()
        for number in DEAD:
            nodes[number - 1].power_cut()
        living = [node for node in nodes if node.is_on]
        wait_until(lambda: placed(at_home | {2: "cmnode4", 3: "cmnode4"}), 60.0, voters.logs)
        wait_until(lambda: all(len(up(node)) == NODES - 3 for node in living), 60.0, voters.logs)
        assert placed(at_home | {2: "cmnode4", 3: "cmnode4"})
        moved = {line.split()[2] for line in voters.told("running: ", marks)}
        assert moved == {"cmnode2/ip:web2:", "cmnode3/ip:web3:"}
        counted = status(nodes[0])["counters"]
        assert counted["beats_malformed"] == 0
        assert counted["longest_pass_us"] < 50_000
