"""Silence of a set, whatever its cause, is an alert once the copy is older than max_lag, and ends with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.integration.cluster import Cluster, config, role, running_cluster
from tests.lab import Node, wait_until

pytestmark = pytest.mark.lab

MAX_LAG = 6.0  # seconds
SETTLE = 120.0  # of a busy machine; it is told after 6 to 12
GATE = "/root/.ssh/authorized_keys"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster(config(sync_set=f"max_lag = {MAX_LAG:g}s\n"), files=3) as running:
        yield running


@dataclass(frozen=True)
class Silence:
    """What makes a set silent, and what ends that."""

    begin: Callable[[Node, Node], object]
    end: Callable[[Node, Node], object]


def _refuse(a: Node, b: Node) -> None:
    b.write(GATE, b.read(GATE).replace("drcm-gate", "no-gate"), 0o600)


def _allow(a: Node, b: Node) -> None:
    b.write(GATE, b.read(GATE).replace("no-gate", "drcm-gate"), 0o600)


def _boot(a: Node, b: Node) -> None:
    b.power_on()
    b.start_drcm()


def _hang(a: Node, b: Node) -> None:
    """The next run never ends and never fails; those that are due are left out."""
    wait_until(lambda: a.pids("bin/drcm-sync"), SETTLE, "a run")
    a.pause("bin/drcm-sync")


CAUSES = {
    "a run hangs": Silence(_hang, lambda a, b: a.resume("bin/drcm-sync")),
    "the gate is gone": Silence(_refuse, _allow),
    "the node is off": Silence(lambda a, b: b.power_cut(), _boot),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_silence_is_told_whatever_its_cause(cluster: Cluster, cause: str) -> None:
    """It opens after max_lag while the writer goes on, and is over with the next whole run."""
    a, b = cluster.nodes
    wait_until(lambda: not is_open(a), SETTLE, cluster.logs)
    silence = CAUSES[cause]
    silence.begin(a, b)
    try:
        wait_until(lambda: is_open(a), SETTLE, cluster.logs)
        assert role(a) == "writer"
    finally:
        silence.end(a, b)
    wait_until(lambda: not is_open(a), SETTLE, cluster.logs)
    cluster.wait_same(SETTLE)


def is_open(node: Node) -> bool:
    return '"set-late:testfs"' in node.report("--json", check=False).stdout
