"""Where the engine's decisions on sets meet replication's records and `drcm-sync` (wiring).

Everything durable happens in worker threads: an fsync on the main loop would be a late heartbeat.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Coroutine, Hashable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from drcm import clock
from drcm.cluster import actions as ac
from drcm.cluster import events as ev
from drcm.cluster.heads import generation_of, head_of
from drcm.cluster.heads_file import HeadsFile
from drcm.cluster.messages import Head, SetView
from drcm.cluster.programs import Programs
from drcm.cluster.realtime import raise_thread
from drcm.cluster.setruns import SetRuns
from drcm.config.model import Cluster, SyncSet
from drcm.errors import DrcmError
from drcm.paths import Paths
from drcm.replication import custody, days
from drcm.state import keep_reserve

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25  # how often this node's records are looked for: drcm-sync and drcm-gate write them too
WHOLE_LOOK = 2.0  # seconds: the roots are looked at this often, also where no record was written
FIRST_RUN_SECONDS = 2.0  # after becoming writer: the others' copies are of an older generation till then
WORKERS = 4
COUNT_SECONDS = 3600.0  # between two looks at how long this daemon has run
FIRST_TIDY_SECONDS = 15.0  # after its start: cm.cfg may name other limits now

T = TypeVar("T")
Feed = Callable[[ev.Event], None]


class SetKeeping:
    """The sets of this node. All methods are for the main loop and return at once."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        me: str,
        paths: Paths,
        feed: Feed,
        programs: Programs,
        problem: Callable[[ac.Problem], None],
        due: Callable[[str], None],
    ) -> None:
        self.cluster, self.me, self.paths, self.feed = cluster, me, paths, feed
        self.runs = SetRuns(programs, paths, problem, me)
        self._due = due
        self._looked: dict[str, custody.Custody] = {}
        self._views: dict[str, SetView] = {}  # what the engine was told last
        self._made: dict[str, str] = {}  # the generation that this daemon made last, of each set
        self._seen: dict[str, tuple[Hashable, float]] = {}  # the records' fingerprint; when a look is due
        self._tasks: set[asyncio.Task[Any]] = set()
        self._workers = ThreadPoolExecutor(WORKERS, "drcm-set", initializer=raise_thread)
        self._heads = HeadsFile(paths.heads)

    # --- at the start -------------------------------------------------------------------------

    def load(self) -> list[ev.Event]:
        """What is durable here, read before the loop runs."""
        self._heads.load()
        found: list[ev.Event] = []
        for sync_set in self._own_sets():
            look = custody.look(self.paths, sync_set, self.me)
            self._looked[sync_set.name] = look
            self._views[sync_set.name] = view = view_of(look)
            if look.head is not None:
                head = head_of(look.head, look.chain)
                self._heads.note(sync_set.name, head)
                self._heads.take_back(sync_set.name, head, self.me)
            found.append(ev.SetLooked(sync_set.name, view))
        return [ev.HeadStored(name, head) for name, head in self._heads.heads.items()] + found

    def start(self) -> None:
        self._workers.submit(keep_reserve, self.paths.state)
        self._spawn(self._keep_looking())
        self._spawn(self._keep_days())
        for sync_set in self._own_sets():
            look = self._looked[sync_set.name]
            self._spawn(self.runs.recall_last_good(sync_set.name, sync_set.nodes, look.reign))

    async def close(self) -> None:
        await self.runs.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._workers.shutdown(wait=False, cancel_futures=True)

    def reconfigure(self, cluster: Cluster) -> None:
        self.cluster = cluster

    # --- the engine's actions -----------------------------------------------------------------

    def open(self, action: ac.OpenSet) -> None:
        self._spawn(self._open(action))

    def start_set(self, action: ac.StartMember) -> None:
        self._spawn(self._start_set(action))

    def stop_set(self, action: ac.StopMember) -> None:
        self._spawn(self._stop_set(action))

    def store_head(self, action: ac.StoreHead) -> None:
        self._spawn(self._store_head(action.name, action.head))

    def go_alone(self, action: ac.GoAlone) -> None:
        self._spawn(self._go_alone(action))

    def mark_diverged(self, action: ac.MarkDiverged) -> None:
        self._spawn(self._mark_diverged(action))

    def prepare(self, action: ac.Prepare) -> None:
        self._spawn(self._prepare(action))

    def step(self, action: ac.Intend | ac.DropIntent | ac.Give) -> None:
        self._spawn(self._step(action))

    def run_pass(self, action: ac.Pass) -> None:
        self._spawn(self._pass(action))

    def run_scheduled(self, name: str, targets: list[str]) -> asyncio.Task[bool] | None:
        """The set is due, this node writes it, `targets` are heard. What still runs is not started twice."""
        if self.runs.is_running(name):
            self.runs.skip(name, "the last one is still running")
        elif targets:
            return self._spawn(self._scheduled(name, targets))
        return None

    # --- how ------------------------------------------------------------------------------------

    async def _open(self, action: ac.OpenSet) -> None:
        sync_set = self.cluster.set(action.name)
        known = generation_of(action.known) if action.known else None
        member = f"set:{action.name}"
        try:
            opening = partial(custody.open_as_writer, accept_loss=action.accept_loss, above=action.above)
            new_id = os.urandom(8).hex()
            record = await self._work(opening, self.paths, sync_set, self.me, known, new_id)
            head = head_of(record.head, record.chain)
            await self._work(self._heads.store, action.name, head)
            self._made[action.name] = head.id
            await self._look(sync_set)
        except DrcmError as error:
            self.feed(ev.MemberStarted(action.group, member, action.op, str(error)))
            return
        self.feed(ev.SetOpened(action.group, action.name, action.op, head))

    async def _start_set(self, action: ac.StartMember) -> None:
        name = action.member.partition(":")[2]
        error = ""
        try:
            record = await self._work(custody.start, self.paths, self.cluster.set(name), self.me)
            await self._store_own(name, head_of(record.head, record.chain))
            self.runs.hold_until(name, self._spawn(self._keep_partials(name)))
            asyncio.get_running_loop().call_later(FIRST_RUN_SECONDS, self._due, name)
        except DrcmError as problem:
            error = str(problem)
        self.feed(ev.MemberStarted(action.group, action.member, action.op, error))

    async def _keep_partials(self, name: str) -> None:
        """What a cut run held back is kept before the first own run could use it (HISTORIES R6)."""
        try:
            kept = await self._work(custody.keep_partials, self.paths, self.cluster.set(name), self.me)
        except DrcmError as error:
            log.error("%s: held-back files could not be kept: %s", name, error)
            return
        if kept:
            log.warning("%s: %d files that a cut run held back are in .drcm/conflicts", name, len(kept))

    async def _stop_set(self, action: ac.StopMember) -> None:
        name = action.member.partition(":")[2]
        self.runs.cancel(name)
        error = ""
        try:
            await self._work(custody.end_pushes, self.paths, name)
        except DrcmError as problem:
            error = str(problem)
        self.feed(ev.MemberStopped(action.group, action.member, action.op, error))

    async def _store_head(self, name: str, head: Head) -> None:
        try:
            await self._work(self._heads.store, name, head)
            if (head.started or head.writer == self.me) and any(s.name == name for s in self._own_sets()):
                await self._work(custody.hear, self.paths, name, generation_of(head))
                await self._look(self.cluster.set(name))
        except DrcmError as error:
            log.error("%s: generation %d could not be stored: %s", name, head.n, error)
            return
        self.feed(ev.HeadStored(name, head))

    async def _store_own(self, name: str, head: Head) -> None:
        """A head that this node's own record already has."""
        await self._work(self._heads.store, name, head)
        await self._look(self.cluster.set(name))
        self.feed(ev.HeadStored(name, head))

    async def _store_given(self, name: str, head: Head) -> None:
        """A gift stands from the record on (table, row 4): no error may lead back to serving here."""
        while True:
            try:
                return await self._store_own(name, head)
            except DrcmError as error:
                log.error("%s: generation %d could not be stored yet: %s", name, head.n, error)
                await asyncio.sleep(LOOK_SECONDS)

    async def _go_alone(self, action: ac.GoAlone) -> None:
        sync_set, going = self.cluster.set(action.name), partial(custody.go_alone, above=action.above)
        try:
            record = await self._work(going, self.paths, sync_set, self.me, os.urandom(8).hex())
            await self._store_own(action.name, head_of(record.head, record.chain))
        except DrcmError as error:
            log.error("%s: could not begin a generation of its own: %s", action.name, error)

    async def _mark_diverged(self, action: ac.MarkDiverged) -> None:
        sync_set = self.cluster.set(action.name)
        try:
            await self._work(custody.mark_doubtful, self.paths, sync_set, self.me, action.why)
        except DrcmError as error:
            log.error("%s: %s", action.name, error)
        await self._look_again(sync_set)

    async def _step(self, action: ac.Intend | ac.DropIntent | ac.Give) -> None:
        sync_set = self.cluster.set(action.name)
        head = None
        try:
            match action:
                case ac.Intend():
                    await self._work(custody.intend, self.paths, sync_set, self.me, action.to)
                case ac.DropIntent():
                    self.runs.drop_prepared(action.name)
                    await self._work(custody.drop_intent, self.paths, sync_set, self.me)
                case ac.Give():
                    give = partial(custody.give, above=action.above)
                    new_id = os.urandom(8).hex()
                    record = await self._work(give, self.paths, sync_set, self.me, action.to, new_id)
                    head = head_of(record.head, record.chain)
                    await self._store_given(action.name, head)
        except DrcmError as error:
            self.feed(ev.StepDone(action.group, action.op, str(error)))
            return
        await self._look_again(sync_set)
        self.feed(ev.StepDone(action.group, action.op, head=head))

    async def _pass(self, action: ac.Pass) -> None:
        begun = clock.now()
        error = await self.runs.hand_over(action.name, action.to, action.last)
        await self._look_again(self.cluster.set(action.name))
        self.feed(ev.StepDone(action.group, action.op, error, clock.now() - begun))

    async def _scheduled(self, name: str, targets: list[str]) -> bool:
        good = await self.runs.scheduled(name, targets)
        await self._look_again(self.cluster.set(name))
        return good

    async def _prepare(self, action: ac.Prepare) -> None:
        error = await self.runs.prepare(action.name, action.to)
        self.feed(ev.StepDone(action.group, action.op, error))

    async def _keep_looking(self) -> None:
        while True:
            mine = self._own_sets()
            for sync_set in await self._work(self._changed, mine) if mine else ():
                await self._look_again(sync_set)
            await asyncio.sleep(LOOK_SECONDS)

    def _changed(self, sets: list[SyncSet]) -> list[SyncSet]:
        """Those whose records were written since they were asked for last, or that are due (in a worker)."""
        found = []
        for sync_set in sets:
            written, due = self._seen.get(sync_set.name, ((), 0.0))
            now_written = custody.fingerprint(self.paths, sync_set)
            if now_written != written or clock.now() >= due:
                self._seen[sync_set.name] = now_written, clock.now() + WHOLE_LOOK
                found.append(sync_set)
        return found

    async def _keep_days(self) -> None:
        """Days are counted by how long a daemon runs here, never by the wall clock (HISTORIES R19)."""
        await asyncio.sleep(FIRST_TIDY_SECONDS)
        untidy = await self._tidy([sync_set.name for sync_set in self._own_sets()])
        while True:
            begun = clock.now()
            await asyncio.sleep(COUNT_SECONDS)
            try:
                if await self._work(days.count, self.paths, clock.now() - begun):
                    untidy = [sync_set.name for sync_set in self._own_sets()]
            except DrcmError as error:
                log.error("%s", error)
            untidy = await self._tidy(untidy)

    async def _tidy(self, names: list[str]) -> list[str]:
        """Those whose trash could not be looked through: a long run of the set holds its lock."""
        return [name for name in names if not await self.runs.tidy(name)]

    async def _look_again(self, sync_set: SyncSet) -> None:
        """What can't be stored now is seen at the next look: whoever waits for an answer gets it first."""
        try:
            await self._look(sync_set)
        except DrcmError as error:
            log.error("%s: %s", sync_set.name, error)

    async def _look(self, sync_set: SyncSet) -> None:
        if self.me not in sync_set.nodes:
            return
        look = await self._work(custody.look, self.paths, sync_set, self.me)
        await self._learn(sync_set.name, look)
        if self._is_back(sync_set.name, look):
            await self._take_back(sync_set)
        former = self._looked.get(sync_set.name)
        # Looks may overlap: nothing is awaited between the two, or the engine could keep an older one.
        self._looked[sync_set.name] = look
        if former is not None and former.head != look.head:
            self.runs.diverged[sync_set.name].clear()  # that was of another generation
        view = view_of(look, self.runs.diverged[sync_set.name])
        if self._views.get(sync_set.name) != view:
            self._views[sync_set.name] = view
            self.feed(ev.SetLooked(sync_set.name, view))
        if former is not None and former != look:
            await self.runs.recall_last_good(sync_set.name, sync_set.nodes, look.reign)

    async def _learn(self, name: str, look: custody.Custody) -> None:
        """The record may be ahead of the list of heads: `drcm-sync --init`, a crash between the two."""
        if look.head is not None:
            head = head_of(look.head, look.chain)
            if self._heads.is_news(name, head) and await self._work(self._heads.learn, name, head):
                self.feed(ev.HeadStored(name, head))

    def _is_back(self, name: str, look: custody.Custody) -> bool:
        """Its copy has left the generation that was made here: another's run came, for it never started."""
        return look.head is not None and self._made.get(name, look.head.id) != look.head.id

    async def _take_back(self, sync_set: SyncSet) -> None:
        """By a new look: the one that saw it may be older than the generation."""
        look = await self._work(custody.look, self.paths, sync_set, self.me)
        if look.head is None or not self._is_back(sync_set.name, look):
            return
        del self._made[sync_set.name]
        head = head_of(look.head, look.chain)
        if await self._work(self._heads.take_back, sync_set.name, head, self.me):
            log.info("%s: generation taken back, it never started: %d is the newest", sync_set.name, head.n)
            self.feed(ev.HeadTakenBack(sync_set.name, head))

    def _own_sets(self) -> list[SyncSet]:
        return [s for s in self.cluster.sets if self.me in s.nodes]

    async def _work(self, what: Callable[..., T], *arguments: Any) -> T:
        """In a worker thread. A disk that fails is a DrcmError like any other: the engine must hear of it."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._workers, partial(what, *arguments))
        except OSError as error:
            raise DrcmError(f"{error.filename or self.paths.state}: {error.strerror or error}") from error

    def _spawn(self, job: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_log_failure)
        return task


def view_of(look: custody.Custody, diverged: Collection[str] = ()) -> SetView:
    """`diverged`: the nodes whose gates refused a run of this copy's, for theirs has another history."""
    return SetView(
        pos_n=look.pos_n,
        pos_id=look.pos_id,
        pos_run=look.pos_run,
        writer=look.writer,
        sole=look.sole,
        complete_for=look.complete_for,
        failback=look.failback,
        problem=look.problem,
        diverged=tuple(sorted(diverged)) if look.writer else (),
        treeless=look.treeless,
    )


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a task of the sets failed", exc_info=task.exception())
