"""The table of a hand-over: its steps, and what a failure at each of them leads to."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_cluster import IP_GROUP, SET_GROUP

from drcm.cluster.actions import DropIntent, Give, Intend, Pass, Prepare
from drcm.cluster.events import StepDone
from drcm.cluster.handover import LAST_PASS, LONGEST_BACKOFF, QUICK_PASS, Handover, Step, backoff
from drcm.cluster.messages import Head
from drcm.cluster.spec import Group

HEAD = Head(2, "g2", "b", "g1", "7-aa")
TWO_SETS = Group("a/set:one", "a", ("a", "b"), ("set:one", "set:two", "ip:web"))
ORDER = [Step.BULK, Step.INTEND, Step.PREPARE, Step.STOPPING, Step.LAST, Step.GIVE, Step.AGREEING]


def handover(group: Group = SET_GROUP, leaving: bool = False) -> Handover:
    return Handover(group, "b", "a test", 10.0, leaving)


def newest(name: str) -> int:
    return 6


def do(attempt: Handover, error: str = "", seconds: float = 1.0) -> str:
    """Let the next action of this step end; its words."""
    (action,) = attempt.next_action(count(1).__next__, newest)
    assert isinstance(action, Pass | Intend | Prepare | Give | DropIntent)
    assert attempt.next_action(count(5000).__next__, newest) == []  # one thing at a time
    head = HEAD if isinstance(action, Give) and not error else None
    assert attempt.step_done(StepDone(action.group, action.op, error, seconds, head), 11.0)
    last = " last" if isinstance(action, Pass) and action.last else ""
    return f"{type(action).__name__} {action.name}{last}"


def advance(attempt: Handover, to: Step) -> None:
    """Go on, with everything succeeding, until step `to` begins."""
    while attempt.step is not to:
        if attempt.step is Step.STOPPING:
            attempt.enter(Step.LAST, 11.0)
        else:
            do(attempt)


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (SET_GROUP, ["Pass data", "Intend data", "Prepare data", "Pass data last", "Give data"]),
        (
            TWO_SETS,
            [
                *("Pass one", "Pass two", "Intend one", "Intend two", "Prepare one", "Prepare two"),
                *("Pass one last", "Pass two last", "Give one", "Give two"),
            ],
        ),
    ],
)  # fmt: skip
def test_steps(group: Group, words: list[str]) -> None:
    """Each set takes each step, and no step begins before all have the former one behind them."""
    attempt, done, seen = handover(group), [], [Step.BULK]
    while attempt.step is not Step.AGREEING:
        if attempt.step is Step.STOPPING:
            assert attempt.next_action(count(1).__next__, newest) == []  # the engine's to do
            attempt.enter(Step.LAST, 11.0)
        else:
            done.append(do(attempt))
        if attempt.step is not seen[-1]:
            seen.append(attempt.step)
    assert done == words
    assert [s for s in ORDER if s is not Step.STOPPING] == [s for s in seen if s is not Step.STOPPING]
    assert attempt.given == dict.fromkeys(group.sets, HEAD)


@pytest.mark.parametrize("step", [Step.BULK, Step.INTEND, Step.PREPARE, Step.LAST, Step.GIVE])
@pytest.mark.parametrize("group", [SET_GROUP, TWO_SETS])
def test_a_failure_at_any_step_drops_the_intent(step: Step, group: Group) -> None:
    """Of every set, also where only one of them failed; then the services start again."""
    attempt = handover(group)
    advance(attempt, step)
    do(attempt, error="cut")
    assert (attempt.step, attempt.error, attempt.dropped) == (Step.DROPPING, "cut", False)
    assert [do(attempt) for _ in group.sets] == [f"DropIntent {name}" for name in group.sets]
    assert attempt.dropped
    assert attempt.next_action(count(1).__next__, newest) == []


def test_a_failure_of_dropping_ends_too() -> None:
    """An intent that could not be dropped must not keep the services down."""
    attempt = handover()
    do(attempt, error="cut")
    do(attempt, error="disk")
    assert attempt.dropped


@pytest.mark.parametrize(("seconds", "leaving", "step"), [
    (QUICK_PASS - 0.1, False, Step.INTEND),
    (QUICK_PASS, False, Step.BULK),
    (QUICK_PASS, True, Step.INTEND),  # a leaving node has no time for rounds
])  # fmt: skip
def test_bulk_passes_go_on_until_one_is_quick(seconds: float, leaving: bool, step: Step) -> None:
    """So that the last pass, with everything stopped, is a short one."""
    attempt = handover(leaving=leaving)
    do(attempt, seconds=seconds)
    assert attempt.step is step


def test_one_slow_set_means_another_round_for_all() -> None:
    """And the round after it counts for itself."""
    attempt = handover(TWO_SETS)
    do(attempt, seconds=QUICK_PASS + 1)
    do(attempt)
    assert attempt.step is Step.BULK
    do(attempt)
    do(attempt)
    assert attempt.step is Step.INTEND


@pytest.mark.parametrize(
    ("step", "droppable"),
    [
        (Step.BULK, True), (Step.INTEND, True), (Step.PREPARE, True),
        (Step.STOPPING, True), (Step.LAST, True),
        (Step.GIVE, False), (Step.AGREEING, False), (Step.DROPPING, False),
    ],
)  # fmt: skip
def test_can_be_dropped(step: Step, droppable: bool) -> None:
    """Row 4: once the gift may be durable it stands, whatever happens."""
    attempt = handover()
    attempt.enter(step, 10.0)
    assert attempt.can_be_dropped is droppable


def test_only_the_last_pass_can_be_overdue() -> None:
    """While it runs nothing serves; a bulk pass may take hours."""
    attempt = handover()
    assert attempt.overdue(10.0 + 3600) == ""
    attempt.enter(Step.LAST, 20.0)
    assert attempt.overdue(20.0 + LAST_PASS) == ""
    assert "60 s" in attempt.overdue(20.1 + LAST_PASS)


@given(st.integers(1, 99), st.integers(1, 99))
def test_answers_to_others_are_not_taken(op: int, other: int) -> None:
    """The end of an operation of a former attempt, or after a failure, moves nothing."""
    attempt = handover()
    attempt.next_action(lambda: op, newest)
    taken = attempt.step_done(StepDone(SET_GROUP.key, other), 11.0)
    assert taken is (op == other)
    assert attempt.step is (Step.INTEND if op == other else Step.BULK)


def test_nothing_to_copy() -> None:
    """A group without sets is stopped and released: no action of a hand-over is asked for."""
    attempt = handover(IP_GROUP)
    assert attempt.next_action(count(1).__next__, newest) == []


def test_backoff_doubles_up_to_five_minutes() -> None:
    """5, 10, 20 ... 300 seconds; never less than the first, never more than the last."""
    assert [backoff(n) for n in range(9)] == [5, 5, 10, 20, 40, 80, 160, 300, 300]
    assert backoff(1000) == LONGEST_BACKOFF
