"""When a watched set is run: soon, not all the time, and again where a run failed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drcm.cluster.pace import BURST, FULL, RETRY, SETTLE, SHARE, Pace

B = ("b",)


def run(pace: Pace, begin: float, end: float, good: bool = True) -> None:
    pace.begin(B, begin)
    pace.end(good, end)


def test_a_first_change_is_run_when_it_has_settled() -> None:
    pace = Pace()
    assert pace.due() is None
    pace.change(5.0)
    pace.change(5.1)
    assert pace.due() == 5.0 + SETTLE


def test_nothing_is_due_while_it_runs_and_what_changes_meanwhile_is_run_next() -> None:
    pace = Pace()
    pace.change(1.0)
    pace.begin(B, 1.5)
    pace.change(1.6)
    assert pace.due() is None
    pace.end(True, 2.5)
    assert pace.due() == 2.5


def test_long_runs_rest() -> None:
    pace = Pace()
    run(pace, 100.0, 120.0)
    pace.change(120.0)
    assert pace.due() == 120.0 + (20.0 - BURST) / SHARE


@given(st.lists(st.floats(0.01, 30.0), min_size=1, max_size=60), st.integers(0, 59), st.integers(0, 59))
def test_runs_take_no_more_than_their_share(lasting: list[float], one: int, other: int) -> None:
    """Where something changes all the time: of any stretch from a beginning to a beginning."""
    pace, begins, now = Pace(), [], 1000.0
    for seconds in lasting:
        pace.change(now)
        due = pace.due()
        assert due is not None
        begins.append(due)
        now = due + seconds
        run(pace, due, now)
    first, last = sorted((one % len(lasting), other % len(lasting)))
    ran = sum(lasting[first:last])
    assert ran <= BURST + SHARE * (begins[last] - begins[first]) + 1e-6


def test_a_run_without_a_change_asks_for_nothing_more() -> None:
    pace = Pace()
    run(pace, 1.0, 2.0)
    assert pace.due() is None


def test_a_failed_run_is_tried_again() -> None:
    pace = Pace()
    run(pace, 1.0, 2.0, good=False)
    assert pace.due() == 2.0 + RETRY
    assert not pace.suffices(B, 3.0)


def test_the_clock_asks_where_no_run_was_good_or_one_is_long_ago_or_a_node_more_is_heard() -> None:
    pace = Pace()
    assert not pace.suffices(B, 0.0)
    run(pace, 1.0, 2.0)
    assert pace.suffices(B, 1.0 + FULL - 0.1)
    assert not pace.suffices(B, 1.0 + FULL)
    assert not pace.suffices(("b", "c"), 3.0)
    pace.change(3.0)
    assert not pace.suffices(B, 3.0), "a change that no run followed"
    pace.begin(B, 4.0)
    assert pace.suffices(B, 4.0), "one is under way"


@given(st.lists(st.tuples(st.sampled_from(["change", "begin", "good", "bad", "wait"]), st.floats(0, 100))))
def test_a_change_is_followed_by_a_run_that_began_after_it(steps: list[tuple[str, float]]) -> None:
    """Whatever comes: what changed last is in a good run that began after it, or a run is due."""
    pace, now, changed, begun, good = Pace(), 0.0, None, None, -1.0
    for what, seconds in steps:
        now += seconds
        if what == "change":
            pace.change(now)
            changed = now
        elif what == "begin" and begun is None:
            pace.begin(B, now)
            begun = now
        elif what in ("good", "bad") and begun is not None:
            pace.end(what == "good", now)
            good, begun = (begun if what == "good" else good), None
        if changed is not None and begun is None and changed > good:
            assert pace.due() is not None
