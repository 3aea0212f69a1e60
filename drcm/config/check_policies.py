"""[CM_RESOURCE] against the resources and the nodes that list them. Pure."""

from __future__ import annotations

from drcm.config.binding import bound, cycle, needs_of
from drcm.config.build import Draft
from drcm.config.faults import Faults, has_errors
from drcm.config.model import EACH, BackupRef, Cluster, Node, Policy, ResourceRef
from drcm.config.schema import NODE_LISTS
from drcm.config.settings import hint


def check_policies(draft: Draft, faults: Faults) -> None:
    """What is named exists, and once; dependencies are no cycle; what moves together can."""
    known = {f"{r.kind}:{r.nickname}": ResourceRef(r.kind, r.nickname) for r in draft.cluster.resources}
    first: dict[tuple[str, str], int] = {}
    for policy in draft.cluster.policies:
        _check_names(policy, known, draft, faults)
        before = first.setdefault((policy.kind, policy.nickname), policy.line)
        if before != policy.line:
            text = (
                f"{policy.kind}:{policy.nickname} has a [CM_RESOURCE] in line {before} already; make them one"
            )
            faults.error(draft.at(policy.line, "resource"), text)
    if _check_cycle(draft, known, faults):
        return
    for node in draft.cluster.voters:
        _check_homes(node, set(known.values()), draft, faults)
    if not has_errors(tuple(faults.found)):
        backed = _backups(draft.cluster)
        for node in draft.cluster.voters:
            for refs in bound(draft.cluster, node):
                if len(refs) > 1:
                    _check_backups(node, refs, backed, faults)


def _check_names(policy: Policy, known: dict[str, ResourceRef], draft: Draft, faults: Faults) -> None:
    named = f"{policy.kind}:{policy.nickname}"
    if policy.nickname == EACH and (policy.depends or policy.group):
        text = f"depends and group are of single resources, not of {named}; name them"
        faults.error(draft.at(policy.line, "resource"), text)
    elif policy.nickname != EACH and named not in known:
        text = f"resource: there is no {named}{hint(named, known)}; correct it, or add its row"
        faults.error(draft.at(policy.line, "resource"), text)
    for index, need in enumerate(policy.depends):
        name = f"{need.kind}:{need.nickname}"
        if name not in known:
            text = f"depends: there is no {name}{hint(name, known)}; correct it, or add its row"
            faults.error(draft.at(policy.line, "depends", index), text)


def _check_cycle(draft: Draft, known: dict[str, ResourceRef], faults: Faults) -> bool:
    ring = cycle(needs_of(draft.cluster, known.values()))
    if not ring:
        return False
    path = " -> ".join(f"{ref.kind}:{ref.nickname}" for ref in [*ring, ring[0]])
    line = next(
        p.line for p in draft.cluster.policies if (p.kind, p.nickname) == (ring[0].kind, ring[0].nickname)
    )
    faults.error(draft.at(line, "depends"), f"depends goes round: {path}; take one of them away")
    return True


def _check_homes(node: Node, known: set[ResourceRef], draft: Draft, faults: Faults) -> None:
    """What is needed must be on the same node, so it has the same home."""
    for ref in node.resources:
        policy = draft.cluster.policy(ref.kind, ref.nickname)
        for index, need in enumerate(policy.depends):
            if need in known and need not in node.resources:
                text = (
                    f"depends: {ref.kind}:{ref.nickname} is at home on {node.name}, but {node.name} does not "
                    f"list {need.kind}:{need.nickname}: add it to its {NODE_LISTS[need.kind][0]}"
                )
                faults.error(draft.at(policy.line, "depends", index), text)


def _check_backups(
    node: Node, refs: tuple[ResourceRef, ...], backed: dict[BackupRef, set[str]], faults: Faults
) -> None:
    """They move as one: who backs up one of them must back up all."""
    by = {ref: backed.get(BackupRef(node.name, ref.kind, ref.nickname), set()) for ref in refs}
    for name in sorted(set().union(*by.values())):
        missing = [ref for ref in refs if name not in by[ref]]
        if missing:
            together = ", ".join(f"{ref.kind}:{ref.nickname}" for ref in refs)
            lacking = ", ".join(f"{ref.kind}:{ref.nickname}" for ref in missing)
            key = NODE_LISTS[missing[0].kind][1]
            text = (
                f"{together} of {node.name} move as one, but {name} does not back up {lacking}, "
                f"so it can take over none of them: add {node.name}:{missing[0].nickname} to its {key}"
            )
            faults.warning(node.line, text)


def _backups(cluster: Cluster) -> dict[BackupRef, set[str]]:
    """Which nodes back up what."""
    found: dict[BackupRef, set[str]] = {}
    for node in cluster.voters:
        for ref in node.backups:
            found.setdefault(ref, set()).add(node.name)
    return found
