"""A generation as a head, which is what beats tell of it, and back. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from drcm.cluster.messages import Head
from drcm.replication.generation import ACCEPT_LOSS, DECIDED, Generation, Position


def head_of(generation: Generation, chain: Iterable[Generation]) -> Head:
    """`chain`: where the number of its origin is looked up; what was pruned from it is in no doubt."""
    origin = generation.origin or Position("", "")
    origin_n = next((one.n for one in chain if one.id == origin.id), generation.n - 1)
    return Head(
        generation.n, generation.id, generation.writer, origin.id, origin.run, generation.started, origin_n,
        generation.why in DECIDED,
    )  # fmt: skip


def generation_of(head: Head) -> Generation:
    origin = Position(head.origin_id, head.origin_run) if head.origin_id else None
    why = ACCEPT_LOSS if head.decided else "heard"
    return Generation(head.n, head.id, head.writer, why, origin, head.started)
