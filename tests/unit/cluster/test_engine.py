"""The engine's rules, told as short stories in a simulated world."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drcm.cluster.events import AddressAnswered, Leave
from drcm.cluster.messages import Head, SetView
from drcm.cluster.spec import Group, Spec
from drcm.config.model import Quorum
from tests.simulation.world import World

IP = "a/ip:web"
SET = "a/set:data"
PLAIN = Group(IP, "a", ("a", "b"), ("ip:web",))
WITH_SET = Group(SET, "a", ("a", "b"), ("set:data", "ip:web"))


def spec_of(me: str, group: Group, voters: tuple[str, ...] = ("a", "b"), **changes: object) -> Spec:
    quorum = Quorum.TWO_NODE if len(voters) == 2 else Quorum.MAJORITY
    spec = Spec(me, voters, (group,), quorum, 0.1, 2.0, boot_wait=5.0, digest="same")
    return replace(spec, **changes)  # type: ignore[arg-type]


def world_of(group: Group, voters: tuple[str, ...] = ("a", "b"), **changes: object) -> World:
    world = World({name: spec_of(name, group, voters, **changes) for name in voters})
    if group.sets:
        head = Head(1, "g1", "a", started=True)
        for name in ("a", "b"):
            world.machines[name].heads["data"] = head
            view = SetView(1, "g1", "7-aa", writer=name == "a", sole=False)
            world.machines[name].views["data"] = view
    return world


def start(world: World, group: str = IP) -> None:
    for name in world.machines:
        world.power_on(name)
    world.run_until(lambda: world.holders(group, "ip:web") == ["a"], 5)


@pytest.mark.parametrize("group", [PLAIN, WITH_SET])
def test_both_boot_and_the_home_node_holds(group: Group) -> None:
    """After a boot of both, the home node starts its group within two silences."""
    world = world_of(group)
    start(world, group.key)
    world.run(60)
    assert world.holders(group.key, "ip:web") == ["a"]


@pytest.mark.parametrize("group", [PLAIN, WITH_SET])
def test_power_cut_moves_within_about_t_dead(group: Group) -> None:
    """The backup runs it 2.0 s after the last beat, a little more with a set."""
    world = world_of(group)
    start(world, group.key)
    world.run(10)
    world.power_cut("a")
    seconds = world.run_until(lambda: world.holders(group.key, "ip:web") == ["b"], 3)
    assert 1.8 < seconds < 2.3


@pytest.mark.parametrize("group", [PLAIN, WITH_SET])
def test_returning_home_takes_its_group_back(group: Group) -> None:
    """The writer gives: files first, then the resources; at no moment do two run it."""
    world = world_of(group)
    start(world, group.key)
    world.watch = lambda w: None if len(w.holders(group.key, "ip:web")) < 2 else pytest.fail("two holders")
    world.power_cut("a")
    world.run_until(lambda: world.holders(group.key, "ip:web") == ["b"], 3)
    world.run(30)
    world.power_on("a")
    world.run_until(lambda: world.holders(group.key, "ip:web") == ["a"], 30)
    world.run(60)
    assert world.holders(group.key, "ip:web") == ["a"]
    if group.sets:
        assert world.machines["a"].views["data"].writer
        assert not world.machines["b"].views["data"].writer


@pytest.mark.parametrize("group", [PLAIN, WITH_SET])
def test_clean_leave_hands_over_at_once(group: Group) -> None:
    """A leaving node releases; the taker starts within two intervals of that."""
    world = world_of(group)
    start(world, group.key)
    world.run(5)
    world.tell("a", Leave())
    seconds = world.run_until(lambda: world.holders(group.key, "ip:web") == ["b"], 5)
    world.run_until(lambda: world.machines["a"].left, 3)
    assert seconds < (0.05 if not group.sets else 0.3 + 2 * world.pass_seconds)


@pytest.mark.parametrize("group", [PLAIN, WITH_SET])
def test_restart_of_the_daemon_alone_moves_nothing(group: Group) -> None:
    """LEGACY fault 1: kill -9 and a start within T_lease: adopted, never stopped."""
    world = world_of(group)
    start(world, group.key)
    world.run(5)
    world.kill_daemon("a")
    world.run(1.0)
    before = len(world.log)
    world.restart_daemon("a")
    world.run(20)
    assert world.holders(group.key, "ip:web") == ["a"]
    assert not [line for line in world.log[before:] if " stop " in line or line.split()[1] == "b"], world.log[
        before:
    ]


def test_a_paused_holder_releases_when_it_wakes() -> None:
    """Rule 4: it stood still through its own death; on waking it lets go before anything else."""
    world = world_of(WITH_SET)
    start(world, SET)
    world.run(5)
    world.pause("a")
    world.run_until(lambda: "b" in world.holders(SET, "ip:web"), 3)
    world.run(5)
    world.resume("a")
    assert world.holders(SET, "ip:web") == ["b"]


def test_an_address_that_still_answers_does_not_use_up_the_first_ones_time() -> None:
    """A paused machine answers until the kernel drops the address: then the first backup claims."""
    group = replace(PLAIN, candidates=("a", "b", "c"))
    world = world_of(group, ("a", "b", "c"))
    start(world)
    world.run(5)
    world.power_cut("a")
    for _ in range(28):
        world.run(0.1)
        for name in ("b", "c"):
            world.tell(name, AddressAnswered("a"))
    assert world.holders(IP, "ip:web") == []
    world.run_until(lambda: world.holders(IP, "ip:web") == ["b"], 0.5)
    assert "did not claim it" not in "".join(world.log)


def test_what_lapsed_in_a_short_pause_is_released() -> None:
    """Too short a pause to be called dead, but the lease had ended: the keeper has let go of it."""
    world = world_of(PLAIN, ("a", "b", "w"))
    start(world)
    world.run(5)
    world.cut("a", "b")
    world.cut("a", "w")
    world.run(1.0)
    world.pause("a")
    world.run(0.6)
    world.heal()
    world.resume("a")
    assert world.holders(IP, "ip:web") == []
    world.run(0.5)
    engine = world.machines["a"].engine
    assert engine is not None
    assert IP not in engine.care.holdings or world.holders(IP, "ip:web") == ["a"]
    world.run_until(lambda: world.holders(IP, "ip:web") == ["a"], 5)


def test_nobody_starts_what_another_could_not_stop() -> None:
    """It is heard of in the middle of the start: what has begun here is stopped again."""
    world = world_of(replace(WITH_SET, members=(*WITH_SET.members, "service:web")), ("a", "b", "w"))
    world.start_seconds = (0.5, 0.5)
    start(world, SET)
    world.run(5)
    world.machines["a"].sticks.add("service:web")
    world.cut("a", "b")
    world.cut("a", "w")
    world.run_until(lambda: any("BLOCKED" in line for line in world.log), 6)
    world.run_until(lambda: ("a/set:data", "set:data") in world.machines["b"].running, 6)
    world.heal()
    world.run(2)
    assert world.holders(SET, "service:web") == ["a"]
    assert "b" not in world.holders(SET, "set:data")
    assert any("a could not stop it" in line for line in world.log)


def test_partition_with_a_witness_has_one_holder() -> None:
    """The side without a majority lets go before the other starts."""
    world = world_of(PLAIN, ("a", "b", "w"))
    start(world)
    world.watch = lambda w: None if len(w.holders(IP, "ip:web")) < 2 else pytest.fail("two holders")
    world.cut("a", "b")
    world.cut("a", "w")
    world.run_until(lambda: world.holders(IP, "ip:web") == ["b"], 3)
    world.run(10)
    world.heal()
    world.run_until(lambda: world.holders(IP, "ip:web") == ["a"], 20)


def test_losing_the_witness_changes_nothing() -> None:
    """Two of three go on."""
    world = world_of(PLAIN, ("a", "b", "w"))
    start(world)
    before = len(world.log)
    world.power_cut("w")
    world.run(20)
    world.power_on("w")
    world.run(20)
    assert not [line for line in world.log[before:] if " stop " in line or " start " in line]


def test_two_node_partition_heals_to_the_home_without_copying() -> None:
    """Both wrote: the set has diverged; home keeps serving its own tree, the other lets go untouched."""
    world = world_of(WITH_SET)
    start(world, SET)
    world.run(5)
    world.cut("a", "b")
    world.run(30)
    assert sorted(world.holders(SET, "ip:web")) == ["a", "b"]
    world.heal()
    world.run(30)
    assert world.holders(SET, "ip:web") == ["a"]
    assert any(p.key == "set-diverged:data" for _, _, p in world.problems)


def test_a_copy_that_is_not_sole_waits_when_it_boots_alone() -> None:
    """HISTORIES R12: the other may have gone on; it says so and waits."""
    world = world_of(WITH_SET)
    world.power_on("b")
    world.run(30)
    assert not world.holders(SET, "ip:web")
    engine = world.machines["b"].engine
    assert engine is not None
    assert "WAITING" in engine.care.reasons[SET]


def test_a_failed_start_lets_the_backup_have_it() -> None:
    """`failed` is stopped and declined: it holds nothing (HISTORIES E11)."""
    world = world_of(PLAIN)
    world.machines["a"].refuses.add("ip:web")
    for name in world.machines:
        world.power_on(name)
    world.run_until(lambda: world.holders(IP, "ip:web") == ["b"], 6)


def test_loss_of_forty_percent_moves_nothing() -> None:
    """Many small beats: twenty lost in a row is rarer than a year."""
    world = world_of(PLAIN)
    start(world)
    world.loss = 0.4
    before = len(world.log)
    world.run(180)
    assert not [line for line in world.log[before:] if " stop " in line or " start " in line]
