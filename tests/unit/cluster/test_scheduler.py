"""drcm/cluster/scheduler.py: its thread, and clocks that are really set (libfaketime in a child)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drcm.clock import now
from drcm.cluster.scheduler import ClockWatch, SetScheduler, local_timezone
from drcm.config.model import Schedule

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
DAY = 86400
# Prints, five times a second: starts of "every" and "cron" so far, clock steps, seconds until "cron" is
# due, age of the last wake-up.
CHILD = """
import threading, time
from collections import Counter
from drcm.clock import now
from drcm.cluster.scheduler import SetScheduler
from drcm.config.model import Schedule
count = Counter()
scheduler = SetScheduler(lambda name: count.update([name]))
scheduler.update({"every": Schedule(every=0.25), "cron": Schedule(cron="* * * * *")})
scheduler.start()
while True:
    due = scheduler.next_due("cron")
    left = due.timestamp() - time.time() if due else 0
    age = now() - scheduler.last_wakeup
    print(count["every"], count["cron"], scheduler.clock_steps, left, age, flush=True)
    threading.Event().wait(0.2)  # libfaketime 0.9.10 makes time.sleep fail with EINVAL
"""


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for `condition`, at most `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


@contextmanager
def running(due: Callable[[str], None], schedules: dict[str, Schedule]) -> Iterator[SetScheduler]:
    scheduler = SetScheduler(due, UTC)
    scheduler.update(schedules)
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.stop()


class Steered:
    """The child above, under a wall clock that the test sets."""

    def __init__(self, folder: Path) -> None:
        self._clock = folder / "clock"
        self.set_clock(0)
        environ = {
            **os.environ,
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "TZ": "Europe/Berlin",
        }
        self.child = subprocess.Popen(
            [sys.executable, "-c", CHILD], env=environ, stdout=subprocess.PIPE, text=True
        )

    def set_clock(self, offset: int) -> None:
        beside = self._clock.with_suffix(".new")
        beside.write_text(f"{offset:+d}\n")
        beside.rename(self._clock)

    def read(self) -> tuple[float, ...]:
        """The next line: (every, cron, steps, seconds until cron, age of the last wake-up)."""
        assert self.child.stdout is not None
        return tuple(map(float, self.child.stdout.readline().split()))

    def read_until(
        self, condition: Callable[[tuple[float, ...]], bool], lines: int = 50
    ) -> tuple[float, ...]:
        """The first line that fits, of the next ten seconds' lines."""
        seen = [self.read()]
        while not condition(seen[-1]):
            assert len(seen) < lines, seen
            seen.append(self.read())
        return seen[-1]


@pytest.fixture
def steered(tmp_path: Path) -> Iterator[Steered]:
    if FAKETIME is None:
        pytest.skip("libfaketime is not installed")
    made = Steered(tmp_path)
    yield made
    made.child.kill()
    made.child.communicate()


@pytest.mark.parametrize("step", [3600, -3600, 365 * DAY, -365 * DAY])
def test_a_set_clock_stops_nothing_and_starts_no_burst(steered: Steered, step: int) -> None:
    """After an hour's or a year's step, either way and back, runs go on at their own pace."""
    steered.read_until(lambda line: line[0] >= 2)
    for offset, steps in ((step, 1), (0, 2)):
        steered.set_clock(offset)
        noticed = steered.read_until(lambda line, steps=steps: line[2] == steps)  # type: ignore[misc]
        later = steered.read_until(lambda line, noticed=noticed: line[0] >= noticed[0] + 3, 20)  # type: ignore[misc]
        assert later[0] <= noticed[0] + 5  # a line is 0.2 s: three to four runs, no burst
        assert 0 <= later[3] <= 61  # the crontab's next minute is of this clock
        assert later[4] < 2
    assert later[1] <= 4  # a jump over slots is one run (and minutes pass)


def test_due_is_called_in_its_own_thread_and_in_time() -> None:
    """`due` comes from the scheduler's thread, at the period asked for."""
    calls: list[tuple[str, str, float]] = []

    def due(name: str) -> None:
        calls.append((name, threading.current_thread().name, time.monotonic()))

    with running(due, {"testfs": Schedule(every=0.1)}):
        until(lambda: len(calls) >= 6)
    assert {call[:2] for call in calls} == {("testfs", "drcm-scheduler")}
    assert 0.4 < calls[5][2] - calls[0][2] < 0.9


def test_starting_does_not_hold_up_the_caller() -> None:
    """start and update return in milliseconds, though APScheduler takes 170 ms to import."""
    code = (
        "import sys, time\nfrom drcm.cluster.scheduler import SetScheduler\n"
        "from drcm.config.model import Schedule\n"
        "scheduler = SetScheduler(print)\nassert 'apscheduler' not in sys.modules\n"
        "began = time.monotonic()\nscheduler.start()\nscheduler.update({'a': Schedule(every=0.01)})\n"
        "print(time.monotonic() - began)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert float(out.split()[0]) < 0.1


def test_sets_come_and_go_with_the_config() -> None:
    """update adds and removes sets while it runs, and next_due follows."""
    calls: list[str] = []
    with running(calls.append, {"a": Schedule(every=0.05), "b": Schedule(cron="0 6 * * *")}) as scheduler:
        until(lambda: "a" in calls and scheduler.next_due("b") is not None)
        scheduler.update({"c": Schedule(every=0.05)})
        until(lambda: "c" in calls)
        calls.clear()
        until(lambda: calls.count("c") >= 4)
        assert set(calls) == {"c"}
        assert scheduler.next_due("a") is None
        due = scheduler.next_due("c")
    assert due is not None
    assert abs((due - datetime.now(UTC)).total_seconds()) < 2


def test_nothing_is_due_after_stop() -> None:
    """stop ends the thread; no call comes afterwards, and stopping again is harmless."""
    calls: list[str] = []
    with running(calls.append, {"a": Schedule(every=0.02)}) as scheduler:
        until(lambda: len(calls) >= 2)
        scheduler.stop()
        done = len(calls)
        assert not any(thread.name == "drcm-scheduler" for thread in threading.enumerate())
    assert len(calls) == done


def test_a_stop_before_the_start_is_harmless() -> None:
    """A daemon that leaves before it got so far can stop what never ran."""
    SetScheduler(print, UTC).stop()


def test_a_due_that_hangs_shows_in_last_wakeup() -> None:
    """The watchdog sees a scheduler that does not come back: its last wake-up grows old."""
    release, entered = threading.Event(), threading.Event()

    def hang(name: str) -> None:
        entered.set()
        release.wait(60)

    with running(hang, {"a": Schedule(every=0.05)}) as scheduler:
        assert entered.wait(60)
        until(lambda: now() - scheduler.last_wakeup > 1.2)
        release.set()
        until(lambda: now() - scheduler.last_wakeup < 0.5)


def test_a_failing_due_is_counted() -> None:
    """An exception in `due` leaves the scheduler running, and is counted."""
    calls: list[str] = []

    def broken(name: str) -> None:
        calls.append(name)
        raise OSError("no more processes")

    with running(broken, {"a": Schedule(every=0.05)}) as scheduler:
        until(lambda: len(calls) >= 3 and scheduler.troubles.get("failed", 0) >= 2)


@pytest.mark.parametrize(
    ("wall", "steady", "steps"),
    [
        ([100, 101, 102], [0, 1, 2], [0, 0]),
        ([100, 3701, 3702], [0, 1, 2], [3600, 0]),
        ([100, 101, -31536000], [0, 1, 2], [0, -31536102]),
        ([100, 101.3, 102.5], [0, 1, 2], [0, 0]),  # slewed, not set
        ([100, 3700, 3701], [0, 3600, 3601], [0, 0]),  # an hour asleep: both clocks know
    ],
)
def test_only_a_set_clock_is_a_step(wall: list[float], steady: list[float], steps: list[float]) -> None:
    """A step is wall time moving against the time since boot; sleep and slew are none."""
    at_wall, at_steady = iter(wall), iter(steady)
    watch = ClockWatch(lambda: next(at_wall), lambda: next(at_steady))
    assert [watch.step(), watch.step()] == steps


def test_an_unknown_time_zone_is_utc() -> None:
    """A TZ that nobody knows does not keep the daemon from scheduling."""
    code = "from drcm.cluster.scheduler import local_timezone; print(local_timezone())"
    environ = {**os.environ, "TZ": "Nowhere/Land"}
    out = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environ
    )
    assert out.stdout.strip() == "UTC"
    assert local_timezone() is not None
