"""What the console shows of one node's knowledge, taken from worlds in which it happened."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_cluster import DEAD, SET_GROUP, spec_of

from drcm.cluster import events as ev
from drcm.cluster import picture
from drcm.cluster.engine import Engine
from drcm.cluster.messages import Head, SetView
from tests.simulation.world import World

KEY = SET_GROUP.key
HEAD = Head(1, "g1", "a", started=True)


@pytest.fixture
def world() -> World:
    """a (home) and b, with a set that a writes and b has a copy of; both off."""
    specs = {name: spec_of(name, "ab", groups=(SET_GROUP,), boot_wait=5.0) for name in "ab"}
    made = World(specs)
    for name in "ab":
        made.machines[name].heads["data"] = HEAD
        made.machines[name].views["data"] = SetView(1, "g1", "7-aa", writer=name == "a", sole=False)
    return made


def running(world: World) -> None:
    for name in "ab":
        world.power_on(name)
    world.run_until(lambda: world.holders(KEY, "ip:web") == ["a"], 5)
    world.run(2)


def engine(world: World, name: str) -> tuple[Engine, float]:
    machine = world.machines[name]
    assert machine.engine is not None
    return machine.engine, machine.clock(world.now)


def role(world: World, name: str) -> tuple[str, str]:
    found, now = engine(world, name)
    return picture.role(found, "data", now)


def states(world: World, name: str) -> dict[str, str]:
    found, now = engine(world, name)
    return {node["name"]: node["state"] for node in picture.nodes(found, ["b"], now)}


def test_everything_at_home(world: World) -> None:
    """Both up, the writer at home, the other its replica; both name one holder."""
    running(world)
    assert states(world, "a") == states(world, "b") == {"a": "UP", "b": "UP"}
    assert (role(world, "a")[0], role(world, "b")) == ("writer", ("replica", "a writes it, in generation 1"))
    for name in "ab":
        found, now = engine(world, name)
        resources = picture.resources(found, now)
        assert [(r["kind"], r["nickname"]) for r in resources] == [("set", "data"), ("ip", "web")]
        assert {(r["holder"], r["state"], r["backup"]) for r in resources} == {("a", "running", False)}
        assert all(r["reason"] for r in resources)
        assert picture.explain(found).keys() == {KEY}


def test_after_a_failover(world: World) -> None:
    """The dead node is DOWN since as long as it was not heard; what runs, runs as a backup."""
    running(world)
    world.power_cut("a")
    world.run_until(lambda: world.holders(KEY, "ip:web") == ["b"], 4)
    world.run(1)
    found, now = engine(world, "b")
    down, up = picture.nodes(found, ["b"], now)
    assert (down["state"], down["witness"], up["state"], up["witness"]) == ("DOWN", False, "UP", True)
    assert down["heard_seconds_ago"] > DEAD
    assert up["heard_seconds_ago"] == 0.0
    assert {(r["holder"], r["backup"]) for r in picture.resources(found, now)} == {("b", True)}
    assert role(world, "b")[0] == "writer"


def test_unknown_before_it_was_heard(world: World) -> None:
    """A node that was never heard is not called DOWN while it has time to boot."""
    world.power_on("b")
    world.run(1)
    assert states(world, "b") == {"a": "UNKNOWN", "b": "UP"}
    found, now = engine(world, "b")
    assert picture.nodes(found, [], now)[0]["heard_seconds_ago"] is None
    assert {(r["holder"], r["state"], r["backup"]) for r in picture.resources(found, now)} == {
        ("", "stopped", False)
    }
    world.run(10)
    assert states(world, "b")["a"] == "DOWN"


def test_waiting(world: World) -> None:
    """Alone after a boot with a copy that is not sole: it waits, and says how that ends."""
    world.power_on("b")
    world.run(30)
    found = role(world, "b")
    assert found[0] in ("waiting", "replica")
    assert "WAITING" in picture.explain(engine(world, "b")[0])[KEY]
    assert found[0] == "waiting"


def test_a_copy_that_is_too_old_waits_where_the_newest_is_lost(world: World) -> None:
    """a, whose disk was replaced, is alive: b is nobody's replica, and says why it does not take over."""
    for name in "ab":
        world.machines[name].heads["data"] = Head(2, "g2", "a", "g1", "7-aa", started=True)
    world.machines["a"].views["data"] = SetView(2, "g2", "9-cc", writer=True, sole=False, problem="no tree")
    for name in "ab":
        world.power_on(name)
    world.run(20)
    found = role(world, "b")
    assert found[0] == "waiting"
    assert "this copy is behind a whole generation" in found[1]
    world.machines["a"].views["data"] = SetView(2, "g2", "9-cc", writer=True, sole=False)
    world.power_cut("a")
    world.power_on("a")
    world.run_until(lambda: world.holders(KEY, "ip:web") == ["a"], 30)
    world.run(1)
    assert role(world, "b") == ("replica", "a writes it, in generation 2")


def test_a_copy_whose_gate_refused_the_writer_for_another_history(world: World) -> None:
    """The writer's beat says so: the records' heads may be the same (one side restored from a snapshot)."""
    running(world)
    served = replace(world.machines["a"].views["data"], diverged=("b",))
    world.tell("a", ev.SetLooked("data", served))
    world.run(1)
    assert role(world, "b") == ("diverged", "two histories: a serves the other one; no sync either way")
    assert role(world, "a")[0] == "writer"


def test_other_roles(world: World) -> None:
    """No node of the set; not begun; diverged."""
    running(world)
    found, now = engine(world, "b")
    assert picture.role(found, "nosuch", now)[0] == "none"
    found.views["data"] = SetView(1, "g1", "7-aa", writer=False, sole=False, problem="in doubt: DIVERGED")
    assert picture.role(found, "data", now) == ("diverged", "in doubt: DIVERGED")
    found.views["data"] = SetView(0, "", "", writer=False, sole=False)
    found.heads.clear()
    world.machines["a"].engine = None
    assert picture.role(found, "data", now + 10) == ("none", "data is not begun: drcm-sync data --init")
