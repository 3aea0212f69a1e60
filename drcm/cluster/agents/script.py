"""Resources that a script runs, with the arguments 1.41 documented (LEGACY.md).

service: `script name start|stop|restart|reload|watch|status` · file system: `script source target
mount|unmount|remount|watch` · address: `script ip netmask interface start|stop` · crontab:
`script template install_dir start|stop`. Exit 0 is success, `watch` checks and repairs.
A line `WARNING: TEXT` of a `watch` is told to the operator although the resource works.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from drcm.cluster.agents import process
from drcm.cluster.agents.address import AddressAgent
from drcm.cluster.agents.agent import Agent, Lease, Release, forever
from drcm.cluster.agents.crontab import CrontabAgent
from drcm.cluster.agents.limits import USUAL, Limits, stop_seconds
from drcm.config.model import Address, Crontab, FileSystem, Server, Service
from drcm.errors import AgentError
from drcm.paths import resource_script

WARNING = "WARNING: "  # a line of `watch` that begins so is told, though the resource works
RELEASE_AGAIN = 10.0  # seconds for which the keeper tries to unmount


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the arguments that name its resource."""

    path: str
    arguments: tuple[str, ...]
    log: Path

    @classmethod
    def of(cls, path: str, arguments: tuple[str, ...], server: Server, name: str) -> Script:
        return cls(resource_script(path), arguments, Path(server.log_dir) / "resources" / f"{name}.log")

    def argv(self, action: str) -> tuple[str, ...]:
        return (self.path, *self.arguments, action)

    async def do(self, action: str, timeout: float) -> process.Ended:
        """Run it; AgentError unless it ends with 0 in time."""
        self._usable()
        return await process.must(self.argv(action), timeout, self.log)

    async def says(self, action: str, timeout: float) -> bool:
        """Run it; whether it ended with 0."""
        self._usable()
        return (await process.run(self.argv(action), timeout, log=self.log)).code == 0

    def _usable(self) -> None:
        if not self.path or Path(self.path).is_dir():
            raise AgentError(
                f"resource script {self.path or '(none)'}: not a program",
                "Name one in cm.cfg, such as /etc/drcm/resources/service.sh",
            )


class ScriptAgent:
    """What a script starts and stops, looks at by `status`, and keeps up by `watch`."""

    def __init__(self, script: Script, server: Server, limits: Limits = USUAL) -> None:
        self.script = script
        self._limits = limits
        self._stop_seconds = stop_seconds(server)

    async def start(self) -> None:
        await self.script.do("start", self._limits.starting())

    async def stop(self) -> None:
        await self.script.do("stop", self._limits.stopping())

    async def running(self) -> bool:
        return await self.script.says("status", self._limits.watching())

    async def watch(self) -> str:
        return warnings((await self.script.do("watch", self._limits.watching())).output)

    def releases(self) -> list[Release]:
        argv = list(self.script.argv("stop"))
        return [{"phase": "rest", "do": "run", "argv": argv, "timeout": self._stop_seconds}]


class ServiceAgent(ScriptAgent):
    """A system service by its script, `service.sh` where none of the administrator's own."""

    def __init__(self, service: Service, server: Server, limits: Limits = USUAL) -> None:
        name = f"service-{service.nickname}"
        super().__init__(Script.of(service.script, (service.service,), server, name), server, limits)
        self._name = service.service

    def releases(self) -> list[Release]:
        kill = ["systemctl", "kill", "--signal=KILL", self._name]
        return [release | {"kill": kill} for release in super().releases()]


class FileSystemAgent(ScriptAgent):
    """A mount by its script. Whether it is mounted is read from the kernel, never from the file system."""

    def __init__(self, filesystem: FileSystem, server: Server, limits: Limits = USUAL) -> None:
        arguments = (filesystem.source, filesystem.target)
        script = Script.of(filesystem.script, arguments, server, f"filesystem-{filesystem.nickname}")
        super().__init__(script, server, limits)
        self._target = filesystem.target

    async def start(self) -> None:
        if not await self.running():
            await self.script.do("mount", self._limits.starting())

    async def stop(self) -> None:
        if await self.running():
            await self.script.do("unmount", self._limits.stopping())

    async def running(self) -> bool:
        return mounted(self._target)

    def releases(self) -> list[Release]:
        """Tried again: it is busy until the services on it, released in the same moment, have ended."""
        argv, timeout = list(self.script.argv("unmount")), self._stop_seconds
        return [{"phase": "rest", "do": "run", "argv": argv, "timeout": timeout, "again": RELEASE_AGAIN}]


class BroughtAddressAgent(AddressAgent):
    """An address that a custom script or an OCF agent brings. Asked for, watched, announced and, where it
    comes to one of its interfaces, given a lifetime as drcm's own."""

    def __init__(
        self, address: Address, lifetime: int, by: Callable[[str], Agent], lease: Lease = forever
    ) -> None:
        """`by(interface)`: who brings it to the interface that exists here."""
        super().__init__(address, lifetime, lease)
        self._by = by

    async def stop(self) -> None:
        self.let_go()
        await self._agent().stop()
        self._delete()

    def releases(self) -> list[Release]:
        brought = (release | {"phase": "address"} for release in self._agent().releases())
        return [*super().releases(), *brought]

    async def _bring(self) -> None:
        await self._agent().start()
        here = self._here()
        if here is None:
            raise AgentError(
                f"{self.address.script}: ended well, but {self.address.ip} is on none of its interfaces"
            )
        self._prefix = here.prefix

    def _agent(self) -> Agent:
        """With the interface that exists here: 1.41's scripts expect one."""
        try:
            interface = self._interface()[1]
        except AgentError:  # gone or down: stopping must still be tried
            interface = self.address.interfaces[0] if self.address.interfaces else ""
        return self._by(interface)


class ScriptCrontabAgent(CrontabAgent):
    """A crontab that a custom script installs under the template's name."""

    def __init__(self, crontab: Crontab, server: Server, limits: Limits = USUAL) -> None:
        super().__init__(crontab)
        arguments = (crontab.template, crontab.install_dir)
        script = Script.of(crontab.script, arguments, server, f"cron-{crontab.nickname}")
        self._by = ScriptAgent(script, server, limits)

    async def start(self) -> None:
        await self._by.start()

    async def stop(self) -> None:
        await self._by.stop()

    async def running(self) -> bool:
        return self._read(self.installed) is not None

    async def watch(self) -> str:
        if not await self.running():
            await self.start()
        return ""

    def releases(self) -> list[Release]:
        return self._by.releases()


def warnings(output: str) -> str:
    """What a script's `watch` wants to be told, its lines in one."""
    lines = (line.partition(WARNING)[2].strip() for line in output.splitlines() if line.startswith(WARNING))
    return "; ".join(dict.fromkeys(lines))[:500]


def mounted(target: str) -> bool:
    """Whether something is mounted on `target`, by the kernel's list: no stat on a dead server (PEERS 36)."""
    wanted = target.rstrip("/") or "/"
    with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="surrogateescape") as mounts:
        return any(_unescape(line.split(" ")[4]) == wanted for line in mounts)


def _unescape(path: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, character)
    return path
