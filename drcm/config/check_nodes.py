"""Nodes against each other and against the resources that they list. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from drcm.config.build import Draft
from drcm.config.faults import Faults
from drcm.config.model import BackupRef, Cluster, FileSystem, Kind, Node, ResourceRef
from drcm.config.schema import NODE_LISTS, SECTION_OF
from drcm.config.settings import hint

TCP_DEAD_SECONDS = 2.0


def check_nodes(draft: Draft, faults: Faults) -> None:
    """Names and addresses are one node's each; lists name what there is; a witness holds nothing."""
    if not draft.cluster.nodes:
        faults.error(1, "there is no [CM_NODE]: expected one for each node; add them")
    elif not draft.cluster.voters:
        faults.error(draft.cluster.nodes[0].line, "no node is active: set node_is_active = 1")
    _check_unique(draft, faults, "nodename", lambda node: node.name)
    _check_unique(draft, faults, "hostname", lambda node: node.hostname.lower())
    _check_unique(draft, faults, "keep_alive_ip", lambda node: node.keep_alive_ip)
    for node in draft.cluster.nodes:
        _check_keep_alive_ip(node, draft, faults)
        _check_witness(node, draft, faults)
        _check_transport(node, draft, faults)
    lists = _Lists(draft, faults)
    for node in draft.cluster.nodes:
        lists.check(node)
    _check_shared_addresses(draft, faults)
    _check_kept_file_systems(draft, faults)


def by_name(cluster: Cluster) -> dict[str, Node]:
    """The nodes by name; of two with one name (a fault that is told) the first."""
    return {node.name: node for node in reversed(cluster.nodes) if node.name}


def _check_unique(draft: Draft, faults: Faults, key: str, value: Callable[[Node], str]) -> None:
    first: dict[str, Node] = {}
    for node in draft.cluster.nodes:
        mine = value(node)
        if mine and mine in first:
            before = draft.at(first[mine].line, key)
            faults.error(
                draft.at(node.line, key), f"{key} {mine} stands in line {before} already; give another"
            )
        first.setdefault(mine, node)


def _check_keep_alive_ip(node: Node, draft: Draft, faults: Faults) -> None:
    if node.keep_alive_ip and ipaddress.ip_address(node.keep_alive_ip).is_loopback:
        text = (
            f"keep_alive_ip {node.keep_alive_ip} is this machine itself on every node; give its LAN address"
        )
        faults.warning(draft.at(node.line, "keep_alive_ip"), text)


def _check_transport(node: Node, draft: Draft, faults: Faults) -> None:
    """TCP sends what was lost again after 0.2 s, then 0.4, 0.8: all that follows waits for it."""
    dead = draft.cluster.server.dead_seconds
    if node.transport == "tcp" and dead < TCP_DEAD_SECONDS:
        text = (
            f"transport = tcp with a node dead after {dead:g} s: two lost packets hold TCP up for most of "
            f"that; raise dead_node_count until it is {TCP_DEAD_SECONDS:g} s, or use udp"
        )
        faults.warning(draft.at(node.line, "transport"), text)


def _check_witness(node: Node, draft: Draft, faults: Faults) -> None:
    if node.witness and (node.resources or node.backups):
        keys = [key for pair in NODE_LISTS.values() for key in pair]
        held = next(key for key in keys if draft.sections[node.line].values.get(key))
        text = f"{node.name} is a witness: it votes and holds nothing; delete {held}, or set witness = 0"
        faults.error(draft.at(node.line, held), text)


def _check_shared_addresses(draft: Draft, faults: Faults) -> None:
    """Other resources may be at home on several nodes (each runs its own); an address can't be."""
    home: dict[str, str] = {}
    for node in draft.cluster.voters:
        for index, ref in enumerate(ref for ref in node.resources if ref.kind is Kind.ADDRESS):
            if ref.nickname in home and home[ref.nickname] != node.name:
                line = draft.at(node.line, NODE_LISTS[Kind.ADDRESS][0], index)
                text = (
                    f"{home[ref.nickname]} lists the address {ref.nickname} too: two nodes would hold it; "
                    f"here write node_backup_floating_ip_addrs = {home[ref.nickname]}:{ref.nickname}"
                )
                faults.error(line, text)
            home.setdefault(ref.nickname, node.name)


def _check_kept_file_systems(draft: Draft, faults: Faults) -> None:
    """A disk that stays mounted here while its backup mounts it is soon damaged (HISTORIES E20)."""
    disks = {
        fs.nickname: fs.source
        for fs in draft.cluster.resources
        if isinstance(fs, FileSystem) and ":" not in fs.source and not fs.source.startswith("//")
    }
    backed = {
        (ref.home, ref.nickname)
        for node in draft.cluster.voters
        for ref in node.backups
        if ref.kind is Kind.FILESYSTEM
    }
    key = NODE_LISTS[Kind.FILESYSTEM][0]
    for node in draft.cluster.voters:
        mounts = [ref.nickname for ref in node.resources if ref.kind is Kind.FILESYSTEM]
        for index, nickname in enumerate(mounts):
            if node.keep_filesystems and nickname in disks and (node.name, nickname) in backed:
                text = (
                    f"{key}: {nickname} ({disks[nickname]}) stays mounted when drcm stops here, its backup "
                    "mounts it as well: set keep_filesystems = 0 if both see the same disk"
                )
                faults.warning(draft.at(node.line, key, index), text)


class _Lists:
    """Checks what the node lists name; the look-ups are made once for all nodes."""

    def __init__(self, draft: Draft, faults: Faults) -> None:
        self.draft, self.faults = draft, faults
        self.nodes = by_name(draft.cluster)
        self.own = {name: set(node.resources) for name, node in self.nodes.items()}
        self.known: dict[Kind, dict[str, None]] = {kind: {} for kind in NODE_LISTS}
        for resource in draft.cluster.resources:
            self.known[resource.kind][resource.nickname] = None

    def check(self, node: Node) -> None:
        for kind, (own, backup) in NODE_LISTS.items():
            self._check_own(node, own, [ref for ref in node.resources if ref.kind is kind])
            self._check_backups(node, backup, [ref for ref in node.backups if ref.kind is kind])

    def _check_own(self, node: Node, key: str, refs: list[ResourceRef]) -> None:
        seen: set[ResourceRef] = set()
        for index, ref in enumerate(refs):
            line = self.draft.at(node.line, key, index)
            if ref in seen:
                self.faults.warning(line, f"{key}: {ref.nickname} is listed twice; delete one")
            elif ref.nickname not in self.known[ref.kind]:
                meant = hint(ref.nickname, self.known[ref.kind])
                text = f"{key}: no [{SECTION_OF[ref.kind]}] row is called {ref.nickname}{meant}; add one"
                self.faults.error(line, text)
            seen.add(ref)

    def _check_backups(self, node: Node, key: str, refs: list[BackupRef]) -> None:
        seen: set[BackupRef] = set()
        for index, ref in enumerate(refs):
            line = self.draft.at(node.line, key, index)
            if ref in seen:
                self.faults.warning(line, f"{key}: {ref.home}:{ref.nickname} is listed twice; delete one")
            elif ref.home and ref.nickname:  # else build.py has told
                self._check_backup(node, key, ref, line)
            seen.add(ref)

    def _check_backup(self, node: Node, key: str, ref: BackupRef, line: int) -> None:
        home = self.nodes.get(ref.home)
        if home is None:
            meant = hint(ref.home, self.nodes)
            self.faults.error(
                line, f"{key}: there is no node {ref.home}{meant}; correct {ref.home}:{ref.nickname}"
            )
        elif home is node:
            self.faults.error(
                line, f"{key}: {node.name} can't be its own backup; delete {ref.home}:{ref.nickname}"
            )
        elif ResourceRef(ref.kind, ref.nickname) not in self.own[ref.home]:
            own = [mine.nickname for mine in home.resources if mine.kind is ref.kind]
            text = (
                f"{key}: {ref.home} does not list {ref.nickname} as its own{hint(ref.nickname, own)}; "
                f"correct it, or add it to {ref.home}'s {NODE_LISTS[ref.kind][0]}"
            )
            self.faults.error(line, text)
        elif node.active and not home.active:
            text = f"{key}: {ref.home} is not active, so {ref.home}:{ref.nickname} never starts here"
            self.faults.warning(line, text)
