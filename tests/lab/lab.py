"""The lab: hosts on a wire, all made by this process, none of it left when the process is gone."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from tests.lab import services, smalldisk
from tests.lab.client import Client
from tests.lab.errors import LabError
from tests.lab.host import FAKETIME, Host
from tests.lab.network import Bridge
from tests.lab.node import Node

PREFIX = "drcm-lab-"
PROGRAMS = ("ip", "nft", "nsenter", "rsync", "ssh", "cron", "ping", services.SSHD)
AnyHost = TypeVar("AnyHost", bound=Host)
CURE = "run `make test` once as root, it installs them (tools/bootstrap.sh)"


class Lab:
    """A network of hosts. Use it as a context manager; `directory` is LABDIR, removed at the end.

    Several labs may run at once: each has its own bridge, its own directory and nothing else.
    """

    def __init__(self, keep_directory: bool = False) -> None:
        require()
        sweep()
        self.keep_directory = keep_directory  # for looking at logs afterwards
        self.hosts: dict[str, Host] = {}
        self.bridge = Bridge()
        self.directory = Path(tempfile.mkdtemp(prefix=PREFIX))
        note = self.directory / "owner.new"
        note.write_text(_identity(os.getpid()))
        note.rename(self.directory / "owner")  # whole or not there: another lab may be sweeping
        atexit.register(self.close)

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process, namespace and mount of the lab, and its directory. May be called twice."""
        atexit.unregister(self.close)
        for host in self.hosts.values():
            if host.is_on:
                host.power_cut()
        if self.hosts or self.directory.exists():
            self.hosts = {}
            self.bridge.close()
        smalldisk.remove_below(self.directory)
        if not self.keep_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    # Hosts

    def add_host(self, name: str, ip: str, *, directories: Iterable[str] = (), cron: bool = False) -> Host:
        """A machine, still off. `directories` (absolute) are private to it and survive a power cut."""
        return self._add(Host(self, name, ip, directories, cron))

    def add_node(self, name: str, ip: str, *, directories: Iterable[str] = (), cron: bool = False) -> Node:
        """A machine that runs drcm."""
        return self._add(Node(self, name, ip, directories, cron))

    def add_client(self, name: str = "client", ip: str = "10.77.0.200") -> Client:
        """A machine that watches a floating IP."""
        return self._add(Client(self, name, ip))

    def _add(self, host: AnyHost) -> AnyHost:
        if host.name in self.hosts or host.ip in {one.ip for one in self.hosts.values()}:
            raise LabError(f"the lab has a {host.name} or {host.ip} already")
        self.hosts[host.name] = host
        services.write_hosts(list(self.hosts.values()))
        return host

    def power_on(self) -> None:
        """Every host that is off."""
        for host in self.hosts.values():
            if not host.is_on:
                host.power_on()

    def holders(self, ip: str) -> list[str]:
        """Names of the hosts that are on and have this address on eth0."""
        running = [host for host in self.hosts.values() if host.is_on]
        return [host.name for host in running if ip in (one.split("/")[0] for one in host.addresses())]

    # Links

    def cut(self, a: Host, b: Host) -> None:
        """No packet passes between a and b any more, either way."""
        self.bridge.cut((a.name, b.name), (b.name, a.name))

    def cut_one_way(self, sender: Host, receiver: Host) -> None:
        """What `sender` sends no longer reaches `receiver`; the other way still works."""
        self.bridge.cut((sender.name, receiver.name))

    def heal(self, a: Host, b: Host) -> None:
        self.bridge.heal((a.name, b.name), (b.name, a.name))

    def heal_all(self) -> None:
        """All cuts and all losses end."""
        self.bridge.heal_all()


def require() -> None:
    """Say in one sentence what this machine lacks for a lab."""
    if os.geteuid() != 0:
        raise LabError(f"the lab needs root: it makes network namespaces (you are uid {os.geteuid()})")
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if FAKETIME is None:
        missing.append("faketime")
    if missing:
        raise LabError(f"the lab needs {', '.join(missing)}: {CURE}")


def sweep() -> list[Path]:
    """Remove the directories of labs whose process is gone (killed: the kernel ended all else of them)."""
    removed = []
    for directory in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        with contextlib.suppress(FileNotFoundError):
            owner = (directory / "owner").read_text()
            if owner != _identity(int(owner.split()[0])):
                smalldisk.remove_below(directory)
                shutil.rmtree(directory, ignore_errors=True)
                removed.append(directory)
    return removed


def _identity(pid: int) -> str:
    """A process number with its start time, which tells it from a later one of the same number."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return ""
    return f"{pid} {fields[19]}"
