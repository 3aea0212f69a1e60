"""Hands problems to `drcm-alert`, one child after the other: mail may take its time, the daemon may not."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from drcm.cluster.events import Problem
from drcm.cluster.programs import Programs
from drcm.errors import DrcmError

log = logging.getLogger(__name__)

QUEUE = 200  # problems; beyond that the oldest is dropped, the log has them all
SUBJECTS = {
    "node-dead": "node {} is DOWN",
    "failed-over": "{} FAILED OVER",
    "set-failed": "sync of {} failed",
    "set-diverged": "sync set {} has DIVERGED",
    "resource-failed": "{} failed",
    "unsent": "{}: changes may not have been sent",
}


class Alerting:
    """A bounded queue of problems and the task that works it off."""

    def __init__(self, programs: Programs, enabled: bool) -> None:
        self._programs, self._enabled = programs, enabled
        self._queue: deque[Problem] = deque(maxlen=QUEUE)
        self._open: set[str] = set()
        self._wake = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._work())

    def problem(self, problem: Problem) -> None:
        """Note it; what is over without having been open in this run is passed on once, to be sure."""
        if problem.over and problem.key not in self._open:
            return
        (self._open.discard if problem.over else self._open.add)(problem.key)
        log.log(logging.INFO if problem.over else logging.WARNING, "%s: %s", problem.key, problem.text)
        if self._enabled:
            self._queue.append(problem)
            self._wake.set()

    async def close(self, seconds: float) -> None:
        """Let what is queued go out, but not for longer than `seconds`."""
        end = asyncio.get_running_loop().time() + seconds
        while self._queue and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.05)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                await self._send(self._queue[0])
                self._queue.popleft()

    async def _send(self, problem: Problem) -> None:
        try:
            outcome = await self._programs.run("drcm-alert", *arguments(problem))
        except (DrcmError, OSError) as error:
            log.error("drcm-alert could not be run: %s", error)
            return
        if outcome.code:
            log.error("drcm-alert %s: exit %d: %s", problem.key, outcome.code, outcome.complaint)


def arguments(problem: Problem) -> list[str]:
    """What drcm-alert is called with."""
    if problem.over:
        return ["resolve", problem.key, "-b", problem.text]
    kind, _, about = problem.key.partition(":")
    subject = SUBJECTS.get(kind, "{}").format(about)
    return ["raise", problem.key, "-s", subject, "-b", problem.text]
