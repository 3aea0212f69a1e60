"""OCF resource agents (Open Cluster Framework 1.1): the hundred that Pacemaker's users have, unchanged.

Exit codes: 0 done or running, 7 not running, 1 failed (try again), 2 to 6 hard: trying again is no use.
6 should mean on no node at all; but Debian's nginx, Filesystem and IPaddr2 say it of a file, a device or an
interface that this node alone lacks. So each node is asked once. 8, 190 and 191 are ways of running.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from drcm.cluster.agents import process
from drcm.cluster.agents.agent import Release
from drcm.cluster.agents.limits import USUAL, Limits, stop_seconds
from drcm.config import ocf, ocfmeta
from drcm.config.agentname import CHECK_LEVEL, Ocf, from_columns
from drcm.config.model import Resource, Server
from drcm.errors import AgentError

NOT_RUNNING = 7
RUNNING = {0, 8, 190, 191}  # running, promoted, degraded, degraded and promoted
BROKEN = {1, 9}  # failed: something of it may still run, so it must be stopped before it starts elsewhere
NOT_INSTALLED = 5
MEANS = {
    1: "failed",
    2: "wrong parameters for this node",
    3: "can't do that",
    4: "has not the right to",
    5: "what it needs is not installed here",
    6: "wrong parameters on every node",
    NOT_RUNNING: "does not run",
    9: "failed while promoted",
}
FUTILE = {2, 3, 4, 5, 6}  # the same again at the next trial on this node
EXIT_REASON = "ocf-exit-reason:"
MONITOR_INTERVAL = "10000"  # ms; 0 is a probe: "is it here by any chance", and agents are quieter then

_known: dict[tuple[Path, float], ocfmeta.MetaData] = {}


class OcfAgent:
    """One resource by one OCF agent."""

    def __init__(
        self,
        resource: Resource,
        name: Ocf,
        server: Server,
        limits: Limits = USUAL,
        interface: str = "",
        node: str = "",
    ) -> None:
        self.name = name
        self._path = ocf.path_of(name.provider, name.agent)
        self._limits = limits
        self._stop_seconds = stop_seconds(server)
        self._log = Path(server.log_dir) / "resources" / f"{resource.kind}-{resource.nickname}.log"
        self._node = node or os.uname().nodename
        self._instance = resource.nickname
        given = dict(name.parameters)
        self._check_level = given.pop(CHECK_LEVEL, "0")
        self.parameters = from_columns(resource, name.agent, interface) | given

    async def start(self) -> None:
        """What runs already is adopted: a start of it is success by the rules of OCF."""
        await self._must("start", self._limits.starting(await self._own_limit("start")))

    async def stop(self) -> None:
        await self._must("stop", self._limits.stopping(await self._own_limit("stop")))

    async def running(self) -> bool:
        """A resource that failed counts as running: something of it may."""
        limit = self._limits.watching(await self._own_limit("monitor"))
        ended = await self._run("monitor", limit, interval="0")
        if ended.code in RUNNING | BROKEN:
            return True
        if ended.code in (NOT_RUNNING, NOT_INSTALLED):
            return False
        raise self._error("monitor", ended)

    async def watch(self) -> str:
        limit = self._limits.watching(await self._own_limit("monitor"))
        ended = await self._run("monitor", limit, interval=MONITOR_INTERVAL)
        if ended.code not in RUNNING:
            raise self._error("monitor", ended)
        return f"{self.name}: runs degraded: {ended.tail}" if ended.code in (190, 191) else ""

    def releases(self) -> list[Release]:
        argv, timeout = [str(self._path), "stop"], self._stop_seconds
        environ = self._environ("stop", timeout)
        return [{"phase": "rest", "do": "run", "argv": argv, "timeout": timeout, "environ": environ}]

    async def _must(self, action: str, limit: float) -> None:
        ended = await self._run(action, limit)
        if ended.code != 0:
            raise self._error(action, ended)

    async def _run(self, action: str, limit: float, interval: str = "") -> process.Ended:
        if not self._path.is_file():
            raise AgentError(
                f"{self.name}: no such agent here ({self._path})",
                "Debian: apt-get install resource-agents",
                futile=True,
            )
        with suppress(OSError):
            ocf.BOOK_KEEPING.mkdir(mode=0o755, parents=True, exist_ok=True)
        environ = self._environ(action, limit, interval)
        return await process.run([str(self._path), action], limit, log=self._log, environ=environ)

    def _environ(self, action: str, limit: float, interval: str = "") -> dict[str, str]:
        meta = {"timeout": f"{limit * 1000:.0f}", "name": action, "on_node": self._node}
        if interval:
            meta["interval"] = interval
        environ = ocf.environment(self.name.provider, self.name.agent)
        environ |= {"OCF_RESOURCE_INSTANCE": self._instance, CHECK_LEVEL: self._check_level}
        environ |= {f"OCF_RESKEY_{name}": value for name, value in self.parameters.items()}
        return environ | {f"OCF_RESKEY_CRM_meta_{name}": value for name, value in meta.items()}

    def _error(self, action: str, ended: process.Ended) -> AgentError:
        meaning = MEANS.get(ended.code, f"exit code {ended.code}")
        told = _reason(ended.output) or ended.tail or "no output"
        cure = f"See {self._log}."
        futile = ended.code in FUTILE
        if futile:
            cure = f"Trying again is no use: correct its parameters or this node. {cure}"
        what = f"{self.name} {action}: {meaning} (exit code {ended.code}): {told}"
        return AgentError(what, cure, futile=futile)

    async def _own_limit(self, action: str) -> float | None:
        """What its meta-data says; None where that can't be had, which must stop nothing."""
        with suppress(AgentError, OSError, ValueError):
            return (await meta_data(self.name)).timeout(action)
        return None


def _reason(output: str) -> str:
    """What the agent itself gives as the reason, where it does."""
    lines = [line for line in output.splitlines() if line.startswith(EXIT_REASON)]
    return lines[-1].removeprefix(EXIT_REASON).strip() if lines else ""


async def meta_data(name: Ocf) -> ocfmeta.MetaData:
    """What the agent says of itself, asked once for each version of its file.

    AgentError, OSError or ValueError where that can't be had.
    """
    path = ocf.path_of(name.provider, name.agent)
    key = (path, path.stat().st_mtime)
    if key not in _known:
        _known[key] = ocfmeta.parse(await _asked(path, ocf.environment(name.provider, name.agent)))
    return _known[key]


async def _asked(path: Path, environ: Mapping[str, str]) -> str:
    return await process.answer([str(path), "meta-data"], ocf.META_SECONDS, environ)
