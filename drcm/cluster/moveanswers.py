"""The control operations of `drcm-sync --failover` and `--failback`: what would move, and the order to."""

from __future__ import annotations

from typing import Any

from drcm import clock
from drcm.cluster import events as ev
from drcm.cluster.engine import Engine
from drcm.cluster.orders import Direction, Order, elsewhere, orders
from drcm.errors import EXIT_USAGE, EXIT_WRONG_ROLE, DrcmError, RoleError


def find(engine: Engine, request: dict[str, Any]) -> list[Order]:
    """What `direction` and `name` of the request mean; RoleError where this node holds none of it."""
    now, name = clock.now(), str(request.get("name", ""))
    try:
        direction = Direction(str(request.get("direction")))
    except ValueError:
        raise DrcmError("move: expected direction failover or failback", "", EXIT_USAGE) from None
    found = orders(engine, direction, name, now)
    if not found:
        raise _nothing(engine, direction, name, now)
    return found


def _nothing(engine: Engine, direction: Direction, name: str, now: float) -> DrcmError:
    what = f"{engine.spec.me} holds nothing"
    what += f" of {name}" if name else ""
    what += " that has a backup" if direction is Direction.FAILOVER else " that is at home elsewhere"
    holders = sorted(set(elsewhere(engine, direction, name, now).values()))
    command = f"drcm-sync --{direction.value}" + (f" {name}" if name else "")
    cure = "; ".join(f"On {node}: {command}" for node in holders) or "Who holds what: drcm-report"
    return RoleError(what, cure)


def begin(engine: Engine, found: list[Order]) -> list[ev.Move]:
    """The events of these orders; RoleError where one of them is refused: then nothing moves."""
    refused = [
        f"{order.group.key} to {order.to or 'nobody'}: {order.refused}" for order in found if order.refused
    ]
    if refused:
        raise RoleError("nothing was moved: " + "; ".join(refused), "See also: drcm-report", EXIT_WRONG_ROLE)
    return [ev.Move(order.group.key, order.to) for order in found]


def told(engine: Engine, order: Order) -> dict[str, Any]:
    """One order for the answer."""
    return {
        "group": order.group.key,
        "from": engine.spec.me,
        "to": order.to,
        "sets": list(order.group.sets),
        "members": list(order.group.members),
        "refused": order.refused,
        "stays": order.stays,
    }
