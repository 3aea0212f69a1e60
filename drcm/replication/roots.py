"""A look at one root of a set: is it there, what is mounted, what does its marker say.

Layout: ROOT/.drcm/{set.json,tmp/,trash/,conflicts/}. Standard library only. It may block where the
file system hangs: never on the heartbeat loop.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from drcm import state
from drcm.config.systemplaces import of_the_system
from drcm.errors import DrcmError, GuardError
from drcm.replication import mounts
from drcm.replication.generation import Record, Root, from_json, to_json
from drcm.replication.rootstate import ENTRIES_COUNTED, PRIVATE, RootState

MARKER = "set.json"
_OURS = (PRIVATE, ".drcm-partial", "lost+found")
PARTIAL = ".drcm-partial"  # rsync's --partial-dir, in each folder (HISTORIES R1)


def inspect(path: str | Path, mountinfo: str = mounts.MOUNTINFO) -> RootState:
    """What is at `path` now. Never raises for what it finds."""
    path = str(path)
    try:
        status = os.stat(path)
    except OSError:
        return RootState(path)
    if not stat.S_ISDIR(status.st_mode):
        return RootState(path, exists=True, device=status.st_dev)
    real, mounted = os.path.realpath(path), mounts.read(mountinfo)
    below = sorted({os.path.relpath(one.point, real) for one in mounts.below(real, mounted)})
    space = os.statvfs(path)
    uuid, marker, fault = _read_marker(Path(path))
    return RootState(
        path,
        exists=True,
        is_dir=True,
        device=status.st_dev,
        mount=mounts.place_of(real, mounted).point,
        mounts=tuple(below),
        entries=_count(path),
        uuid=uuid,
        marker=marker,
        marker_fault=fault,
        free=space.f_bfree * space.f_frsize,
        free_files=space.f_ffree if space.f_files else None,
        read_only=bool(space.f_flag & os.ST_RDONLY),
    )


def read_marker(path: str | Path) -> tuple[str, Record | None]:
    """The root's uuid and the record in its marker; ("", None) where there is none.

    DrcmError where there is one that can't be read, or a folder that is not drcm's own.
    """
    place = Path(path) / PRIVATE / MARKER
    _check_private(place.parent)
    value = state.read_json(place) if os.path.isdir(path) else None
    if value is None:
        return "", None
    try:
        return str(value["root"]), from_json(value["record"])
    except (KeyError, TypeError, ValueError) as error:
        raise DrcmError(f"{place}: is not a marker of drcm: {error!r}") from error


def _check_private(folder: Path) -> None:
    """Whoever may write to the root can put a folder or a symlink of his own in its place."""
    try:
        found = os.lstat(folder)
    except OSError:
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
        raise DrcmError(f"{folder}: expected drcm's own folder, which nobody else may write to")


def write_marker(path: str | Path, uuid: str, record: Record) -> None:
    """Replace the marker of the root `path` durably. Its folder must be there."""
    private = Path(path) / PRIVATE
    state.write_json(private / MARKER, {"schema": 1, "root": uuid, "record": to_json(record)})
    state.keep_reserve(private)


def make_marker(path: str | Path, uuid: str, record: Record) -> None:
    """Make ROOT/.drcm and the marker in it, durably. Only --init, --join and --reinit do (R21)."""
    private = Path(path) / PRIVATE
    for folder in (private, *(private / name for name in ("tmp", "trash", "conflicts"))):
        folder.mkdir(mode=0o700, exist_ok=True)
    write_marker(path, uuid, record)
    state.sync_directory(Path(path))


def describe(path: str, mode: str, uuid: str) -> Root:
    """The Root to record for the directory at `path`; GuardError if it can't be one."""
    reason = forbidden(path)
    if reason:
        raise GuardError(f"{path}: can't be a root of a set: {reason}")
    found = inspect(path)
    if not found.is_dir:
        what = "is not a directory" if found.exists else "does not exist"
        raise GuardError(
            f"{path}: expected the directory of the set, it {what}", f"Mount it, or: mkdir {path}"
        )
    return Root(path, mode, uuid, found.device, found.mounts, found.mount)


def forbidden(path: str) -> str:
    """Why `path` may not be a root ("" = it may): a set there would replace the system of its backups."""
    clean = os.path.normpath(path)
    if not path.startswith("/") or clean != path.rstrip("/"):
        return "a root is an absolute path without . or .."
    if of_the_system(clean):
        return "it belongs to the system"
    if PRIVATE in clean.split("/"):
        return f"{PRIVATE} is drcm's own"
    return ""


def _read_marker(path: Path) -> tuple[str, Record | None, str]:
    try:
        return *read_marker(path), ""
    except DrcmError as error:
        return "", None, error.what


def _count(path: str) -> int:
    """Entries, as far as ENTRIES_COUNTED. A folder that can't be listed has none."""
    count = 0
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                count += entry.name not in _OURS
                if count >= ENTRIES_COUNTED:
                    break
    except OSError:
        return 0
    return count
