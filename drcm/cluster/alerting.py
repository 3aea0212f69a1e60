"""Hands problems to `drcm-alert`, one child after the other: mail may take its time, the daemon may not."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from contextlib import suppress
from pathlib import Path

from drcm.cluster.actions import Problem
from drcm.cluster.programs import Programs
from drcm.errors import DrcmError
from drcm.paths import Paths
from drcm.state import write_json

log = logging.getLogger(__name__)

QUEUE = 200  # problems; beyond that the oldest is dropped, the log has them all
FLUSH_SECONDS = 60.0
EVENTS = ("unsent", "conflicts", "fenced")  # they happen, and are not over later
SUBJECTS = {
    "node-dead": "node {} is DOWN",
    "failed-over": "{} FAILED OVER",
    "set-failed": "sync of {} failed",
    "set-late": "the copies of {} are too old",
    "set-diverged": "sync set {} has DIVERGED",
    "resource-failed": "{} failed",
    "stopped": "{} RUNS NOWHERE",
    "blocked": "{} can't be stopped: BLOCKED",
    "flapping": "{} moved too often, and stays",
    "fenced": "{} was fenced",
    "fence-failed": "{} could not be fenced",
    "resource-warning": "{} runs, but look at it",
    "config-differs": "cm.cfg of {} differs",
    "beats-malformed": "{} sends what is no heartbeat",
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
        self._kept = paths.state / "raised.json"
        self._former = _load(self._kept)  # raised by a former daemon, and not over
        self._open: set[str] = set()  # raised by this one
        self._saved = set(self._former)
        self._wake = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._work())

    def problem(self, problem: Problem) -> None:
        """Note it. What is open is not raised again, what is not open is not over: that costs nothing.

        What a former daemon raised is raised once more: the throttle is drcm-alert's, and it lasts.
        """
        event = problem.key.partition(":")[0] in EVENTS
        known = self._open | self._former if problem.over else self._open
        if (problem.key in known) is not problem.over and not event:
            return
        log.log(logging.INFO if problem.over else logging.WARNING, "%s: %s", problem.key, problem.text)
        if problem.over:
            self._open.discard(problem.key)
            self._former.discard(problem.key)
        elif not event:
            self._open.add(problem.key)
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
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._wake.wait()
            if self._mails and not self._queue:
                await self._run("flush")  # spooled mail, and reminders of what is still open
            self._wake.clear()
            while self._queue:
                problem = self._queue[0]
                await asyncio.to_thread(self._record, problem)
                await self._keep()
                await self._run(*arguments(problem), text=problem.text)
                if self._queue[0] is problem:  # else a queue that ran over has dropped it meanwhile
                    self._queue.popleft()

    async def _keep(self) -> None:
        """What is open outlives this daemon: the next one must know what it may have to close."""
        kept = self._open | self._former
        if kept == self._saved:
            return
        self._saved = kept
        try:
            await asyncio.to_thread(write_json, self._kept, sorted(self._saved))
        except (OSError, DrcmError) as error:
            log.warning("%s: %s", self._kept, error)

    def _record(self, problem: Problem) -> None:
        from drcm.history import History

        kind, _, about = problem.key.partition(":")
        try:
            History(self._paths.history).record_event(
                f"{kind}-resolved" if problem.over else kind, about, problem.text
            )
        except DrcmError as error:
            log.warning("%s", error)

    async def _run(self, *words: str, text: str = "") -> None:
        try:
            outcome = await self._programs.run("drcm-alert", *words, text=text)
        except (DrcmError, OSError) as error:
            log.error("drcm-alert could not be run: %s", error)
            return
        if outcome.code:
            log.error("drcm-alert %s: exit %d: %s", " ".join(words[:2]), outcome.code, outcome.complaint)


def _load(path: Path) -> set[str]:
    """The keys in `path`; none where it is not there or damaged: then a reminder more is sent, no less."""
    try:
        return {str(key) for key in json.loads(path.read_bytes())}
    except (OSError, ValueError, TypeError):
        return set()


def arguments(problem: Problem) -> list[str]:
    """What drcm-alert is called with. It reads the text: with what failed named in its command line it would
    be killed together with that, as by the `pkill -f` of OCF's nginx."""
    if problem.over:
        return ["resolve", problem.key, "-f", "-"]
    kind, _, about = problem.key.partition(":")
    subject = SUBJECTS.get(kind, "{}").format(about)
    return ["raise", problem.key, "-s", subject, "-f", "-"]
