"""The campaign's clusters: two nodes, with a witness or a second backup, and the client as their service."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drcm.control import ask_local
from drcm.errors import DrcmError
from drcm.replication.generation import Record, from_json
from drcm.state import read_json
from tests.lab import Lab, LabError, Node, make_cluster, wait_until
from tests.lab.campaign_client import JOURNAL, TREE
from tests.lab.host import REPOSITORY

NAME = "testfs"
STATE = "/var/lib/drcm"
SCRIPT = "/etc/drcm/resources/campaign.sh"
CLIENT = REPOSITORY / "tests/lab/campaign_client.py"
UNIX_SOCKET = "run/drcm/drcm.sock"
UP_SECONDS = 60.0
DISKS = {TREE: 512, STATE: 64}  # MiB: small file systems, which a fault can fill
KINDS = ("two", "witness", "two", "backup")  # two_node quorum is the hardest: it comes twice as often
MEMBERS = {"two": 2, "witness": 3, "backup": 3}

# Twenty beats as in the template, and half its boot_wait, which would only make each round wait.
SERVER = """
[CM_SERVER]
keep_alive_interval = 0.1
dead_node_count = 20
flap_limit = 1000
boot_wait = 3

[CM_SERVICES]
client, campaign, {script}

[CM_NODE]
nodename = node1
hostname = node1
keep_alive_ip = 10.77.0.1
services_check = 1
node_services = client

[CM_NODE]
nodename = node2
hostname = node2
keep_alive_ip = 10.77.0.2
services_check = 1
node_backup_services = node1:client
"""
THIRD = """
[CM_NODE]
nodename = node3
hostname = node3
keep_alive_ip = 10.77.0.3
services_check = 1
"""
SET = """
[CM_SYNC]
name = {name}
primary = node1
backups = {backups}
mirror = {tree}
every = 2s
bwlimit = 30000
"""


def config(kind: str) -> str:
    """cm.cfg of a cluster of this kind."""
    third = {"two": "", "witness": THIRD + "witness = 1\n"}
    more = third.get(kind, THIRD + "node_backup_services = node1:client\n")
    backups = "node2, node3" if kind == "backup" else "node2"
    return SERVER.format(script=SCRIPT) + more + SET.format(name=NAME, backups=backups, tree=TREE)


@dataclass(frozen=True)
class Cluster:
    """`members` have a copy; `nodes` are all."""

    lab: Lab
    kind: str
    nodes: tuple[Node, ...]

    @property
    def members(self) -> tuple[Node, ...]:
        return self.nodes[:2] if self.kind == "witness" else self.nodes

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)


@contextmanager
def prepared(kind: str, plant: str = "") -> Iterator[Cluster]:
    """A cluster that is switched on; no daemon runs yet. `plant`: see campaign_plants."""
    with Lab() as lab:
        cluster = _make(lab, kind)
        if plant:
            from tests.lab.campaign_plants import plant_in

            plant_in(cluster, plant)
        lab.power_on()
        yield cluster


def begin(cluster: Cluster, clock: str = "") -> None:
    """Start the daemons, begin the set, wait until all have a whole copy. `clock`: whose can be stepped."""
    for node in cluster.nodes:
        if node.name == clock:
            node.step_clock(0)
        node.start_drcm(wait=UP_SECONDS)
    wait_until(lambda: status(cluster.nodes[0]).get("nodes"), UP_SECONDS, lambda: logs(cluster))
    begun = lambda: cluster.nodes[0].sync(NAME, "--init", check=False).returncode == 0  # noqa: E731
    wait_until(begun, UP_SECONDS, lambda: logs(cluster))
    wait_until(lambda: _complete(cluster.nodes[0]), UP_SECONDS, lambda: logs(cluster))


def _complete(writer: Node) -> bool:
    """All others have a whole copy."""
    targets = the_set(writer).get("targets", [])
    return bool(targets) and all(one["complete"] for one in targets)


def _make(lab: Lab, kind: str) -> Cluster:
    names = [f"node{number}" for number in range(1, MEMBERS[kind] + 1)]
    nodes = [
        lab.add_node(name, f"10.77.0.{number}", directories=[TREE, JOURNAL])
        for number, name in enumerate(names, 1)
    ]
    for node in nodes:
        for path, mebibytes in DISKS.items():
            node.give_small_disk(path, mebibytes)
    make_cluster(lab, config(kind), nodes)
    for node in nodes:
        node.write(SCRIPT, f'#!/bin/sh\nexec {sys.executable} -I -S {CLIENT} "$@"\n', 0o755)
    return Cluster(lab, kind, tuple(nodes))


# -- what a node says and has ----------------------------------------------------------------------


def ask(node: Node, **request: Any) -> dict[str, Any]:
    """The daemon's answer on its control socket; {} while nobody answers."""
    if not node.is_on:
        return {}
    try:
        return dict(ask_local(Path(f"/proc/{node.init_pid}/root/{UNIX_SOCKET}"), request, 1.0))
    except (DrcmError, OSError):
        return {}


def status(node: Node) -> dict[str, Any]:
    return ask(node, op="status")


def the_set(node: Node) -> dict[str, Any]:
    """What `status` says of the set; {} while nobody answers."""
    return next(iter(status(node).get("sets", ())), {})


def record(node: Node) -> Record | None:
    """The durable record on the node's disk, also while it is off; None where there is none yet."""
    state = node.variables.get("DRCM_STATE_DIR", STATE)
    try:
        value = read_json(node.path(f"{state}/sets/{NAME}.json"))
        return None if value is None else from_json(value)
    except (DrcmError, LabError, KeyError, ValueError):
        return None


def tree(node: Node) -> Path:
    return node.path(TREE)


def logs(cluster: Cluster) -> str:
    return "".join(f"--- {node.name}\n{node.daemon_log()[-3000:]}\n" for node in cluster.nodes)
