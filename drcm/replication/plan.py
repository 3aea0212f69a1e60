"""What a run is going to do, from rsync's dry run, and whether it may delete that much. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from drcm.config.model import SyncSet
from drcm.replication.verdict import VerdictKind

NAMES_KEPT = 1000  # a list of that kind; counts go on


@dataclass(frozen=True, slots=True)
class Plan:
    """Names as rsync prints them (odd characters as \\#ooo), at most NAMES_KEPT each; counts are whole."""

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
        raise NotImplementedError


def parse(lines: Iterable[str]) -> Plan:
    """The plan in rsync's lines of --out-format='%i %l %n'; other lines are passed over."""
    raise NotImplementedError


def may_delete(mode: str, kind: VerdictKind) -> bool:
    """Whether a run deletes at all: a mirror does, a copy or a first run never."""
    raise NotImplementedError


def check_deletions(
    plan: Plan, total_files: int, sync_set: SyncSet, overrides: Collection[str] = ()
) -> None:
    """DeleteGuardError if more is deleted than both the percentage of `total_files` and the number allow.

    `total_files`: on the receiver before the run.
    """
    raise NotImplementedError
