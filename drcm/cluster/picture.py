"""What one node knows, as the console and the report show it. Pure: the engine in, plain data out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from drcm.cluster.engine import Engine
from drcm.cluster.messages import HoldState
from drcm.cluster.spec import Group


def nodes(engine: Engine, witnesses: Iterable[str], now: float) -> list[dict[str, Any]]:
    """Every voter: UP, DOWN, or UNKNOWN where it was not heard since this node's start."""
    found = []
    for name in engine.spec.voters:
        silence = 0.0 if name == engine.spec.me else _silence(engine, name, now)
        found.append(
            {
                "name": name,
                "state": _node_state(engine, name, now),
                "heard_seconds_ago": None if silence is None else round(silence, 3),
                "witness": name in witnesses,
            }
        )
    return found


def resources(engine: Engine, now: float) -> list[dict[str, Any]]:
    """Every member of every group: who holds it, and the newest decision on it."""
    return [_resource(engine, group, member, now) for group in engine.spec.groups for member in group.members]


def explain(engine: Engine) -> dict[str, str]:
    """The newest decision on each group, in an operator's words."""
    return dict(engine.care.reasons)


def role(engine: Engine, name: str, now: float) -> tuple[str, str]:
    """This node's role in a set, and why: writer, replica, waiting, diverged or none."""
    group = engine.spec.group_of(name)
    view = engine.views.get(name)
    if group is None or view is None:
        return "none", f"{engine.spec.me} is not one of the nodes of {name}"
    if "DIVERGED" in view.problem:
        return "diverged", view.problem
    if served := _diverged_from(engine, name, now):
        return "diverged", f"two histories: {served} serves the other one; no sync either way"
    holding = engine.care.holdings.get(group.key)
    if holding is not None and view.writer and f"set:{name}" in holding.started and not holding.urgent:
        return "writer", holding.reason
    newest = engine.situation().newest_head(name, now)
    if newest is None:
        return "none", view.problem or f"{name} is not begun: drcm-sync {name} --init"
    reason = engine.care.reasons.get(group.key, "")
    if newest.writer == engine.spec.me or "WAITING" in reason:
        return "waiting", reason
    if untaken := engine.care.vacancies.untaken.get(group.key):
        return "waiting", untaken
    return "replica", f"{newest.writer} writes it, in generation {newest.n}"


def _diverged_from(engine: Engine, name: str, now: float) -> str:
    """The writer whose run this node's gate refused so."""
    views = ((beat.sender, beat.sets.get(name)) for beat in engine.membership.beats(now))
    return next((sender for sender, view in views if view and engine.spec.me in view.diverged), "")


def _silence(engine: Engine, name: str, now: float) -> float | None:
    heard = engine.membership.peers[name].heard_at
    return None if heard is None else now - heard


def _node_state(engine: Engine, name: str, now: float) -> str:
    if name == engine.spec.me or engine.membership.is_heard(name, now):
        return "UP"
    return "DOWN" if engine.membership.is_dead(name, now) else "UNKNOWN"


def _resource(engine: Engine, group: Group, member: str, now: float) -> dict[str, Any]:
    kind, _, nickname = member.partition(":")
    holder, state = _holder(engine, group, now)
    return {
        "home": group.home,
        "group": group.key,
        "kind": kind,
        "nickname": nickname,
        "holder": holder,
        "state": state,
        "backup": bool(holder) and holder != group.home,
        "reason": engine.care.reasons.get(group.key, ""),
        "failures": _failures(engine, group, member, now),
    }


def _failures(engine: Engine, group: Group, member: str, now: float) -> dict[str, Any] | None:
    """Of those on this node that still count (DESIGN.md rule 10)."""
    count = engine.care.mending.count(group, member, now)
    if count is None:
        return None
    return {"count": count.count, "limit": count.limit, "clears_seconds": round(count.clears_in)}


def _holder(engine: Engine, group: Group, now: float) -> tuple[str, str]:
    holding = engine.care.holdings.get(group.key)
    if holding is not None and holding.state is not HoldState.CLAIMING:
        return engine.spec.me, holding.state.value
    for beat in engine.membership.beats(now):
        state = beat.claims.get(group.key)
        if state is not None and state is not HoldState.CLAIMING:
            return beat.sender, state.value
    return "", "stopped"
