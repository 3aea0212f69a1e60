"""How one group goes up and down: in order, one at a time, or all at once when the lease is over."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_cluster import SET_GROUP

from drcm.cluster.actions import OpenSet, StartMember, StopMember
from drcm.cluster.events import MemberStarted, MemberStopped, SetOpened
from drcm.cluster.holding import Holding, Ops
from drcm.cluster.messages import Head, HoldState
from drcm.cluster.spec import Group

HEAD = Head(1, "g1", "a", started=True)
GROUP = Group("a/set:data", "a", ("a", "b"), ("set:data", "filesystem:nfs", "ip:web", "cron:system"))


def holding(group: Group = GROUP, *started: str, state: HoldState = HoldState.STARTING) -> Holding:
    return Holding(group, state, 10.0, 1, "a test", started=list(started))


def operations() -> Ops:
    return count(1).__next__


def known(name: str) -> Head | None:
    return HEAD


def agreed(name: str, head: Head) -> bool:
    return True


def go_up(hold: Holding, ops: Ops) -> list[str]:
    """Everything succeeds; what was begun, in its order."""
    order = []
    while actions := hold.start_next(ops, known, agreed):
        (action,) = actions
        if isinstance(action, OpenSet):
            order.append(f"open {action.name}")
            assert hold.set_opened(SetOpened(action.group, action.name, action.op, HEAD))
        elif isinstance(action, StartMember):
            order.append(action.member)
            assert hold.start_next(ops, known, agreed) == []  # one at a time
            assert hold.member_started(MemberStarted(action.group, action.member, action.op))
    return order


def stopped(hold: Holding, actions: list[StopMember], error: str = "") -> None:
    for action in actions:
        assert hold.member_stopped(MemberStopped(action.group, action.member, action.op, error))


def stops(actions: object) -> list[StopMember]:
    assert isinstance(actions, list)
    assert all(isinstance(action, StopMember) for action in actions)
    return actions


def test_up_in_order_and_down_backwards() -> None:
    """Rule 6: the set first, made durable before it starts; stopping runs backwards, one by one."""
    hold, ops = holding(), operations()
    assert go_up(hold, ops) == ["open data", *GROUP.members]
    assert hold.next_to_start() is None
    hold.begin_stop(20.0, "a test")
    order = []
    while actions := stops(hold.stop_next(ops)):
        assert [a.urgent for a in actions] == [False]
        assert hold.stop_next(ops) == []
        order += [a.member for a in actions]
        stopped(hold, actions)
    assert (order, hold.is_down) == (list(reversed(GROUP.members)), True)


def test_a_set_starts_only_when_agreed() -> None:
    """HISTORIES R11: a generation starts nothing before a majority has it durably."""
    hold, ops = holding(), operations()
    (opening,) = hold.start_next(ops, known, agreed)
    assert opening == OpenSet(GROUP.key, "data", 1, HEAD, accept_loss=False)
    hold.set_opened(SetOpened(GROUP.key, "data", 1, HEAD))
    assert hold.start_next(ops, known, lambda name, head: False) == []
    assert hold.pending == {}
    (start,) = hold.start_next(ops, known, lambda name, head: head == HEAD)
    assert start == StartMember(GROUP.key, "set:data", 2)


def test_an_unbegun_set_holds_nothing_up() -> None:
    """The services of a group run before somebody begins its set."""
    hold = holding()
    (action,) = hold.start_next(operations(), lambda name: None, agreed)
    assert isinstance(action, StartMember)
    assert action.member == "filesystem:nfs"


def test_accepted_loss_reaches_the_record() -> None:
    """What a person accepted goes with the order to become writer."""
    (action,) = holding().start_next(operations(), known, agreed, accepted={"data"})
    assert isinstance(action, OpenSet)
    assert action.accept_loss


def test_answers_to_former_operations_count_for_nothing() -> None:
    """A start that was overtaken by a stop is no start, whenever it ends."""
    hold, ops = holding(GROUP, "set:data"), operations()
    (start,) = hold.start_next(ops, known, agreed)
    assert isinstance(start, StartMember)
    hold.begin_stop(11.0, "a test")
    assert not hold.member_started(MemberStarted(GROUP.key, start.member, start.op))
    (stop,) = stops(hold.stop_next(ops))
    assert stop.member == start.member  # it may have come up: it is stopped too
    assert not hold.member_stopped(MemberStopped(GROUP.key, start.member, start.op))
    assert not hold.set_opened(SetOpened(GROUP.key, "data", stop.op, HEAD))
    assert hold.member_stopped(MemberStopped(GROUP.key, stop.member, stop.op))
    assert hold.started == ["set:data"]


def test_a_failed_start_is_to_be_stopped() -> None:
    """Half of the member may be up: it counts as started until it was stopped."""
    hold, ops = holding(GROUP, "set:data"), operations()
    (start,) = hold.start_next(ops, known, agreed)
    assert isinstance(start, StartMember)
    assert hold.member_started(MemberStarted(GROUP.key, start.member, start.op, "no such file"))
    assert (hold.started, hold.pending) == (["set:data", start.member], {})


def test_urgent_is_all_at_once() -> None:
    """The lease is over: nothing waits for anything, and a graceful stop under way is overtaken."""
    hold, ops = holding(GROUP, *GROUP.members), operations()
    hold.begin_stop(11.0, "a test")
    (graceful,) = stops(hold.stop_next(ops))
    hold.hurry()
    actions = stops(hold.stop_next(ops))
    assert [(a.member, a.urgent) for a in actions] == [(m, True) for m in reversed(GROUP.members)]
    assert not hold.member_stopped(MemberStopped(GROUP.key, graceful.member, graceful.op))
    stopped(hold, actions)
    assert hold.is_down


def test_kept_kinds_go_on() -> None:
    """keep_filesystems: what is kept is not stopped, and does not stand in the way of the release."""
    hold, ops = holding(GROUP, *GROUP.members), operations()
    hold.begin_stop(11.0, "leaving", keep=frozenset({"filesystem"}))
    order = []
    while actions := stops(hold.stop_next(ops)):
        order += [a.member for a in actions]
        stopped(hold, actions)
    assert (order, hold.is_down) == (["cron:system", "ip:web", "set:data"], True)


def test_a_hand_over_keeps_the_sets() -> None:
    """Row 1: everything that writes stops, the set itself stays for the last pass."""
    hold, ops = holding(GROUP, *GROUP.members), operations()
    while actions := stops(hold.stop_next(ops, keep_sets=True)):
        stopped(hold, actions)
    assert hold.started == ["set:data"]


def test_what_does_not_stop_is_stuck() -> None:
    """The rest is stopped all the same; then it is told, and after a while tried again."""
    hold, ops = holding(GROUP, *GROUP.members), operations()
    hold.begin_stop(11.0, "a test")
    while actions := stops(hold.stop_next(ops)):
        assert not hold.is_stuck
        stopped(hold, actions, "will not" if actions[0].member == "ip:web" else "")
    assert (hold.started, hold.is_stuck, hold.is_down) == (["ip:web"], True, False)
    hold.errors.clear()
    stopped(hold, stops(hold.stop_next(ops)))
    assert hold.is_down


@pytest.mark.parametrize("again", [False, True])
def test_a_person_says_that_it_is_down(again: bool) -> None:
    """Also while it is just tried once more: that this fails too means nothing any more."""
    hold, ops = holding(SET_GROUP, "ip:web", state=HoldState.BLOCKED), operations()
    stopped(hold, stops(hold.stop_next(ops)), "will not")
    late = []
    if again:
        hold.errors.clear()
        late = stops(hold.stop_next(ops))
    assert hold.is_stopped("ip:web")
    assert hold.is_down
    assert [hold.member_stopped(MemberStopped(s.group, s.member, s.op, "no")) for s in late] == [
        False
    ] * again
    assert not hold.is_stopped("ip:web")


@pytest.mark.parametrize(("state", "after"), [("running", "starting"), ("starting", "starting")])
def test_regroup(state: str, after: str) -> None:
    """cm.cfg changed: what is gone is stopped, what stays is untouched, what is new is started."""
    hold, ops = holding(GROUP, *GROUP.members, state=HoldState(state)), operations()
    new = Group(GROUP.key, "a", ("a", "b"), ("set:data", "ip:web", "ip:more", "cron:system"))
    actions = stops(hold.regroup(new, ops, 20.0))
    assert [(a.member, a.urgent) for a in actions] == [("filesystem:nfs", False)]
    assert hold.state is HoldState(after)
    stopped(hold, actions)
    assert go_up(hold, ops) == ["ip:more"]
    assert sorted(hold.started) == sorted(new.members)


def test_regroup_stops_what_was_just_starting() -> None:
    """Removed from cm.cfg while its start was under way: it must not stay up unseen."""
    hold, ops = holding(SET_GROUP, "set:data"), operations()
    (start,) = hold.start_next(ops, known, agreed)
    assert isinstance(start, StartMember)
    new = Group(SET_GROUP.key, "a", ("a", "b"), ("set:data",))
    actions = stops(hold.regroup(new, ops, 20.0))
    assert [a.member for a in actions] == ["ip:web"]
    assert not hold.member_started(MemberStarted(SET_GROUP.key, "ip:web", start.op))
    stopped(hold, actions)
    assert hold.started == ["set:data"]


@given(st.data())
def test_whatever_happens_nothing_is_forgotten(data: st.DataObject) -> None:
    """Starts that fail, hurry, regroup, stop at any moment: at the end all that may be up was stopped."""
    hold, ops = holding(), operations()
    up: set[str] = set()
    groups = [GROUP, Group(GROUP.key, "a", ("a",), ("set:data", "ip:web", "ip:more"))]
    for _ in range(data.draw(st.integers(0, 12))):
        what = data.draw(st.sampled_from(["start", "start", "fail", "regroup"]))
        if what == "regroup":
            stopping = stops(hold.regroup(data.draw(st.sampled_from(groups)), ops, 12.0))
            stopped(hold, stopping)
            up -= {a.member for a in stopping}
            continue
        for action in hold.start_next(ops, known, agreed):
            if isinstance(action, OpenSet):
                hold.set_opened(SetOpened(action.group, action.name, action.op, HEAD))
            elif isinstance(action, StartMember):
                up.add(action.member)  # from here on it may be up
                if data.draw(st.booleans()):
                    failed = "no" if what == "fail" else ""
                    hold.member_started(MemberStarted(action.group, action.member, action.op, failed))
                    up -= {action.member} if failed else set()
    hold.begin_stop(13.0, "a test", urgent=data.draw(st.booleans()))
    if data.draw(st.booleans()):
        hold.hurry()
    while actions := stops(hold.stop_next(ops)):
        stopped(hold, actions)
        up -= {a.member for a in actions}
    assert (up, hold.is_down) == (set(), True)
