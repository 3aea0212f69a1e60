"""A look at one root of a set: is it there, what is mounted, what does its marker say.

Layout: ROOT/.drcm/{set.json,tmp/,trash/,conflicts/}. Standard library only. It may block where the
file system hangs: never on the heartbeat loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drcm.replication.generation import Record, Root

PRIVATE = ".drcm"  # drcm's own folder in a root
PARTIAL = ".drcm-partial"  # rsync's --partial-dir, in each folder (HISTORIES R1)


@dataclass(frozen=True, slots=True)
class RootState:
    """What was found at a root's path."""

    path: str
    exists: bool = False
    is_dir: bool = False
    device: int = 0  # st_dev
    mount: str = ""  # the mount point that it lies on
    mounts: tuple[str, ...] = ()  # mount points below it, relative
    entries: int = 0  # in the root itself, drcm's own and lost+found not counted, at most ENTRIES_COUNTED
    uuid: str = ""  # of the root, from its marker
    marker: Record | None = None
    marker_fault: str = ""  # why a marker that is there can't be read
    free: int = 0  # bytes for root
    read_only: bool = False


def inspect(path: str | Path) -> RootState:
    """What is at `path` now. Never raises for what it finds."""
    raise NotImplementedError


def make_marker(path: str | Path, uuid: str, record: Record) -> None:
    """Make ROOT/.drcm and the marker in it, durably."""
    raise NotImplementedError


def describe(path: str, mode: str, uuid: str) -> Root:
    """The Root to record for the directory at `path`; GuardError if it can't be one."""
    raise NotImplementedError


def forbidden(path: str) -> str:
    """Why `path` may not be a root ("" = it may)."""
    raise NotImplementedError
