"""What a run is going to do, from rsync's dry run, and whether it may delete that much. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from drcm.config.model import SyncSet
from drcm.errors import DeleteGuardError
from drcm.replication.rsync import Change, Item
from drcm.replication.verdict import VerdictKind

NAMES_KEPT = 1000  # a list of that kind; counts go on
NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """Names relative to their root, at most NAMES_KEPT of each kind; the counts are whole."""

    created: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    touched: tuple[str, ...] = ()  # owner, mode, times or extended attributes only
    created_count: int = 0
    changed_count: int = 0
    deleted_count: int = 0
    touched_count: int = 0
    size: int = 0  # bytes of the files created and changed

    @property
    def is_empty(self) -> bool:
        return not (self.created_count or self.changed_count or self.deleted_count or self.touched_count)

    def __add__(self, other: Plan) -> Plan:
        """The plan of two roots."""
        return Plan(
            created=(self.created + other.created)[:NAMES_KEPT],
            changed=(self.changed + other.changed)[:NAMES_KEPT],
            deleted=(self.deleted + other.deleted)[:NAMES_KEPT],
            touched=(self.touched + other.touched)[:NAMES_KEPT],
            created_count=self.created_count + other.created_count,
            changed_count=self.changed_count + other.changed_count,
            deleted_count=self.deleted_count + other.deleted_count,
            touched_count=self.touched_count + other.touched_count,
            size=self.size + other.size,
        )


def plan_of(items: Iterable[Item]) -> Plan:
    """The plan that a dry run's itemised lines make."""
    names: dict[Change, list[str]] = {change: [] for change in Change}
    counts = dict.fromkeys(Change, 0)
    size = 0
    for item in items:
        counts[item.change] += 1
        if len(names[item.change]) < NAMES_KEPT:
            names[item.change].append(item.name)
        if item.change in (Change.CREATED, Change.CHANGED):
            size += item.size
    return Plan(
        created=tuple(names[Change.CREATED]),
        changed=tuple(names[Change.CHANGED]),
        deleted=tuple(names[Change.DELETED]),
        touched=tuple(names[Change.METADATA]),
        created_count=counts[Change.CREATED],
        changed_count=counts[Change.CHANGED],
        deleted_count=counts[Change.DELETED],
        touched_count=counts[Change.METADATA],
        size=size,
    )


def names_of(items: Iterable[Item]) -> tuple[str, ...]:
    """All names that a run is going to create or change."""
    return tuple(item.name for item in items if item.change in (Change.CREATED, Change.CHANGED))


def may_delete(mode: str, kind: VerdictKind) -> bool:
    """Whether a run deletes at all: a mirror does, a copy or a first run never."""
    return mode == "mirror" and kind is not VerdictKind.JOINING


def deletions_allowed(total_files: int, sync_set: SyncSet) -> int:
    """How many files a run may delete: the percentage or the number, whichever is more."""
    return max(int(total_files * sync_set.max_delete_percent / 100), sync_set.max_delete)


def check_deletions(plan: Plan, total_files: int, sync_set: SyncSet, overrides: Collection[str] = ()) -> None:
    """DeleteGuardError if more is deleted than both the percentage of `total_files` and the number allow.

    `total_files`: on the receiver before the run.
    """
    allowed = deletions_allowed(total_files, sync_set)
    if plan.deleted_count <= allowed or "delete" in overrides:
        return
    some = ", ".join(plan.deleted[:NAMES_SHOWN])
    raise DeleteGuardError(
        f"{sync_set.name}: would delete {plan.deleted_count} of {total_files} files on the other node, "
        f"expected at most {allowed} ({sync_set.max_delete_percent:g} % or {sync_set.max_delete}, "
        f"whichever is more): {some}{', ...' if plan.deleted_count > NAMES_SHOWN else ''}",
        f"Nothing was deleted. Look: drcm-sync {sync_set.name} --dry-run. "
        f"If they are meant to go, once: drcm-sync {sync_set.name} --override=delete",
    )
