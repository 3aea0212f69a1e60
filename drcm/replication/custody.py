"""A node's custody of a set: look at it, become its writer, give it away, begin it.

What the daemon and the commands call; it blocks (fsync, locks), so the daemon calls it in a thread.
Every change: lock, read, decide (transitions), make durable.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from drcm.config.model import SyncSet
from drcm.errors import DrcmError, GuardError, RoleError
from drcm.paths import Paths
from drcm.replication import guards, records, roots, transitions
from drcm.replication.beginning import init, join, keep_partials, reinit
from drcm.replication.generation import Generation, Position, Record, Root, settled
from drcm.replication.roots import MARKER
from drcm.replication.rootstate import PRIVATE, RootState
from drcm.state import sync_directory

__all__ = [
    "Custody",
    "drop_intent",
    "end_pushes",
    "fingerprint",
    "give",
    "go_alone",
    "hear",
    "init",
    "intend",
    "join",
    "keep_partials",
    "look",
    "open_as_writer",
    "reinit",
    "start",
]

JOIN_SECONDS = 2.0  # for a join to end: it writes some small files


@dataclass(frozen=True, slots=True)
class Custody:
    """A node's own view of its copy."""

    head: Generation | None = None
    chain: tuple[Generation, ...] = ()
    pos_n: int = 0
    pos_id: str = ""
    pos_run: str = ""
    writer: bool = False
    sole: bool = False
    complete_for: tuple[str, ...] = ()
    failback: str = ""
    problem: str = ""
    begun: bool = False
    treeless: bool = False  # a root is not there: not mounted, or another disk lies there
    reign: tuple[str, ...] = ()  # the newest generations, as far back as they are this node's


def fingerprint(paths: Paths, sync_set: SyncSet) -> tuple[tuple[int, int] | None, ...]:
    """Of the record and its copies: another one means that somebody wrote them, or that a root is gone."""
    markers = [Path(root, PRIVATE, MARKER) for root in sync_set.roots]
    return (_written(paths.sets / f"{sync_set.name}.json"), *map(_written, markers))


def _written(place: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(place)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def look(paths: Paths, sync_set: SyncSet, node: str) -> Custody:
    """This node's copy as it stands. `problem`: why it can't be promoted. Raises nothing of drcm's."""
    try:
        record = _read(paths, sync_set, node)
    except DrcmError as error:
        return Custody(problem=error.what)
    if record is None:
        return Custody(problem=_not_begun(sync_set.name).what)
    found = _inspect(sync_set)
    position = settled(record, record.pos) or Position("", "")
    generation = record.generation(position.id)
    return Custody(
        head=record.newest,
        chain=record.chain,
        pos_n=generation.n if generation else 0,
        pos_id=position.id,
        pos_run=position.run,
        writer=record.is_writer,
        sole=record.is_sole,
        complete_for=_complete_for(record),
        failback=record.failback,
        problem=_problem(record, sync_set, found),
        begun=True,
        treeless=any(_is_gone(root, found[root.path]) for root in record.roots if root.path in found),
        reign=tuple(one.id for one in takewhile(lambda one: one.writer == node, record.chain)),
    )


def open_as_writer(
    paths: Paths,
    sync_set: SyncSet,
    node: str,
    known: Generation | None,
    new_id: str,
    *,
    accept_loss: bool = False,
    above: int = 0,
) -> Record:
    """Become the writer: the same generation, the one given to this node, or a new one. Durable.

    `known`: the newest generation that a majority of the voters has, None where it has none.
    The result's `head` must be durable on a majority before `start`; `applying` set in it means that
    the copy was in the middle of that run. LockedError: declined; GuardError: the tree isn't there;
    RoleError: this copy may not be promoted.
    """
    with _changing(paths, sync_set, node, "promotion") as record:
        _check_roots(record, sync_set, _inspect(sync_set))
        return records.keep(paths.sets, _opened(record, sync_set, known, new_id, accept_loss, above))


def _opened(
    record: Record, sync_set: SyncSet, known: Generation | None, new_id: str, accept_loss: bool, above: int
) -> Record:
    # Voters that have a vain generation of a higher number would never show `known`.
    outnumbered = known is not None and above > known.n
    if record.is_writer and not outnumbered and (known is None or record.knows(known.id)):
        return transitions.drop_intent(record)
    here = settled(record, record.pos)
    given = known is not None and known.writer == record.node and here is not None and known.origin == here
    if known is not None and given and not (outnumbered or record.applying or record.doubt):
        return transitions.adopt(record, known, primary=sync_set.primary)
    to = sync_set.primary
    return transitions.promote(record, known, new_id, primary=to, accept_loss=accept_loss, above=above)


def start(paths: Paths, sync_set: SyncSet, node: str) -> Record:
    """A majority has the generation: it starts. Before the first resource does."""
    with _changing(paths, sync_set, node, "start") as record:
        return records.keep(paths.sets, transitions.start(record))


def go_alone(paths: Paths, sync_set: SyncSet, node: str, new_id: str, *, above: int = 0) -> Record:
    """This running writer goes on without its peer past T_dead (two_node)."""
    with _changing(paths, sync_set, node, "going on alone") as record:
        return records.save(paths.sets, transitions.go_alone(record, new_id, above))


def hear(paths: Paths, name: str, head: Generation) -> Record | None:
    """A newer head was learned: durable here; what still pushes or receives an older one ends (R9).

    Call it with a head that a majority has, that has started, or that was given to this node: it ends
    being the writer of an older one. Nothing is touched where the record knows it already.
    """
    record = records.load(paths.sets, name)
    if record is None or transitions.hear(record, head) is record:
        return record
    purpose = f"generation {head.n} of {head.writer}"
    # A joiner has nothing older under way: what holds its lock is --init's join, still writing the markers.
    # Nor is anything older where only `started` is new: what runs then is of this very generation.
    nothing_older = record.newest is None or record.newest.id == head.id
    wait = records.lock(paths.sets, name, purpose, JOIN_SECONDS)
    with wait if nothing_older else records.seize(paths.sets, name, purpose):
        record = records.load(paths.sets, name)
        if record is None:
            return None
        heard = transitions.hear(record, head)
        return record if heard is record else records.save(paths.sets, heard)


def intend(paths: Paths, sync_set: SyncSet, node: str, to: str) -> Record:
    """Hand-over step 1: this writer means to give the set to `to`."""
    with _changing(paths, sync_set, node, f"hand-over to {to}") as record:
        return records.save(paths.sets, transitions.intend(record, to))


def drop_intent(paths: Paths, sync_set: SyncSet, node: str) -> Record:
    """The hand-over does not happen: this writer goes on. Whoever holds the lock is not ended for nothing."""
    noted = records.load(paths.sets, sync_set.name)
    if noted is not None and not noted.giving:
        return noted
    with _changing(paths, sync_set, node, "end of the hand-over") as record:
        return records.save(paths.sets, transitions.drop_intent(record))


def give(paths: Paths, sync_set: SyncSet, node: str, to: str, new_id: str, *, above: int = 0) -> Record:
    """Hand-over step 4: from here on `to` is the writer, by the generation in the result's `head`.

    It stands once the record is durable, whatever becomes of the markers: no error may say otherwise.
    """
    with _changing(paths, sync_set, node, f"hand-over to {to}") as record:
        given = transitions.give(record, to, new_id, above)
        try:
            return records.save(paths.sets, given)
        except OSError:
            stored = records.load(paths.sets, sync_set.name)
            if stored is None or stored.head.id != new_id:
                raise
            sync_directory(paths.sets)
            return stored


def mark_doubtful(paths: Paths, sync_set: SyncSet, node: str, why: str) -> Record:
    """This copy is not to be promoted or served, by `why` (a divergence); its tree is left untouched."""
    with _changing(paths, sync_set, node, "divergence") as record:
        return records.save(paths.sets, replace(record, doubt=why, beyond=True))


def end_pushes(paths: Paths, name: str) -> None:
    """End whatever holds the set's lock on this node: the lease is lost."""
    records.evict(paths.sets, name)


# -- reading and changing --------------------------------------------------------------------------


@contextmanager
def _changing(paths: Paths, sync_set: SyncSet, node: str, purpose: str) -> Iterator[Record]:
    """The record under its lock, taken from whoever holds it; RoleError if the set has not begun here."""
    with records.seize(paths.sets, sync_set.name, purpose):
        record = _read(paths, sync_set, node)
        if record is None:
            raise _not_begun(sync_set.name)
        yield record


def _read(paths: Paths, sync_set: SyncSet, node: str) -> Record | None:
    return records.current(paths.sets, sync_set.name, sync_set.roots, node)


def _not_begun(name: str) -> RoleError:
    return RoleError(f"not begun: drcm-sync {name} --init", "On the node that has the files.")


def _inspect(sync_set: SyncSet) -> dict[str, RootState]:
    """What is at the roots of cm.cfg now."""
    return {path: roots.inspect(path) for path in sync_set.roots}


def _problem(record: Record, sync_set: SyncSet, found: Mapping[str, RootState]) -> str:
    try:
        _check_roots(record, sync_set, found)
    except GuardError as error:
        return error.what
    if record.doubt:
        return f"in doubt: {record.doubt}"
    return "no complete copy yet" if record.pos is None else ""


def _check_roots(record: Record, sync_set: SyncSet, found: Mapping[str, RootState]) -> None:
    """GuardError unless all roots of cm.cfg, as they were `found`, are the recorded ones."""
    recorded = {root.path: root for root in record.roots}
    for path, state in found.items():
        if path not in recorded:
            raise GuardError(
                f"{sync_set.name}: {path}: in cm.cfg, but not in the set's record on {record.node}",
                f"It takes part after: drcm-sync {sync_set.name} --init",
            )
        guards.check_root(record, recorded[path], state)


def _is_gone(root: Root, state: RootState) -> bool:
    """Neither its marker nor the device that it was on. A marker that somebody deleted is no such case, and
    one that can't be read says nothing."""
    strange = state.uuid != root.uuid and state.device != root.device
    return not state.exists or (strange and not state.marker_fault)


def _complete_for(record: Record) -> tuple[str, ...]:
    """Peers whose last run of the newest generation was completed."""
    return tuple(
        peer for peer, given in record.given.items() if given.begun and given.begun == given.complete
    )
