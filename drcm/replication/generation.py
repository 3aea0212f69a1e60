"""The record of a sync set on one node: which generations there were, and what its tree is.

A bare generation number can't tell *behind* from *diverged*; a chain of random ids can
(HISTORIES R10). Pure: standard library only, because drcm-gate must start in milliseconds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

CHAIN_KEPT = 256  # generations: years of weekly failovers

RunId = str  # "40-1a2b3c4d": the run's number in its generation and 4 random bytes (HISTORIES R13)


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
    why: str  # init | promote | alone | handover | resolve
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

    @property
    def head(self) -> Generation:
        return self.chain[0]

    @property
    def is_writer(self) -> bool:
        """This node's record names it the writer of the newest generation it knows."""
        return self.head.writer == self.node and self.pos is not None and self.pos.id == self.head.id


def run_number(run: RunId) -> int:
    """The counter in a run id; 0 for none."""
    return int(run.split("-", 1)[0]) if run else 0


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
    fields["given"] = {peer: Given(**item) for peer, item in value["given"].items()}
    return Record(**fields)


def generation_from_json(value: dict[str, Any]) -> Generation:
    origin = position_from_json(value["origin"])
    return Generation(**{**value, "origin": origin, "merged": tuple(value["merged"])})


def position_from_json(value: dict[str, Any] | None) -> Position | None:
    return None if value is None else Position(**value)


__all__ = [
    "CHAIN_KEPT",
    "Generation",
    "Given",
    "Position",
    "Record",
    "Root",
    "RunId",
    "from_json",
    "generation_from_json",
    "position_from_json",
    "replace",
    "run_number",
    "to_json",
]
