"""Looks from outside, every 5 ms, at who has what: never may two have the same."""

from __future__ import annotations

import contextlib
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from drcm.clock import now
from tests.lab.errors import LabError
from tests.lab.host import Host

LOOK_SECONDS = 0.005
Has = Callable[[Host], bool]


@dataclass(frozen=True)
class Double:
    """Several hosts had `what` at `moment` (CLOCK_BOOTTIME)."""

    moment: float
    what: str
    hosts: tuple[str, ...]


class Looking(ABC):
    """A thread that looks while it is entered; `_run` goes on until `_end` is set."""

    def __init__(self) -> None:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(20.0)

    @abstractmethod
    def _run(self) -> None: ...


class Watch(Looking):
    """A thread that looks while it is entered. `things`: what may be had by one host only, and who has it."""

    def __init__(self, hosts: Sequence[Host], things: Mapping[str, Has]) -> None:
        super().__init__()
        self.looks = 0
        self.doubles: list[Double] = []
        self._hosts, self._things = hosts, things

    def _run(self) -> None:
        with contextlib.suppress(PermissionError):  # look at the hosts, not at our own turn for the processor
            os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(10))
        while not self._end.wait(LOOK_SECONDS):
            self.looks += 1
            for what, has in self._things.items():
                self._look(what, has)

    def _look(self, what: str, has: Has) -> None:
        """All of them are asked again after the last: it may have moved between two looks."""
        holders = [host for host in self._hosts if has(host)]
        if len(holders) > 1 and all(has(host) for host in holders):
            self.doubles.append(Double(now(), what, tuple(host.name for host in holders)))


def has_address(ip: str) -> Has:
    """The host's kernel has this address, by its routing table: no program is run over there."""

    def has(host: Host) -> bool:
        try:
            table = Path(f"/proc/{host.init_pid}/net/fib_trie").read_text()
        except (OSError, LabError):  # its power is off
            return False
        return f"|-- {ip}\n" in table

    return has


def runs(pid_file: str) -> Has:
    """The process that `pid_file` (a private file) names is there and may run: neither ended nor stopped."""

    def has(host: Host) -> bool:
        try:
            pid = int(host.path(pid_file).read_text())
            state = Path(f"/proc/{host.init_pid}/root/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
        except (OSError, LabError, ValueError):
            return False
        return state not in "ZXTt"

    return has
