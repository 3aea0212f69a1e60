"""Two nodes cut off from each other both wrote: found, stopped on both sides, alerted, mended. Real parts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from drcm import errors
from tests.integration.cluster import (
    TREE,
    Cluster,
    conflicts,
    contents,
    contents_of_own,
    generation,
    listing,
    role,
    running_cluster,
    settled_facts,
    wait_logged,
)
from tests.lab import Node, wait_until

pytestmark = pytest.mark.lab

SETTLE = 120.0  # seconds of a busy machine


@pytest.fixture
def split() -> Iterator[Cluster]:
    """Both were the writer for a while, and hear each other again."""
    with running_cluster(files=6) as cluster:
        cluster.lab.cut(cluster.a, cluster.b)
        wait_until(lambda: role(cluster.a) == role(cluster.b) == "writer", SETTLE, cluster.logs)
        for node in cluster.nodes:
            wait_until(lambda n=node: generation(n) > 1, SETTLE, cluster.logs)
            node.write(f"{TREE}/both", f"by {node.name}\n")
            node.write(f"{TREE}/d0/f0", f"changed by {node.name}\n")
            node.write(f"{TREE}/only {node.name}", "its own\n")
        cluster.a.path(f"{TREE}/d1/f1").unlink()
        marks = [len(node.daemon_log()) for node in cluster.nodes]
        cluster.lab.heal(cluster.a, cluster.b)
        for node, mark in zip(cluster.nodes, marks, strict=True):
            wait_logged(node, r"DIVERGED: .* both wrote testfs", SETTLE, mark)
        wait_until(lambda: role(cluster.b) == "diverged", SETTLE, cluster.logs)
        wait_until(lambda: cluster.holders() == ["cmnode1"], SETTLE, cluster.logs)
        yield cluster


def test_it_stops_the_set_and_a_person_mends_it(split: Cluster) -> None:
    """No byte moves either way until --resolve; then both have the kept tree, and every version that the
    other loses is in its conflict list."""
    a, b = split.nodes
    lost = _only_of(b, a)
    before = _trees(split)
    for node in split.nodes:
        wait_until(lambda n=node: "DIVERGED" in n.report(check=False).stdout, SETTLE, split.logs)
        assert '"set-diverged:testfs"' in node.report("--json", check=False).stdout
    _until_code(split, a, errors.EXIT_DIVERGED)
    assert b.sync("testfs", check=False).returncode == errors.EXIT_DIVERGED
    assert b.sync("testfs", "--undo", "1", check=False).returncode == errors.EXIT_WRONG_ROLE
    assert a.sync("--failover", "--yes", check=False).returncode == errors.EXIT_WRONG_ROLE
    planned = a.sync("testfs", "--resolve", "keep=cmnode1", "--dry-run").stdout
    assert "only cmnode2" in planned
    assert _trees(split) == before
    _until_code(split, a, errors.EXIT_OK, "--resolve", "keep=cmnode1")
    wait_until(lambda: role(b) == "replica", SETTLE, split.logs)
    split.wait_same()
    assert set(conflicts(b).items()) == lost
    assert contents_of_own(a, "conflicts") == {}
    assert "cmnode2:" in a.sync("testfs", "--conflicts").stdout
    wait_until(lambda: _alert_over(a), SETTLE, split.logs)
    a.write(f"{TREE}/later", "x\n")
    split.wait_same()
    wait_until(lambda: settled_facts(a)["sets"][0]["targets"][0]["complete"], SETTLE, split.logs)
    assert hashlib.sha256(b"by cmnode1\n").hexdigest() == contents(b)["both"]


def test_the_copy_that_is_not_served_is_kept(split: Cluster) -> None:
    """Who serves it stops, the other copy is promoted by a person and resolved: it comes home, and every
    version that cmnode1 loses is in its conflict list."""
    a, b = split.nodes
    kept, lost = contents(b), _only_of(a, b)
    refused = b.sync("testfs", "--resolve", "keep=cmnode2", check=False)
    assert refused.returncode == errors.EXIT_WRONG_ROLE
    assert "let it serve first" in refused.stderr
    assert a.stop_drcm() == errors.EXIT_OK
    assert role(b) != "writer", "a copy in doubt took over by itself"
    b.sync("testfs", "--promote", "--accept-loss", "--yes")
    wait_until(lambda: role(b) == "writer" and split.holders() == ["cmnode2"], SETTLE, split.logs)
    a.start_drcm()
    _until_code(split, b, errors.EXIT_DIVERGED)
    assert split.holders() == ["cmnode2"]
    _until_code(split, b, errors.EXIT_OK, "--resolve", "keep=cmnode2")
    split.settle(SETTLE)
    assert contents(a) == kept
    assert set(conflicts(a).items()) == lost
    assert contents_of_own(b, "conflicts") == {}
    assert "cmnode1:" in b.sync("testfs", "--conflicts").stdout


def test_a_copy_of_another_history_says_so_where_its_gate_alone_can_tell() -> None:
    """It wrote a generation of its own, and then heard of the newest, which goes on from another one: to the
    daemons both name the same. It comes to light when its gate compares the chains."""
    with running_cluster(files=6) as cluster:
        a, b = cluster.nodes
        for number in (2, 3):  # alone, it begins a generation each time
            assert b.stop_drcm() == errors.EXIT_OK
            wait_until(lambda n=number: generation(a) == n, SETTLE, cluster.logs)
            if number == 2:
                b.start_drcm()
                cluster.settle(SETTLE)
        _write_by_itself(b, head=_record(a)["chain"][0])
        b.write(f"{TREE}/its own", "x\n")
        b.start_drcm()
        wait_until(lambda: (role(a), role(b)) == ("writer", "diverged"), SETTLE, cluster.logs)
        refused = b.sync("testfs", check=False)
        assert refused.returncode == errors.EXIT_DIVERGED
        assert "two histories: cmnode1 serves the other one" in refused.stderr
        for node, words in ((a, "set testfs has DIVERGED on cmnode2"), (b, "set testfs: two histories")):
            assert words in node.report(check=False).stdout
            assert "Cluster status: PROBLEM sets" in node.console("cm_stat", check=False).stdout
        _until_code(cluster, a, errors.EXIT_OK, "--resolve", "keep=cmnode1")
        cluster.settle(SETTLE)
        assert role(b) == "replica"
        assert list(conflicts(b)) == ["its own"]


def _record(node: Node) -> Any:
    return json.loads(node.path("/var/lib/drcm/sets/testfs.json").read_text())


def _write_by_itself(node: Node, head: dict[str, Any]) -> None:
    """Its record: a started generation of its own that no other node knows, then it heard of `head`."""
    record = _record(node)
    own = record["chain"][0] | {
        "n": head["n"] - 1,
        "id": "feedfeedfeedfeed",
        "writer": node.name,
        "origin": record["pos"],
    }
    record |= {
        "chain": [head, own, *record["chain"][1:]],
        "pos": {"id": own["id"], "run": ""},
        "beyond": True,
    }
    marker = node.path(f"{TREE}/.drcm/set.json")
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"record": record}))
    node.path("/var/lib/drcm/sets/testfs.json").write_text(json.dumps(record))


def _only_of(node: Node, other: Node) -> set[tuple[str, str]]:
    """Names and contents that the other does not have so."""
    return {(name, digest) for name, digest in contents(node).items() if contents(other).get(name) != digest}


def _until_code(cluster: Cluster, node: Node, code: int, *options: str) -> None:
    """The scheduled runs of a set hold its lock much of the time: it is tried again until it gets there."""
    wait_until(
        lambda: node.sync("testfs", *options, check=False).returncode == code,
        SETTLE,
        lambda: f"drcm-sync testfs {' '.join(options)} to end with {code}\n{cluster.logs()}",
    )


def _trees(cluster: Cluster) -> list[dict[str, tuple[int, int, int, int, str]]]:
    return [listing(node, private=False) for node in cluster.nodes]


def _alert_over(node: Node) -> bool:
    return '"set-diverged:testfs"' not in node.report("--json", check=False).stdout
