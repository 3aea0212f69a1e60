"""Every way in which a set's record changes: Record -> Record, ids passed in.

Pure. Each returns a new record and raises RoleError where the step is not this node's to make.
The caller holds the set's lock and makes the result durable before it acts on it (HISTORIES R7).
"""

from __future__ import annotations

from collections.abc import Iterable

from drcm.errors import RoleError
from drcm.replication.generation import (
    CHAIN_KEPT,
    Generation,
    Given,
    Position,
    Record,
    Root,
    RunId,
    replace,
    run_number,
    settled,
)
from drcm.replication.verdict import Verdict, VerdictKind


def initial(name: str, set_uuid: str, node: str, roots: tuple[Root, ...], generation_id: str) -> Record:
    """The first record of a set, on the node whose tree it begins with (HISTORIES R21)."""
    raise NotImplementedError


def joiner(
    name: str, set_uuid: str, node: str, roots: tuple[Root, ...], *, adopted: bool = False
) -> Record:
    """A tree that never was complete. `adopted`: it holds files already, so the first pass keeps them."""
    raise NotImplementedError


def unfit(record: Record, known: Generation | None) -> str:
    """Why this copy may not be promoted by itself where `known` is the majority's head; "" = it may."""
    raise NotImplementedError


def promote(
    record: Record,
    known: Generation | None,
    generation_id: str,
    why: str = "promote",
    *,
    primary: str = "",
    accept_loss: bool = False,
) -> Record:
    """This node becomes the writer, by a new generation on the chain that the majority knows.

    `primary`: whom the set is owed to from now on, unless it is this node. `accept_loss`: a person
    said `--promote --accept-loss`, which only a tree that never was complete still refuses.
    The generation starts nothing before a majority has it durable; then `start`.
    """
    raise NotImplementedError


def start(record: Record) -> Record:
    """The writer's generation starts: durable before its first resource does."""
    raise NotImplementedError


def go_alone(record: Record, generation_id: str) -> Record:
    """A running writer goes on without its peer past T_dead (two_node)."""
    raise NotImplementedError


def resolve(record: Record, loser: Record, generation_id: str) -> Record:
    """A person decided for this tree: the loser's generations are merged, its tree becomes `ahead`."""
    raise NotImplementedError


def intend(record: Record, to: str) -> Record:
    """Hand-over step 1: the writer means to give the set to `to`."""
    raise NotImplementedError


def drop_intent(record: Record) -> Record:
    """The hand-over does not happen: the writer goes on."""
    raise NotImplementedError


def give(record: Record, to: str, generation_id: str) -> Record:
    """Hand-over step 4: a new generation whose writer is `to`, from the last run given to it."""
    raise NotImplementedError


def adopt(record: Record, head: Generation, *, primary: str = "") -> Record:
    """Hand-over step 6: this node takes the generation that was given to it."""
    raise NotImplementedError


def hear(record: Record, head: Generation) -> Record:
    """A newer head was learned from a peer: it goes on the chain and ends being the writer of an older.

    Unchanged (the same object) where the head is not newer.
    """
    raise NotImplementedError


def run_for(record: Record, peer: str, tag: str) -> RunId:
    """The id of the next run to `peer`: a run that was begun and not completed goes on under its id.

    `tag`: 4 random bytes in hex, of a new run. Each peer's runs have numbers of their own (R14).
    """
    raise NotImplementedError


def begin_run(record: Record, peer: str, run: RunId) -> Record:
    """The writer is about to give `run` to `peer`: durable before the peer may apply it."""
    raise NotImplementedError


def complete_run(record: Record, peer: str, run: RunId) -> Record:
    """`peer` has committed `run`."""
    raise NotImplementedError


def measured(record: Record, counts: Iterable[tuple[str, int, int]]) -> Record:
    """Remember (root path, files, bytes) of a complete run, for the shrink guard."""
    raise NotImplementedError


def receive_begin(tree: Record, writer: Record, run: RunId, verdict: Verdict) -> Record:
    """The receiver is about to apply `run` of `writer` (a gate's step, after `judge`)."""
    raise NotImplementedError


def receive_commit(tree: Record, run: RunId) -> Record:
    """`run` is wholly applied: the tree is what the run describes."""
    raise NotImplementedError
