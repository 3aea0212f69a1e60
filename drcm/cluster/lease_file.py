"""`RUN_DIR/lease` and `RUN_DIR/held.json`: until when this node holds, and how to let go without the daemon.

The daemon writes deadlines by mmap, without fsync, on every granted beat; the keeper reads them.
Deadlines are CLOCK_BOOTTIME seconds (clock.now()); 0 = holds nothing, or has left cleanly.
Standard library only: the keeper imports this.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAGIC = b"DRCMLSE1"
_LAYOUT = struct.Struct("=8sQQddQ")  # magic, counter, pid, address deadline, rest deadline, counter again
_READS = 10


@dataclass(frozen=True, slots=True)
class Lease:
    """What the daemon last wrote."""

    pid: int = 0
    address_deadline: float = 0.0
    rest_deadline: float = 0.0


class LeaseFile:
    """The daemon's side. Opening keeps what a former daemon wrote: its lease goes on until it ends."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._map = _map(path, os.O_RDWR | os.O_CREAT, mmap.PROT_READ | mmap.PROT_WRITE)
        self.former_held = LeaseReader(path).held()  # what the daemon before this one may have left running
        self._held = path.with_name("held.json")
        self._counter = _LAYOUT.unpack_from(self._map)[1]

    def write(self, address_deadline: float, rest_deadline: float) -> None:
        """Publish both deadlines. About a microsecond; survives the daemon, not the machine."""
        self._counter += 1
        fields = (os.getpid(), address_deadline, rest_deadline)
        _LAYOUT.pack_into(self._map, 0, MAGIC, self._counter, *fields, self._counter)

    def write_held(self, releases: list[dict[str, Any]]) -> None:
        """Replace the list of releases, at each change of what is held. Before a start, after a stop."""
        beside = self._held.with_name(f".{self._held.name}.{os.getpid()}.new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:  # agents' parameters may be passwords
            json.dump(releases, file)
        beside.replace(self._held)

    def close(self) -> None:
        self._map.close()


class LeaseReader:
    """The keeper's side."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held = path.with_name("held.json")
        self._map: mmap.mmap | None = None
        self._last = Lease()
        self._last_held: list[dict[str, Any]] = []

    def read(self) -> Lease:
        """The newest whole record; the one before it where the daemon died in the middle of writing."""
        if self._map is None:
            try:
                self._map = _map(self._path, os.O_RDONLY, mmap.PROT_READ)
            except (FileNotFoundError, ValueError):
                return self._last
        for _ in range(_READS):
            magic, before, pid, address, rest, after = _LAYOUT.unpack(self._map[: _LAYOUT.size])
            if magic == MAGIC and before == after:
                self._last = Lease(pid, address, rest)
                break
        return self._last

    def held(self) -> list[dict[str, Any]]:
        """The releases of what is held now, the last readable list of them."""
        try:
            found = json.loads(self._held.read_text())
        except (OSError, ValueError):
            return self._last_held
        self._last_held = [release for release in found if isinstance(release, dict)]
        return self._last_held


def _map(path: Path, flags: int, protection: int) -> mmap.mmap:
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        if flags & os.O_CREAT and os.fstat(descriptor).st_size < _LAYOUT.size:
            os.ftruncate(descriptor, _LAYOUT.size)
        return mmap.mmap(descriptor, _LAYOUT.size, mmap.MAP_SHARED, protection)
    finally:
        os.close(descriptor)
