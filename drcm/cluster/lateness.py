"""Is a set's newest complete copy too old? One question that catches silence whatever its cause.

Asked by the writer for each backup, and by the others where no writer is heard. Ages are measured by this
machine's own clock; only what a former daemon did is taken from the history.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from itertools import islice, pairwise
from typing import TYPE_CHECKING

from drcm import clock
from drcm.clock import Seconds
from drcm.cluster.actions import Problem
from drcm.config.model import Schedule, SyncSet

if TYPE_CHECKING:
    from drcm.cluster.engine import Engine
    from drcm.history import RunRow

LOOK = 5.0  # seconds between two looks
PERIODS = 4  # missed ones, where max_lag is not given
LEAST = 600.0  # seconds: with a short period a busy machine is no reason for an alert
NOBODY = ""  # in place of a backup: no node writes the set


def limit_of(sync_set: SyncSet, wall: datetime) -> Seconds:
    """max_lag, or four of the set's periods, at least ten minutes. `wall`: local time, for a crontab's."""
    return sync_set.max_lag or max(LEAST, PERIODS * _period(sync_set.schedule, wall))


def _period(schedule: Schedule, wall: datetime) -> Seconds:
    """Its longest pause among the next few times."""
    if not schedule.cron:
        return schedule.every
    from cronsim import CronSim

    times = list(islice(CronSim(schedule.cron, wall.replace(tzinfo=None)), PERIODS + 1))
    gaps = [(later - one).total_seconds() for one, later in pairwise(times)]
    return max(gaps, default=0.0)


class Lateness:
    """When each backup of each set was last complete, as far as this node knows."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._good: dict[tuple[str, str], Seconds] = {}  # (set, node)
        self._since: dict[tuple[str, str], Seconds] = {}  # from when on it is waited for
        self._recalled: dict[tuple[str, str], datetime] = {}  # the end of the newest run of the history
        self._goes_on: set[tuple[str, str]] = set()  # whose newest run was given in the reign that goes on
        self._looked = 0.0

    def good(self, name: str, node: str, at: Seconds) -> None:
        """A run of the set to `node` was complete then."""
        self._good[name, node] = max(at, self._good.get((name, node), at))

    def age(self, name: str) -> Seconds | None:
        """How long ago the set's newest run was complete, by a clock that nobody sets; None = not known."""
        known = [at for (of, _), at in self._good.items() if of == name]
        return clock.now() - max(known) if known else None

    def recall(self, name: str, run: RunRow, reign: Collection[str]) -> None:
        """The newest run to a node in the history, also a former daemon's. `reign`: the writer's generations.

        The wall clock is asked once for each run: a step of it makes no known one older or younger.
        """
        key = name, run.target
        if self._recalled.get(key) != run.ended:
            self._recalled[key] = run.ended
            ago = (clock.wall() - run.ended).total_seconds()
            if ago >= 0:
                self.good(name, run.target, clock.now() - ago)
        (self._goes_on.add if run.generation in reign else self._goes_on.discard)(key)

    def look(self, engine: Engine, sets: Collection[SyncSet]) -> list[Problem]:
        """The alerts of this node's sets that have begun, open or over; nothing again within LOOK seconds."""
        from drcm.cluster.picture import role

        now = clock.now()
        if now - self._looked < LOOK:
            return []
        self._looked, situation = now, engine.situation()
        found = []
        for sync_set in (one for one in sets if self._me in one.nodes):
            newest = situation.newest_head(sync_set.name, now)
            if newest is not None:
                writes = role(engine, sync_set.name, now)[0] == "writer"
                served = newest.writer in [peer.name for peer in engine.membership.heard(now)]
                limit = limit_of(sync_set, clock.wall().astimezone())
                found.append(self.judge(sync_set, writes, served, limit, now))
        return found

    def judge(self, sync_set: SyncSet, writes: bool, served: bool, limit: Seconds, now: Seconds) -> Problem:
        """The set's alert, open or over. `writes`: this node does; `served`: another that is heard does."""
        name = sync_set.name
        others = [node for node in sync_set.nodes if node != self._me]
        waited = others if writes else [] if served else [NOBODY]
        self._wait_for(name, waited, now)
        ages = {node: now - self._last(name, node) for node in waited}
        soon = min(limit, LEAST)  # a daemon that has just started may still make it good
        late = {n: age for n, age in ages.items() if age > limit and now - self._since[name, n] > soon}
        if late:
            return Problem(f"set-late:{name}", _words(name, late, limit))
        return Problem(f"set-late:{name}", f"{name}: no copy is older than {_span(limit)}", over=True)

    def _wait_for(self, name: str, waited: list[str], now: Seconds) -> None:
        """Whoever was not waited for until now has all of its time yet."""
        kept = {key: since for key, since in self._since.items() if key[0] != name or key[1] in waited}
        self._since = kept | {(name, node): kept.get((name, node), now) for node in waited}

    def _last(self, name: str, node: str) -> Seconds:
        """Its last run; for a new writer not before the moment from which on it waits for one."""
        good = self._good.get((name, node))
        if good is not None and (name, node) in self._goes_on:
            return good  # a restart does not begin the time anew
        return max(good or 0.0, self._since[name, node])


def _words(name: str, late: Mapping[str, Seconds], limit: Seconds) -> str:
    expected = f"expected one within {_span(limit)} (max_lag)"
    if NOBODY in late:
        found = f"{name}: no node has written it for {_span(late[NOBODY])}; {expected}"
        return f"{found}. Why: drcm-report --explain {name}"
    each = ", ".join(f"{node} for {_span(age)}" for node, age in sorted(late.items()))
    found = f"{name}: no complete run to {each}; {expected}"
    return f"{found}. Is the node up, is its disk full, does a guard refuse? Look: drcm-sync {name} --dry-run"


def _span(seconds: Seconds) -> str:
    """In the largest unit that tells it well: 90 s, 15 min, 30 h, 4 days."""
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
