"""The trash of a set on this node: when each folder was first seen, and letting go of what is past its days.

STATE/trash/NAME.json holds the days; a folder that it does not know is new today, so a lost file only
keeps longer. It is changed under the set's lock. It deletes: never on the heartbeat loop. Standard
library only: drcm-gate asks it for room.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from drcm import state
from drcm.errors import EXIT_IO, DrcmError
from drcm.paths import Paths
from drcm.replication import days, kept, records, roots, trash
from drcm.replication.generation import Record, Root
from drcm.replication.retention import Aged, expired
from drcm.replication.rootstate import PRIVATE

LOCK_SECONDS = 30.0
STAGING_SECONDS = 2 * 86_400  # copies that an --undo fetched and did not live to remove


@dataclass(frozen=True, slots=True)
class Ledger:
    """The folders of trash that are there. `limit`: trash_size in bytes, `promised`: trash_days."""

    folders: tuple[Aged, ...] = ()
    promised: int = 1
    limit: int = 0

    @property
    def size(self) -> int:
        return sum(one.size for one in self.folders)


@dataclass(frozen=True, slots=True)
class Tidied:
    """What a tidy-up did: folders dropped and still there, and the bytes of each where they are measured."""

    dropped: tuple[str, ...]
    left: int
    size: int


def tidy(paths: Paths, name: str, record: Record, promised: int, limit: int) -> Tidied:
    """Once a counted day: note what is new, drop what is past its days (or over `limit` and past them)."""
    today = days.today(paths)
    with records.lock(paths.sets, name, "--tidy", LOCK_SECONDS):
        ledger = replace(_seen(read(paths, name), record, today), promised=promised, limit=limit)
        _write(paths, name, ledger)
    gone = expired(ledger.folders, today, promised, limit)
    for one in gone:
        _drop(record, one)
    for root in record.roots:
        _drop_staging(Path(root.path) / PRIVATE / "undo")
    with records.lock(paths.sets, name, "--tidy", LOCK_SECONDS):
        left = _seen(replace(read(paths, name)), record, today)
        _write(paths, name, left)
    return Tidied(tuple(one.label for one in gone), len(left.folders), left.size)


def need_room(paths: Paths, record: Record) -> None:
    """For a run about to begin: DrcmError if the trash is over its size and all of it is promised still.

    The caller holds the set's lock.
    """
    ledger = read(paths, record.name)
    if not ledger.limit or ledger.size < ledger.limit:
        return
    gone = expired(ledger.folders, days.today(paths), ledger.promised, ledger.limit)
    for one in gone:
        _drop(record, one)
    left = replace(ledger, folders=tuple(one for one in ledger.folders if one not in gone))
    _write(paths, record.name, left)
    if left.size >= left.limit:
        raise DrcmError(
            f"{record.name}: the trash on {record.node} has {left.size} bytes, expected less than trash_size "
            f"({left.limit}), and all of it is younger than trash_days ({left.promised} days)",
            "Nothing was changed. Raise trash_size or lower trash_days in [CM_SYNC], then on that node: "
            f"drcm-sync {record.name} --tidy",
            EXIT_IO,
        )


def note_run(paths: Paths, record: Record, labels: Iterable[str]) -> None:
    """A run has ended: its folders count at once where the trash has a size. Under the set's lock."""
    ledger = read(paths, record.name)
    if ledger.limit:
        wanted = set(labels)
        _write(paths, record.name, _seen(ledger, record, days.today(paths), wanted))


def read(paths: Paths, name: str) -> Ledger:
    """What is noted; an empty ledger where nothing is."""
    value = state.read_json(_path(paths, name))
    if value is None:
        return Ledger()
    folders = tuple(Aged(**one) for one in value["folders"])
    return Ledger(folders, value["promised"], value["limit"])


def _write(paths: Paths, name: str, ledger: Ledger) -> None:
    folders = [
        {"root": one.root, "label": one.label, "seen": one.seen, "size": one.size} for one in ledger.folders
    ]
    value = {"schema": 1, "promised": ledger.promised, "limit": ledger.limit, "folders": folders}
    state.write_json(_path(paths, name), value)


def _path(paths: Paths, name: str) -> Path:
    return paths.state / "trash" / f"{name}.json"


def _seen(ledger: Ledger, record: Record, today: int, only: set[str] | None = None) -> Ledger:
    """The ledger with what is there now. What is of today may still grow: it is measured again.

    `only`: labels to look at; the others stay as noted.
    """
    noted = {(one.root, one.label): one for one in ledger.folders}
    found = []
    for root in record.roots:
        if not _is_marked(root):  # not mounted: nothing is known of its trash
            found += [one for one in ledger.folders if one.root == root.uuid]
            continue
        for folder in trash.folders(replace(record, roots=(root,)), kept.TRASH):
            known = noted.get((root.uuid, folder.label))
            if known is None and only is not None and folder.label not in only:
                continue
            found.append(_aged(root.uuid, folder, known, today, ledger.limit))
    return replace(ledger, folders=tuple(found))


def _aged(uuid: str, folder: trash.Folder, known: Aged | None, today: int, limit: int) -> Aged:
    seen = min(known.seen, today) if known else today
    fresh = known is None or not known.size or seen == today
    size = trash.measure(folder)[1] if limit and fresh else known.size if known else 0
    return Aged(uuid, folder.label, seen, size)


def _drop(record: Record, one: Aged) -> None:
    root = next((root for root in record.roots if root.uuid == one.root), None)
    marked = root is not None and _is_marked(root)
    folder = trash.find(record, root.path, kept.TRASH, one.label) if root and marked else None
    if folder is not None:
        trash.drop(folder)


def _is_marked(root: Root) -> bool:
    return roots.read_marker(root.path)[0] == root.uuid


def _drop_staging(place: Path) -> None:
    """Copies only, so the wall clock does."""
    if place.is_dir() and not place.is_symlink():
        for one in place.iterdir():
            if time.time() - one.lstat().st_mtime > STAGING_SECONDS and not one.is_symlink():
                shutil.rmtree(one, ignore_errors=True)


def be_nice() -> None:
    """Every other process comes first."""
    os.nice(19)
