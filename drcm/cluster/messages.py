"""What nodes say to each other in a beat (DESIGN.md rule 1). Pure data; `transport` carries it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

GroupKey = str  # "cmnode1/ip:web", or "cmnode1/set:testfs" for a set and what moves with it
BootId = bytes  # 16 random bytes, new at each start that does not resume a former one


class HoldState(StrEnum):
    """How far a node is with a group that it claims."""

    CLAIMING = "claiming"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    BLOCKED = "blocked"


class Echo(NamedTuple):
    """The newest beat heard of a peer: answering it is what makes that peer *heard*.

    A tuple, because it is made most often of all: 31 for each beat of 32 nodes.
    """

    boot: BootId
    beat: int


@dataclass(frozen=True, slots=True)
class Head:
    """The newest generation of a set that a voter has durably."""

    n: int
    id: str
    writer: str
    origin_id: str = ""
    origin_run: str = ""
    started: bool = False
    origin_n: int = 0  # number of the generation `origin_id`
    decided: bool = False  # a person had it made, and knew what it leaves out


@dataclass(frozen=True, slots=True)
class SetView:
    """What a node says of its own copy of a set."""

    pos_n: int  # number of the generation that its tree is in; 0 = never complete
    pos_id: str
    pos_run: str
    writer: bool  # its record names it the writer
    sole: bool  # it made its newest generation, and no other node was ever given a run of it
    complete_for: tuple[str, ...] = ()  # peers that have all of it
    failback: str = ""  # whom the set is owed to
    problem: str = ""  # why it can't be promoted: "no tree", "DIVERGED: ...", "" = it can
    diverged: tuple[str, ...] = ()  # peers whose copies are of another history, as their gates told its runs
    treeless: bool = False  # its tree is not there now; for this node alone, beats do not tell it


@dataclass(frozen=True, slots=True)
class Roll:
    """Who votes, and since which change of it."""

    epoch: int
    voters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A roll that is to follow the present one; of two, the one with the higher ballot counts."""

    ballot: int
    roll: Roll


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat: the same body for all peers, and always the whole state."""

    sender: str
    boot: BootId
    number: int  # counts beats, not datagrams
    dead_seconds: float  # T_dead that the sender counts with (HISTORIES E5)
    epoch: int  # of the roll of voters
    resumes: BootId = b""  # the boot that this one goes on from
    echo: dict[str, Echo] = field(default_factory=dict)
    unheard: tuple[str, ...] = ()  # voters not heard for T_dead
    claims: dict[GroupKey, HoldState] = field(default_factory=dict)
    released: dict[GroupKey, str] = field(default_factory=dict)  # group -> for whom ("" = anybody)
    declines: dict[GroupKey, str] = field(default_factory=dict)  # group -> reason
    grants: dict[GroupKey, str] = field(default_factory=dict)  # group -> node this voter gives it to
    heads: dict[str, Head] = field(default_factory=dict)
    sets: dict[str, SetView] = field(default_factory=dict)
    digest: str = ""  # of the config
    version: str = ""
    uptime: float = 0.0  # seconds since the sender's machine booted
    leaving: bool = False
    voters: tuple[str, ...] = ()  # of the roll
    proposal: Proposal | None = None  # what the holder of the roll's group proposes
    accepted: Proposal | None = None  # what this voter has accepted, durably
