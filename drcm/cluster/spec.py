"""What the engine is told of the cluster: voters, groups and the lengths of time. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from drcm.cluster.messages import Beat, GroupKey
from drcm.config.model import Cluster, Kind, Node, Quorum, ResourceRef, SyncSet

MemberKey = str  # "ip:web", "set:testfs"
START_ORDER = {kind: place for place, kind in enumerate(Kind)}


@dataclass(frozen=True, slots=True)
class Group:
    """What is granted, started, stopped and moved as one: a set and what depends on it, or one resource."""

    key: GroupKey
    home: str
    candidates: tuple[str, ...]  # home first, then the backups in the order of taking over
    members: tuple[MemberKey, ...]  # in the order of starting

    @property
    def sets(self) -> tuple[str, ...]:
        """The names of its sync sets."""
        return tuple(m.partition(":")[2] for m in self.members if m.startswith("set:"))


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

    @property
    def lease_seconds(self) -> float:
        return 0.7 * self.dead_seconds

    @property
    def majority(self) -> int:
        """How many voters are more than half of them."""
        return len(self.voters) // 2 + 1

    def has_roll_of(self, beat: Beat) -> bool:
        """Grants count only between equal rolls (HISTORIES E6)."""
        return beat.epoch == self.epoch and beat.voters in ((), self.voters)

    @property
    def peers(self) -> tuple[str, ...]:
        return tuple(name for name in self.members or self.voters if name != self.me)


def build_spec(cluster: Cluster, me: str) -> Spec:
    """The spec of node `me` in a cluster whose config has no errors."""
    server = cluster.server
    return Spec(
        me=me,
        voters=tuple(node.name for node in cluster.voters),
        groups=build_groups(cluster),
        quorum=resolve_quorum(server.quorum, len(cluster.voters)),
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
    )


def _keeps(node: Node) -> frozenset[str]:
    flags = {
        Kind.SERVICE: node.keep_services,
        Kind.FILESYSTEM: node.keep_filesystems,
        Kind.APPLICATION: node.keep_applications,
    }
    return frozenset(kind.value for kind, kept in flags.items() if kept)


def resolve_quorum(wanted: Quorum, voters: int) -> Quorum:
    """`auto` is `two_node` with two voters, where no majority is to be had, else `majority`."""
    if wanted is not Quorum.AUTO:
        return wanted
    return Quorum.TWO_NODE if voters == 2 else Quorum.MAJORITY


def build_groups(cluster: Cluster) -> tuple[Group, ...]:
    """Every group of the cluster, in the order of cm.cfg, sets first."""
    taken: set[tuple[str, ResourceRef]] = set()
    groups = []
    for home, sets in _sets_by_home(cluster.sets).items():
        together = _moving_with(cluster, cluster.node(home), sets)
        taken.update((home, ref) for ref in together)
        groups.append(_set_group(home, sets, together))
    for node in cluster.voters:
        alone = (ref for ref in node.resources if (node.name, ref) not in taken)
        groups.extend(_single(cluster, node.name, ref) for ref in alone)
    return tuple(groups)


def member_key(ref: ResourceRef) -> MemberKey:
    return f"{ref.kind.value}:{ref.nickname}"


def _sets_by_home(sets: Iterable[SyncSet]) -> dict[str, list[SyncSet]]:
    homes: dict[str, list[SyncSet]] = {}
    for sync_set in sets:
        homes.setdefault(sync_set.primary, []).append(sync_set)
    return homes


def _moving_with(cluster: Cluster, home: Node, sets: list[SyncSet]) -> tuple[ResourceRef, ...]:
    """The home's resources that go where its sets go: those named, else all that have a backup."""
    if all(s.resources is not None for s in sets):
        named = {ref for s in sets for ref in s.resources or ()}
        return tuple(ref for ref in home.resources if ref in named)
    return tuple(ref for ref in home.resources if _backups(cluster, home.name, ref))


def _set_group(home: str, sets: list[SyncSet], refs: tuple[ResourceRef, ...]) -> Group:
    shared = [name for name in sets[0].backups if all(name in s.backups for s in sets)]
    members = [f"set:{s.name}" for s in sets] + [member_key(ref) for ref in _in_order(refs)]
    return Group(f"{home}/set:{sets[0].name}", home, (home, *shared), tuple(members))


def _single(cluster: Cluster, home: str, ref: ResourceRef) -> Group:
    key = member_key(ref)
    return Group(f"{home}/{key}", home, (home, *_backups(cluster, home, ref)), (key,))


def _backups(cluster: Cluster, home: str, ref: ResourceRef) -> tuple[str, ...]:
    def backs_up(node: Node) -> bool:
        return any((b.home, b.kind, b.nickname) == (home, ref.kind, ref.nickname) for b in node.backups)

    return tuple(node.name for node in cluster.voters if node.name != home and backs_up(node))


def _in_order(refs: Iterable[ResourceRef]) -> list[ResourceRef]:
    return sorted(refs, key=lambda ref: START_ORDER[ref.kind])
