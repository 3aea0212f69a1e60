"""kill -9 of a daemon in the middle of a failback: both go on by themselves and agree in the end.

The moment is seen in the durable record. Each step on the disk is cut in test_interruptions.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from drcm.errors import DrcmError
from drcm.replication import records
from drcm.replication.generation import Record
from tests.integration.cluster import BACKUP, HOME, TREE, Cluster, role, running_cluster
from tests.lab import Node, wait_until

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as made:
        made.settle()
        yield made


def record(node: Node) -> Record | None:
    """What lies on its disk now."""
    with suppress(DrcmError):
        return records.load(node.path("/var/lib/drcm/sets"), "testfs")
    return None


def meant(cluster: Cluster) -> bool:
    """Row 1: the giver's intent is durable."""
    found = record(cluster.b)
    return found is not None and found.giving == HOME


def given(cluster: Cluster) -> bool:
    """Row 4: the gift is durable at the giver."""
    found = record(cluster.b)
    return found is not None and (found.head.why, found.head.writer) == ("handover", HOME)


def taken(cluster: Cluster) -> bool:
    """Row 6: the taker has it."""
    found = record(cluster.a)
    return found is not None and found.is_writer and found.head.n > 1 and found.head.why != "init"


@pytest.mark.parametrize(
    ("moment", "victim"), [(meant, BACKUP), (given, BACKUP), (given, HOME), (taken, HOME)]
)
def test_daemon_killed_in_the_failback(
    cluster: Cluster, moment: Callable[[Cluster], bool], victim: str
) -> None:
    """What the backup wrote is on both nodes, one of them writes, and the home node in the end."""
    written = f"written on the backup, then {moment.__name__} and {victim} killed\n"
    cluster.a.power_cut()
    cluster.wait_place(cluster.b)
    cluster.b.write(f"{TREE}/d0/f0", written)
    cluster.a.power_on()
    cluster.a.start_drcm()
    wait_until(lambda: moment(cluster), 60.0, cluster.logs)
    node = cluster.a if victim == HOME else cluster.b
    node.kill_drcm()
    assert [role(one) for one in cluster.nodes].count("writer") <= 1
    node.start_drcm()
    cluster.settle(120.0)
    for one in cluster.nodes:
        assert one.read(f"{TREE}/d0/f0") == written
    found = [record(one) for one in cluster.nodes]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].head.id == found[1].head.id
    assert [one.is_writer for one in found if one] == [True, False]
    assert [one.doubt for one in found if one] == ["", ""]
