"""What the engine wants done. Pure data.

The daemon performs actions and answers each that has an `op` with the event that carries the same `op`.
"""

from __future__ import annotations

from dataclasses import dataclass

from drcm.cluster.messages import Beat, GroupKey, Head, Proposal, Roll
from drcm.cluster.spec import MemberKey


@dataclass(frozen=True, slots=True)
class SendBeat:
    """To every peer, now."""

    beat: Beat


@dataclass(frozen=True, slots=True)
class StartMember:
    group: GroupKey
    member: MemberKey
    op: int
    handed: bool = False  # its former holder has just said that it let go: nobody else can have it


@dataclass(frozen=True, slots=True)
class StopMember:
    """Ends a StartMember of the same member that is still under way, too."""

    group: GroupKey
    member: MemberKey
    op: int
    urgent: bool  # the lease is over: TERM, then KILL, no graceful wait


@dataclass(frozen=True, slots=True)
class OpenSet:
    """Become writer on the record, durably; `known` is the newest generation that the cluster knows."""

    group: GroupKey
    name: str
    op: int
    known: Head | None
    accept_loss: bool = False
    above: int = 0  # the highest number known, of what will never start too


@dataclass(frozen=True, slots=True)
class StoreHead:
    """Make `head` durable here; answered by HeadStored."""

    name: str
    head: Head


@dataclass(frozen=True, slots=True)
class StorePatience:
    """Make it durable that words are given for a T_dead so long; answered by PatienceStored."""

    seconds: float


@dataclass(frozen=True, slots=True)
class StoreRoll:
    """Make both durable here; answered by RollStored."""

    roll: Roll
    accepted: Proposal | None


@dataclass(frozen=True, slots=True)
class GoAlone:
    """The writer goes on without its peers: a new generation says so. Answered by HeadStored."""

    name: str
    above: int = 0  # as of `Give`


@dataclass(frozen=True, slots=True)
class MarkDiverged:
    """This node's copy is the one that is not served: note durably that it must never be promoted."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Pass:
    """One sync run of `name` to `to`; `last` = with verification, nothing writes any more."""

    group: GroupKey
    name: str
    to: str
    op: int
    last: bool


@dataclass(frozen=True, slots=True)
class Intend:
    group: GroupKey
    name: str
    to: str
    op: int


@dataclass(frozen=True, slots=True)
class Prepare:
    """Have the last pass stand ready, connected, before the services stop: its start is no down time."""

    group: GroupKey
    name: str
    to: str
    op: int


@dataclass(frozen=True, slots=True)
class DropIntent:
    group: GroupKey
    name: str
    op: int


@dataclass(frozen=True, slots=True)
class Give:
    group: GroupKey
    name: str
    to: str
    op: int
    above: int = 0  # the highest number that anybody heard knows, of what never started too


@dataclass(frozen=True, slots=True)
class Lease:
    """Until when what is held here may be held (CLOCK_BOOTTIME); 0.0 where nothing is held."""

    addresses: float
    rest: float
    groups: tuple[GroupKey, ...] = ()  # whose addresses may live on


@dataclass(frozen=True, slots=True)
class Announce:
    """Say again whose the group's addresses are: somebody else has claimed them."""

    group: GroupKey


@dataclass(frozen=True, slots=True)
class ProbeAddresses:
    """Does any address that `node`, which is silent, holds still answer? (HISTORIES E16)"""

    node: str
    groups: tuple[GroupKey, ...]


@dataclass(frozen=True, slots=True)
class Fence:
    """Run the node's fence command; answered by Fenced."""

    node: str
    op: int


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the log and for --explain: what was decided about `subject`, and why."""

    subject: str
    text: str
    level: str = "info"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something for an alert: `key` opens or, with `over`, closes it."""

    key: str
    text: str
    over: bool = False


@dataclass(frozen=True, slots=True)
class Left:
    """Nothing is held, everybody was told: the daemon may exit."""


Action = (
    SendBeat
    | StartMember
    | StopMember
    | OpenSet
    | StoreHead
    | StoreRoll
    | StorePatience
    | GoAlone
    | MarkDiverged
    | Pass
    | Intend
    | Prepare
    | DropIntent
    | Give
    | Lease
    | Announce
    | ProbeAddresses
    | Fence
    | Note
    | Problem
    | Left
)
