"""Who is fenced before a start: who may hold it, and nobody for what runs nowhere."""

from __future__ import annotations

from small_cluster import IP_GROUP, beat_of, boot_of, spec_of

from drcm.cluster import events as ev
from drcm.cluster.engine import Beginning, Engine
from drcm.cluster.messages import Echo, HoldState
from drcm.cluster.spec import Group

ROLL = Group("/roll", "b", ("a", "b", "c"), ())
NOW = 100.0


def engine_with(fenced: str, **said: object) -> Engine:
    """Node a that heard b 10 s ago, with a claim of the address unless `said` otherwise."""
    spec = spec_of("a", "abc", groups=(IP_GROUP,), fenced=frozenset(fenced))
    engine = Engine(spec, boot_of("a"), NOW, Beginning(machine_booted=False))
    engine.handle(ev.Tick(), NOW)
    echo = {"a": Echo(engine.boot, engine.membership.number)}
    claims = {IP_GROUP.key: HoldState.RUNNING}
    beat = beat_of("b", 1, echo=echo, digest="same", **{"claims": claims, **said})
    engine.handle(ev.BeatHeard(beat), NOW + 0.01)
    return engine


def asked(engine: Engine, group: Group = IP_GROUP, now: float = NOW + 10) -> str:
    return engine.care.fencing.comes_first(group, now)


def test_a_silent_holder_comes_first_and_only_success_ends_that() -> None:
    """A failed attempt holds the start back as before; a good one lets it go on."""
    engine = engine_with("b")
    assert asked(engine) == "claimed: b must be fenced first"
    op = engine.care.fencing._running["b"]
    engine.care.fencing.fenced(ev.Fenced("b", op, "exit code 1"), NOW + 11)
    assert asked(engine, now=NOW + 12)
    assert "b" not in engine.care.fencing._running  # not before its time
    assert asked(engine, now=NOW + 14)
    op = engine.care.fencing._running["b"]
    engine.care.fencing.fenced(ev.Fenced("b", op - 1), NOW + 15)  # of another attempt
    assert asked(engine, now=NOW + 15)
    engine.care.fencing.fenced(ev.Fenced("b", op), NOW + 15)
    assert asked(engine, now=NOW + 15) == ""


def test_nobody_is_fenced_who_cannot_hold_it() -> None:
    """Without a fence command; heard; it held something else; it left; nothing runs in the group."""
    assert asked(engine_with("")) == ""
    assert asked(engine_with("b"), now=NOW + 1) == ""
    assert asked(engine_with("b", claims={})) == ""
    assert asked(engine_with("b", claims={}, leaving=True)) == ""
    assert asked(engine_with("b"), ROLL) == ""


def test_a_node_never_heard_may_hold_anything() -> None:
    """After this node's own start nothing is known of it."""
    spec = spec_of("a", "abc", groups=(IP_GROUP,), fenced=frozenset("b"))
    engine = Engine(spec, boot_of("a"), NOW, Beginning(machine_booted=False))
    assert asked(engine) == "claimed: b must be fenced first"
