"""The record of a sync set on one node: which generations there were, and what its tree is.

A bare generation number can't tell *behind* from *diverged*; a chain of random ids can
(HISTORIES R10). Pure: standard library only, because drcm-gate must start in milliseconds.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, replace
from typing import Any

CHAIN_KEPT = 256  # generations: years of weekly failovers

_RUN = re.compile(r"([0-9]+(-[0-9A-Za-z]+)?)?", re.ASCII)

RunId = str  # "40-1a2b3c4d": the run's number in its generation and 4 random bytes (HISTORIES R13)


ACCEPT_LOSS = "accept-loss"
DECIDED = (ACCEPT_LOSS, "resolve")  # reasons of generations that a person had made, whatever they leave out


@dataclass(frozen=True, slots=True)
class Position:
    """What a tree holds: generation `id` up to and including `run` ("" or "0" = none of it yet)."""

    id: str
    run: RunId


@dataclass(frozen=True, slots=True)
class Generation:
    """One period in which one node wrote: `id` is 64 random bits in hex."""

    n: int
    id: str
    writer: str
    why: str  # init | promote | accept-loss | alone | handover | resolve | heard
    origin: Position | None = None  # the tree it began with ("from" in DESIGN.md)
    started: bool = False
    merged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Root:
    """One directory of the set on this node."""

    path: str
    mode: str  # mirror | copy
    uuid: str  # of this root; never copied to another node
    device: int  # st_dev when recorded
    mounts: tuple[str, ...] = ()  # mount points below it, relative
    mount: str = ""  # the mount point that it lay on when recorded
    files: int = 0  # at the last complete run; 0 = not counted yet
    size: int = 0  # bytes, as files


@dataclass(frozen=True, slots=True)
class Given:
    """What one peer was given in the newest generation: begun is durable before it may apply."""

    begun: RunId = ""
    complete: RunId = ""


@dataclass(frozen=True, slots=True)
class Record:
    """All that a node knows durably of one set. `chain` is newest first."""

    name: str
    set_uuid: str
    node: str
    chain: tuple[Generation, ...]
    roots: tuple[Root, ...] = ()
    pos: Position | None = None  # None: never complete (a joiner)
    applying: Position | None = None
    beyond: bool = False  # the tree may hold what no run describes
    given: dict[str, Given] = field(default_factory=dict)
    failback: str = ""  # the node that is owed the set; never expires
    giving: str = ""  # hand-over intent: to whom
    serial: int = 0  # counts saves: tells a crash between two copies from a restored one (R23)
    doubt: str = ""  # why this record can't be trusted to describe its tree; never a writer with it

    @property
    def head(self) -> Generation:
        """The newest generation known here. Only for a record with a chain: a joiner has none yet."""
        return self.chain[0]

    @property
    def newest(self) -> Generation | None:
        """As `head`, None on a node that knows no generation yet."""
        return self.chain[0] if self.chain else None

    @property
    def is_writer(self) -> bool:
        """This node's record names it the writer of the newest generation it knows."""
        if not self.chain or self.doubt:
            return False
        return self.head.writer == self.node and self.pos is not None and self.pos.id == self.head.id

    @property
    def is_sole(self) -> bool:
        """It wrote the newest generation, and no other node was ever given a run of it (HISTORIES R12)."""
        return self.is_writer and not any(given.begun for given in self.given.values())

    def generation(self, generation_id: str) -> Generation | None:
        """The generation called `generation_id` in the chain."""
        return next((one for one in self.chain if one.id == generation_id), None)

    def knows(self, generation_id: str) -> bool:
        """It is in the chain, or was merged into it by a person's decision."""
        return any(one.id == generation_id or generation_id in one.merged for one in self.chain)


def run_number(run: RunId) -> int:
    """The counter in a run id; 0 for none."""
    return int(run.split("-", 1)[0]) if run else 0


def run_tag(run: RunId) -> str:
    """What a run keeps when it goes on under a later number."""
    return run.partition("-")[2]


def settled(record: Record, position: Position | None) -> Position | None:
    """`position` without the generations of this node that never started: each counts as its origin.

    A node knows surely only of its own generations that they never started (DESIGN.md 6, row 6).
    """
    seen: set[str] = set()
    while position is not None and position.id not in seen:
        seen.add(position.id)
        one = record.generation(position.id)
        if one is None or one.started or one.writer != record.node or one.origin is None:
            return position
        position = one.origin
    return position


def to_json(record: Record) -> dict[str, Any]:
    """The record as it lies in /var/lib/drcm/sets/NAME.json and in each root's .drcm/set.json."""
    return {"schema": 1, **asdict(record)}


def from_json(value: dict[str, Any]) -> Record:
    """The record in `value`; KeyError, TypeError or ValueError where it is none."""
    if value["schema"] != 1:
        raise ValueError(f"schema {value['schema']!r} is not one that this drcm knows (1)")
    fields = {key: item for key, item in value.items() if key != "schema"}
    fields["chain"] = tuple(generation_from_json(item) for item in value["chain"])
    fields["roots"] = tuple(Root(**{**item, "mounts": tuple(item["mounts"])}) for item in value["roots"])
    fields["pos"] = position_from_json(value["pos"])
    fields["applying"] = position_from_json(value["applying"])
    fields["given"] = {
        peer: Given(checked_run(item["begun"]), checked_run(item["complete"]))
        for peer, item in value["given"].items()
    }
    return Record(**fields)


def generation_from_json(value: dict[str, Any]) -> Generation:
    origin = position_from_json(value["origin"])
    return Generation(**{**value, "origin": origin, "merged": tuple(value["merged"])})


def position_from_json(value: dict[str, Any] | None) -> Position | None:
    return None if value is None else Position(value["id"], checked_run(value["run"]))


def checked_run(run: RunId) -> RunId:
    """`run` if it is one; ValueError where not: it may have come from another node."""
    if not _RUN.fullmatch(run):
        raise ValueError(f"{run!r} is not the id of a run (40-1a2b3c4d)")
    return run


__all__ = [
    "CHAIN_KEPT",
    "Generation",
    "Given",
    "Position",
    "Record",
    "Root",
    "RunId",
    "checked_run",
    "from_json",
    "generation_from_json",
    "position_from_json",
    "replace",
    "run_number",
    "run_tag",
    "settled",
    "to_json",
]
