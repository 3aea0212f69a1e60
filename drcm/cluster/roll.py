"""The roll of voters, and how it changes: one voter at a time (DESIGN.md rule 2, HISTORIES E6). Pure.

Two majorities of rolls that differ by one voter have a voter in common, so words stay exclusive over a
change (Raft's single-server change). A change is decided once per epoch: only the node that a majority
gave the group `ROLL` proposes, a voter accepts from nobody else, and whoever proposes takes up the
proposal with the highest ballot that the voters around it have accepted already. That is Paxos with
the grant of `ROLL` as its promise: while a voter's word is the proposer's, it accepts from no other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from drcm.cluster.messages import Beat, GroupKey, Proposal, Roll

ROLL: GroupKey = "*/roll"  # claimed by whoever wants to change the roll; nothing runs in it
SMALLEST = 3  # last_man_standing stops here: two of three or two of two, both are needed anyway
DEAD_FOR = 5.0  # x T_dead that a voter has been dead before it is taken off the roll


@dataclass(frozen=True, slots=True)
class Wish:
    """The next change that this node would make, and why."""

    voters: tuple[str, ...]
    reason: str


def wish(roll: Roll, members: tuple[str, ...], heard: set[str], gone: set[str], shrink: bool) -> Wish | None:
    """One voter more or less, towards `members` (cm.cfg); None where the roll is as it should be.

    `heard`: voters and members that are heard, this node too. `gone`: confirmed dead for long enough.
    """
    for name in members:
        if name not in roll.voters and name in heard:
            return Wish((*roll.voters, name), f"{name} is back")
    for name in roll.voters:  # not before its successor votes: of two voters both would be needed
        if name not in members and name not in heard and len(roll.voters) > min(SMALLEST, len(members)):
            return Wish(_without(roll, name), f"{name} is no longer in cm.cfg")
    for name in roll.voters:
        if shrink and name in gone and len(roll.voters) > SMALLEST:
            return Wish(_without(roll, name), f"{name} has been dead for long (last_man_standing)")
    return None


def may_accept(roll: Roll, accepted: Proposal | None, proposal: Proposal) -> bool:
    """May a voter of `roll` accept `proposal` from the node that it gave `ROLL` to?"""
    if proposal.roll.epoch != roll.epoch + 1 or len(set(proposal.roll.voters) ^ set(roll.voters)) != 1:
        return False
    return accepted is None or accepted.roll.epoch < proposal.roll.epoch or accepted.ballot < proposal.ballot


def next_proposal(
    roll: Roll, own: Proposal | None, beats: Iterable[Beat], wanted: Wish | None
) -> Proposal | None:
    """What the holder of `ROLL` proposes: what may be decided already, else what it wants itself.

    `beats` are those of voters that grant it `ROLL`: what they say was accepted before its turn.
    """
    known = [p for p in (own, *(beat.accepted for beat in beats)) if p and p.roll.epoch == roll.epoch + 1]
    newest = max(known, key=lambda proposal: proposal.ballot, default=None)
    ballot = newest.ballot + 1 if newest else 1
    if newest is not None:
        return Proposal(ballot, newest.roll)
    return Proposal(ballot, Roll(roll.epoch + 1, wanted.voters)) if wanted else None


def is_decided(roll: Roll, proposal: Proposal, own: Proposal | None, beats: Iterable[Beat], me: str) -> bool:
    """A majority of the *old* roll has accepted exactly this proposal, durably."""
    accepting = {beat.sender for beat in beats if beat.accepted == proposal}
    if own == proposal:
        accepting.add(me)
    return len(accepting & set(roll.voters)) > len(roll.voters) // 2


def is_shown(roll: Roll, beats: Iterable[Beat], me: str = "") -> bool:
    """A majority of its voters say that they go by `roll`; `me` does, and sends itself no beat."""
    showing = {beat.sender for beat in beats if (beat.epoch, beat.voters) == (roll.epoch, roll.voters)} | {me}
    return len(showing & set(roll.voters)) > len(roll.voters) // 2


def _without(roll: Roll, name: str) -> tuple[str, ...]:
    return tuple(voter for voter in roll.voters if voter != name)
