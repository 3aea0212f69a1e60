"""OpenSSH as the carrier of rsync's bytes: one master connection a target, kept while a run lasts.

A fresh connection costs 140 to 260 ms, one through a running master 12 ms. The master is our own child:
`ControlMaster=auto` would leave it outside our process group (TRAPS.md). ssh_config files are not read.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from drcm.clock import Seconds, now
from drcm.errors import PeerError
from drcm.paths import Paths
from drcm.replication import process

CONNECT_SECONDS = 5
START_SECONDS: Seconds = 10.0
POLL: Seconds = 0.005
SOCKET_PATH_MAX = 90  # bytes: sun_path holds 108, and ssh puts a random suffix on it first


@dataclass(frozen=True, slots=True)
class Server:
    """The sshd of another node."""

    name: str
    address: str
    port: int
    user: str


def options(paths: Paths) -> list[str]:
    """What every ssh of drcm is told: our key, our known_hosts, no questions, no waiting for ever."""
    settings = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": _quoted(paths.known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "IdentityFile": _quoted(paths.ssh_key),
        "IdentitiesOnly": "yes",
        "ConnectTimeout": str(CONNECT_SECONDS),
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "3",
        "LogLevel": "ERROR",
    }
    return ["-F", "none", "-T", "-a", "-x", *(word for pair in settings.items() for word in _option(*pair))]


def _option(name: str, value: str) -> tuple[str, str]:
    return "-o", f"{name}={value}"


def _quoted(path: Path) -> str:
    """ssh splits these values at blanks."""
    return f'"{path}"' if any(char.isspace() for char in str(path)) else str(path)


class Master:
    """A master connection: `with Master(server, paths) as master: ... master.shell ...`.

    It connects while other things are done: `wait` before its shell is used.
    """

    def __init__(self, server: Server, paths: Paths) -> None:
        self._server = server
        self._paths = paths

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="drcm-ssh-", dir=_folder_for_sockets(self._paths)))
        self._socket = self._folder / "s"
        argv = [self._program(), "-M", "-N", "-S", str(self._socket), *self._common()]
        self._child = process.Child([*argv, "--", self._server.address])
        self._until = now() + START_SECONDS
        try:
            self._child.__enter__()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._child.__exit__(kind, error, trace)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def shell(self) -> tuple[str, ...]:
        """ssh through this connection, for rsync's -e."""
        return (self._program(), "-S", str(self._socket), "-o", "ControlMaster=no", *self._common())

    def _common(self) -> list[str]:
        return [*options(self._paths), "-p", str(self._server.port), "-l", self._server.user]

    def _program(self) -> str:
        return process.find_program("ssh", "openssh-client")

    def wait(self) -> None:
        """Until it is up; PeerError where it does not come up within START_SECONDS of its start."""
        while now() < self._until:
            if self._socket.exists():
                return
            if not self._child.alive:
                break
            time.sleep(POLL)
        self._child.read_for(0.2)
        said = self._child.stderr.strip().split("\n")[-1] or f"no connection within {START_SECONDS:.0f} s"
        where = f"{self._server.name} ({self._server.address} port {self._server.port})"
        raise PeerError(f"ssh to {where}: {said}", "Run: drcm-server --setup-ssh")


def _folder_for_sockets(paths: Paths) -> str:
    """The run folder, or a private one in /tmp where its path is too long for a socket."""
    paths.run.mkdir(parents=True, exist_ok=True)
    return str(paths.run) if len(str(paths.run).encode()) + 30 < SOCKET_PATH_MAX else tempfile.gettempdir()
