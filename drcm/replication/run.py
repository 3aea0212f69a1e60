"""A run of a set on its writer, to every target. One target's failure does not stop the others."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from datetime import datetime
from types import MappingProxyType

from drcm.clock import now, wall
from drcm.errors import (
    EXIT_CONFIG,
    EXIT_DIVERGED,
    EXIT_UNAVAILABLE,
    DrcmError,
    GuardError,
    PeerError,
    RoleError,
)
from drcm.replication import again, diary, hooks, records
from drcm.replication.generation import Record
from drcm.replication.job import Job
from drcm.replication.link import Link
from drcm.replication.push import Push, TransferError
from drcm.replication.result import SyncResult, TargetResult
from drcm.replication.sources import Sources

UNREACHABLE = "unreachable"
LOCK_SECONDS = 2.0  # another run of the same set: this one is due again soon


def sync(
    job: Job,
    targets: Collection[str],
    heard: frozenset[str] | None = None,
    *,
    change: Callable[[Record], Record] = lambda record: record,
    links: Mapping[str, Link] = MappingProxyType({}),
) -> SyncResult:
    """Bring `targets` up to date; `heard`: the nodes that the daemon hears (None: nobody listens).

    `change`: of the record, under the lock, before the first target. `links`: connections opened before.
    Raises DrcmError where nothing could be done at all: not the writer, locked, a source guard.
    """
    started = now()
    lock = records.lock(job.paths.sets, job.sync_set.name, f"drcm-sync to {', '.join(targets)}", LOCK_SECONDS)
    held_lock = nullcontext(None) if job.dry_run else lock
    with held_lock as held, hooks.around(job), Sources() as sources:
        record = change(_own_record_noted(job, sources))
        results = []
        for node in targets:
            at = wall()
            push = Push(job, node, record, sources, held.fd if held else None, links.get(node))
            record, result = _one(push, heard)
            results.append(result)
            if not job.dry_run:
                _note(job, result, record.head.id, at)
    seconds = round(now() - started, 3)
    return SyncResult(record.name, job.node, record.head.n, job.dry_run, seconds, tuple(results))


def _own_record_noted(job: Job, sources: Sources) -> Record:
    """The record, its sources checked; a refusal is in the history too."""
    at = wall()
    try:
        record = own_record(job)
        sources.look(job, record)
    except DrcmError as error:
        if not job.dry_run:
            refused = TargetResult("", error.exit_code, _class(error), error.what, error.cure)
            _note(job, refused, "", at)
        raise
    return record


def _note(job: Job, result: TargetResult, generation: str, at: datetime) -> None:
    name, node = job.sync_set.name, job.node
    diary.note(job.paths, result, name=name, node=node, generation=generation, started=at)


def own_record(job: Job) -> Record:
    """This node's record, which must name it the writer."""
    name = job.sync_set.name
    record = records.current(job.paths.sets, name, job.sync_set.roots, job.node)
    if record is None:
        raise RoleError(
            f"{name} has not begun", f"Begin it on {job.sync_set.primary}: drcm-sync {name} --init"
        )
    if not record.is_writer:
        newest = record.newest
        whose = f"generation {newest.n} is {newest.writer}'s" if newest else "no generation is known here"
        raise RoleError(f"{name}: {job.node} is not the writer: {record.doubt or whose}")
    recorded = {(os.path.normpath(root.path), root.mode) for root in record.roots}
    named = {(os.path.normpath(path), "mirror") for path in job.sync_set.mirror}
    named |= {(os.path.normpath(path), "copy") for path in job.sync_set.copy}
    if recorded != named:
        differ = ", ".join(sorted(f"{mode} {path}" for path, mode in recorded ^ named))
        what = f"{name}: cm.cfg names other directories than the set began with: {differ}"
        raise DrcmError(what, "Put them back, or begin a new set for them", EXIT_CONFIG)
    return record


def _one(push: Push, heard: frozenset[str] | None) -> tuple[Record, TargetResult]:
    """One node; a line that broke is tried again with a connection of its own, under the run's own id."""
    started = now()
    if heard is not None and push.node not in heard:
        what = f"{push.node} is not heard: it gets this run's changes when it is back"
        return push.record, TargetResult(push.node, EXIT_UNAVAILABLE, UNREACHABLE, what)
    attempt = 1
    while True:
        try:
            result = push.go()
            return push.record, result
        except DrcmError as error:
            ended = error.outcome if isinstance(error, TransferError) else None
            if not again.run_again(ended, error.exit_code, attempt):
                return push.record, _failure(push, error, now() - started)
        time.sleep(again.pause(attempt, random.random()))  # noqa: S311 - only spreads the load
        attempt += 1
        push = Push(push.job, push.node, push.record, push.sources, push.lock_fd)


def _class(error: DrcmError) -> str:
    """The class of an error that is no end of an rsync, for the history."""
    if isinstance(error, GuardError):
        return "guard"
    if isinstance(error, PeerError):
        return UNREACHABLE
    return {EXIT_DIVERGED: "diverged", EXIT_CONFIG: "config"}.get(error.exit_code, "refused")


def _failure(push: Push, error: DrcmError, seconds: float) -> TargetResult:
    ended = error.outcome if isinstance(error, TransferError) else None
    total = push.plan
    return TargetResult(
        node=push.node,
        exit_code=error.exit_code,
        outcome=str(ended.kind) if ended else _class(error),
        error=error.what,
        cure=error.cure,
        run=push.run,
        created_count=total.created_count,
        changed_count=total.changed_count,
        deleted_count=total.deleted_count,
        deleted=total.deleted,
        size=total.size,
        sent=push.sent,
        seconds=round(seconds, 3),
        rsync_rc=ended.rsync_rc if ended else 0,
        failed=ended.failed if ended else (),
    )
