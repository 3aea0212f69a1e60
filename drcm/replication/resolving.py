"""`drcm-sync NAME --resolve keep=NODE`: of two histories a person keeps one; nothing of the other is lost.

The kept node is the one that serves the set. It begins a generation above both histories; to it the other
copies are `ahead`: all that the next pass overwrites or deletes there is kept in .drcm/conflicts.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection

from drcm.errors import EXIT_USAGE, DrcmError, RoleError
from drcm.replication import looking, records, transitions
from drcm.replication.generation import Record
from drcm.replication.job import Job
from drcm.replication.role import Role
from drcm.replication.verdict import VerdictKind, judge


def need_holder(job: Job, keep: str, mine: Role) -> None:
    """RoleError, with the node to run it on, unless `keep` is this node and serves the set."""
    name = job.sync_set.name
    if keep not in job.sync_set.nodes:
        nodes = ", ".join(job.sync_set.nodes)
        raise DrcmError(
            f"--resolve keep={keep}: no node of {name} has that name", f"Nodes: {nodes}", EXIT_USAGE
        )
    if keep != job.node:
        cure = f"On {keep}: drcm-sync {name} --resolve keep={keep} --dry-run"
        raise RoleError(
            f"{name}: the node that is kept resolves it: expected {keep}, this is {job.node}", cure
        )
    if not mine.may_write:
        others = " or ".join(node for node in job.sync_set.nodes if node != keep)
        raise RoleError(
            f"{name}: {keep} does not serve the set, so its copy can't be kept: {mine.reason}",
            f"On the node that serves it ({others}): drcm-sync {name} --resolve keep=NODE --dry-run, "
            f"NODE being that node. To keep the copy of {keep} all the same, let it serve first: on that "
            f"node systemctl stop drcm-server, here drcm-sync {name} --promote --accept-loss, there start "
            f"it again, then this command. What a node loses is kept there in .drcm/conflicts.",
        )


def resolve(job: Job, targets: Collection[str], heard: Collection[str] | None, record: Record) -> Record:
    """`record` in a new generation above those of all `targets` that DIVERGED; saved unless a dry run.

    The caller holds the set's lock. It has started at once: the service runs on this tree already.
    """
    losers, errors = [], []
    for node in targets:
        if heard is not None and node not in heard:
            errors.append(DrcmError(f"{node} is not heard", "Start drcm-server there first"))
            continue
        try:
            losers += _loser(job, record, node, settled=heard is not None)
        except DrcmError as error:
            errors.append(error)
    if not losers:
        nothing = RoleError(
            f"{record.name}: nothing to resolve: no copy DIVERGED", f"drcm-sync {record.name}"
        )
        raise errors[0] if errors else nothing
    resolved = transitions.start(transitions.resolve(record, losers, secrets.token_hex(8)))
    return resolved if job.dry_run else records.save(job.paths.sets, resolved)


def _loser(job: Job, record: Record, node: str, settled: bool) -> list[Record]:
    """The node's record if its copy DIVERGED. `settled`: daemons run, so it must have stopped writing."""
    with job.link(node) as link:
        tree = looking.ask(job, node, link)
    if judge(record, tree).kind is not VerdictKind.DIVERGED:
        return []
    if settled and tree.is_writer:
        cure = "It releases the set by itself within seconds. Look: drcm-report; then the same command again."
        raise RoleError(f"{record.name}: {node} still counts itself the writer", cure)
    return [tree]
