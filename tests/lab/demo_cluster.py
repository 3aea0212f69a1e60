"""The demo's cluster: its cm.cfg, its two nodes, and what is asked of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drcm.history import History, RunRow
from tests.lab import Client, Lab, LabError, Node, make_cluster, wait_until
from tests.lab.demo_watch import Watch, record

NAME = "testfs"
ROOT = "/testfs"
IP = "10.77.0.100"
CRONTAB = "/etc/cron.d/system_crons"
# What `drcm-server --check-config` writes as the template, with two nodes, one address, one crontab, one set.
CONFIG = f"""\
[CM_SERVER]
keep_alive_interval = 0.1
dead_node_count = 20

[CM_CRONTABS]
system, /etc/drcm/crontabs/system_crons, /etc/cron.d, /etc/drcm/resources/crontab.sh

[CM_IPADDRS]
web, {IP}, 255.255.255.0, eth0, /etc/drcm/resources/ipv4addr.sh

[CM_NODE]
nodename = cmnode1
hostname = cmnode1
keep_alive_ip = 10.77.0.1
node_crontabs = system
node_floating_ip_addrs = web

[CM_NODE]
nodename = cmnode2
hostname = cmnode2
keep_alive_ip = 10.77.0.2
node_backup_crontabs = cmnode1:system
node_backup_floating_ip_addrs = cmnode1:web

[CM_REPLICATION]
cluster_name = DEMO

[CM_SYNC]
name = {NAME}
primary = cmnode1
backups = cmnode2
mirror = {ROOT}
every = 4s
"""


@dataclass(frozen=True)
class Cluster:
    """Two nodes and a client of their floating IP. `a` is cmnode1, the primary; `b` is its backup."""

    a: Node
    b: Node
    client: Client

    @property
    def nodes(self) -> tuple[Node, Node]:
        return self.a, self.b


def build(lab: Lab) -> Cluster:
    """The three machines, switched on; nothing of drcm runs yet."""
    a = lab.add_node("cmnode1", "10.77.0.1", directories=[ROOT], cron=True)
    b = lab.add_node("cmnode2", "10.77.0.2", directories=[ROOT], cron=True)
    client = lab.add_client()
    make_cluster(lab, CONFIG, [a, b])
    lab.power_on()
    return Cluster(a, b, client)


def root(node: Node) -> Path:
    """The set's directory on the node's disk."""
    return node.path(ROOT)


def good_runs(node: Node, target: Node) -> list[RunRow]:
    """The runs of the set from `node` that left `target` complete, oldest first."""
    rows = History(node.path("/var/lib/drcm/history.db")).runs(NAME)
    return [row for row in reversed(rows) if row.target == target.name and row.outcome == "good"]


def wait_run(node: Node, target: Node, timeout: float = 20.0) -> RunRow:
    """Wait for the next good run; it has ended a moment ago."""
    before = len(good_runs(node, target))
    wait_until(lambda: len(good_runs(node, target)) > before, timeout, f"a sync {node.name} -> {target.name}")
    return good_runs(node, target)[-1]


@dataclass(frozen=True)
class Move:
    """When each of the three things was on its new node, in seconds of CLOCK_BOOTTIME."""

    writer: float
    crontab: float
    address: float


@dataclass(frozen=True)
class Expected:
    """A move that is being looked for. Begin before it may happen."""

    watch: Watch
    old: Node
    new: Node
    generation: int  # that the move leaves behind

    @classmethod
    def begin(cls, watch: Watch, old: Node, new: Node) -> Expected:
        move = cls(watch, old, new, record(old, NAME).head.n)
        watch.expect(move._name("writer"), move._promoted)
        watch.expect(move._name("crontab"), move._has_crontab)
        watch.expect(move._name("address"), lambda: watch.holders() == [new.name])
        return move

    def wait(self, timeout: float) -> Move:
        names = map(self._name, ("writer", "crontab", "address"))
        return Move(*(self.watch.moment(name, timeout) for name in names))

    def _name(self, what: str) -> str:
        return f"the {what} of generation {self.generation} to move to {self.new.name}"

    def _promoted(self) -> bool:
        head = record(self.new, NAME).head
        return head.n > self.generation and head.writer == self.new.name and head.started

    def _has_crontab(self) -> bool:
        """There, and no longer on the old node (a disk without power runs no cron)."""
        gone = not self.old.is_on or not self.old.path(CRONTAB).exists()
        return gone and self.new.path(CRONTAB).exists()


def need(condition: bool, otherwise: str) -> None:
    """A check of the demo: LabError where it does not hold."""
    if not condition:
        raise LabError(otherwise)
