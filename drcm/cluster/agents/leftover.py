"""What a former daemon started and cm.cfg no longer has here: it can only be stopped.

How is what that daemon wrote for the keeper, in `held.json`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from drcm.cluster.agents.agent import Release
from drcm.cluster.agents.limits import STOP_SECONDS
from drcm.cluster.releasing import Releasing
from drcm.errors import AgentError

LOOK_SECONDS = 0.05


class LeftoverAgent:
    """`name`, let go by `releases`."""

    def __init__(self, name: str, releases: Sequence[Release], report: Path) -> None:
        self._name = name
        self._releases = list(releases)
        self._report = report

    async def start(self) -> None:
        raise AgentError(f"{self._name}: cm.cfg no longer has it here", futile=True)

    async def stop(self) -> None:
        stuck = await asyncio.to_thread(self._release)
        if stuck:
            raise AgentError(f"{self._name}: cm.cfg no longer has it, and it can't be stopped: {stuck}")

    async def running(self) -> bool:
        """Nobody can tell any more: it may."""
        return True

    async def watch(self) -> str:
        return ""

    def releases(self) -> list[Release]:
        return self._releases

    def _release(self) -> str:
        """What is stuck. It has the usual time: what is late under a lease, the keeper ends."""
        releasing = Releasing(self._report, "drcm-server")
        releasing.begin([release | {"timeout": STOP_SECONDS} for release in self._releases])
        while releasing.busy:
            time.sleep(LOOK_SECONDS)
            releasing.attend()
        return "; ".join(" ".join(map(str, release.get("argv", ["?"]))) for release in releasing.stuck)
