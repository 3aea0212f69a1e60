"""Durable small files: written beside, fsynced, renamed, and the folder fsynced.

After `write_json` returns, the new content survives a power cut; before that, the old one does.
It blocks for up to some tens of milliseconds: never on the heartbeat loop.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import Any

from drcm.errors import EXIT_IO, DrcmError

RESERVE = ".reserve"
RESERVE_BYTES = 256 * 1024  # twice a set's record with its 256 generations


def write_bytes(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace `path` with `data` atomically and durably; on a full disk from the folder's reserve."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _replace(path, data, mode)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not _spend_reserve(path.parent):
            raise
        _replace(path, data, mode)


def keep_reserve(folder: Path) -> None:
    """Hold some room in `folder` for its own small files, as far as there is any now.

    A backup whose disk is full must still be able to note that it is the writer now.
    """
    place = folder / RESERVE
    with contextlib.suppress(OSError):
        if not place.exists():
            _replace(place, os.urandom(RESERVE_BYTES), 0o600)  # zeros might be kept as a hole


def _spend_reserve(folder: Path) -> bool:
    try:
        (folder / RESERVE).unlink()
    except OSError:
        return False
    return True


def _replace(path: Path, data: bytes, mode: int) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in `path` durable: a rename is not, until its folder is."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any, mode: int = 0o600) -> None:
    """Replace `path` with `value` as JSON, atomically and durably."""
    write_bytes(path, json.dumps(value, indent=1, sort_keys=True).encode() + b"\n", mode)


def read_json(path: Path) -> Any:
    """The value in `path`, or None where there is no such file. A damaged file is an error."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DrcmError(
            f"{path}: can't be read as drcm wrote it: {error}",
            "It is never guessed at. Restore it from a backup of /var/lib/drcm, "
            "or move it away and see drcm-sync(8), REINIT.",
            EXIT_IO,
        ) from error
