"""Is a database at work in a root? A copy of its files, taken while it writes them, may be no database.

PostgreSQL by the process that postmaster.pid names, InnoDB and SQLite by the locks they hold on their files:
what lies there after a clean stop, or a crash, is no live database and is copied as any file.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

DEPTH = 4  # folders below the root: /var/lib/pgsql/16/data is 2 below /var/lib/pgsql
ENTRIES = 20_000  # names looked at in all: the look is to cost no more than a moment
_FLOCK = "hhqqi4x"  # struct flock of fcntl(2) on 64-bit Linux


def find(root: str) -> tuple[str, ...]:
    """What is live in `root`, in words with its path; as far as DEPTH and ENTRIES let us look."""
    return tuple(f"{what} in {folder}" for folder, names in _folders(root) for what in _live(folder, names))


def _folders(root: str) -> Iterator[tuple[str, set[str]]]:
    """Folders with the names in them, the upper ones first. Symlinks are not followed."""
    waiting, left = [(root, 0)], ENTRIES
    while waiting and left > 0:
        folder, depth = waiting.pop(0)
        names = set()
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                left -= 1
                names.add(entry.name)
                if depth < DEPTH and entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, depth + 1))
                if left <= 0:
                    break
        yield folder, names


def _live(folder: str, names: set[str]) -> Iterator[str]:
    if {"PG_VERSION", "postmaster.pid"} <= names and _works_in(folder):
        yield "PostgreSQL"
    if "ibdata1" in names and _is_locked(os.path.join(folder, "ibdata1")):
        yield "MySQL or MariaDB (InnoDB)"
    for name in sorted(name for name in names if name.endswith("-wal")):
        if _is_locked(os.path.join(folder, f"{name.removesuffix('-wal')}-shm")):
            yield f"SQLite ({name.removesuffix('-wal')})"


def _works_in(folder: str) -> bool:
    """The process of postmaster.pid lives there: its number may have been given to another since."""
    with suppress(OSError, ValueError, IndexError):
        number = int((Path(folder) / "postmaster.pid").read_text().split()[0])
        return os.path.samefile(f"/proc/{number}/cwd", folder)
    return False


def _is_locked(path: str) -> bool:
    """Another process holds an fcntl lock on it."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind: int = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))[0]
            return kind != fcntl.F_UNLCK
        finally:
            os.close(descriptor)
    return False
