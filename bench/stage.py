"""A lab with one contender on it: the same hosts for each, settled before anything is measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import IP, KEEPALIVED_DIRECTORY, WITNESS, Contender
from bench.timeline import Seen, parse
from tests.lab import Client, Lab, Node, Probe, wait_until

WATCHER = Path(__file__).with_name("watcher.py")
SETTLE_SECONDS = 60.0  # a slow machine and 32 nodes; two nodes take 3 to 8


@dataclass(frozen=True)
class Stage:
    """A contender's running cluster: `nodes[0]` is the home of the address."""

    contender: Contender
    lab: Lab
    nodes: Sequence[Node]
    client: Client

    @property
    def home(self) -> Node:
        return self.nodes[0]

    @property
    def backup(self) -> Node:
        return self.nodes[1]

    def holders(self) -> list[str]:
        return self.lab.holders(IP)

    def wait_holder(self, node: Node, seconds: float = SETTLE_SECONDS) -> None:
        """Wait until `node` alone has the address."""
        wait_until(
            lambda: self.holders() == [node.name], seconds, lambda: f"{IP} on {node.name}{self.logs()}"
        )

    def settle(self) -> None:
        """Start what is down; wait until the address is at home."""
        for node in self.nodes:
            if not node.is_on:
                node.power_on()
            if not self.is_started(node):
                self.contender.start(node)
        self.wait_holder(self.home)

    def is_started(self, node: Node) -> bool:
        return any(name not in ("sshd", "cron") for name in node.services)

    def probe(self) -> Probe:
        """A client that asks the address every 5 ms, and has had its first answer."""
        probe = self.client.probe(IP)
        probe.wait_answer()
        return probe

    def logs(self) -> str:
        """The ends of what the contender wrote on each node, for a failure."""
        files = [path for node in self.nodes for path in node.directory.glob("*.log")]
        told = [path for path in files if path.stem in ("drcm-server", "keepalived")]
        return "".join(
            f"\n--- {path.parent.name}\n{path.read_text(errors='replace')[-2000:]}" for path in told
        )


@contextmanager
def running(contender: Contender, count: int = 2, *, witness: bool = False) -> Iterator[Stage]:
    """A settled cluster of `count` nodes, and a witness beside them (which only drcm knows)."""
    with Lab() as lab:
        names = [f"cmnode{number}" for number in range(1, count + 1)] + [WITNESS] * witness
        nodes = [
            lab.add_node(name, f"10.77.0.{number}", directories=[KEEPALIVED_DIRECTORY])
            for number, name in enumerate(names, start=1)
        ]
        stage = Stage(contender, lab, nodes, lab.add_client())
        contender.configure(lab, nodes)
        lab.power_on()
        stage.settle()
        yield stage


class Watch:
    """A running watcher of a stage's address."""

    def __init__(self, stage: Stage) -> None:
        self._output = stage.lab.directory / "watcher.txt"
        hosts = [f"{node.name}={node.init_pid}" for node in stage.nodes]
        with self._output.open("wb") as output:
            argv = [sys.executable, "-I", "-S", str(WATCHER), IP, *hosts]
            self._process = subprocess.Popen(argv, stdout=output, stdin=subprocess.DEVNULL)
        wait_until(self._output.read_text, 10.0, "the watcher to begin")

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(10.0)

    def seen(self) -> Seen:
        return parse(self._output.read_text())
