"""`/var/lib/drcm/voters.json`: the roll of voters as this node has it, durably (drcm.cluster.roll)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from drcm import state
from drcm.cluster.actions import StoreRoll
from drcm.cluster.events import RollStored
from drcm.cluster.messages import Proposal, Roll


def load(path: Path) -> RollStored | None:
    """What is durable; None on a node that never was in a cluster with a majority."""
    value = state.read_json(path)
    if value is None:
        return None
    accepted = value["accepted"]
    proposal = Proposal(accepted["ballot"], _roll(accepted["roll"])) if accepted else None
    return RollStored(_roll(value["roll"]), proposal)


def save(path: Path, action: StoreRoll) -> None:
    """Make both durable. Blocks for an fsync."""
    accepted = asdict(action.accepted) if action.accepted else None
    state.write_json(path, {"roll": asdict(action.roll), "accepted": accepted})


def _roll(value: dict[str, Any]) -> Roll:
    return Roll(int(value["epoch"]), tuple(value["voters"]))
