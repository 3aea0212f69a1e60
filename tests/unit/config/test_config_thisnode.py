"""Which node this machine is, and by what rule its cluster decides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drcm.config.model import Cluster, Node, Quorum, Server
from drcm.config.thisnode import this_node
from drcm.errors import ConfigError


def cluster(*hostnames: str, quorum: Quorum = Quorum.AUTO) -> Cluster:
    nodes = tuple(Node(f"node{n}", host, f"10.0.0.{n}") for n, host in enumerate(hostnames))
    return Cluster(replace(Server(), quorum=quorum), nodes, ())


@pytest.mark.parametrize("host", ["b", "b.example.org"])
@pytest.mark.parametrize("hostname", ["b", "b.example.org"])
def test_this_node(host: str, hostname: str) -> None:
    """The [CM_NODE] with this machine's name, long or short."""
    assert this_node(cluster("a", hostname), host).name == "node1"


def test_other_machines_are_named() -> None:
    """A machine that cm.cfg does not have is told which ones it has."""
    with pytest.raises(ConfigError, match=r"node0 \(a\), node1 \(b\)"):
        this_node(cluster("a", "b"), "elsewhere")


def test_a_node_that_was_renamed_is_another() -> None:
    """A running daemon does not become another node by a reload."""
    with pytest.raises(ConfigError, match=r"no active \[CM_NODE\] node7"):
        this_node(cluster("a", "b"), "b", "node7")


@pytest.mark.parametrize(
    ("wanted", "voters", "got"),
    [
        (Quorum.AUTO, 1, Quorum.MAJORITY),
        (Quorum.AUTO, 2, Quorum.TWO_NODE),
        (Quorum.AUTO, 3, Quorum.MAJORITY),
        (Quorum.MAJORITY, 2, Quorum.MAJORITY),
        (Quorum.NONE, 5, Quorum.NONE),
    ],
)
def test_quorum(wanted: Quorum, voters: int, got: Quorum) -> None:
    """`auto` is two_node only where no majority is to be had; what is asked for is done."""
    assert cluster(*"abcde"[:voters], quorum=wanted).quorum is got
