"""Resources that a script runs, with the arguments 1.41 documented (LEGACY.md).

service: `script name start|stop|restart|reload|watch|status` · file system: `script source target
mount|unmount|remount|watch` · address: `script ip netmask interface start|stop` · crontab:
`script template install_dir start|stop`. Exit 0 is success, `watch` checks and repairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drcm.cluster.agents import process
from drcm.cluster.agents.address import AddressAgent, lease_lifetime
from drcm.cluster.agents.agent import Lease, Release, forever
from drcm.cluster.agents.crontab import CrontabAgent
from drcm.config.model import Address, Crontab, FileSystem, Server, Service
from drcm.errors import AgentError

START_SECONDS = 120.0  # a database's recovery
WATCH_SECONDS = 60.0
STOP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the arguments that name its resource."""

    path: str
    arguments: tuple[str, ...]
    log: Path

    @classmethod
    def of(cls, path: str, arguments: tuple[str, ...], server: Server, name: str) -> Script:
        return cls(path, arguments, Path(server.log_dir) / "resources" / f"{name}.log")

    def argv(self, action: str) -> tuple[str, ...]:
        return (self.path, *self.arguments, action)

    async def do(self, action: str, timeout: float) -> None:
        """Run it; AgentError unless it ends with 0 in time."""
        self._usable()
        await process.must(self.argv(action), timeout, self.log)

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


def stop_seconds(server: Server) -> float:
    """How long the keeper lets a stop run: from T_lease to T_dead - 2 intervals (DESIGN.md rule 3)."""
    return max(0.1, server.dead_seconds - server.lease_seconds - 2 * server.keep_alive_interval)


class ServiceAgent:
    """A system service by its script, `service.sh` where none of the administrator's own."""

    def __init__(self, service: Service, server: Server) -> None:
        self._name = service.service
        self._script = Script.of(service.script, (service.service,), server, f"service-{service.nickname}")
        self._stop_seconds = stop_seconds(server)

    async def start(self) -> None:
        await self._script.do("start", START_SECONDS)

    async def stop(self) -> None:
        await self._script.do("stop", STOP_SECONDS)

    async def running(self) -> bool:
        return await self._script.says("status", WATCH_SECONDS)

    async def watch(self) -> None:
        await self._script.do("watch", WATCH_SECONDS)

    def releases(self) -> list[Release]:
        argv = list(self._script.argv("stop"))
        kill = ["systemctl", "kill", "--signal=KILL", self._name]
        timeout = self._stop_seconds
        return [{"phase": "rest", "do": "run", "argv": argv, "timeout": timeout, "kill": kill}]


class FileSystemAgent:
    """A mount by its script. Whether it is mounted is read from the kernel, never from the file system."""

    def __init__(self, filesystem: FileSystem, server: Server) -> None:
        self._target = filesystem.target
        arguments = (filesystem.source, filesystem.target)
        self._script = Script.of(filesystem.script, arguments, server, f"filesystem-{filesystem.nickname}")
        self._stop_seconds = stop_seconds(server)

    async def start(self) -> None:
        if not await self.running():
            await self._script.do("mount", START_SECONDS)

    async def stop(self) -> None:
        if await self.running():
            await self._script.do("unmount", STOP_SECONDS)

    async def running(self) -> bool:
        return mounted(self._target)

    async def watch(self) -> None:
        await self._script.do("watch", WATCH_SECONDS)

    def releases(self) -> list[Release]:
        argv = list(self._script.argv("unmount"))
        return [{"phase": "rest", "do": "run", "argv": argv, "timeout": self._stop_seconds}]


class ScriptAddressAgent(AddressAgent):
    """An address that a custom script brings. Asked for, announced and, where the script puts it on one
    of its interfaces, given a lifetime as drcm's own."""

    def __init__(self, address: Address, server: Server, lease: Lease = forever) -> None:
        super().__init__(address, lease_lifetime(server.dead_seconds), lease)
        self._server = server

    async def stop(self) -> None:
        self.let_go()
        await self._script().do("stop", STOP_SECONDS)
        self._delete()

    def releases(self) -> list[Release]:
        argv = list(self._script().argv("stop"))
        run = {"phase": "address", "do": "run", "argv": argv, "timeout": stop_seconds(self._server)}
        return [*super().releases(), run]

    async def _bring(self) -> None:
        await self._script().do("start", START_SECONDS)
        here = self._here()
        if here is None:
            raise AgentError(f"{self.address.script}: ended well, but {self.address.ip} is not here")
        self._prefix = here.prefix

    def _script(self) -> Script:
        """With the interface that exists here: 1.41's scripts expect one."""
        try:
            interface = self._interface()[1]
        except AgentError:  # gone or down: stopping must still be tried
            interface = self.address.interfaces[0] if self.address.interfaces else ""
        netmask = self.address.netmask or str(self.address.prefix)
        arguments = (self.address.ip, netmask, interface)
        return Script.of(self.address.script, arguments, self._server, f"ip-{self.address.nickname}")


class ScriptCrontabAgent(CrontabAgent):
    """A crontab that a custom script installs under the template's name."""

    def __init__(self, crontab: Crontab, server: Server) -> None:
        super().__init__(crontab)
        arguments = (crontab.template, crontab.install_dir)
        self._script = Script.of(crontab.script, arguments, server, f"cron-{crontab.nickname}")
        self._stop_seconds = stop_seconds(server)

    async def start(self) -> None:
        await self._script.do("start", START_SECONDS)

    async def stop(self) -> None:
        await self._script.do("stop", STOP_SECONDS)

    async def running(self) -> bool:
        return self._read(self.installed) is not None

    async def watch(self) -> None:
        if not await self.running():
            await self.start()

    def releases(self) -> list[Release]:
        argv = list(self._script.argv("stop"))
        return [{"phase": "rest", "do": "run", "argv": argv, "timeout": self._stop_seconds}]


def mounted(target: str) -> bool:
    """Whether something is mounted on `target`, by the kernel's list: no stat on a dead server (PEERS 36)."""
    wanted = target.rstrip("/") or "/"
    with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="surrogateescape") as mounts:
        return any(_unescape(line.split(" ")[4]) == wanted for line in mounts)


def _unescape(path: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, character)
    return path
