"""What the engine is told. Pure data; what it wants done: drcm.cluster.actions."""

from __future__ import annotations

from dataclasses import dataclass

from drcm.cluster.messages import Beat, GroupKey, Head, Proposal, Roll, SetView
from drcm.cluster.spec import MemberKey, Spec


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
class HeadTakenBack:
    """This node made a generation in vain; its copy, and what it has durably, are back in `head`."""

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
    | HeadTakenBack
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
