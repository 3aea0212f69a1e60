"""What an operator's `--failover` or `--failback` means here: which groups move where, or why not. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from drcm.cluster.messages import HoldState
from drcm.cluster.spec import Group

if TYPE_CHECKING:
    from drcm.cluster.engine import Engine


class Direction(StrEnum):
    FAILOVER = "failover"  # from this node to a backup
    FAILBACK = "failback"  # from this node to its home


@dataclass(frozen=True, slots=True)
class Order:
    """One group. `refused`: why it can't move now. `stays`: how long it stays where it goes."""

    group: Group
    to: str
    refused: str = ""
    stays: str = ""


def orders(engine: Engine, direction: Direction, name: str, now: float) -> list[Order]:
    """The moves of what this node holds; `name`: a set, or a node (the target, or the home to go back to)."""
    held = [holding.group for holding in engine.care.holdings.values() if holding.group in engine.spec.groups]
    chosen = [group for group in held if _is_meant(engine, group, direction, name)]
    return [_order(engine, group, direction, name, now) for group in chosen]


def elsewhere(engine: Engine, direction: Direction, name: str, now: float) -> dict[str, str]:
    """Groups of this meaning that other nodes hold, by group: where the command belongs."""
    found = {}
    for beat in engine.membership.beats(now):
        for group in engine.spec.groups:
            away = direction is Direction.FAILOVER or group.home != beat.sender
            if beat.claims.get(group.key) is HoldState.RUNNING and away and _is_named(group, name):
                found[group.key] = beat.sender
    return found


def _is_named(group: Group, name: str) -> bool:
    return not name or name in group.sets or name in group.candidates


def _is_meant(engine: Engine, group: Group, direction: Direction, name: str) -> bool:
    if direction is Direction.FAILBACK:
        return group.home != engine.spec.me and name in ("", group.home, *group.sets)
    return len(group.candidates) > 1 and _is_named(group, name)


def _order(engine: Engine, group: Group, direction: Direction, name: str, now: float) -> Order:
    refused = _not_now(engine, group)
    if direction is Direction.FAILBACK:
        return Order(group, group.home, refused or unfit(engine, group, group.home, now))
    targets = [one for one in group.candidates if one not in (engine.spec.me, group.home)]
    if group.home != engine.spec.me and engine.spec.failback and engine.membership.is_heard(group.home, now):
        refused = (
            refused or f"its home {group.home} is up, and with failback = auto it would go there at once"
        )
    if name in group.candidates:
        targets = [name]
    reasons = {one: unfit(engine, group, one, now) for one in targets}
    to = next((one for one, why in reasons.items() if not why), "")
    if not to:
        some = "; ".join(f"{one}: {why}" for one, why in reasons.items())
        return Order(group, targets[0] if targets else "", refused or some or "it has no other backup")
    return Order(group, to, refused, _how_long(engine, group))


def _how_long(engine: Engine, group: Group) -> str:
    """A move leaves no rule behind; who is its home only waits, as long as this daemon of it runs."""
    if not engine.spec.failback:
        return "until drcm-sync --failback there (failback = manual)"
    if group.home == engine.spec.me:
        return f"until drcm-sync --failback there, or until drcm-server on {group.home} starts anew"
    return f"until {group.home}, its home, is back (failback = auto)"


def _not_now(engine: Engine, group: Group) -> str:
    holding = engine.care.holdings[group.key]
    if engine.leaving_since is not None:
        return "this node is leaving"
    if holding.handover is not None:
        return f"it is being handed over to {holding.handover.to} already"
    return "" if holding.state is HoldState.RUNNING else f"it is {holding.state.value} here"


def unfit(engine: Engine, group: Group, to: str, now: float) -> str:
    """Why `to` can't be given the group; empty where it can. What only a pass mends is no reason."""
    if to == engine.spec.me:
        return "that is this node"
    if to not in engine.membership.peers:
        return "cm.cfg has no such active node"
    return engine.care.moving.cannot_take(to, group, now) or _lag(engine, group.sets, to)


def _lag(engine: Engine, sets: Iterable[str], to: str) -> str:
    beat = engine.membership.peers[to].beat
    for name in sets:
        mine, theirs = engine.views.get(name), beat.sets.get(name) if beat else None
        if mine is None or theirs is None or not mine.pos_id:
            continue
        if theirs.pos_id != mine.pos_id:
            return (
                f"its copy of {name} is of generation {theirs.pos_n}, this is {mine.pos_n}: "
                f"wait for the next run, or: drcm-sync {name} --target {to}"
            )
    return ""
