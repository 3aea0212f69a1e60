"""The kept versions in this node's roots: which folders there are, what is in them, and dropping one.

Names are text as `os.fsdecode` gives it. Symlinks are never followed: a planted one at .drcm or below
shows nothing. It walks folders: never on the heartbeat loop. Standard library only.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from drcm.replication.generation import Record
from drcm.replication.kept import LABEL
from drcm.replication.rootstate import PRIVATE
from drcm.replication.rsync import Change, parse_item

LIST, MANIFEST = ".list", ".manifest"  # beside a folder: rsync's own log; metadata before an `ahead` pass
_LOGGED = re.compile(rb"^[0-9/]+ [0-9:]+ \[[0-9]+\] ")  # what rsync's --log-file puts before an item


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of kept versions. `since` is its mtime, for people."""

    root: str
    kind: str  # trash | conflicts
    label: str
    since: float

    @property
    def path(self) -> Path:
        return Path(self.root) / PRIVATE / self.kind / self.label

    def beside(self, suffix: str) -> Path:
        """Its list or manifest."""
        return self.path.with_name(self.label + suffix)


@dataclass(frozen=True, slots=True)
class Entry:
    """One kept version. `deleted`: the run deleted it; else it was replaced."""

    name: str  # relative to the root
    type: str  # f file, l symlink, o other
    size: int
    mtime_ns: int
    deleted: bool = False


def folders(record: Record, kind: str) -> list[Folder]:
    """The folders of that kind in all roots, the newest first."""
    found = []
    for root in record.roots:
        place = Path(root.path) / PRIVATE / kind
        if all(_is_folder(one) for one in (place.parent, place)):
            with os.scandir(place) as entries:
                found += [
                    Folder(root.path, kind, one.name, one.stat(follow_symlinks=False).st_mtime)
                    for one in entries
                    if LABEL.fullmatch(one.name) and one.is_dir(follow_symlinks=False)
                ]
    return sorted(found, key=lambda one: one.since, reverse=True)


def find(record: Record, root: str, kind: str, label: str) -> Folder | None:
    """That folder, if it is there."""
    path = Path(root) / PRIVATE / kind / label
    real = bool(LABEL.fullmatch(label)) and all(
        _is_folder(one) for one in (path.parents[1], path.parent, path)
    )
    return Folder(root, kind, label, path.lstat().st_mtime) if real else None


def entries(folder: Folder) -> Iterator[Entry]:
    """Every kept version in it, in the order of names. Folders are not versions (HISTORIES R24)."""
    deleted = {name for change, name in listed(folder) if change is Change.DELETED}
    for where, below, names in os.walk(folder.path):
        below.sort()
        links = [name for name in below if os.path.islink(os.path.join(where, name))]
        for name in sorted([*names, *links]):
            status = os.lstat(path := os.path.join(where, name))
            relative = os.path.relpath(path, folder.path)
            yield Entry(relative, _type(status), status.st_size, status.st_mtime_ns, relative in deleted)


def listed(folder: Folder) -> Iterator[tuple[Change, str]]:
    """What rsync's own list of the attempt says; nothing where there is none."""
    try:
        with folder.beside(LIST).open("rb") as lines:
            for line in lines:
                item = parse_item(_LOGGED.sub(b"", line.rstrip(b"\n")))
                if item is not None:
                    yield item.change, item.name
    except FileNotFoundError:
        return


def noted(folder: Folder) -> int:
    """Names in the manifest beside it; 0 where there is none."""
    try:
        with folder.beside(MANIFEST).open("rb") as lines:
            return sum(1 for _ in lines)
    except FileNotFoundError:
        return 0


def measure(folder: Folder) -> tuple[int, int]:
    """(files, bytes on disk) in it."""
    files = size = 0
    for where, below, names in os.walk(folder.path):
        for name in (*below, *names):
            size += os.lstat(os.path.join(where, name)).st_blocks * 512
        files += len(names)
    return files, size


def drop(folder: Folder) -> None:
    """Remove it for good, with what lies beside it. The folder goes last: what is cut is dropped again."""
    for suffix in (LIST, MANIFEST):
        folder.beside(suffix).unlink(missing_ok=True)
    shutil.rmtree(folder.path)


def _is_folder(path: Path) -> bool:
    """A directory itself, no symlink to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _type(status: os.stat_result) -> str:
    if stat.S_ISREG(status.st_mode):
        return "f"
    return "l" if stat.S_ISLNK(status.st_mode) else "o"
