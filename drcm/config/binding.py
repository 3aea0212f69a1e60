"""Which resources of a node move together, and in what order they start: `depends` and `group`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from drcm.config.model import Cluster, Kind, Node, ResourceRef

START_ORDER = {kind: place for place, kind in enumerate(Kind)}
Needs = Mapping[ResourceRef, Iterable[ResourceRef]]  # resource -> what must run before it


def needs_of(cluster: Cluster, refs: Iterable[ResourceRef]) -> dict[ResourceRef, tuple[ResourceRef, ...]]:
    """What each of `refs` depends on by [CM_RESOURCE]."""
    return {ref: cluster.policy(ref.kind, ref.nickname).depends for ref in refs}


def bound(cluster: Cluster, node: Node) -> list[tuple[ResourceRef, ...]]:
    """The node's own resources, those that are bound to each other together, in the order of cm.cfg."""
    if not cluster.policies:
        return [(ref,) for ref in node.resources]
    needs, mine = needs_of(cluster, node.resources), set(node.resources)
    together = {ref: [ref] for ref in node.resources}
    first_of: dict[str, ResourceRef] = {}
    for ref in node.resources:
        name = cluster.policy(ref.kind, ref.nickname).group
        others = [other for other in needs[ref] if other in mine]
        if name:
            others.append(first_of.setdefault(name, ref))
        for other in others:
            _join(together, ref, other)
    unique = {id(refs): refs for refs in together.values()}
    order = {ref: place for place, ref in enumerate(node.resources)}
    return [tuple(sorted(refs, key=order.__getitem__)) for refs in unique.values()]


def _join(together: dict[ResourceRef, list[ResourceRef]], one: ResourceRef, other: ResourceRef) -> None:
    if together[one] is not together[other]:
        joined = together[one] + together[other]
        together.update(dict.fromkeys(joined, joined))


def in_order(refs: Sequence[ResourceRef], needs: Needs) -> list[ResourceRef]:
    """The order of starting: that of the kinds, but each after what it depends on. No cycle among them."""
    left = sorted(refs, key=lambda ref: START_ORDER[ref.kind])
    ordered: list[ResourceRef] = []
    while left:
        ready = (ref for ref in left if not any(need in left for need in needs.get(ref, ())))
        chosen = next(ready, left[0])
        left.remove(chosen)
        ordered.append(chosen)
    return ordered


def cycle(needs: Needs) -> list[ResourceRef]:
    """Resources each of which depends on the next, the last on the first; empty where there is no cycle."""
    harmless: set[ResourceRef] = set()
    for start in needs:
        path: list[ResourceRef] = []
        todo = [(start, iter(needs.get(start, ())))]
        while todo:
            ref, rest = todo[-1]
            if ref not in path:
                path.append(ref)
            need = next(rest, None)
            if need is None:
                harmless.add(path.pop())
                todo.pop()
            elif need in path:
                return path[path.index(need) :]
            elif need not in harmless:
                todo.append((need, iter(needs.get(need, ()))))
    return []
