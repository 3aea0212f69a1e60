"""The scheduler's thread: it says *when* a set is due, the daemon's main loop does the rest.

One plain thread round `triggers.Agenda`, in place of AsyncIOScheduler (whose shutdown cancels, and whose
catch-up delays what shares its loop: 1457 ms on the heartbeat's, TRAPS.md) and of BackgroundScheduler
(which sleeps through a clock that is set). It looks at the clocks once a second, imports APScheduler
itself while the daemon already beats, and takes no lock that the main loop could wait for.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from types import MappingProxyType
from typing import TYPE_CHECKING

from drcm.clock import Seconds, now
from drcm.cluster.realtime import raise_thread
from drcm.config.model import Schedule

if TYPE_CHECKING:
    from drcm.cluster.triggers import Agenda

LOOK_SECONDS = 1.0  # longest sleep: how late a set clock is noticed
STEP_SECONDS = 0.5  # between two looks; adjtime slews at most half a millisecond in a second
STOP_SECONDS = 5.0  # longest wait for the thread's end

log = logging.getLogger("drcm.scheduler")


class ClockWatch:
    """Tells a clock that was set from one that runs: wall time minus CLOCK_BOOTTIME stays equal."""

    def __init__(self, wall: Callable[[], Seconds] = time.time, steady: Callable[[], Seconds] = now) -> None:
        self._wall = wall
        self._steady = steady
        self._offset = wall() - steady()

    def step(self) -> Seconds:
        """By how much the wall clock was set since the last look; 0.0 where it was not."""
        before, self._offset = self._offset, self._wall() - self._steady()
        moved = self._offset - before
        return moved if abs(moved) >= STEP_SECONDS else 0.0


class SetScheduler:
    """Calls `due(name)` when a set is due, in its own thread: `due` hands over and returns at once.

    All methods return at once and may be called from the main loop, except `stop`.
    """

    def __init__(self, due: Callable[[str], None], timezone: tzinfo | None = None) -> None:
        self._due = due
        self._timezone = timezone
        self._wanted: Mapping[str, Schedule] = {}
        self._wake = threading.Event()
        self._stopping = False
        self._next: Mapping[str, datetime] = {}
        self._troubles: Mapping[str, int] = {}
        self._thread = threading.Thread(target=self._run, name="drcm-scheduler", daemon=True)
        self.last_wakeup: Seconds = now()  # older than some seconds: the thread is dead or stuck
        self.clock_steps = 0

    def start(self) -> None:
        self._thread.start()

    def update(self, schedules: Mapping[str, Schedule]) -> None:
        """Have exactly these sets from now on (also before `start`). Unchanged ones are not postponed."""
        self._wanted = MappingProxyType(dict(schedules))
        self._wake.set()

    def stop(self) -> None:
        """End the thread; no `due` is called after this returned. Not from within `due`."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def next_due(self, name: str) -> datetime | None:
        """When the set is due, in UTC; None where it is not scheduled (or not yet)."""
        return self._next.get(name)

    @property
    def troubles(self) -> Mapping[str, int]:
        """How often a start was missed, overlapped or failed."""
        return self._troubles

    def _run(self) -> None:
        raise_thread()
        from drcm.cluster.triggers import Agenda

        agenda = Agenda(self._due, self._timezone or local_timezone())
        clocks = ClockWatch()
        taken: Mapping[str, Schedule] = {}
        while not self._stopping:
            self._wake.clear()
            self._look_at_clocks(clocks, agenda)
            if self._wanted is not taken:
                taken = self._wanted
                agenda.update(taken)
            wait = agenda.tick()
            self._publish(agenda)
            self._wake.wait(LOOK_SECONDS if wait is None else min(wait, LOOK_SECONDS))
        agenda.close()

    def _look_at_clocks(self, clocks: ClockWatch, agenda: Agenda) -> None:
        step = clocks.step()
        if step:
            self.clock_steps += 1
            log.warning("the clock was set by %+.1f s: due times are counted anew", step)
            agenda.clock_stepped(step)

    def _publish(self, agenda: Agenda) -> None:
        """What other threads may read: replaced whole, never changed."""
        self._next = agenda.next_due()
        self._troubles = dict(agenda.troubles)
        self.last_wakeup = now()


def local_timezone() -> tzinfo:
    """This machine's time zone, by which crontabs are read; UTC where it can't be told."""
    import tzlocal

    try:
        return tzlocal.get_localzone()
    except (LookupError, ValueError, OSError, UserWarning) as error:
        log.warning("the local time zone is not known (%s): schedules are read as UTC", error)
        return UTC
