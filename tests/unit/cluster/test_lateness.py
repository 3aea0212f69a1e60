"""Silence of a set, whatever its cause: when it is late, and what is said."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from drcm import clock
from drcm.cluster.lateness import LEAST, Lateness, limit_of
from drcm.config.model import Schedule, SyncSet
from drcm.history import GOOD, RunRow

SET = SyncSet("data", "a", ("b", "c"), mirror=("/data",), schedule=Schedule(every=30.0))
ONE = replace(SET, backups=("b",))
LIMIT = 100.0


@pytest.mark.parametrize(
    ("schedule", "max_lag", "limit"),
    [
        (Schedule(every=30.0), 0.0, LEAST),
        (Schedule(every=600.0), 0.0, 2400.0),
        (Schedule(cron="*/5 * * * *"), 0.0, 1200.0),
        (Schedule(cron="0 2 * * *"), 0.0, 4 * 86400.0),
        (Schedule(cron="0 8,20 * * 1-5"), 0.0, 4 * 60 * 3600.0),
        (Schedule(watch=True), 0.0, LEAST),
        (Schedule(cron="0 2 * * *"), 90.0, 90.0),
    ],
)
def test_limit(schedule: Schedule, max_lag: float, limit: float) -> None:
    """max_lag; else four of the longest pauses, at least ten minutes."""
    sync_set = replace(SET, schedule=schedule, max_lag=max_lag)
    assert limit_of(sync_set, datetime(2026, 11, 26, 12)) == limit


def test_each_backup_counts_alone() -> None:
    """One that gets its runs does not hide another that does not; its next run ends it."""
    late = Lateness("a")
    assert late.judge(SET, True, False, LIMIT, 1000.0).over
    for node in ("b", "c"):
        late.good("data", node, 1010.0)
    late.good("data", "b", 1100.0)
    assert late.judge(SET, True, False, LIMIT, 1110.0).over
    problem = late.judge(SET, True, False, LIMIT, 1111.0)
    assert (problem.key, problem.over) == ("set-late:data", False)
    assert "no complete run to c for 101 s; expected one within 100 s" in problem.text
    assert "to b" not in problem.text
    late.good("data", "c", 1112.0)
    assert late.judge(SET, True, False, LIMIT, 1113.0).over


def test_a_backup_that_never_had_a_run() -> None:
    """It has its time from when this node became the writer, then it is late too."""
    late = Lateness("a")
    assert late.judge(SET, True, False, LIMIT, 50.0).over
    assert late.judge(SET, True, False, LIMIT, 149.0).over
    assert not late.judge(SET, True, False, LIMIT, 151.0).over


def run_of(generation: str, ago: float) -> RunRow:
    ended = clock.wall() - timedelta(seconds=ago)
    return RunRow("data", "a", "b", generation, "7-aa", ended, ended, 1.0, GOOD)


@pytest.mark.parametrize(("generation", "late_at"), [("mine", 601.0), ("before", 2001.0), ("", 2001.0)])
def test_what_a_former_daemon_did(generation: str, late_at: float) -> None:
    """In one reign no restart begins the time anew, but for the ten minutes to make it good; a new writer has
    all of its time."""
    late, now, limit = Lateness("a"), clock.now(), 2000.0
    if generation:
        late.recall("data", run_of(generation, 5000.0), ("mine", "mine too"))
    assert late.judge(ONE, True, False, limit, now).over
    assert late.judge(ONE, True, False, limit, now + late_at - 2).over
    assert not late.judge(ONE, True, False, limit, now + late_at).over
    late.good("data", "b", now + late_at)
    assert late.judge(ONE, True, False, limit, now + late_at + 1).over


def test_a_clock_that_steps_makes_no_run_younger(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long ago a run ended is asked of the wall clock once; a step after that changes nothing."""
    late, now, run = Lateness("a"), clock.now(), run_of("mine", 5000.0)
    assert late.age("data") is None
    late.recall("data", run, ("mine",))
    monkeypatch.setattr(clock, "wall", lambda: run.ended)
    late.recall("data", run, ("mine",))
    assert late.age("data") == pytest.approx(5000.0, abs=60.0)
    assert late.judge(ONE, True, False, 2000.0, now).over
    problem = late.judge(ONE, True, False, 2000.0, now + 700.0)
    assert "no complete run to b for 95 min" in problem.text


def test_nobody_writes_it() -> None:
    """Where no writer is heard any more the others tell; one that is heard answers for itself."""
    late = Lateness("b")
    assert late.judge(SET, False, True, LIMIT, 0.0).over
    assert late.judge(SET, False, False, LIMIT, 500.0).over
    assert late.judge(SET, False, False, LIMIT, 600.0).over
    problem = late.judge(SET, False, False, LIMIT, 601.0)
    assert not problem.over
    assert "no node has written it for 101 s" in problem.text
    assert late.judge(SET, False, True, LIMIT, 602.0).over
    assert late.judge(SET, False, False, LIMIT, 700.0).over
