"""What drcm-sync is asked to do, and how the other nodes are reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from drcm.config.model import Cluster, SyncSet
from drcm.paths import Paths
from drcm.replication.link import Link
from drcm.replication.openssh import Master, Server
from drcm.replication.progress import Quiet
from drcm.replication.remote import Line, Peer


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done: a set of this node's, and how."""

    cluster: Cluster
    sync_set: SyncSet
    paths: Paths
    node: str
    dry_run: bool = False
    hand_over: bool = False  # the last pass of a hand-over: prove afterwards that nothing is left
    override: tuple[str, ...] = ()
    progress: Callable[[str], Quiet] = lambda title: Quiet()

    def server(self, node: str) -> Server:
        shared = self.cluster.replication
        return Server(node, self.cluster.node(node).keep_alive_ip, shared.ssh_port, shared.backup_user)

    def link(self, node: str) -> Link:
        """Both connections to `node`, not yet opened."""
        return Link(Line(self.peer(node)), Master(self.server(node), self.paths))

    def peer(self, node: str) -> Peer:
        server = self.server(node)
        return Peer(node, server.address, server.port, server.user, self.paths)
