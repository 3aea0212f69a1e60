"""systemd units: `systemd:nginx.service` in the script column, or the bare name of 1.41's service.sh.

A unit that drcm runs is not enabled: drcm starts it. While it holds one it is ordered before drcm's own
unit, so that a machine that goes down stops drcm first and drcm stops the unit, not the other way round.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from drcm.cluster.agents import process
from drcm.cluster.agents.agent import Release
from drcm.cluster.agents.limits import USUAL, Limits, stop_seconds
from drcm.config.model import Resource, Server
from drcm.errors import AgentError

SYSTEMD = Path("/run/systemd/system")  # there while systemd runs, and only then
ASK_SECONDS = 10.0  # systemd answers in milliseconds, or it hangs
RELOAD_SECONDS = 30.0
ORDER = "[Unit]\nBefore=drcm-server.service\n"
UP = {"active", "reloading", "refreshing"}
GOES_ON = UP | {"activating", "deactivating"}


class UnitAgent:
    """One unit."""

    def __init__(self, resource: Resource, unit: str, server: Server, limits: Limits = USUAL) -> None:
        self.unit = unit
        self._limits = limits
        self._stop_seconds = stop_seconds(server)
        self._log = Path(server.log_dir) / "resources" / f"{resource.kind}-{resource.nickname}.log"
        self._order = SYSTEMD / f"{unit}.d" / "50-drcm.conf"

    async def start(self) -> None:
        """`systemctl start` of an active unit does nothing: it is adopted. The order, which only a shutdown
        needs, comes after it: a daemon-reload takes a second on a large machine."""
        await self._systemctl("start", self.unit, timeout=self._limits.starting())
        if await asyncio.to_thread(self._put_order):
            await self._systemctl("daemon-reload", timeout=RELOAD_SECONDS)

    async def stop(self) -> None:
        await self._systemctl("stop", self.unit, timeout=self._limits.stopping())
        await asyncio.to_thread(self._order.unlink, missing_ok=True)  # read at the next daemon-reload

    async def running(self) -> bool:
        return (await self._state())["ActiveState"] in GOES_ON

    async def watch(self) -> str:
        """systemd restarts what its own Restart= says; what is down for good is told."""
        state = await self._state()
        if state["ActiveState"] in UP | {"activating"}:
            return ""
        told = f"{state['ActiveState']} ({state['SubState']}, result {state['Result']})"
        raise AgentError(f"{self.unit}: {told}", f"See: journalctl -u {self.unit}")

    def releases(self) -> list[Release]:
        stop, kill = ["systemctl", "stop", self.unit], ["systemctl", "kill", "--signal=KILL", self.unit]
        return [{"phase": "rest", "do": "run", "argv": stop, "timeout": self._stop_seconds, "kill": kill}]

    async def _state(self) -> dict[str, str]:
        """Its ActiveState, SubState, LoadState and Result as systemd tells them."""
        names = ("ActiveState", "SubState", "LoadState", "Result")
        told = await process.answer(
            ["systemctl", "show", f"--property={','.join(names)}", self.unit],
            self._limits.watching(ASK_SECONDS),
        )
        state = dict.fromkeys(names, "") | dict(
            line.split("=", 1) for line in told.splitlines() if "=" in line
        )
        if state["LoadState"] not in ("loaded", "masked") and state["ActiveState"] not in GOES_ON:
            found = state["LoadState"] or "no answer"
            raise AgentError(f"{self.unit}: systemd knows no such unit ({found})", "See: systemctl status")
        return state

    async def _systemctl(self, *words: str, timeout: float) -> None:
        await process.must(["systemctl", *words], timeout, self._log)

    def _put_order(self) -> bool:
        """Whether it was not there yet."""
        if not SYSTEMD.is_dir() or self._order.exists():
            return False
        try:
            self._order.parent.mkdir(exist_ok=True)
            self._order.write_text(ORDER)
        except OSError as error:
            raise AgentError(f"{self._order}: can't be written: {error.strerror}") from error
        return True
