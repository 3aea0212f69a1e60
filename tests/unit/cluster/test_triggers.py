"""drcm/cluster/triggers.py: due times through DST nights, set clocks and reloads. No thread, no waiting."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drcm.cluster.triggers import Agenda, CronTrigger, EveryTrigger
from drcm.config.model import Schedule

BERLIN = ZoneInfo("Europe/Berlin")
YEAR = 365 * 86400.0
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))


def berlin(text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold)


def slots(expression: str, start: datetime, count: int) -> list[str]:
    """The next `count` slots as UTC clock times, asked for as APScheduler does."""
    trigger, at, found = CronTrigger(expression, BERLIN), start.astimezone(UTC), []
    for _ in range(count):
        due = trigger.get_next_fire_time(at, at)
        assert due is not None
        found.append(f"{due:%d %H:%M}")
        at = due
    return found


@contextmanager
def agenda(schedules: dict[str, Schedule]) -> Iterator[tuple[Agenda, list[str]]]:
    """An agenda and the list of what it called due."""
    called: list[str] = []
    made = Agenda(called.append, UTC)
    made.update(schedules)
    yield made, called
    made.close()


@pytest.mark.parametrize(
    ("expression", "start", "expected"),
    [
        ("30 2 * * *", "2026-10-24T12:00", ["25 00:30", "26 01:30"]),  # autumn: 02:30 is there twice
        ("30 2 * * *", "2026-03-28T12:00", ["29 01:00", "30 00:30"]),  # spring: 02:30 is not there
        ("*/30 * * * *", "2026-10-25T01:45", ["25 00:00", "25 00:30", "25 01:00", "25 01:30", "25 02:00"]),
        ("*/30 * * * *", "2026-03-29T01:25", ["29 00:30", "29 01:00", "29 01:30"]),
        ("15 * * * *", "2026-10-25T01:45", ["25 00:15", "25 01:15", "25 02:15"]),
    ],
)
def test_dst_nights_are_those_of_cron(expression: str, start: str, expected: list[str]) -> None:
    """A fixed time runs once on both nights; what runs all day keeps its real distance."""
    assert slots(expression, berlin(start), len(expected)) == expected


def test_a_start_within_the_doubled_hour_does_not_run_it_again() -> None:
    """Asked at the second 02:10 of the autumn night, 02:30 is tomorrow's."""
    now = berlin("2026-10-25T02:10", fold=1).astimezone(UTC)
    assert CronTrigger("30 2 * * *", BERLIN).get_next_fire_time(None, now) == berlin("2026-10-26T02:30")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 6 * * 0", "2026-11-29"),  # Sunday, as cron counts (APScheduler's own: Monday)
        ("0 6 * * 7", "2026-11-29"),
        ("0 6 * * 1", "2026-11-23"),
        ("0 6 13 * 5", "2026-11-27"),  # the 13th OR a Friday
    ],
)
def test_weekdays_are_those_of_cron(expression: str, expected: str) -> None:
    """0 and 7 are Sunday; day of month and weekday both given mean either."""
    due = CronTrigger(expression, UTC).get_next_fire_time(None, datetime(2026, 11, 22, 12, tzinfo=UTC))
    assert f"{due:%Y-%m-%d}" == expected


@given(now=MOMENTS, behind=st.timedeltas(timedelta(), timedelta(days=400)))
def test_a_cron_slot_is_always_to_come(now: datetime, behind: timedelta) -> None:
    """However far the last run lies back, the next slot is the first one after now: nothing is walked."""
    due = CronTrigger("*/5 * * * *", BERLIN).get_next_fire_time(now - behind, now)
    assert due is not None
    assert now < due <= now + timedelta(minutes=5)


@given(now=MOMENTS, behind=st.timedeltas(timedelta(), timedelta(days=400)), seconds=st.floats(0.1, 1e5))
def test_an_interval_is_always_to_come(now: datetime, behind: timedelta, seconds: float) -> None:
    """Missed intervals count as one, and the phase is kept."""
    trigger = EveryTrigger(seconds)
    due = trigger.get_next_fire_time(now - behind, now)
    assert due is not None
    assert now < due <= now + trigger.period
    assert (due - (now - behind)) % trigger.period == timedelta()


@given(now=MOMENTS, left=st.floats(0.1, 30), step=st.floats(-2 * YEAR, 2 * YEAR))
def test_an_interval_keeps_what_is_left_of_it(now: datetime, left: float, step: float) -> None:
    """A set clock neither stretches nor shortens an interval."""
    due, moved = now + timedelta(seconds=left), timedelta(seconds=step)
    assert EveryTrigger(30).after_step(due, now + moved, moved) == due + moved


def test_a_slot_that_the_clock_jumped_over_stays_due() -> None:
    """Set forward past 06:00, the run of 06:00 is due at once; set back, it is the next 06:00."""
    trigger = CronTrigger("0 6 * * *", UTC)
    due = datetime(2026, 11, 22, 6, tzinfo=UTC)
    forward, back = timedelta(hours=2), timedelta(days=-3)
    assert trigger.after_step(due, due + timedelta(hours=1), forward) == due
    assert trigger.after_step(due, due + back, back) == due + back + timedelta(days=1)


def test_a_slot_that_never_comes_is_none() -> None:
    """The 30th of February is never due, and asking does not hang."""
    assert CronTrigger("0 0 31 2,4 1#5", UTC).get_next_fire_time(None, datetime.now(UTC)) is not None
    never = CronTrigger("0 0 29 2 *", UTC)
    assert f"{never.get_next_fire_time(None, datetime(2026, 1, 1, tzinfo=UTC)):%Y-%m-%d}" == "2028-02-29"


def test_a_year_of_missed_intervals_is_one_run() -> None:
    """A due time a year back is called once, and the next is to come."""
    with agenda({"a": Schedule(every=1.0)}) as (made, called):
        made.clock_stepped(-YEAR)
        made.tick()
        made.tick()
        assert called == ["a"]
        assert made.next_due()["a"] > datetime.now(UTC) - timedelta(seconds=1)


def test_a_reload_keeps_what_did_not_change() -> None:
    """An update removes, adds and changes; an unchanged set keeps its due time."""
    hourly, daily = Schedule(every=3600.0), Schedule(cron="0 6 * * *")
    with agenda({"kept": hourly, "gone": daily, "changed": hourly}) as (made, _):
        before = made.next_due()
        made.update({"kept": hourly, "changed": daily, "new": Schedule(watch=True)})
        after = made.next_due()
    assert sorted(after) == ["changed", "kept", "new"]
    assert after["kept"] == before["kept"]
    assert after["changed"].hour == 6
    assert after["new"] - datetime.now(UTC) < timedelta(seconds=10)


def test_a_start_that_fails_is_counted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in `due` is a count and a line; the set stays scheduled."""

    def broken(name: str) -> None:
        raise OSError("no more processes")

    made = Agenda(broken, UTC)
    made.update({"a": Schedule(every=1.0)})
    with caplog.at_level(logging.ERROR, "drcm.scheduler"):
        made.clock_stepped(-60)
        made.tick()
    assert made.troubles == {"failed": 1}
    assert "set a: its scheduled start failed: no more processes" in caplog.text
    assert "a" in made.next_due()
    made.close()


def test_the_wait_ends_at_the_next_due_time() -> None:
    """tick says how long nothing is due; None where nothing is scheduled."""
    with agenda({"a": Schedule(every=30.0)}) as (made, called):
        wait = made.tick()
        assert wait is not None
        assert 29 < wait <= 30
        assert called == []
        made.update({})
        assert made.tick() is None
