"""The largest cluster that drcm promises: 32 nodes that back each other up."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from drcm.cluster.spec import Group, Spec
from drcm.cluster.transport.beatcodec import encode
from drcm.config.model import Quorum
from tests.simulation.world import World

NAMES = tuple(f"node{index:02}" for index in range(32))
DATAGRAMS = 5  # of 1400 bytes: a beat of a node that hears 31 others and has given 32 words
BACKUPS = 3


def group_of(index: int) -> Group:
    home = NAMES[index]
    nodes = tuple(NAMES[(index + step) % len(NAMES)] for step in range(BACKUPS + 1))
    return Group(f"{home}/ip:{home}", home, nodes, (f"ip:{home}",))


GROUPS = tuple(group_of(index) for index in range(len(NAMES)))


@pytest.fixture(scope="module")
def world() -> World:
    specs = {
        name: Spec(name, NAMES, GROUPS, Quorum.MAJORITY, 0.25, 2.5, boot_wait=6.0, digest="same")
        for name in NAMES
    }
    world = World(specs)
    for name in NAMES:
        world.power_on(name)
    world.run(4.0)
    return world


def nodes_of(world: World, groups: Iterable[Group] = GROUPS) -> dict[str, list[str]]:
    return {group.home: world.holders(group.key, group.members[0]) for group in groups}


def test_thirty_two_form_one_cluster(world: World) -> None:
    """Everything runs at home, and everybody is heard by everybody."""
    assert nodes_of(world) == {name: [name] for name in NAMES}
    for machine in world.machines.values():
        assert machine.engine is not None
        assert machine.engine.membership.unheard(machine.clock(world.now)) == ()
        assert len(machine.engine.membership.heard(machine.clock(world.now))) == 31


def test_a_beat_of_thirty_two_fits_into_few_datagrams(world: World) -> None:
    """Some 32 claims, words and echoes: what each node sends to each other one, ten times a second."""
    for machine in world.machines.values():
        assert machine.engine is not None
        assert machine.engine.beat is not None
        assert len(encode(machine.engine.beat)) <= DATAGRAMS


def test_thirty_two_survive_the_death_of_three(world: World) -> None:
    """Three neighbours die at once: what they held goes to the next that lives, within 1.5 T_dead."""
    for name in NAMES[:3]:
        world.power_cut(name)
    seconds = world.run_until(lambda: all(nodes_of(world).values()), 2.5 * 1.5)
    assert seconds > 2.0
    assert nodes_of(world) == {name: [NAMES[3] if name in NAMES[:3] else name] for name in NAMES}
