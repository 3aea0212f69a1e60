"""Sync sets against nodes, resources, directories and each other. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from drcm.config.build import Draft
from drcm.config.check_nodes import by_name
from drcm.config.faults import Faults
from drcm.config.model import BackupRef, Crontab, Node, ResourceRef, SyncSet
from drcm.config.settings import hint
from drcm.config.systemplaces import CRON_PREFIX, OURS, of_the_system


def check_sets(draft: Draft, faults: Faults) -> None:
    """Everything about [CM_SYNC] that concerns more than one line."""
    nodes = by_name(draft.cluster)
    first: dict[str, int] = {}
    private = _Private(draft)
    for sync in draft.cluster.sets:
        if sync.name in first:
            text = f"a set {sync.name} begins in line {first[sync.name]} already; give it another name"
            faults.error(draft.at(sync.line, "name"), text)
        if sync.name:
            first.setdefault(sync.name, sync.line)
        _check_members(sync, nodes, draft, faults)
        _check_roots(sync, private, draft, faults)
        _check_backups_of_resources(sync, nodes, draft, faults)
        _check_watch(sync, draft, faults)
    _check_overlaps(draft, faults)


def _check_members(sync: SyncSet, nodes: dict[str, Node], draft: Draft, faults: Faults) -> None:
    seen: set[str] = set()
    for key, index, name in _members(sync):
        line = draft.at(sync.line, key, index)
        node = nodes.get(name)
        if name in seen:
            faults.error(line, f"{key}: {name} is in the set {sync.name} already; name it once")
        elif node is None:
            faults.error(line, f"{key}: there is no node {name}{hint(name, nodes)}; correct it")
        elif node.witness or not node.active:
            why = "a witness, which holds nothing" if node.witness else "not active"
            faults.error(line, f"{key}: {name} is {why}; name another node")
        seen.add(name)
    if not sync.backups and "backups" in draft.sections[sync.line].lines:
        faults.error(
            draft.at(sync.line, "backups"), "backups is empty: expected at least one nodename; add it"
        )


def _check_watch(sync: SyncSet, draft: Draft, faults: Faults) -> None:
    """What a hook writes in the set is a change as well, and asks for the next run."""
    hooks = [key for key in ("pre_sync", "post_sync") if getattr(sync, key)]
    if sync.schedule.watch and hooks:
        text = f"watch = 1: what {hooks[0]} writes in the set starts a run after each run; write every = 30s"
        faults.warning(draft.at(sync.line, "watch"), text)


def _members(sync: SyncSet) -> Iterator[tuple[str, int, str]]:
    if sync.primary:
        yield "primary", 0, sync.primary
    yield from (("backups", index, name) for index, name in enumerate(sync.backups))


def _roots(sync: SyncSet) -> Iterator[tuple[str, int, str]]:
    yield from (("mirror", index, path) for index, path in enumerate(sync.mirror))
    yield from (("copy", index, path) for index, path in enumerate(sync.copy))


def _check_roots(sync: SyncSet, private: _Private, draft: Draft, faults: Faults) -> None:
    if not sync.roots and not draft.sections[sync.line].lines.keys() & {"mirror", "copy"}:
        faults.error(sync.line, f"the set {sync.name} has no directory: add 'mirror = /DIR' or 'copy = /DIR'")
    for key, index, path in _roots(sync):
        line = draft.at(sync.line, key, index)
        if of_the_system(path):
            faults.error(line, f"{key}: {path} belongs to the system; name a directory of your own data")
        elif touched := private.touched(path):
            text = (
                f"{key}: {path} overlaps {touched}, which is each node's own: the sync "
                "would switch on there what runs here; leave it out"
            )
            faults.error(line, text)


class _Private:
    """What a node keeps about itself, and where drcm installs and removes crontabs."""

    def __init__(self, draft: Draft) -> None:
        server = draft.cluster.server
        installs = {
            r.install_dir for r in draft.cluster.resources if isinstance(r, Crontab) and r.install_dir
        }
        self.paths = {*OURS, server.run_dir, server.spool_dir, server.log_dir, *installs}
        self.above = {parent: path for path in sorted(self.paths) for parent in _parents(path)}

    def touched(self, path: str) -> str:
        """The private directory that is `path`, lies in it or holds it; "" = none."""
        if path.startswith(CRON_PREFIX):
            return f"{CRON_PREFIX}*"
        holder = next((p for p in (path, *_parents(path)) if p in self.paths), "")
        return holder or self.above.get(path, "")


def _check_overlaps(draft: Draft, faults: Faults) -> None:
    """No root inside another on the same node: two sets would delete each other's files."""
    told: set[int] = set()
    for node in draft.cluster.nodes:
        mine = [sync for sync in draft.cluster.sets if node.name in sync.nodes]
        roots = [(path, draft.at(sync.line, key, i)) for sync in mine for key, i, path in _roots(sync)]
        _check_nesting(roots, told, faults)


def _check_nesting(roots: list[tuple[str, int]], told: set[int], faults: Faults) -> None:
    first: dict[str, int] = {}
    for path, line in roots:
        if path in first and line not in told:
            faults.error(line, f"{path} is synced by line {first[path]} already; delete one")
            told.add(line)
        first.setdefault(path, line)
    for path, line in first.items():
        outer = next((parent for parent in _parents(path) if parent in first), "")
        if outer and line not in told:
            text = f"{path} lies inside {outer} (line {first[outer]}), which is synced too; delete one"
            faults.error(line, text)
            told.add(line)


def _parents(path: str) -> Iterator[str]:
    while path not in ("/", ""):
        path = posixpath.dirname(path)
        yield path


def _check_backups_of_resources(sync: SyncSet, nodes: dict[str, Node], draft: Draft, faults: Faults) -> None:
    """What depends on a set starts only on its writer, so its backups must be the set's too (rule 6)."""
    primary = nodes.get(sync.primary)
    if primary is None or not sync.backups:
        return
    moving = set(primary.resources if sync.resources is None else sync.resources)
    for node in draft.cluster.voters:
        refs = [ref for ref in node.backups if ref.home == primary.name]
        backed = [ref for ref in refs if ResourceRef(ref.kind, ref.nickname) in moving]
        if node.name in sync.nodes:
            continue
        for ref in backed[:1]:
            faults.error(draft.at(sync.line, "backups"), _stranded(sync, node, ref))
    _check_bare_backups(sync, nodes, moving, draft, faults)


def _stranded(sync: SyncSet, node: Node, ref: BackupRef) -> str:
    return (
        f"backups: {node.name} backs up {ref.home}:{ref.nickname}, which moves with the set {sync.name}, but "
        f"is no backup of the set: it could never start there; add {node.name}, or name in 'resources = ...' "
        "what moves with the set"
    )


def _check_bare_backups(
    sync: SyncSet, nodes: dict[str, Node], moving: set[ResourceRef], draft: Draft, faults: Faults
) -> None:
    """A node that may become the writer without running what others would."""
    taken = {
        name: {ResourceRef(ref.kind, ref.nickname) for ref in nodes[name].backups if ref.home == sync.primary}
        for name in sync.backups
        if name in nodes and nodes[name].active and not nodes[name].witness and name != sync.primary
    }
    wanted = moving & set().union(*taken.values())
    for index, name in enumerate(sync.backups):
        missing = sorted(f"{ref.kind}:{ref.nickname}" for ref in wanted - taken.get(name, wanted))
        if missing:
            text = (
                f"backups: {name} may become the writer of {sync.name} but is no backup of "
                f"{', '.join(missing)}, which would stop; add them to its node_backup_ lists"
            )
            faults.warning(draft.at(sync.line, "backups", index), text)
