"""A set with two backups and a witness: who dies first, who is promoted, what the third does. Real parts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.integration.cluster import (
    IP,
    TREE,
    conflicts,
    contents,
    contents_of_own,
    logged,
    role,
    status,
)
from tests.lab import Lab, Node, make_cluster, wait_until

pytestmark = pytest.mark.lab

SETTLE = 240.0  # seconds of a very busy machine; a hand-over takes 5 on an idle one
KEYS = "/root/.ssh/authorized_keys"
CONFIG = f"""
[CM_SERVER]
keep_alive_interval = 0.1
dead_node_count = 20
flap_limit = 1000
boot_wait = 5

[CM_IPADDRS]
web, {IP}, 24, eth0, /etc/drcm/resources/ipv4addr.sh

[CM_NODE]
nodename = cmnode1
hostname = cmnode1
keep_alive_ip = 10.77.0.1
node_floating_ip_addrs = web

[CM_NODE]
nodename = cmnode2
hostname = cmnode2
keep_alive_ip = 10.77.0.2
node_backup_floating_ip_addrs = cmnode1:web

[CM_NODE]
nodename = cmnode3
hostname = cmnode3
keep_alive_ip = 10.77.0.3
node_backup_floating_ip_addrs = cmnode1:web

[CM_NODE]
nodename = witness1
hostname = witness1
keep_alive_ip = 10.77.0.4
witness = 1

[CM_NODE]
nodename = witness2
hostname = witness2
keep_alive_ip = 10.77.0.5
witness = 1

[CM_SYNC]
name = testfs
primary = cmnode1
backups = cmnode2, cmnode3
mirror = {TREE}
every = 1s
bwlimit = 20000
"""


@dataclass(frozen=True)
class Three:
    """a is home, b and c back it up in this order; two of the five voters may be dead."""

    lab: Lab
    a: Node
    b: Node
    c: Node
    witnesses: tuple[Node, ...]

    @property
    def holders(self) -> tuple[Node, ...]:
        return self.a, self.b, self.c

    @property
    def nodes(self) -> tuple[Node, ...]:
        return *self.holders, *self.witnesses

    def wait(self, what: Callable[[], object], told: str) -> None:
        wait_until(what, SETTLE, lambda: f"{told}\n{self.logs()}")

    def wait_writer(self, node: Node) -> None:
        self.wait(lambda: role(node) == "writer", f"{node.name} to be the writer")
        self.wait(lambda: self.lab.holders(IP) == [node.name], f"the address on {node.name}")

    def wait_equal(self, *nodes: Node) -> None:
        first, *others = nodes
        self.wait(lambda: all(contents(one) == contents(first) for one in others), "equal trees")

    def wait_has(self, node: Node, name: str) -> None:
        self.wait(lambda: name in contents(node), f"{name} on {node.name}")

    def back(self, node: Node) -> None:
        node.power_on()
        node.start_drcm(wait=SETTLE)

    @contextmanager
    def no_syncs_to(self, node: Node) -> Iterator[None]:
        """Its SSH key is not accepted there: it is heard and gets no run."""
        keys = node.read(KEYS)
        node.write(KEYS, "", 0o600)
        try:
            yield
        finally:
            node.write(KEYS, keys, 0o600)

    def settle(self) -> None:
        """All up, at home, in step."""
        for node in self.nodes:
            if not node.is_on:
                self.back(node)
        self.wait_writer(self.a)
        self.wait_equal(*self.holders)
        self.wait(self._complete, "whole copies on both")

    def _complete(self) -> bool:
        (found,) = status(self.a)["sets"]
        return all(target["complete"] for target in found["targets"])

    def logs(self) -> str:
        return "".join(f"--- {node.name}\n{node.daemon_log()[-2500:]}\n" for node in self.nodes)


@pytest.fixture(scope="module")
def running() -> Iterator[Three]:
    with Lab() as lab:
        hosts = [lab.add_node(f"cmnode{n}", f"10.77.0.{n}", directories=[TREE]) for n in (1, 2, 3)]
        witnesses = tuple(lab.add_node(f"witness{n}", f"10.77.0.{3 + n}") for n in (1, 2))
        three = Three(lab, *hosts, witnesses)
        make_cluster(lab, CONFIG, three.nodes)
        lab.power_on()
        for number in range(10):
            three.a.write(f"{TREE}/d{number % 3}/f{number}", f"content {number}\n")
        for node in three.nodes:
            node.start_drcm(wait=SETTLE)
        three.wait(lambda: lab.holders(IP) == ["cmnode1"], "the address at home")
        three.a.sync("testfs", "--init")
        yield three


@pytest.fixture
def three(running: Three) -> Three:
    running.settle()
    return running


def test_the_newest_whole_copy_is_promoted_and_the_other_follows(three: Three) -> None:
    """The first backup missed the last run: the second is promoted (HISTORIES R14), the first follows it."""
    with three.no_syncs_to(three.b):
        three.a.write(f"{TREE}/missed by b", "1\n")
        three.wait_has(three.c, "missed by b")
        three.wait(lambda: "missed by b" not in contents(three.b), "b without it")
        three.a.power_cut()
        three.wait_writer(three.c)
    three.c.write(f"{TREE}/by c", "2\n")
    three.c.path(f"{TREE}/d0/f0").unlink()
    three.wait_equal(three.b, three.c)
    assert {"missed by b", "by c"} <= set(contents(three.b))
    three.back(three.a)
    three.wait_writer(three.a)
    three.wait_equal(*three.holders)
    assert "by c" in contents(three.a)
    assert "d0/f0" not in contents(three.a)


def test_one_dies_then_the_writer_and_those_who_return_keep_what_only_they_had(three: Three) -> None:
    """The second backup has a run that the first never got, and dies; then the writer dies. The first is
    promoted; the others are `ahead` when they return, and what only they had is kept and alerted."""
    before = conflicts(three.a), conflicts(three.c)
    with three.no_syncs_to(three.b):
        three.a.write(f"{TREE}/d1/f1", "newer on a and c\n")
        three.a.write(f"{TREE}/unsent to b", "1\n")
        three.wait_has(three.c, "unsent to b")
        three.c.power_cut()
        three.a.power_cut()
        three.wait_writer(three.b)
    three.b.write(f"{TREE}/by b", "2\n")
    texts = {"d1/f1": b"newer on a and c\n", "unsent to b": b"1\n"}
    lost = {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}
    three.back(three.c)
    three.wait_equal(three.b, three.c)
    assert _new(three.c, before[1]) == lost
    three.wait(lambda: logged(three.b, "conflicts:testfs"), "the alert of what c had")
    three.back(three.a)
    three.wait_writer(three.a)
    three.wait_equal(*three.holders)
    assert "by b" in contents(three.a)
    assert "unsent to b" not in contents(three.a)
    assert _new(three.a, before[0]) == lost
    told = three.a.sync("testfs", "--conflicts").stdout
    assert "cmnode1:" in told
    assert "cmnode3:" in told


def _new(node: Node, before: dict[str, str]) -> dict[str, str]:
    """What is in its conflicts since."""
    return {name: digest for name, digest in conflicts(node).items() if before.get(name) != digest}


def test_the_third_ends_the_run_of_a_writer_that_was_replaced(three: Three) -> None:
    """The writer falls asleep in the middle of a run to the second backup; when the first is promoted, the
    second ends that run by itself (HISTORIES R9), and the sleeper's file is not lost."""
    big = os.urandom(60 << 20)
    three.a.write(f"{TREE}/big", big)
    three.wait_has(three.b, "big")
    three.wait(lambda: three.c.pids("rsync --server -lHog"), "the run to c to be under way")
    three.a.pause()
    cut = set(three.c.pids("rsync --server -lHog"))
    assert cut, "it was to be under way, not done"
    three.wait_writer(three.b)
    three.wait(lambda: not cut & set(three.c.pids()), "c to end the old writer's run")
    three.b.write(f"{TREE}/by b meanwhile", "3\n")
    three.wait_has(three.c, "by b meanwhile")
    three.a.resume()
    three.wait_writer(three.a)
    three.wait_equal(*three.holders)
    everywhere = {digest for node in three.holders for digest in contents(node).values()}
    for node in three.holders:
        for folder in ("conflicts", "trash"):
            everywhere |= set(contents_of_own(node, folder).values())
    assert hashlib.sha256(big).hexdigest() in everywhere
    assert "by b meanwhile" in contents(three.a)
