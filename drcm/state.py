"""Durable small files: written beside, fsynced, renamed, and the folder fsynced.

After `write_json` returns, the new content survives a power cut; before that, the old one does.
It blocks for up to some tens of milliseconds: never on the heartbeat loop.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from drcm.errors import EXIT_IO, DrcmError


def write_bytes(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace `path` with `data` atomically and durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
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
