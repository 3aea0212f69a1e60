"""What the engine is told (events) and what it wants done (actions). Pure data.

The daemon performs actions and answers each that has an `op` with the event that carries the same `op`.
"""

from __future__ import annotations

from dataclasses import dataclass

from drcm.cluster.messages import Beat, GroupKey, Head, Proposal, Roll, SetView
from drcm.cluster.spec import MemberKey, Spec

# --- events ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; nothing else."""


@dataclass(frozen=True, slots=True)
class BeatHeard:
    """An authentic, whole beat of a member."""

    beat: Beat


@dataclass(frozen=True, slots=True)
class Pinged:
    """One of the ping_hosts answered a ping that was sent at `sent` (CLOCK_BOOTTIME)."""

    sent: float


@dataclass(frozen=True, slots=True)
class AddressAnswered:
    """A silent node's floating address answered an ARP probe: its machine is alive."""

    node: str


@dataclass(frozen=True, slots=True)
class MemberStarted:
    """A StartMember came to its end; `error`: it failed; `futile`, here and below: it would again here."""

    group: GroupKey
    member: MemberKey
    op: int
    error: str = ""
    futile: bool = False


@dataclass(frozen=True, slots=True)
class MemberStopped:
    """A StopMember came to its end; with an `error` it may still run."""

    group: GroupKey
    member: MemberKey
    op: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class MemberFailed:
    """A running member was found broken and could not be repaired in its place."""

    group: GroupKey
    member: MemberKey
    reason: str
    futile: bool = False


@dataclass(frozen=True, slots=True)
class SetOpened:
    """OpenSet is done: the record names this node as writer, durably."""

    group: GroupKey
    name: str
    op: int
    head: Head


@dataclass(frozen=True, slots=True)
class HeadStored:
    """This voter has `head` durably."""

    name: str
    head: Head


@dataclass(frozen=True, slots=True)
class SetLooked:
    """What this node's own copy of a set is now."""

    name: str
    view: SetView


@dataclass(frozen=True, slots=True)
class StepDone:
    """A hand-over's step (Pass, Intend, Prepare, DropIntent, Give) ended. `seconds` is how long it took."""

    group: GroupKey
    op: int
    error: str = ""
    seconds: float = 0.0
    head: Head | None = None  # after Give: the generation given


@dataclass(frozen=True, slots=True)
class RollStored:
    """The roll of voters, and what is accepted for the next, are durable here."""

    roll: Roll
    accepted: Proposal | None


@dataclass(frozen=True, slots=True)
class PatienceStored:
    """The longest T_dead that words are given for is durable here (drcm.cluster.patience)."""

    seconds: float


@dataclass(frozen=True, slots=True)
class AcceptLoss:
    """A person said that the newest copy of set `name` is gone for good: this node's may be promoted."""

    name: str


@dataclass(frozen=True, slots=True)
class Move:
    """An operator moves a group that this node holds to node `to`, once (rule 11)."""

    group: GroupKey
    to: str


@dataclass(frozen=True, slots=True)
class ConfirmStopped:
    """A person has seen that a blocked member is down."""

    member: MemberKey


@dataclass(frozen=True, slots=True)
class Cleanup:
    """A person has mended what failed: failures, moves and refusals of a member's group are forgotten."""

    member: MemberKey = ""  # "" = of every group


@dataclass(frozen=True, slots=True)
class Fenced:
    """A Fence came to its end; without an `error` the node is surely down."""

    node: str
    op: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Leave:
    """The operator stops this daemon: hand over, stop, release."""


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """cm.cfg was read again and has no errors."""

    spec: Spec


Event = (
    Tick
    | BeatHeard
    | Pinged
    | AddressAnswered
    | MemberStarted
    | MemberStopped
    | MemberFailed
    | SetOpened
    | HeadStored
    | SetLooked
    | StepDone
    | RollStored
    | PatienceStored
    | AcceptLoss
    | Move
    | ConfirmStopped
    | Cleanup
    | Fenced
    | Leave
    | Reconfigured
)

# --- actions --------------------------------------------------------------------------------------


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
