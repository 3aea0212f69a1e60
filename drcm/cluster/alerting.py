"""Hands problems to `drcm-alert`, one child after the other: mail may take its time, the daemon may not."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress

from drcm.cluster.events import Problem
from drcm.cluster.programs import Programs
from drcm.errors import DrcmError
from drcm.paths import Paths

log = logging.getLogger(__name__)

QUEUE = 200  # problems; beyond that the oldest is dropped, the log has them all
FLUSH_SECONDS = 60.0
EVENTS = ("unsent", "conflicts")  # they happen, and are not over later
SUBJECTS = {
    "node-dead": "node {} is DOWN",
    "failed-over": "{} FAILED OVER",
    "set-failed": "sync of {} failed",
    "set-diverged": "sync set {} has DIVERGED",
    "resource-failed": "{} failed",
    "resource-warning": "{} runs, but look at it",
    "config-differs": "cm.cfg of {} differs",
    "key-unknown": "{} speaks with another authkey",
    "conflicts": "{}: files that were never sent are kept in .drcm/conflicts",
    "unsent": "{}: changes may not have been sent",
}


class Alerting:
    """A bounded queue of problems and the task that works it off."""

    def __init__(self, programs: Programs, paths: Paths, mails: bool) -> None:
        """`mails`: somebody is to be told; else problems are only kept for drcm-report."""
        self._programs, self._paths, self._mails = programs, paths, mails
        self._queue: deque[Problem] = deque(maxlen=QUEUE)
        self._open: set[str] = set()
        self._over: set[str] = set()  # said to be over, once
        self._wake = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._work())

    def problem(self, problem: Problem) -> None:
        """Note it. What is over is passed on once, also where it was open in a former run of the daemon."""
        if problem.key in (self._over if problem.over else self._open):
            return
        now_in, no_longer_in = (self._over, self._open) if problem.over else (self._open, self._over)
        if problem.key in no_longer_in or not problem.over:  # the rest only ends what a former run left open
            log.log(logging.INFO if problem.over else logging.WARNING, "%s: %s", problem.key, problem.text)
        if problem.key.partition(":")[0] not in EVENTS:
            now_in.add(problem.key)
        no_longer_in.discard(problem.key)
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
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), FLUSH_SECONDS)
            if self._mails and not self._queue:
                await self._run("flush")  # spooled mail, and reminders of what is still open
            self._wake.clear()
            while self._queue:
                problem = self._queue[0]
                await asyncio.to_thread(self._record, problem)
                await self._run(*arguments(problem))
                if self._queue[0] is problem:  # else a queue that ran over has dropped it meanwhile
                    self._queue.popleft()

    def _record(self, problem: Problem) -> None:
        from drcm.history import History

        kind, _, about = problem.key.partition(":")
        try:
            History(self._paths.history).record_event(
                f"{kind}-resolved" if problem.over else kind, about, problem.text
            )
        except DrcmError as error:
            log.warning("%s", error)

    async def _run(self, *words: str) -> None:
        try:
            outcome = await self._programs.run("drcm-alert", *words)
        except (DrcmError, OSError) as error:
            log.error("drcm-alert could not be run: %s", error)
            return
        if outcome.code:
            log.error("drcm-alert %s: exit %d: %s", " ".join(words[:2]), outcome.code, outcome.complaint)


def arguments(problem: Problem) -> list[str]:
    """What drcm-alert is called with."""
    if problem.over:
        return ["resolve", problem.key, "-b", problem.text]
    kind, _, about = problem.key.partition(":")
    subject = SUBJECTS.get(kind, "{}").format(about)
    return ["raise", problem.key, "-s", subject, "-b", problem.text]
