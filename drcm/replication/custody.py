"""A node's custody of a set: look at it, become its writer, give it away, begin it.

What the daemon and the commands call; it blocks (fsync, locks), so the daemon calls it in a thread.
Every change: lock, read, decide (transitions), make durable.
"""

from __future__ import annotations

from dataclasses import dataclass

from drcm.config.model import SyncSet
from drcm.paths import Paths
from drcm.replication.generation import Generation, Record


@dataclass(frozen=True, slots=True)
class Custody:
    """A node's own view of its copy."""

    head: Generation | None = None
    pos_n: int = 0
    pos_id: str = ""
    pos_run: str = ""
    writer: bool = False
    sole: bool = False
    complete_for: tuple[str, ...] = ()
    failback: str = ""
    problem: str = ""
    begun: bool = False


def look(paths: Paths, sync_set: SyncSet, node: str) -> Custody:
    """This node's copy as it stands. `problem`: why it can't be promoted."""
    raise NotImplementedError


def open_as_writer(
    paths: Paths,
    sync_set: SyncSet,
    node: str,
    known: Generation | None,
    new_id: str,
    *,
    accept_loss: bool = False,
) -> Record:
    """Become the writer: the same generation, the one given to this node, or a new one. Durable."""
    raise NotImplementedError


def start(paths: Paths, sync_set: SyncSet, node: str) -> Record:
    """A majority has the generation: it starts. Before the first resource does."""
    raise NotImplementedError


def go_alone(paths: Paths, sync_set: SyncSet, node: str, new_id: str) -> Record:
    raise NotImplementedError


def hear(paths: Paths, name: str, head: Generation) -> Record | None:
    """A newer head, known to a majority: durable here; ends what still pushes or receives an older."""
    raise NotImplementedError


def intend(paths: Paths, sync_set: SyncSet, node: str, to: str) -> Record:
    raise NotImplementedError


def drop_intent(paths: Paths, sync_set: SyncSet, node: str) -> Record:
    raise NotImplementedError


def give(paths: Paths, sync_set: SyncSet, node: str, to: str, new_id: str) -> Record:
    raise NotImplementedError


def end_pushes(paths: Paths, name: str) -> None:
    """End whatever holds the set's lock on this node: the lease is lost."""
    raise NotImplementedError


def init(paths: Paths, sync_set: SyncSet, node: str) -> Record:
    """Begin the set on this node, whose tree it begins with (`drcm-sync NAME --init`)."""
    raise NotImplementedError


def join(paths: Paths, sync_set: SyncSet, node: str, set_uuid: str, *, adopt: bool = False) -> Record:
    """Make this node's empty (or with `adopt`, any) roots part of the set that began elsewhere."""
    raise NotImplementedError


def reinit(paths: Paths, sync_set: SyncSet, node: str) -> Record:
    """An empty root in place of a marked one that is gone: a joiner again (HISTORIES R22)."""
    raise NotImplementedError


def keep_partials(paths: Paths, sync_set: SyncSet, node: str) -> tuple[str, ...]:
    """Move files that a cut run held back to .drcm/conflicts and list them (HISTORIES R6).

    After a promotion, before its first run. Returns the names, relative to their roots.
    """
    raise NotImplementedError
