"""`drcm-sync --failover` and `--failback`: what 1.41's manual_fs_failover.sh did, by way of the daemon.

The daemon moves: it alone holds the lease, stops and starts what depends on the sets, and takes the same
steps as at a failback of its own. This asks it what would move, then to do it, and tells how far it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from drcm import control
from drcm.clock import Seconds
from drcm.errors import EXIT_FAILED, EXIT_OK, EXIT_UNAVAILABLE, DrcmError, RoleError
from drcm.paths import Paths
from drcm.replication.role import ASK_SECONDS

POLL: Seconds = 0.1
LOST: Seconds = 15.0  # without an answer of the daemon


@dataclass(frozen=True, slots=True)
class Order:
    """One group that would move. `refused`: why it can't. `stays`: for how long it stays there."""

    group: str
    source: str
    to: str
    sets: tuple[str, ...]
    members: tuple[str, ...]
    refused: str = ""
    stays: str = ""

    def __str__(self) -> str:
        return f"{', '.join(self.members)} from {self.source} to {self.to}"


@dataclass(frozen=True, slots=True)
class Moved:
    """How one move ended. `interruption`: seconds from the first stop here to running there."""

    group: str
    to: str
    state: str  # running | failed
    error: str = ""
    interruption: float | None = None


class Moves:
    """A direction ("failover" or "failback") and a name (a set, a node, or "" for all) on this node."""

    def __init__(self, paths: Paths, direction: str, name: str) -> None:
        self._paths, self._request = paths, {"op": "move", "direction": direction, "name": name}
        self.command = f"drcm-sync --{direction}" + (f" {name}" if name else "")

    def orders(self) -> list[Order]:
        """What would move; RoleError where nothing of this is held here."""
        answer = self._ask({**self._request, "dry_run": True})
        return [
            Order(
                group=one["group"],
                source=one["from"],
                to=one["to"],
                sets=tuple(one["sets"]),
                members=tuple(one["members"]),
                refused=one["refused"],
                stays=one["stays"],
            )
            for one in answer["orders"]
        ]

    def need_all(self, orders: list[Order]) -> None:
        """RoleError with every reason, where one of them is refused: then nothing is moved."""
        refused = [
            f"{one.group} to {one.to or 'another node'}: {one.refused}" for one in orders if one.refused
        ]
        if refused:
            raise RoleError("nothing was moved: " + "; ".join(refused), f"Look: {self.command} --dry-run")

    def go(self, orders: list[Order], say: Callable[[str, float, str], None]) -> list[Moved]:
        """Do it, to the end; `say` gets each step of a group once: (group, seconds since it began, text)."""
        self._ask(self._request)
        told = dict.fromkeys((one.group for one in orders), 0)
        silent: Seconds = 0.0
        while True:
            try:
                moves = {
                    one["group"]: one for one in self._ask({"op": "moves"})["moves"] if one["group"] in told
                }
                silent = 0.0
            except control.NotRunningError:
                silent += POLL
                if silent >= LOST:
                    raise _lost() from None
                moves = {}
            for group, one in moves.items():
                for step in one["steps"][told[group] :]:
                    say(group, float(step["seconds"]), str(step["text"]))
                told[group] = len(one["steps"])
            if moves and all(one["state"] != "under way" for one in moves.values()):
                return [_moved(one) for one in moves.values()]
            time.sleep(POLL)

    def _ask(self, request: dict[str, Any]) -> control.Answer:
        try:
            return control.ask_local(self._paths.socket, request, ASK_SECONDS)
        except control.RefusedError as error:
            raise RoleError(error.what, error.cure) from error


def _lost() -> DrcmError:
    return DrcmError(
        f"drcm-server has not answered for {LOST:.0f} s: how the move went on is not known here",
        "drcm-report tells who holds what now",
        EXIT_UNAVAILABLE,
    )


def _moved(one: dict[str, Any]) -> Moved:
    return Moved(one["group"], one["to"], one["state"], one["error"], one["interruption"])


def exit_code(moved: list[Moved]) -> int:
    return EXIT_OK if all(one.state == "running" for one in moved) else EXIT_FAILED
