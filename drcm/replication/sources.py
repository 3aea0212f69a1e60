"""The roots that a run sends, held open from the moment they were looked at.

A guard says what a path was when it looked. rsync starts later; a disk that was unmounted since, or a mount
that lies over the root since, would be an empty source, and a mirror would delete everything on the other
node. So rsync is started in the very directory that was looked at. Where its name leads elsewhere by then,
rsync 3.5 fails and deletes nothing (measured: 3 for one that was unmounted, 23 for one mounted over).
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

from drcm.errors import GuardError
from drcm.replication import guards, livedata, places, roots
from drcm.replication.generation import Record, Root
from drcm.replication.job import Job


def check_sources(job: Job, record: Record) -> None:
    """Every root is the one that was recorded, mounted, marked, not empty, in no forbidden place, at rest."""
    places.check(job.paths, record.name, [root.path for root in record.roots])
    sync_set = job.sync_set
    may_be_live = sync_set.allow_live or sync_set.pre_sync or job.dry_run
    for root in record.roots:
        guards.check_source(record, root, roots.inspect(root.path), job.override)
        if not may_be_live:
            guards.check_live(record, root, livedata.find(root.path), job.override)


class Sources:
    """A context manager. For a program with one thread: to enter a root changes its working directory."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}  # path of the root -> descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def look(self, job: Job, record: Record) -> None:
        """`check_sources`, and hold them open."""
        check_sources(job, record)
        for root in record.roots:
            self._hold(record.name, root)

    def _hold(self, name: str, root: Root) -> None:
        """Open what was looked at. Its marker is read once more, through the descriptor."""
        try:
            self._open[root.path] = os.open(root.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            uuid, _ = roots.read_marker(f"/proc/self/fd/{self._open[root.path]}")
        except OSError:
            uuid = ""
        if uuid != root.uuid:
            raise GuardError(
                f"{name}: {root.path}: was unmounted, or mounted over, while it was looked at",
                f"Nothing was changed. Look: findmnt; then drcm-sync {name} --dry-run.",
            )

    def enter(self, root: Root) -> None:
        """What is started from now on works in the root that was looked at."""
        os.fchdir(self._open[root.path])
