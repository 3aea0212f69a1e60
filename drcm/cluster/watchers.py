"""Sets with `watch = 1` that this node writes: a child for each tells of changes, and a run follows.

A hint only: without it such a set is synced every ten seconds (`triggers`), with it once a minute and after
each change. Whatever goes wrong here makes copies older by that, and nothing worse.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

from drcm import clock
from drcm.cluster.pace import Pace
from drcm.cluster.programs import Programs
from drcm.errors import DrcmError

log = logging.getLogger(__name__)

AGAIN_SECONDS = 30.0  # until a child that ended is started anew


class Watchers:
    """All methods are for the main loop and return at once. `run(name)`: the set is due."""

    def __init__(self, programs: Programs, run: Callable[[str], None]) -> None:
        self._programs, self._run = programs, run
        self._watching: dict[str, asyncio.Task[None]] = {}
        self._awake: set[str] = set()  # whose child has said that it watches
        self._paces: dict[str, Pace] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._told: dict[str, str] = {}  # why it can't be watched, in the log already

    def keep(self, names: Collection[str]) -> None:
        """Watch exactly these."""
        for name in self._watching.keys() - set(names):
            self._watching.pop(name).cancel()
            self._forget(name)
        for name in set(names) - self._watching.keys():
            self._paces[name] = Pace()
            self._watching[name] = asyncio.get_running_loop().create_task(self._watch(name))

    def suffice(self, name: str, targets: Collection[str]) -> bool:
        """The set needs no run by the clock now: its changes are told."""
        return name in self._awake and self._paces[name].suffices(tuple(targets), clock.now())

    def follow(self, name: str, targets: Collection[str], run: asyncio.Task[bool]) -> None:
        """A run of the set has begun; the task says whether it was good."""
        pace = self._paces.get(name)
        if pace is not None:
            pace.begin(tuple(targets), clock.now())
            run.add_done_callback(lambda task: self._ended(name, pace, task))

    async def close(self) -> None:
        watching = list(self._watching.values())
        self.keep(())
        await asyncio.gather(*watching, return_exceptions=True)

    def _ended(self, name: str, pace: Pace, task: asyncio.Task[bool]) -> None:
        pace.end(not task.cancelled() and task.exception() is None and task.result(), clock.now())
        if self._paces.get(name) is pace:
            self._wait(name)

    async def _watch(self, name: str) -> None:
        while True:
            try:
                async for line in self._programs.lines("drcm-sync", name, "--watch"):
                    self._heard(name, line)
            except (DrcmError, OSError, ValueError) as error:  # ValueError: no end to a line
                if self._told.get(name) != str(error):
                    log.warning("%s is not watched, it is synced every 10 s: %s", name, error)
                self._told[name] = str(error)
            finally:
                self._awake.discard(name)
            await asyncio.sleep(AGAIN_SECONDS)

    def _heard(self, name: str, line: str) -> None:
        """The first line too: what changed before it is not known."""
        if name not in self._awake:
            log.info("%s: %s", name, line)
            self._told.pop(name, None)
        self._awake.add(name)
        self._paces[name].change(clock.now())
        self._wait(name)

    def _wait(self, name: str) -> None:
        due = self._paces[name].due()
        if due is not None and name not in self._timers:
            wait = max(0.0, due - clock.now())
            self._timers[name] = asyncio.get_running_loop().call_later(wait, self._due, name)

    def _due(self, name: str) -> None:
        """A run may have begun, or ended, since the timer was set."""
        del self._timers[name]
        due = self._paces[name].due()
        if due is not None and due <= clock.now():
            self._run(name)
        else:
            self._wait(name)

    def _forget(self, name: str) -> None:
        self._awake.discard(name)
        del self._paces[name]
        if timer := self._timers.pop(name, None):
            timer.cancel()
