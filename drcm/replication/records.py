"""A set's durable record on this node, its copy in each root (the marker), and its lock.

Lock first, then read; a record changes only under the lock (HISTORIES R7). Standard library only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drcm.replication.generation import Record

Seconds = float


@dataclass(frozen=True, slots=True)
class Lock:
    """The lock of a set while it is held."""

    fd: int
    path: Path


def load(sets: Path, name: str) -> Record | None:
    """The record in NAME.json as it stands, None where the set has not begun on this node."""
    raise NotImplementedError


def current(sets: Path, name: str, roots: Collection[str]) -> Record | None:
    """The record, compared with the markers in `roots`: where they differ, the tree's copy is what the
    tree is, with `doubt` and `beyond` set (HISTORIES R23). What gate, run and daemon should read.
    """
    raise NotImplementedError


def save(sets: Path, record: Record, fresh: Collection[str] = ()) -> Record:
    """Make `record` durable: NAME.json and the marker of each root that carries ours already.

    `fresh`: root paths where --init, --join or --reinit makes a marker now. Under the lock only.
    Returns the record as saved (its serial is one higher).
    """
    raise NotImplementedError


@contextmanager
def lock(
    sets: Path, name: str, purpose: str, wait: Seconds = 0.0, inheritable: bool = False
) -> Iterator[Lock]:
    """Hold the set's lock; LockedError names the holder if it is not free within `wait`.

    `inheritable`: the descriptor lives through exec, and with it the lock.
    """
    raise NotImplementedError
    yield


def evict(sets: Path, name: str) -> None:
    """End what holds the set's lock: TERM to its process group, KILL after 0.5 s.

    LockedError if it is not free within 2 s (HISTORIES R8), or is held by my own process group.
    """
    raise NotImplementedError


@contextmanager
def seize(sets: Path, name: str, purpose: str) -> Iterator[Lock]:
    """Hold the set's lock, taken from whoever has it."""
    raise NotImplementedError
    yield
