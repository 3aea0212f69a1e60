"""The demo's stopwatch: looks at both nodes from outside, some hundred times a second, and notes when."""

from __future__ import annotations

from collections.abc import Callable

from drcm.clock import now
from drcm.errors import DrcmError
from drcm.replication import records
from drcm.replication.generation import Record
from tests.lab import LabError, Node, wait_until
from tests.lab.watch import Looking, has_address

TICK_SECONDS = 0.003
Condition = Callable[[], bool]


class Watch(Looking):
    """A thread that notes the moment at which a condition was first seen true, and counts holders.

    `looks` is how often both nodes were looked at, `doubles` the moments (CLOCK_BOOTTIME) at which both had
    the address.
    """

    def __init__(self, nodes: tuple[Node, Node], ip: str) -> None:
        super().__init__()
        self.looks = 0
        self.doubles: list[float] = []
        self._nodes, self._has = nodes, has_address(ip)
        self._open: dict[str, Condition] = {}
        self._seen: dict[str, float] = {}

    def expect(self, what: str, condition: Condition) -> None:
        """Begin to look for `condition`; `what` names it."""
        self._open[what] = condition

    def moment(self, what: str, timeout: float) -> float:
        """When `what` was first seen (CLOCK_BOOTTIME); waits for it, LabError after `timeout` seconds."""
        wait_until(lambda: what in self._seen, timeout, what)
        return self._seen[what]

    def holders(self) -> list[str]:
        """The nodes that have the address now."""
        return [node.name for node in self._nodes if self._has(node)]

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
        if all(self._has(node) for node in (first, second, first)):
            self.doubles.append(now())


def _holds(condition: Condition) -> bool:
    try:
        return condition()
    except (OSError, DrcmError, LabError):  # not there yet
        return False


def record(node: Node, name: str) -> Record:
    """The node's durable record of a set."""
    found = records.load(node.path("/var/lib/drcm/sets"), name)
    if found is None:
        raise LabError(f"{node.name} has no record of {name}")
    return found
