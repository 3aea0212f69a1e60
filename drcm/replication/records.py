"""A set's durable record on this node, and its copy in each root, the marker.

Lock first, then read; a record changes only under the set's lock (HISTORIES R7). Standard library only.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from drcm import state
from drcm.errors import EXIT_IO, DrcmError
from drcm.replication import roots
from drcm.replication.generation import Record, Root, from_json, replace, to_json
from drcm.replication.locks import Lock, evict, lock, seize
from drcm.replication.rootstate import PRIVATE

__all__ = ["Lock", "current", "evict", "keep", "load", "lock", "save", "seize"]


def load(sets: Path, name: str) -> Record | None:
    """The record in NAME.json as it stands, None where the set has not begun on this node."""
    place = sets / f"{name}.json"
    value = state.read_json(place)
    if value is None:
        return None
    try:
        return from_json(value)
    except (KeyError, TypeError, ValueError) as error:
        raise DrcmError(
            f"{place}: is not a record of drcm: {error!r}",
            "It is never guessed at. Restore it from a backup of /var/lib/drcm, or move it away: "
            "the marker in the set's directory holds a copy.",
            EXIT_IO,
        ) from error


def current(sets: Path, name: str, paths: Collection[str], node: str = "") -> Record | None:
    """The record, compared with the markers in `paths`: where they differ, the tree's copy is what the
    tree is, with `doubt` and `beyond` set (HISTORIES R23). What gate, run and daemon read.

    `node`: who reads; markers of another node's trees count for nothing (None without a record).
    """
    record, markers = _at_one_moment(sets, name, paths, node)
    if record is None:
        if not markers:
            return None
        return _doubted(_oldest(markers), "its record was lost; this is the copy in its directory")
    # One save behind is a crash between the two writes of one save.
    strange = [one for one in markers if one != record and one.serial != record.serial - 1]
    if not strange:
        return record
    oldest = _oldest(strange)
    return _doubted(
        oldest,
        f"its record (save {record.serial}) and the copy in its directory (save {oldest.serial}) differ: "
        "one of them was restored from a backup or a snapshot",
    )


def _at_one_moment(
    sets: Path, name: str, paths: Collection[str], node: str
) -> tuple[Record | None, list[Record]]:
    """The record and its copies. Who reads without the lock may meet a save: then both are read anew."""
    record = load(sets, name)
    while True:
        markers = _markers(name, record, paths, node)
        now = load(sets, name)
        if now == record:
            return record, markers
        record = now


def _markers(name: str, record: Record | None, paths: Collection[str], node: str) -> list[Record]:
    """The copies in the roots that are there and are this node's and this set's."""
    found = []
    for path in paths:
        uuid, marker = roots.read_marker(path)
        if marker is None or marker.name != name or uuid not in {root.uuid for root in marker.roots}:
            continue
        set_uuid, owner = (record.set_uuid, record.node) if record else (marker.set_uuid, node)
        if (marker.set_uuid, marker.node) == (set_uuid, owner):
            found.append(marker)
    return found


def _oldest(markers: list[Record]) -> Record:
    return min(markers, key=lambda one: one.serial)


def _doubted(record: Record, why: str) -> Record:
    return replace(record, doubt=why, beyond=True)


def save(sets: Path, record: Record, fresh: Collection[str] = ()) -> Record:
    """Make `record` durable: NAME.json and the marker of each root that carries ours already.

    `fresh`: root paths where --init, --join or --reinit makes a marker now. Under the lock only.
    Returns the record as saved (its serial is one higher).
    """
    before = load(sets, record.name)
    if before is not None:
        _bring_on(before)
    serial = max(record.serial, before.serial if before else 0) + 1
    record = replace(record, serial=serial)
    state.write_json(sets / f"{record.name}.json", to_json(record))
    state.keep_reserve(sets)
    for root in record.roots:
        if root.path in fresh:
            roots.make_marker(root.path, root.uuid, record)
        elif _marker_of(root, record) is not None:
            roots.write_marker(root.path, root.uuid, record)
    return record


def _bring_on(record: Record) -> None:
    """No marker falls two saves behind: that would look like a restored tree (R23)."""
    for root in record.roots:
        marker = _marker_of(root, record)
        if marker is not None and marker.serial == record.serial - 1:
            roots.write_marker(root.path, root.uuid, record)


def keep(sets: Path, record: Record) -> Record:
    """`save`, but no file is written where all of them say `record` already.

    So a daemon that is only started again changes none. A killed one may have left a rename that its
    folder does not have durably: that is made good.
    """
    markers = [roots.read_marker(root.path)[1] for root in record.roots]
    if load(sets, record.name) != record or any(marker != record for marker in markers):
        return save(sets, record)
    for folder in (sets, *(Path(root.path) / PRIVATE for root in record.roots)):
        state.sync_directory(folder)
    return record


def _marker_of(root: Root, record: Record) -> Record | None:
    """What our marker says, if the root carries ours. An unmounted one never gets one here (R21)."""
    try:
        found, marker = roots.read_marker(root.path)
    except DrcmError:
        return None
    return marker if found == root.uuid and marker and marker.set_uuid == record.set_uuid else None
