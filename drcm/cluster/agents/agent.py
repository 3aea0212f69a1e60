"""What every agent can do. Agents live on the daemon's main loop: none of these may block it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

Release = dict[str, Any]  # JSON-able: how the keeper releases without the daemon (see releasing.py)
Lease = Callable[[], float]  # the end of the lease by clock.now(), as known at this moment


def forever() -> float:
    """The lease of somebody who needs none: a person at a prompt, a test."""
    return math.inf


class Agent(Protocol):
    """One resource on this node. All raise AgentError with a plain text."""

    async def start(self) -> None:
        """Make it run here. Adopts what runs already."""

    async def stop(self) -> None:
        """Make it not run here; nothing to do is success."""

    async def running(self) -> bool:
        """Whether it runs here. Never changes anything."""

    async def watch(self) -> str:
        """Check it, repair what is easily repaired, AgentError for the rest.

        What an operator should hear of although it works (a full disk), "" for nothing.
        """

    def releases(self) -> list[Release]:
        """What the keeper does to release it once the lease has ended."""
