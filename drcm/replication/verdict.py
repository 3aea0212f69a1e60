"""What a writer finds on another node's tree: the table of DESIGN.md section 6, in order.

Both sides ask it: the writer before a run, and drcm-gate on the receiver, which alone decides.
Pure: standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from drcm.replication.generation import (
    Generation,
    Given,
    Position,
    Record,
    RunId,
    run_number,
    run_tag,
    settled,
)


class VerdictKind(StrEnum):
    """What may happen between the writer and the tree."""

    REFUSE = "refuse"  # not this set's tree
    JOINING = "joining"  # never complete: copy, delete nothing
    BEHIND = "behind"  # an older state: old versions go to the trash
    AHEAD = "ahead"  # holds what no run describes: all it loses goes to conflicts
    DIVERGED = "diverged"  # two histories: a person decides
    STALE_WRITER = "stale_writer"  # the tree's node knows a newer generation: the writer steps down
    EQUAL = "equal"


STALE_CURE = (  # row 7, for a person: the writer's daemon learns the newer generation by itself
    "Nothing was changed: the newer generation stands. Who serves the set now: drcm-report; "
    "is drcm-server running on every node, and do they hear each other?"
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`row` of the table, what it means, and why in the operator's words."""

    row: int
    kind: VerdictKind
    reason: str

    @property
    def may_write(self) -> bool:
        """The writer may push onto the tree."""
        return self.kind in (VerdictKind.JOINING, VerdictKind.BEHIND, VerdictKind.AHEAD, VerdictKind.EQUAL)


def judge(writer: Record, tree: Record | None) -> Verdict:
    """What `writer`, by its record, may do to the tree that `tree` describes. Never raises.

    Row 7 is asked first of the history rows: a tree that was joining or behind may know of a newer
    generation too (HISTORIES R9).
    """
    if tree is None:
        return Verdict(1, VerdictKind.REFUSE, "no record and no marker: the set has not begun there")
    found = _foreign(writer, tree) or _stale(writer, tree) or _unfinished(tree)
    return found or _compare(writer, tree)


def _foreign(writer: Record, tree: Record) -> Verdict | None:
    """Row 1, and what no set may do: write onto itself or onto a copied root."""
    reason = ""
    if tree.set_uuid != writer.set_uuid or tree.name != writer.name:
        reason = (
            f"{tree.node} has the tree of another set: {tree.name} ({tree.set_uuid}), "
            f"expected {writer.name} ({writer.set_uuid})"
        )
    elif tree.node == writer.node:
        reason = f"{tree.node} is the writer itself"
    elif not tree.roots:
        reason = f"{tree.node} has no root of {tree.name}"
    elif shared := {root.uuid for root in tree.roots} & {root.uuid for root in writer.roots}:
        reason = f"root {min(shared)} is on {writer.node} and on {tree.node}: its marker was copied along"
    return Verdict(1, VerdictKind.REFUSE, reason) if reason else None


def _stale(writer: Record, tree: Record) -> Verdict | None:
    """Row 7: by its own record or by the tree's, `writer` isn't the writer any more."""
    if not writer.is_writer:
        whose = _name(writer.head) if writer.chain else "unknown"
        reason = f"{writer.node} is not the writer of {writer.name}: its newest generation is {whose}"
        return Verdict(7, VerdictKind.STALE_WRITER, reason)
    newer = _newer_known(tree, writer.head.id)
    if not newer:
        return None
    return Verdict(
        7,
        VerdictKind.STALE_WRITER,
        f"{writer.node} is stale: it writes generation {_name(writer.head)}, "
        f"but {tree.node} knows generation {_name(newer[0])}",
    )


def _newer_known(tree: Record, head: str) -> list[Generation]:
    """Generations that `tree` knows to follow `head`, but for those of its own that it never started."""
    ids = [one.id for one in tree.chain]
    if head not in ids:
        return []
    return [one for one in tree.chain[: ids.index(head)] if one.started or one.writer != tree.node]


def _unfinished(tree: Record) -> Verdict | None:
    """Row 2; a tree that was adopted with its files holds what no run describes, so it is row 5."""
    if tree.pos is not None:
        return None
    if tree.beyond:
        reason = f"{tree.node} was adopted with files of its own: all that this pass replaces is kept"
        return Verdict(5, VerdictKind.AHEAD, reason)
    return Verdict(2, VerdictKind.JOINING, f"{tree.node} has no complete copy yet: nothing is deleted there")


def _compare(writer: Record, tree: Record) -> Verdict:
    """Rows 3 to 9 for a tree that was complete once."""
    position = tree.pos
    if position is None or not writer.knows(position.id):  # row 6
        position = settled(tree, tree.pos)
    if position is None or not writer.knows(position.id):
        return _two_histories(writer, tree, f"{tree.node} is at {_at(tree, position)}")
    forgotten = _forgotten(writer, tree, position)
    if forgotten is not None:
        return Verdict(
            3,
            VerdictKind.DIVERGED,
            f"{tree.node} has run {forgotten.run} of generation {_name(writer.head)}, which {writer.node} "
            f"doesn't remember giving it: one of the two was rolled back (a restored disk or snapshot)",
        )
    unknown = tree.newest
    if (
        unknown
        and unknown.n >= writer.head.n
        and not writer.knows(unknown.id)
        and not _own_vain(unknown, tree)
    ):
        return _two_histories(writer, tree, f"{tree.node} knows generation {_name(unknown)}")
    return _place(writer, tree, position)


def _two_histories(writer: Record, tree: Record, found: str) -> Verdict:
    """Row 8."""
    return Verdict(
        8,
        VerdictKind.DIVERGED,
        f"two histories: {writer.node} writes generation {_name(writer.head)}, but {found}, "
        f"which is not in {writer.node}'s history of {tree.name}",
    )


def _own_vain(generation: Generation, tree: Record) -> bool:
    """A generation that the tree's own node made and never started."""
    return generation.writer == tree.node and not generation.started


def _forgotten(writer: Record, tree: Record, position: Position) -> Position | None:
    """A run of the newest generation that the tree has and the writer doesn't remember (HISTORIES R13)."""
    given = writer.given.get(tree.node, Given())
    for one in (position, tree.applying):
        if one is None or one.id != writer.head.id or run_number(one.run) == 0:
            continue
        if not any(_remembers(known, one.run) for known in (given.begun, given.complete)):
            return one
    return None


def _remembers(known: RunId, run: RunId) -> bool:
    """`run` is `known`, or was before that went on under a later number."""
    return run == known or (run_tag(run) == run_tag(known) and run_number(run) < run_number(known))


def _place(writer: Record, tree: Record, position: Position) -> Verdict:
    """Rows 9, 4 and 5: the tree is somewhere on the writer's own history."""
    if not (tree.beyond or tree.applying or writer.beyond) and position == settled(writer, writer.pos):
        return Verdict(9, VerdictKind.EQUAL, f"{tree.node} is equal: both are at {_at(writer, position)}")
    ahead = _beyond(writer, tree, position)
    if ahead:
        return Verdict(5, VerdictKind.AHEAD, f"{tree.node} {ahead}: all that this pass replaces is kept")
    return Verdict(4, VerdictKind.BEHIND, f"{tree.node} is behind, at {_at(writer, position)}")


def _beyond(writer: Record, tree: Record, position: Position) -> str:
    """Why the tree may hold files that the writer never had; "" = it can't."""
    if tree.beyond:
        return tree.doubt or "may hold changes that it never sent"
    applying = tree.applying
    if applying is not None and applying.id != writer.head.id:
        return f"stopped in the middle of run {applying.run} of another generation ({_at(writer, applying)})"
    if _was_decided(writer, position):
        return f"was at {_at(writer, position)} when a person decided for another tree"
    fork = _left_at(writer, position.id)
    if fork is not None and _is_past(position.run, fork):
        return f"is at {_at(writer, position)}, past run {fork or '0'} with which the history went on"
    return ""


def _was_decided(writer: Record, position: Position) -> bool:
    """A person resolved a divergence after `position`.

    Runs given before it are not remembered any more, and one side may have been rolled back (row 3): a
    run's number alone can't tell that the tree holds nothing of its own.
    """
    decided = [index for index, one in enumerate(writer.chain) if one.why == "resolve"]
    return bool(decided) and position.id not in [one.id for one in writer.chain[: decided[0] + 1]]


def _left_at(writer: Record, generation_id: str) -> str | None:
    """The run of that generation from which the writer's history went on; None = it is still in it.

    The earliest, where several later generations began in it: a person may have promoted an older
    copy with --accept-loss. "" for a generation that was skipped or merged: any run is past it.
    """
    ids = [one.id for one in writer.chain]
    if generation_id not in ids:
        return ""
    index = ids.index(generation_id)
    origins = [one.origin for one in writer.chain[:index] if one.origin is not None]
    runs = [one.run for one in origins if one.id == generation_id]
    return min(runs, key=run_number, default="") if index else None


def _is_past(run: str, fork: str) -> bool:
    """`run` is later than `fork`, or is another run of the same number."""
    here, there = run_number(run), run_number(fork)
    return here > there or (here == there != 0 and run != fork)


def _name(generation: Generation) -> str:
    return f"{generation.n} of {generation.writer} ({generation.id[:8]})"


def _at(record: Record, position: Position | None) -> str:
    """The position in words: generation and run."""
    if position is None:
        return "no complete copy"
    found = record.generation(position.id)
    generation = _name(found) if found else position.id[:8]
    return f"generation {generation}, run {position.run or '0'}"
