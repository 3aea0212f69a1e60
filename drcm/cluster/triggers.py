"""When a set is due: all that drcm uses of APScheduler, and the only module that imports it.

APScheduler 3.11 decides; this module keeps its known faults away (TRAPS.md): its crontab syntax is not
cron's, a missed slot is walked slot by slot (14 s after a year's step), a late run is dropped in silence,
and a clock set back stops every interval. It costs 170 ms to import: `scheduler` does it in its own thread.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobEvent
from apscheduler.executors.debug import DebugExecutor
from apscheduler.job import Job
from apscheduler.schedulers.base import BaseScheduler
from apscheduler.triggers.base import BaseTrigger
from cronsim import CronSim

from drcm.clock import Seconds
from drcm.config.model import Schedule

WATCH_FALLBACK_SECONDS = 10.0  # how often a watched set is synced while nothing watches it
JOB_DEFAULTS = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
TROUBLES = {EVENT_JOB_MISSED: "missed", EVENT_JOB_MAX_INSTANCES: "overlapped", EVENT_JOB_ERROR: "failed"}

log = logging.getLogger("drcm.scheduler")


class CronTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler 3 has no types
    """Crontab syntax as cron means it (Sunday is 0 and 7; day of month or weekday), in local time.

    02:30 runs once on the autumn night and at 03:00 on the spring one. Slots that passed count as one.
    """

    __slots__ = ("expression", "timezone")

    def __init__(self, expression: str, timezone: tzinfo) -> None:
        self.expression = expression
        self.timezone = timezone

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """The first slot after both; None where there is none within 50 years."""
        after = _later(previous_fire_time, now)
        for slot in CronSim(self.expression, after.astimezone(self.timezone)):
            due = slot.astimezone(UTC)  # two times of one zone are compared without their offset
            if due > after:
                return due
        return None

    def after_step(self, due: datetime, now: datetime, step: timedelta) -> datetime | None:
        """When it is due after the clock was set: a slot that was jumped over stays due, once."""
        return due if due <= now else self.get_next_fire_time(None, now)


class EveryTrigger(BaseTrigger):  # type: ignore[misc]
    """Every `seconds`, counted from the first time it was asked. Times that passed count as one."""

    __slots__ = ("period",)

    def __init__(self, seconds: Seconds) -> None:
        self.period = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """The first multiple of the period after `previous_fire_time` that is still to come."""
        if previous_fire_time is None:
            return now + self.period
        passed = max(0, (now - previous_fire_time) // self.period)
        return previous_fire_time + (passed + 1) * self.period

    def after_step(self, due: datetime, now: datetime, step: timedelta) -> datetime | None:
        """When it is due after the clock was set: as long from now as before."""
        return due + step


def trigger_for(schedule: Schedule, timezone: tzinfo) -> CronTrigger | EveryTrigger:
    """The trigger that `schedule` describes."""
    if schedule.cron:
        return CronTrigger(schedule.cron, timezone)
    return EveryTrigger(schedule.every or WATCH_FALLBACK_SECONDS)


class _Jobs(BaseScheduler):  # type: ignore[misc]
    """APScheduler without a thread of its own: `Agenda.tick` drives it, at least once a second."""

    def wakeup(self) -> None:
        """Nothing sleeps here: the driver asks for what is due."""

    def shutdown(self, wait: bool = True) -> None:
        super().shutdown(wait)


class Agenda:
    """The sets and when each is due. Lives in one thread: none of it may be called from another.

    `due(name)` is called from `tick` and must return at once.
    """

    def __init__(self, due: Callable[[str], None], timezone: tzinfo) -> None:
        self.troubles: Counter[str] = Counter()  # missed, overlapped, failed
        self._due = due
        self._timezone = timezone
        self._schedules: dict[str, Schedule] = {}
        self._jobs = _Jobs(
            timezone=timezone, job_defaults=JOB_DEFAULTS, executors={"default": DebugExecutor()}
        )
        self._jobs.add_listener(self._trouble, EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES | EVENT_JOB_ERROR)
        self._jobs.start()

    def update(self, schedules: Mapping[str, Schedule]) -> None:
        """Have exactly these. One that did not change keeps its next time: a reload postpones nothing."""
        for name in self._schedules.keys() - schedules.keys():
            self._jobs.remove_job(name)
        for name, schedule in schedules.items():
            if self._schedules.get(name) != schedule:
                self._add(name, schedule)
        self._schedules = dict(schedules)

    def _add(self, name: str, schedule: Schedule) -> None:
        trigger = trigger_for(schedule, self._timezone)
        self._jobs.add_job(self._due, trigger, args=(name,), id=name, name=name, replace_existing=True)

    def tick(self) -> Seconds | None:
        """Call `due` for what is due; return how long until the next one is (None: nothing scheduled)."""
        wait: Seconds | None = self._jobs._process_jobs()  # what every scheduler class of its calls
        return wait

    def clock_stepped(self, step: Seconds) -> None:
        """The wall clock was set by `step` seconds: put every due time where it belongs now."""
        now = datetime.now(UTC)
        for job in self._scheduled():
            due = job.trigger.after_step(job.next_run_time.astimezone(UTC), now, timedelta(seconds=step))
            if due is not None:
                job.modify(next_run_time=due)

    def next_due(self) -> dict[str, datetime]:
        """When each set is due next, in UTC."""
        return {job.id: job.next_run_time.astimezone(UTC) for job in self._scheduled()}

    def close(self) -> None:
        self._jobs.shutdown(wait=False)

    def _scheduled(self) -> list[Job]:
        return [job for job in self._jobs.get_jobs() if job.next_run_time is not None]

    def _trouble(self, event: JobEvent) -> None:
        word = TROUBLES[event.code]
        self.troubles[word] += 1
        log.error("set %s: its scheduled start %s: %s", event.job_id, word, getattr(event, "exception", ""))


def _later(previous: datetime | None, now: datetime) -> datetime:
    """The later of the two, in UTC."""
    return max(now, previous or now).astimezone(UTC)
