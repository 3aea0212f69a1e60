"""What was found at a root's path, for the guards to judge. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from drcm.replication.generation import Record

PRIVATE = ".drcm"  # drcm's own folder in a root
ENTRIES_COUNTED = 1000


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
    free_files: int | None = None  # inodes; None where the file system has no limit
    read_only: bool = False
