"""Which [CM_NODE] this machine is. Pure: the caller says how the machine is called."""

from __future__ import annotations

from drcm.config.model import Cluster, Node
from drcm.errors import EXIT_CONFIG, ConfigError


def this_node(cluster: Cluster, host: str, name: str = "") -> Node:
    """The node on the machine that `uname -n` calls `host`; with `name` only if it is still called that.

    One of the two names may be the long one. ConfigError where there is none.
    """
    for node in cluster.nodes:
        same = node.hostname in (host, _short(host)) or host == _short(node.hostname)
        if node.active and same and name in ("", node.name):
            return node
    known = ", ".join(f"{node.name} ({node.hostname})" for node in cluster.voters)
    wanted = f"[CM_NODE] {name}".strip()
    raise ConfigError(
        f"{cluster.path}: no active {wanted} has hostname = {host} (uname -n); it has: {known}",
        "Add the node, or correct its hostname, on every node alike.",
        EXIT_CONFIG,
    )


def _short(name: str) -> str:
    return name.partition(".")[0]
