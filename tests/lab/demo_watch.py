"""The demo's stopwatch: looks at both nodes from outside, some hundred times a second, and notes when."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from drcm.clock import now
from drcm.errors import DrcmError
from drcm.replication import records
from drcm.replication.generation import Record
from tests.lab import LabError, Node, wait_until

TICK_SECONDS = 0.003
Condition = Callable[[], bool]


class Watch:
    """A thread that notes the moment at which a condition was first seen true, and counts holders.

    `looks` is how often both nodes were looked at, `doubles` the moments (CLOCK_BOOTTIME) at which both had
    the address.
    """

    def __init__(self, nodes: tuple[Node, Node], ip: str) -> None:
        self.looks = 0
        self.doubles: list[float] = []
        self._nodes, self._ip = nodes, ip
        self._open: dict[str, Condition] = {}
        self._seen: dict[str, float] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(10.0)

    def expect(self, what: str, condition: Condition) -> None:
        """Begin to look for `condition`; `what` names it."""
        self._open[what] = condition

    def moment(self, what: str, timeout: float) -> float:
        """When `what` was first seen (CLOCK_BOOTTIME); waits for it, LabError after `timeout` seconds."""
        wait_until(lambda: what in self._seen, timeout, what)
        return self._seen[what]

    def holders(self) -> list[str]:
        """The nodes that have the address now."""
        return [node.name for node in self._nodes if has_address(node, self._ip)]

    def _run(self) -> None:
        while not self._end.wait(TICK_SECONDS):
            self._look_for_two()
            for what, condition in list(self._open.items()):
                if _holds(condition):
                    self._seen[what] = now()
                    del self._open[what]

    def _look_for_two(self) -> None:
        """The first node is asked again after the second: the address may have moved between two looks."""
        self.looks += 1
        first, second = self._nodes
        if all(has_address(node, self._ip) for node in (first, second, first)):
            self.doubles.append(now())


def _holds(condition: Condition) -> bool:
    try:
        return condition()
    except (OSError, DrcmError, LabError):  # not there yet
        return False


def has_address(node: Node, ip: str) -> bool:
    """Whether the node's kernel has this address, by its routing table: no program is run over there."""
    try:
        table = Path(f"/proc/{node.init_pid}/net/fib_trie").read_text()
    except (OSError, LabError):  # its power is off
        return False
    return f"|-- {ip}\n" in table


def record(node: Node, name: str) -> Record:
    """The node's durable record of a set."""
    found = records.load(node.path("/var/lib/drcm/sets"), name)
    if found is None:
        raise LabError(f"{node.name} has no record of {name}")
    return found
