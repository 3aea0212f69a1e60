"""Four nodes, each of which backs up every other, die one after another: the roll of voters follows."""

from __future__ import annotations

import pytest

from tests.integration.voters import Voters, holders, ring, ring_address, running_voters, up
from tests.lab import Node, wait_until
from tests.lab.watch import Watch, has_address

pytestmark = pytest.mark.lab

SERVER = """
[CM_SERVER]
keep_alive_interval = 0.1
dead_node_count = 10
flap_limit = 1000
boot_wait = 5
quorum = majority
last_man_standing = 1
"""
NUMBERS = (1, 2, 3, 4)


def wait_all_held(voters: Voters, by: list[Node]) -> None:
    """Each address is on exactly one of the nodes in `by`."""
    names = {node.name for node in by}

    def held() -> bool:
        found = [holders(voters.nodes, number) for number in NUMBERS]
        return all(len(one) == 1 and one[0] in names for one in found)

    wait_until(
        held,
        60.0,
        lambda: f"{[holders(voters.nodes, n) for n in NUMBERS]} on {names}\n{voters.logs()}",
    )


def wait_roll(nodes: list[Node], count: int) -> None:
    """Each of them counts so many voters."""

    def counted() -> bool:
        told = [node.daemon_log().rpartition("roll of voters: epoch ")[2].splitlines()[:1] for node in nodes]
        return all(line and line[0].count("cmnode") == count for line in told)

    wait_until(counted, 60.0, lambda: "".join(f"{n.name}\n{n.daemon_log()[-1500:]}" for n in nodes))


def test_four_nodes_die_one_after_another() -> None:
    """The first death leaves three of four; once the roll is of three, a second one leaves two of three, and
    they go on with everything; a third leaves one, which has no majority and lets go of all. When the others
    are back, they are counted again and all comes home. At no look do two hold an address."""
    with running_voters(SERVER + ring(4, 4, 3), 4) as voters:
        a, b, c, d = voters.nodes
        things = {f"address {n}": has_address(ring_address(n)) for n in NUMBERS}
        with Watch(voters.nodes, things) as watch:
            wait_all_held(voters, [a, b, c, d])
            wait_until(lambda: all(len(up(n)) == 4 for n in voters.nodes), 60.0, voters.logs)
            d.power_cut()
            wait_all_held(voters, [a, b, c])
            wait_roll([a, b, c], 3)
            c.power_cut()
            wait_all_held(voters, [a, b])
            b.power_cut()
            wait_until(lambda: not any(holders([a], n) for n in NUMBERS), 30.0, voters.logs)
            for node in (b, c, d):
                node.power_on()
                node.start_drcm(wait=0)
            wait_all_held(voters, [a, b, c, d])
            wait_roll([a, b, c, d], 4)
            home = lambda: [holders(voters.nodes, n) for n in NUMBERS] == [[n.name] for n in voters.nodes]  # noqa: E731
            wait_until(home, 60.0, voters.logs)
    assert watch.doubles == []
