"""What a contender's processes cost: processor time and memory of each node, from /proc."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from bench.stage import Stage
from tests.lab import Node

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
UTIME, STIME = 11, 12  # fields of /proc/PID/stat after the name
PARTS = (
    ("cpu", "processor when idle", "% of a core"),
    ("rss", "memory of the daemon", "MiB"),
    ("rss_all", "memory of all its processes", "MiB"),
)


@dataclass(frozen=True)
class Cost:
    """Of one node. Memory is resident, in MiB; `rss`: of the process that speaks with the other nodes."""

    cpu: float
    rss: float
    rss_all: float


def measure(stage: Stage, seconds: float) -> list[Cost]:
    """What each node takes over `seconds`."""
    processes = {node: _directories(node, stage.contender.processes(node)) for node in stage.nodes}
    before = {node: sum(map(_processor_seconds, found)) for node, found in processes.items()}
    begun = time.monotonic()
    time.sleep(seconds)
    after = {node: sum(map(_processor_seconds, found)) for node, found in processes.items()}
    passed = time.monotonic() - begun
    memory = {node: [_resident(one) for one in found] for node, found in processes.items()}
    return [
        Cost(100 * (after[node] - before[node]) / passed, memory[node][0], sum(memory[node]))
        for node in stage.nodes
    ]


def _directories(node: Node, pids: list[int]) -> list[Path]:
    return [Path(f"/proc/{node.init_pid}/root/proc/{pid}") for pid in pids]


def _processor_seconds(process: Path) -> float:
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[UTIME]) + int(fields[STIME])) / TICKS_PER_SECOND


def _resident(process: Path) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", (process / "status").read_text())
    return int(found[1]) / 1024 if found else 0.0
