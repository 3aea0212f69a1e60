"""How a set begins on a node, begins again, and what a cut run left: `--init`, join, `--reinit`.

Only a person's command makes a marker (HISTORIES R21): a daemon that made one on an unmounted mount
point would turn the guard into a rubber stamp.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from drcm.config.model import SyncSet
from drcm.errors import GuardError, RoleError
from drcm.paths import Paths
from drcm.replication import heldback, places, records, roots, transitions
from drcm.replication.generation import Position, Record, Root, replace
from drcm.replication.rootstate import PRIVATE, RootState

HELD_BACK = "held-back"


def init(paths: Paths, sync_set: SyncSet, node: str) -> Record:
    """Begin the set on this node, whose tree it begins with (`drcm-sync NAME --init`).

    The caller has asked every node that answers whether it knows the set's name. On a set that has
    begun, directories that cm.cfg has got since are added.
    """
    _need_member(sync_set, node)
    places.check(paths, sync_set.name, sync_set.roots)
    with records.lock(paths.sets, sync_set.name, "--init"):
        record = records.current(paths.sets, sync_set.name, sync_set.roots, node)
        longer = _extend(record, sync_set, paths, adopt=False) if record else None
        if longer:
            return longer
        _need_new(paths, sync_set)
        found = _describe(sync_set)
        record = transitions.initial(sync_set.name, secrets.token_hex(16), node, found, secrets.token_hex(8))
        return records.save(paths.sets, record, fresh=sync_set.roots)


def join(paths: Paths, sync_set: SyncSet, node: str, set_uuid: str, *, adopt: bool = False) -> Record:
    """Make this node's empty (or with `adopt`, any) roots part of the set that began elsewhere.

    Joining again after a crash is no fault: a joiner of the same set is made anew.
    """
    _need_member(sync_set, node)
    places.check(paths, sync_set.name, sync_set.roots)
    with records.lock(paths.sets, sync_set.name, "--init"):
        record = records.current(paths.sets, sync_set.name, sync_set.roots, node)
        same = record is not None and record.set_uuid == set_uuid and record.pos is not None
        longer = _extend(record, sync_set, paths, adopt=adopt) if record and same else None
        if longer:
            return longer
        _need_new(paths, sync_set, set_uuid)
        found = _describe(sync_set)
        filled = [root.path for root in found if roots.inspect(root.path).entries]
        if filled and not adopt:
            raise _not_empty(sync_set.name, node, filled)
        record = transitions.joiner(sync_set.name, set_uuid, node, found, adopted=bool(filled))
        return records.save(paths.sets, record, fresh=sync_set.roots)


def reinit(paths: Paths, sync_set: SyncSet, node: str) -> Record:
    """An empty root in place of a marked one that is gone: a joiner again (HISTORIES R22).

    What this node knows of the set's generations stays; all its roots are joined anew.
    """
    places.check(paths, sync_set.name, sync_set.roots)
    with records.seize(paths.sets, sync_set.name, "--reinit"):
        record = records.current(paths.sets, sync_set.name, sync_set.roots, node)
        if record is None:
            raise RoleError(f"{sync_set.name}: not begun on {node}", f"drcm-sync {sync_set.name} --init")
        found = _describe(sync_set)
        states = [roots.inspect(root.path) for root in found]
        if all(one.uuid for one in states):
            raise GuardError(f"{sync_set.name}: all its directories carry their marker: nothing to do")
        unknown = [one.path for one in states if one.entries and not one.uuid]
        if unknown:
            raise _not_empty(sync_set.name, node, unknown)
        adopted = any(one.entries for one in states)
        blank = transitions.joiner(sync_set.name, record.set_uuid, node, found, adopted=adopted)
        blank = replace(blank, chain=record.chain, serial=record.serial)
        return records.save(paths.sets, blank, fresh=sync_set.roots)


def keep_partials(paths: Paths, sync_set: SyncSet, node: str) -> tuple[str, ...]:
    """Move files that a cut run held back to .drcm/conflicts and list them (HISTORIES R6).

    After a promotion, before its first run: that run would reuse or clear them, and they may be the
    only copies of a dead primary's newest versions. Returns their names, relative to their roots.
    """
    record = records.current(paths.sets, sync_set.name, sync_set.roots, node)
    if record is None or record.newest is None:
        return ()
    label = f"{record.head.n}-{record.head.id}-{HELD_BACK}"
    kept: list[str] = []
    for root in record.roots:
        if roots.inspect(root.path).uuid == root.uuid:
            kept += heldback.keep(Path(root.path), label)
    return tuple(kept)


def _need_member(sync_set: SyncSet, node: str) -> None:
    if node not in sync_set.nodes:
        raise RoleError(
            f"{sync_set.name}: {node} is not one of its nodes ({', '.join(sync_set.nodes)})",
            f"Run it on one of them, or name {node} in backups of [CM_SYNC].",
        )


def _need_new(paths: Paths, sync_set: SyncSet, set_uuid: str = "") -> None:
    """The set has not begun here; or it has as a joiner that never was complete, or was cut short."""
    record = records.load(paths.sets, sync_set.name)
    found = {path: roots.inspect(path) for path in sync_set.roots}
    fresh_joiner = record is not None and record.pos is None and record.set_uuid == set_uuid
    if record is not None and not (fresh_joiner or _was_cut_short(record, found)):
        raise RoleError(f"{sync_set.name}: has begun already on {record.node}", f"drcm-sync {sync_set.name}")
    for path, one in found.items():
        if one.marker_fault or (one.uuid and not fresh_joiner):
            _refuse_marker(sync_set.name, path, one)


def _was_cut_short(record: Record, found: Mapping[str, RootState]) -> bool:
    """A crash in the middle of --init: a record, but no marker yet, and no run of it."""
    untouched = record.is_sole and len(record.chain) == 1 and record.pos == Position(record.head.id, "")
    return untouched and not any(one.uuid for one in found.values())


def _refuse_marker(name: str, path: str, found: RootState) -> None:
    whose = f"{found.marker.name} on {found.marker.node}" if found.marker else found.marker_fault
    raise GuardError(
        f"{name}: {path}: expected no marker, found {path}/{PRIVATE}: {whose}",
        "If the tree was copied from there and is no set's own, delete that folder.",
    )


def _extend(record: Record, sync_set: SyncSet, paths: Paths, *, adopt: bool) -> Record | None:
    """The record with the directories that cm.cfg has got since; None where there is none."""
    known = {root.path for root in record.roots}
    new = [root for root in _describe(sync_set) if root.path not in known]
    if not new or record.doubt:
        return None
    found = {root.path: roots.inspect(root.path) for root in new}
    for path, one in found.items():
        if one.uuid or one.marker_fault:
            _refuse_marker(sync_set.name, path, one)
    filled = [path for path, one in found.items() if one.entries]
    if filled and not (adopt or record.is_writer):
        raise _not_empty(sync_set.name, record.node, filled)
    longer = replace(record, roots=(*record.roots, *new), beyond=record.beyond or bool(filled))
    return records.save(paths.sets, longer, fresh=[root.path for root in new])


def _describe(sync_set: SyncSet) -> tuple[Root, ...]:
    modes = [(path, "mirror") for path in sync_set.mirror] + [(path, "copy") for path in sync_set.copy]
    return tuple(roots.describe(path, mode, secrets.token_hex(16)) for path, mode in modes)


def _not_empty(name: str, node: str, filled: list[str]) -> GuardError:
    return GuardError(
        f"{name}: expected empty directories on {node}, found files in {', '.join(filled)}",
        "Empty them, or keep in .drcm/conflicts what the first pass replaces there: "
        f"drcm-sync {name} --init --adopt",
    )
