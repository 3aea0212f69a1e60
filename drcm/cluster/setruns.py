"""Runs of sets, as children: scheduled ones, and the passes of a hand-over. One at a time for each set."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from typing import Any, TypeVar

from drcm import clock
from drcm.cluster import actions as ac
from drcm.cluster.lateness import Lateness
from drcm.cluster.programs import Outcome, Programs, Waiting
from drcm.errors import EXIT_DIVERGED, EXIT_IO, EXIT_LOCKED, EXIT_OK, EXIT_WRONG_ROLE, DrcmError
from drcm.paths import Paths

log = logging.getLogger(__name__)

T = TypeVar("T")
ENDED_BY_US = 128 + signal.SIGTERM  # a hand-over or the lease's end: no failure of the set
LOCKED_RETRIES, LOCKED_WAIT = 20, 0.5  # a hand-over's pass waits for a run that somebody started by hand


class SetRuns:
    """The `drcm-sync` children of this node. `last_good`: when a set was last synced from here, in UTC."""

    def __init__(
        self, programs: Programs, paths: Paths, problem: Callable[[ac.Problem], None], me: str
    ) -> None:
        self._programs, self._paths, self._problem = programs, paths, problem
        self.last_good: dict[str, datetime] = {}
        self.lateness = Lateness(me)
        self.diverged: defaultdict[str, set[str]] = defaultdict(set)  # set -> whose gates said so last
        self.skipped: Counter[str] = Counter()  # scheduled runs that found another one of the set at work
        self._running: dict[str, asyncio.Task[Outcome]] = {}
        self._prepared: dict[str, Waiting] = {}  # last passes that stand ready
        self._held: dict[str, asyncio.Task[None]] = {}

    def is_running(self, name: str) -> bool:
        return name in self._running

    def hold_until(self, name: str, task: asyncio.Task[None]) -> None:
        """No run of the set before `task` has ended."""
        self._held[name] = task

    def cancel(self, name: str) -> None:
        """The lease is over: no run of this node's may go on."""
        running = self._running.pop(name, None)
        if running is not None:
            running.cancel()
        self.drop_prepared(name)

    async def close(self) -> None:
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def scheduled(self, name: str, targets: list[str]) -> bool:
        """A run to `targets`; its end is told to the alerts. Was it good?"""
        outcome = await self._sync(name, *(word for node in targets for word in ("--target", node)))
        complaint = why_failed(outcome)
        if outcome.code == EXIT_LOCKED:
            self.skip(name, complaint)
        if outcome.code == EXIT_OK:
            self._problem(ac.Problem(f"set-failed:{name}", f"{name} was synced", over=True))
        elif outcome.code == EXIT_DIVERGED:
            self._problem(ac.Problem(f"set-diverged:{name}", complaint))
        elif outcome.code not in (EXIT_LOCKED, ENDED_BY_US):
            log.error("drcm-sync %s ended with %d: %s", name, outcome.code, complaint)
            self._problem(ac.Problem(f"set-failed:{name}", complaint))
        return outcome.code == EXIT_OK

    async def tidy(self, name: str) -> bool:
        """Let go of trash that is past its days; False where that must be tried again soon."""
        outcome = await _or_why(self._programs.run("drcm-sync", name, "--tidy", "-q"))
        if outcome.code not in (EXIT_OK, EXIT_WRONG_ROLE):
            log.warning("drcm-sync %s --tidy: %s", name, why_failed(outcome))
        return outcome.code != EXIT_LOCKED

    def counters(self) -> dict[str, int]:
        """Runs that were due and left out, by set."""
        return {f"runs_skipped:{name}": count for name, count in self.skipped.items()}

    def skip(self, name: str, why: str) -> None:
        """A run was due, and was left out."""
        self.skipped[name] += 1
        log.info("%s: a run was due and is left out (%d so far): %s", name, self.skipped[name], why)

    async def prepare(self, name: str, to: str) -> str:
        """Have the last pass to `to` stand ready; why it does not, or ""."""
        self.drop_prepared(name)
        words = ("--json", "-q", "--hand-over", to, "--wait-go")
        ready = await _or_why(self._programs.prepare("drcm-sync", name, *words))
        if isinstance(ready, Waiting):
            self._prepared[name] = ready
            return ""
        return f"drcm-sync {name} --hand-over {to}: {why_failed(ready)}"

    def drop_prepared(self, name: str) -> None:
        prepared = self._prepared.pop(name, None)
        if prepared is not None:
            self._programs.drop(prepared)

    async def hand_over(self, name: str, to: str, last: bool) -> str:
        """One pass of a hand-over to `to`; why it failed, or ""."""
        option = "--hand-over" if last else "--target"
        outcome = await self._sync(name, option, to)
        for _ in range(LOCKED_RETRIES):
            if outcome.code != EXIT_LOCKED:
                break
            await asyncio.sleep(LOCKED_WAIT)
            outcome = await self._sync(name, option, to)
        return "" if outcome.code == EXIT_OK else f"drcm-sync {name} {option} {to}: {why_failed(outcome)}"

    async def recall_last_good(
        self, name: str, nodes: Collection[str] = (), reign: Collection[str] = ()
    ) -> None:
        """When it was last synced by this node (to each of `nodes`), also by hand or by a former daemon."""
        from drcm.history import History

        history = History(self._paths.history)
        try:
            row = await asyncio.to_thread(history.last_good, name)
            rows = [await asyncio.to_thread(history.last_good, name, node) for node in nodes]
        except DrcmError as error:
            log.warning("%s: %s", name, error)
            return
        if row is not None and row.ended > self.last_good.get(name, row.started):
            self.last_good[name] = row.ended
        for one in rows:
            if one is not None:
                self.lateness.recall(name, one, reign)

    async def _sync(self, name: str, *options: str) -> Outcome:
        """One run; after the one that is under way, and after held-back files were kept."""
        for before in (self._held.get(name), self._running.get(name)):
            if before is not None:
                await asyncio.wait([before])
        task = asyncio.get_running_loop().create_task(self._run(name, options))
        self._running[name] = task
        try:
            outcome = await task
        finally:
            if self._running.get(name) is task:
                del self._running[name]
        self._tell_of_conflicts(name, outcome)
        for target in _targets(outcome):
            self._note(name, str(target.get("node")), target.get("exit_code"))
        if outcome.code == EXIT_OK:
            self.last_good[name] = clock.wall()
        log.info("drcm-sync %s %s: exit %d", name, " ".join(options), outcome.code)
        return outcome

    def _note(self, name: str, node: str, exit_code: object) -> None:
        if exit_code == EXIT_OK:
            self.lateness.good(name, node, clock.now())
            self.diverged[name].discard(node)
        elif exit_code == EXIT_DIVERGED:
            self.diverged[name].add(node)

    async def _run(self, name: str, options: tuple[str, ...]) -> Outcome:
        prepared = self._prepared.pop(name, None)
        if prepared is not None and "--hand-over" in options:
            return await _or_why(self._programs.finish(prepared))
        if prepared is not None:
            self._programs.drop(prepared)
        return await _or_why(self._programs.run("drcm-sync", name, "--json", "-q", *options))

    def _tell_of_conflicts(self, name: str, outcome: Outcome) -> None:
        """What the run found on the other side and never had been sent is kept there: somebody must look."""
        for target in _targets(outcome):
            kept, differ = target.get("kept") or (), target.get("metadata")
            some = ", ".join(map(str, kept[:5])) + (", ..." if len(kept) > 5 else "")
            text = f"{len(kept)} files kept on {target.get('node')}, in .drcm/conflicts: {some}"
            if not kept:
                text = f"{differ} names on {target.get('node')} had other owners, modes or times"
            if kept or differ:
                self._problem(ac.Problem(f"conflicts:{name}", f"{text}. Look: drcm-sync {name} --conflicts"))


async def _or_why(running: Awaitable[T]) -> T | Outcome:
    """Its outcome, also where it could not even be started: no process, no memory, no program."""
    try:
        return await running
    except OSError as error:
        return Outcome(EXIT_IO, {}, f"it could not be started: {error}")
    except DrcmError as error:
        return Outcome(error.exit_code, {}, f"it could not be started: {error.what}")


def why_failed(outcome: Outcome) -> str:
    """What a run said of its end: per target in its JSON, or on standard error."""
    errors = [str(one["error"]) for one in _targets(outcome) if one.get("error")]
    return "; ".join(errors) or outcome.complaint or f"exit {outcome.code}"


def _targets(outcome: Outcome) -> list[dict[str, Any]]:
    return [one for one in outcome.answer.get("targets", []) if isinstance(one, dict)]
