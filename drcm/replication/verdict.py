"""What a writer finds on another node's tree: the table of DESIGN.md section 6, in order.

Both sides ask it: the writer before a run, and drcm-gate on the receiver, which alone decides.
Pure: standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from drcm.replication.generation import Generation, Given, Position, Record, run_number, settled


class VerdictKind(StrEnum):
    """What may happen between the writer and the tree."""

    REFUSE = "refuse"  # not this set's tree
    JOINING = "joining"  # never complete: copy, delete nothing
    BEHIND = "behind"  # an older state: old versions go to the trash
    AHEAD = "ahead"  # holds what no run describes: all it loses goes to conflicts
    DIVERGED = "diverged"  # two histories: a person decides
    STALE_WRITER = "stale_writer"  # the tree's node knows a newer generation: the writer steps down
    EQUAL = "equal"


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
    """What `writer`, by its record, may do to the tree that `tree` describes. Never raises."""
    raise NotImplementedError
