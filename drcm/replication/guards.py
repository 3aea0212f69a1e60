"""The guards: what must be true of source and target before a file is touched. Pure.

Each refusal is a GuardError that says what was expected and found, the usual causes, the safe next
command, and the one-time override `--override=GUARD`.
"""

from __future__ import annotations

from collections.abc import Collection

from drcm.replication.generation import Record, Root
from drcm.replication.roots import RootState

OVERRIDES = ("mount", "mounts", "empty", "shrink", "room", "delete")


def check_root(record: Record, root: Root, state: RootState, overrides: Collection[str] = ()) -> None:
    """The root is the one that was recorded: there, marked, on its mount, mounts below it all there."""
    raise NotImplementedError


def check_source(record: Record, root: Root, state: RootState, overrides: Collection[str] = ()) -> None:
    """`check_root`, and not empty though runs of it were completed."""
    raise NotImplementedError


def check_shrink(
    name: str, root: Root, files: int, max_shrink_percent: float, overrides: Collection[str] = ()
) -> None:
    """The source has not lost more than `max_shrink_percent` of its files since the last complete run."""
    raise NotImplementedError


def check_target(
    record: Record, root: Root, state: RootState, needed: int = 0, overrides: Collection[str] = ()
) -> None:
    """`check_root`, writable, and room for `needed` bytes."""
    raise NotImplementedError
