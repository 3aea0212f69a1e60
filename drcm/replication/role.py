"""May this node write the set now? The daemon knows; without one the durable record answers (R29)."""

from __future__ import annotations

import os
from dataclasses import dataclass

from drcm import control
from drcm.config import thisnode
from drcm.config.model import Cluster, Quorum, SyncSet
from drcm.errors import RoleError
from drcm.paths import Paths
from drcm.replication import records

ASK_SECONDS = 5.0
NODE_FILE = "node"  # in the state folder: this node's name, where uname -n is not its hostname


@dataclass(frozen=True, slots=True)
class Role:
    """`name`: writer, replica, waiting, diverged or none, and why. `heard`: None where nobody listens."""

    name: str
    reason: str
    heard: frozenset[str] | None = None

    @property
    def may_write(self) -> bool:
        return self.name == "writer"


def this_node(cluster: Cluster, paths: Paths) -> str:
    """The name that this machine has in cm.cfg."""
    written = paths.state / NODE_FILE
    if written.exists():
        return written.read_text().strip()
    return thisnode.this_node(cluster, os.uname().nodename).name


def ask(cluster: Cluster, sync_set: SyncSet, paths: Paths, node: str) -> Role:
    """This node's role in the set, from the daemon or from the record."""
    try:
        answer = control.ask_local(paths.socket, {"op": "set", "name": sync_set.name}, ASK_SECONDS)
    except control.NotRunningError:
        return _from_record(cluster, sync_set, paths, node)
    heard = frozenset(str(name) for name in answer.get("targets", ()))
    return Role(str(answer.get("role", "none")), str(answer.get("reason", "")), heard)


def _from_record(cluster: Cluster, sync_set: SyncSet, paths: Paths, node: str) -> Role:
    record = records.current(paths.sets, sync_set.name, sync_set.roots, node)
    if record is None:
        return Role("none", f"{sync_set.name} has not begun on {node}")
    if not record.is_writer:
        newest = record.newest
        whose = f"generation {newest.n} is {newest.writer}'s" if newest else "no generation is known here"
        return Role("replica", record.doubt or whose)
    if cluster.quorum is Quorum.MAJORITY:
        raise RoleError(
            f"{sync_set.name}: {node} is named as writer, but no daemon runs here to say that it still is",
            "Start it: systemctl start drcm-server. Without one nothing is pushed under quorum = majority.",
        )
    return Role("writer", f"generation {record.head.n} is {node}'s (no daemon runs here)")
