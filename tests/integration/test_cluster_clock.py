"""Wall clocks that differ by hours, step, or are far wrong after a boot: nothing is decided by them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.cluster import (
    TREE,
    Cluster,
    bring_up,
    config,
    contents,
    contents_of_own,
    generation,
    make,
    role,
    slower,
    status,
)
from tests.lab import Lab, Node, wait_until

pytestmark = pytest.mark.lab

HOUR, YEARS = 3600.0, 4e8
SETTLE = 120.0  # seconds of a busy machine


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """cmnode2's clock is two hours behind from the beginning; both can be stepped."""
    with Lab() as lab:
        made = make(lab, slower(config()))  # a daemon with a faked clock is slow, and not real-time
        made.a.step_clock(0)
        made.b.step_clock(-2 * HOUR)
        made.a.write(f"{TREE}/file", "0\n")
        bring_up(made)
        yield made


def write_and_wait(cluster: Cluster, writer: Node, text: str) -> None:
    writer.write(f"{TREE}/file", text)
    cluster.wait_same(SETTLE)


def lag(node: Node) -> float:
    (told,) = status(node)["sets"]
    return float(told["lag_seconds"])


def history(node: Node) -> list[dict[str, Any]]:
    """Its runs as --history --json has them, the newest first; a person's table is readable too."""
    assert "testfs" in node.sync("testfs", "--history").stdout
    found = json.loads(node.sync("testfs", "--history", "--json").stdout)["runs"]
    assert isinstance(found, list)
    return found


def test_clocks_that_step_under_a_running_set(cluster: Cluster) -> None:
    """Runs go on at their pace through each step, but for one that rsync's own time-out may end; no
    generation begins, no copy is called late, no trash expires."""
    a, b = cluster.nodes
    before = generation(a)
    for number, (node, step) in enumerate(
        ((a, YEARS), (b, YEARS), (a, -YEARS), (b, -24 * HOUR), (a, 0.0)), 1
    ):
        node.step_clock(step)
        write_and_wait(cluster, a, f"{number}\n")
        wait_until(lambda: role(a) == "writer", SETTLE, "the daemon to answer: a faked clock is slow")
        assert 0 <= lag(a) < SETTLE
    assert generation(a) == before
    assert len(contents_of_own(b, "trash")) >= 5, "each version that was replaced is kept"
    wait_until(lambda: '"set-' not in a.report("--json", check=False).stdout, SETTLE, cluster.logs)
    assert [run["outcome"] for run in history(a)].count("good") >= 5


def test_a_boot_with_a_clock_far_wrong(cluster: Cluster) -> None:
    """A backup that comes back years off is brought on; it takes over with that clock, and gives back."""
    a, b = cluster.nodes
    before = generation(a)
    b.power_cut()
    b.step_clock(-YEARS)
    a.write(f"{TREE}/while it was off", "x\n")
    cluster.settle(SETTLE)
    assert contents(a) == contents(b)
    a.power_cut()
    wait_until(lambda: role(b) == "writer", SETTLE, cluster.logs)
    assert generation(b) > before
    b.write(f"{TREE}/by the other", "y\n")
    a.step_clock(YEARS)
    cluster.settle(SETTLE)
    assert contents(a)["by the other"] == contents(b)["by the other"]
    assert role(a) == "writer"
    for node in cluster.nodes:
        generations = [run["generation"] for run in history(node) if run["generation"]]
        assert len(set(generations)) >= 2
        assert generations == sorted(generations, reverse=True), "the newest is not the first"
