"""What the engine is told of the cluster: voters, groups and the lengths of time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from drcm.cluster.messages import Beat, GroupKey
from drcm.config.binding import bound, in_order, needs_of
from drcm.config.model import (
    RESTART_LIMIT,
    RESTART_WINDOW,
    Cluster,
    Kind,
    Node,
    Quorum,
    ResourceRef,
    SyncSet,
)

MemberKey = str  # "ip:web", "set:testfs"


@dataclass(frozen=True, slots=True)
class Restarts:
    """A member that fails is restarted in its place `limit` times within `window` seconds, then it moves."""

    limit: int = RESTART_LIMIT
    window: float = RESTART_WINDOW


@dataclass(frozen=True, slots=True)
class Group:
    """What is granted, started, stopped and moved as one: a set and what depends on it, or one resource."""

    key: GroupKey
    home: str
    candidates: tuple[str, ...]  # home first, then the backups in the order of taking over
    members: tuple[MemberKey, ...]  # in the order of starting
    needs: tuple[tuple[MemberKey, MemberKey], ...] = ()  # (member, what must run before it)

    @property
    def sets(self) -> tuple[str, ...]:
        """The names of its sync sets."""
        return _set_names(self.members)


@dataclass(frozen=True, slots=True)
class Spec:
    """The engine's whole knowledge of cm.cfg. Times in seconds."""

    me: str
    voters: tuple[str, ...]
    groups: tuple[Group, ...]
    quorum: Quorum
    interval: float
    dead_seconds: float
    boot_wait: float = 60.0
    failback: bool = True
    leave_sync: float = 60.0
    pings: bool = False  # ping_hosts are configured
    digest: str = ""
    epoch: int = 1
    keeps: frozenset[str] = frozenset()  # kinds that go on running when this node leaves
    members: tuple[str, ...] = ()  # cm.cfg's active nodes, on the roll or not; () = the voters
    last_man_standing: bool = False
    restarts: Mapping[MemberKey, Restarts] = field(default_factory=dict)  # where not the default
    flap_limit: int = 6  # moves to a backup within an hour after which a group stays
    fenced: frozenset[str] = frozenset()  # nodes that have a fence command

    @property
    def lease_seconds(self) -> float:
        return 0.7 * self.dead_seconds

    @property
    def majority(self) -> int:
        """How many voters are more than half of them."""
        return len(self.voters) // 2 + 1

    def group_of(self, name: str) -> Group | None:
        """The group that the set `name` moves with."""
        return next((group for group in self.groups if name in group.sets), None)

    def has_roll_of(self, beat: Beat) -> bool:
        """Grants count only between equal rolls (HISTORIES E6)."""
        return beat.epoch == self.epoch and beat.voters in ((), self.voters)

    @property
    def peers(self) -> tuple[str, ...]:
        return tuple(name for name in self.members or self.voters if name != self.me)


@lru_cache(maxsize=1024)  # asked for on every pass, for every group
def _set_names(members: tuple[MemberKey, ...]) -> tuple[str, ...]:
    return tuple(m.partition(":")[2] for m in members if m.startswith("set:"))


def build_spec(cluster: Cluster, me: str) -> Spec:
    """The spec of node `me` in a cluster whose config has no errors."""
    server = cluster.server
    return Spec(
        me=me,
        voters=tuple(node.name for node in cluster.voters),
        groups=build_groups(cluster),
        quorum=cluster.quorum,
        interval=server.keep_alive_interval,
        dead_seconds=server.dead_seconds,
        boot_wait=server.boot_wait,
        failback=server.failback,
        leave_sync=server.leave_sync,
        pings=bool(server.ping_hosts),
        digest=cluster.digest,
        keeps=_keeps(cluster.node(me)),
        members=tuple(node.name for node in cluster.voters),
        last_man_standing=server.last_man_standing,
        restarts=_restarts(cluster),
        flap_limit=server.flap_limit,
        fenced=frozenset(node.name for node in cluster.voters if node.fence_command),
    )


def _restarts(cluster: Cluster) -> dict[MemberKey, Restarts]:
    found = {}
    for resource in cluster.resources:
        said = cluster.policy(resource.kind, resource.nickname)
        limit = RESTART_LIMIT if said.restart_limit is None else said.restart_limit
        restarts = Restarts(limit, said.restart_window or RESTART_WINDOW)
        if restarts != Restarts():
            found[f"{resource.kind.value}:{resource.nickname}"] = restarts
    return found


def _keeps(node: Node) -> frozenset[str]:
    flags = {
        Kind.SERVICE: node.keep_services,
        Kind.FILESYSTEM: node.keep_filesystems,
        Kind.APPLICATION: node.keep_applications,
    }
    return frozenset(kind.value for kind, kept in flags.items() if kept)


def build_groups(cluster: Cluster) -> tuple[Group, ...]:
    """Every group of the cluster, in the order of cm.cfg, sets first."""
    taken: set[tuple[str, ResourceRef]] = set()
    groups = []
    for home, sets in _sets_by_home(cluster.sets).items():
        together = _moving_with(cluster, cluster.node(home), sets)
        taken.update((home, ref) for ref in together)
        groups.append(_set_group(cluster, home, sets, together))
    for node in cluster.voters:
        for refs in bound(cluster, node):
            if (node.name, refs[0]) not in taken:
                groups.append(_resource_group(cluster, node.name, refs))
    return tuple(groups)


def member_key(ref: ResourceRef) -> MemberKey:
    return f"{ref.kind.value}:{ref.nickname}"


def _sets_by_home(sets: Iterable[SyncSet]) -> dict[str, list[SyncSet]]:
    homes: dict[str, list[SyncSet]] = {}
    for sync_set in sets:
        homes.setdefault(sync_set.primary, []).append(sync_set)
    return homes


def _moving_with(cluster: Cluster, home: Node, sets: list[SyncSet]) -> tuple[ResourceRef, ...]:
    """The home's resources that go where its sets go: those named, else all that have a backup.

    And what is bound to one of them by `depends` or `group`.
    """
    if all(s.resources is not None for s in sets):
        moving = {ref for s in sets for ref in s.resources or ()}
    else:
        moving = {ref for ref in home.resources if _backups(cluster, home.name, ref)}
    for refs in bound(cluster, home):
        if moving.intersection(refs):
            moving.update(refs)
    return tuple(ref for ref in home.resources if ref in moving)


def _set_group(cluster: Cluster, home: str, sets: list[SyncSet], refs: tuple[ResourceRef, ...]) -> Group:
    shared = tuple(name for name in sets[0].backups if all(name in s.backups for s in sets))
    names = tuple(f"set:{s.name}" for s in sets)
    return _group(cluster, f"{home}/set:{sets[0].name}", (home, *shared), names, refs)


def _resource_group(cluster: Cluster, home: str, refs: tuple[ResourceRef, ...]) -> Group:
    """One resource alone, or some that are bound together: only who backs up all of them may take them."""
    name = next(filter(None, (cluster.policy(r.kind, r.nickname).group for r in refs)), "")
    key = (
        f"group:{name}" if name and len(refs) > 1 else member_key(in_order(refs, needs_of(cluster, refs))[0])
    )
    backups = [_backups(cluster, home, ref) for ref in refs]
    shared = tuple(node for node in backups[0] if all(node in others for others in backups))
    return _group(cluster, f"{home}/{key}", (home, *shared), (), refs)


def _group(
    cluster: Cluster,
    key: GroupKey,
    candidates: tuple[str, ...],
    sets: tuple[MemberKey, ...],
    refs: tuple[ResourceRef, ...],
) -> Group:
    needs = needs_of(cluster, refs)
    pairs = [(member_key(ref), member_key(need)) for ref in refs for need in needs[ref]]
    members = (*sets, *(member_key(ref) for ref in in_order(refs, needs)))
    return Group(key, candidates[0], candidates, members, tuple(pairs))


def _backups(cluster: Cluster, home: str, ref: ResourceRef) -> tuple[str, ...]:
    def backs_up(node: Node) -> bool:
        return any((b.home, b.kind, b.nickname) == (home, ref.kind, ref.nickname) for b in node.backups)

    return tuple(node.name for node in cluster.voters if node.name != home and backs_up(node))
