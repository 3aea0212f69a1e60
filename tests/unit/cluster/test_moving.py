"""When a running group is handed on: home again when that is ready for it, away when this node leaves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from small_cluster import DEAD, IP_GROUP, KEY, SET_GROUP, beat_of, boot_of, spec_of

from drcm.cluster import actions as ac
from drcm.cluster import events as ev
from drcm.cluster.adopting import adopt
from drcm.cluster.engine import Beginning, Engine
from drcm.cluster.handover import Step
from drcm.cluster.messages import Echo, Head, HoldState, SetView
from drcm.cluster.orders import Direction, orders
from drcm.cluster.placement import AWAY
from drcm.cluster.spec import Group

HEAD = Head(2, "g2", "b", "g1", "5-aa", started=True)
SETTLED = DEAD + 0.2


class Holder:
    """A node that runs a's group, b where not told otherwise; what another says is the test's to choose."""

    def __init__(self, group: Group, me: str = "b", voters: str = "ab", **changes: Any) -> None:
        self.now, self.group, self.me, self.numbers = 100.0, group, me, 0
        self.seen: list[ac.Action] = []
        spec = spec_of(me, voters, groups=(group,), **changes)
        self.engine = Engine(spec, boot_of(me), self.now, Beginning(machine_booted=False))
        if group.sets:
            self.feed(ev.HeadStored("data", HEAD))
            self.feed(ev.SetLooked("data", SetView(2, "g2", "7-aa", writer=True, sole=False)))
        adopt(self.engine.care, Beginning(lease_until=self.now + 3600, adopt=(group.key,)), self.now)
        self.holding.started = list(group.members)
        self.holding.enter(HoldState.RUNNING, self.now)

    @property
    def holding(self) -> Any:
        return self.engine.care.holdings[self.group.key]

    def feed(self, event: ev.Event) -> None:
        self.seen += self.engine.handle(event, self.now)

    def live(self, seconds: float, sender: str = "a", **said: Any) -> None:
        """Steps of 0.1 s, in each of which `sender` says the same."""
        end = self.now + seconds
        while self.now < end - 0.05:
            self.now += 0.1
            self.numbers += 1
            echo = {self.me: Echo(self.engine.boot, self.engine.membership.number)}
            view = SetView(2, "g2", "7-aa", writer=False, sole=False)
            values: dict[str, Any] = {"digest": "same", "uptime": 1000.0, "sets": {"data": view}, **said}
            values.setdefault("grants", {self.group.key: self.me})
            self.feed(ev.BeatHeard(beat_of(sender, self.numbers, echo=echo, **values)))
            self.feed(ev.Tick())

    def saw(self, kind: type[ac.Action]) -> list[Any]:
        found = [action for action in self.seen if isinstance(action, kind)]
        self.seen = [action for action in self.seen if not isinstance(action, kind)]
        return found

    @property
    def moving(self) -> bool:
        return self.holding.handover is not None


@pytest.mark.parametrize("group", [IP_GROUP, SET_GROUP])
def test_home_is_given_time_to_settle(group: Group) -> None:
    """It must have been back for a T_dead and two intervals; then the move begins by itself."""
    backup = Holder(group)
    backup.live(SETTLED - 0.2)
    assert not backup.moving
    assert "has been back for less" in backup.engine.care.reasons[group.key]
    backup.live(0.6)
    assert backup.moving
    assert bool(backup.saw(ac.Pass)) is bool(group.sets)
    assert bool(backup.saw(ac.StopMember)) is not bool(group.sets)  # what has no files just stops


@pytest.mark.parametrize(
    ("changes", "said", "reason"),
    [
        ({}, {"digest": "other"}, "another cm.cfg"),
        ({}, {"declines": {SET_GROUP.key: "no tree"}}, "a declines: no tree"),
        ({"failback": False}, {}, ""),
    ],
)
def test_not_while_home_is_not_ready(changes: dict[str, Any], said: dict[str, Any], reason: str) -> None:
    """The reason is what --explain shows; with failback = manual nothing moves at all."""
    backup = Holder(SET_GROUP, **changes)
    backup.live(3 * SETTLED, **said)
    assert not backup.moving
    assert reason in backup.engine.care.reasons[SET_GROUP.key]


def test_a_failed_attempt_is_tried_again_later() -> None:
    """The services go on; after 5 s the next, after its failure 10 s."""
    backup = Holder(SET_GROUP)
    backup.live(SETTLED + 0.4)
    for wait in (5.0, 10.0):
        (bulk,) = backup.saw(ac.Pass)
        backup.feed(ev.StepDone(SET_GROUP.key, bulk.op, "no route"))
        (drop,) = backup.saw(ac.DropIntent)
        backup.feed(ev.StepDone(SET_GROUP.key, drop.op))
        backup.live(1.0)
        assert (backup.moving, backup.holding.state) == (False, HoldState.RUNNING)
        assert backup.saw(ac.StopMember) == []
        backup.live(wait - 2.0)
        assert not backup.moving
        backup.live(1.5)
        assert backup.moving


def test_a_taker_that_falls_silent_ends_the_attempt() -> None:
    """Before the gift everything can be taken back."""
    backup = Holder(SET_GROUP)
    backup.live(SETTLED + 0.4)
    assert backup.holding.handover.step is Step.BULK
    backup.now += DEAD / 2
    backup.feed(ev.Tick())
    backup.now += DEAD / 2 + 0.1
    backup.feed(ev.Tick())
    assert backup.holding.handover.step is Step.DROPPING
    assert "a is not heard" in backup.holding.handover.error


@pytest.mark.parametrize(
    ("group", "said", "handed"),
    [
        (SET_GROUP, {}, True),
        (SET_GROUP, {"sets": {}}, False),
        (SET_GROUP, {"sets": {"data": SetView(2, "g2", "", False, False, problem="no tree")}}, False),
        (SET_GROUP, {"leaving": True}, False),
        (SET_GROUP, {"digest": "other"}, False),
        (IP_GROUP, {}, False),
    ],
)
def test_leaving(group: Group, said: dict[str, Any], handed: bool) -> None:
    """Sets are handed over where the other can take them; what has no taker, or no files, just stops."""
    backup = Holder(group, failback=False)
    backup.live(SETTLED + 0.4, **said)
    backup.feed(ev.Leave())
    assert backup.moving is handed
    assert bool(backup.saw(ac.Pass)) is handed
    assert bool(backup.saw(ac.StopMember)) is not handed


def test_leave_sync_bounds_the_hand_over() -> None:
    """A leaving node does not wait for ever: it says what may not have been sent, and stops."""
    backup = Holder(SET_GROUP, failback=False, leave_sync=3.0)
    backup.live(SETTLED + 0.4)
    backup.feed(ev.Leave())
    (bulk,) = backup.saw(ac.Pass)
    backup.live(3.3)
    (drop,) = backup.saw(ac.DropIntent)
    backup.feed(ev.StepDone(SET_GROUP.key, bulk.op))  # too late: it counts for nothing
    backup.feed(ev.StepDone(SET_GROUP.key, drop.op))
    backup.live(0.2)
    assert any(p.key == f"unsent:{SET_GROUP.key}" and not p.over for p in backup.saw(ac.Problem))
    assert backup.holding.state is HoldState.STOPPING
    assert backup.engine.care.reasons[SET_GROUP.key] == "stopping: leaving without a hand-over"
    assert backup.saw(ac.StopMember)


# -- an operator's orders --------------------------------------------------------------------------

MOVED = f"{AWAY}b: drcm-sync --failback brings it home"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({}, ""),
        ({"declines": {SET_GROUP.key: MOVED}}, ""),
        ({"declines": {SET_GROUP.key: "the check failed"}}, "the check failed"),
        ({"digest": "other"}, "has another cm.cfg"),
        ({"leaving": True}, "leaves too"),
        ({"sets": {"data": SetView(1, "g1", "7-aa", False, False)}}, "its copy of data is of generation 1"),
        ({"sets": {"data": SetView(0, "", "", False, False, problem="no complete copy yet")}}, "no complete"),
    ],
)
def test_who_can_be_given_it_by_order(said: dict[str, Any], reason: str) -> None:
    """A refusal tells why; that an operator moved it away is no reason against bringing it home."""
    backup = Holder(SET_GROUP, failback=False)
    backup.live(1.0, **said)
    (order,) = orders(backup.engine, Direction.FAILBACK, "data", backup.now)
    assert (order.to, bool(order.refused)) == ("a", bool(reason))
    assert reason in order.refused


def test_who_is_not_heard_is_given_nothing() -> None:
    """Nor does this node move away what it has on behalf of a home that is up: it would go home at once."""
    backup = Holder(SET_GROUP)
    (order,) = orders(backup.engine, Direction.FAILBACK, "", backup.now)
    assert "not heard" in order.refused
    backup.live(0.5)
    (order,) = orders(backup.engine, Direction.FAILOVER, "", backup.now)
    assert "its home a is up" in order.refused


def test_an_operators_move_is_held_until_it_is_over() -> None:
    """Moved away, it does not go home by itself; the order that brings it home is carried out at once."""
    backup = Holder(SET_GROUP)
    backup.live(3 * SETTLED, declines={SET_GROUP.key: MOVED})
    assert not backup.moving
    assert "drcm-sync --failback brings it home" in backup.engine.care.reasons[SET_GROUP.key]
    backup.feed(ev.Move(SET_GROUP.key, "a"))
    assert backup.moving
    (bulk,) = backup.saw(ac.Pass)
    backup.feed(ev.StepDone(SET_GROUP.key, bulk.op, "no route"))
    (drop,) = backup.saw(ac.DropIntent)
    backup.feed(ev.StepDone(SET_GROUP.key, drop.op))
    journey = backup.engine.care.moving.journeys[SET_GROUP.key].told()
    assert (journey["state"], journey["error"]) == ("failed", "no route")
    assert [step["text"].split(":")[0] for step in journey["steps"]] == [
        "bulk pass 1 to a",
        "given up",
        "failed",
    ]


def ordered_away(voters: str = "abc") -> Holder:
    """Its home a has given its address to b, as an operator ordered."""
    group = replace(IP_GROUP, candidates=tuple(voters))
    home = Holder(group, "a", voters)
    home.live(1.0, "b")
    home.feed(ev.Move(KEY, "b"))
    return home


def let_go(home: Holder) -> None:
    while stops := home.saw(ac.StopMember):
        home.feed(ev.MemberStopped(KEY, "ip:web", stops[-1].op))
    assert KEY not in home.engine.care.holdings


def journey(home: Holder) -> tuple[str, str]:
    told = home.engine.care.moving.journeys[KEY].told()
    return told["state"], told["error"]


@pytest.mark.parametrize(
    ("runner", "declines", "state"),
    [("b", {KEY: MOVED}, "running"), ("c", {}, "failed")],
)
def test_an_order_ends_where_another_node_came_to_run_it(
    runner: str, declines: dict[str, str], state: str
) -> None:
    """b, to which it was moved, did not start it, and c did: then it goes home as after any failover."""
    home = ordered_away()
    let_go(home)
    assert home.engine.care.declines(home.now) == {KEY: MOVED}
    home.live(1.0, runner, claims={KEY: HoldState.RUNNING})
    assert home.engine.care.declines(home.now) == declines
    assert journey(home)[0] == state


def test_an_order_ends_with_the_lease() -> None:
    """Released because nobody is heard, not given: whoever has it then was not chosen by the operator."""
    home = ordered_away()
    home.engine.care.lose_everything("a test", home.now)
    home.feed(ev.Tick())
    let_go(home)
    assert home.engine.care.declines(home.now) == {}
    assert journey(home) == ("failed", "released: a test")
