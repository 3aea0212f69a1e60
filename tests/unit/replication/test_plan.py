"""What a run is going to do, and whether it may delete that much."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from drcm.config.model import SyncSet
from drcm.errors import EXIT_DELETE_GUARD, DeleteGuardError
from drcm.replication.plan import NAMES_KEPT, Plan, check_deletions, may_delete, plan_of
from drcm.replication.rsync import Change, Item, parse_item
from drcm.replication.verdict import VerdictKind

SET = SyncSet("testfs", "A", ("B",))


def deletions(count: int) -> Plan:
    return plan_of(Item(Change.DELETED, "f", 0, f"f{number}") for number in range(count))


def test_real_rsync(tmp_path: Path) -> None:
    """The plan of a real dry run: what is new, what changes, what goes, what only its mode."""
    a, b = tmp_path / "a", tmp_path / "b"
    for root, name, text in (
        (a, "new", "12345"),
        (a, "x", "one"),
        (b, "x", "other"),
        (b, "gone d", ""),
        (a, "m", "m"),
    ):
        root.mkdir(exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(["rsync", "-a", f"{a}/m", f"{b}/m"], check=True)
    (b / "m").chmod(0o600)
    argv = ["rsync", "-aHn", "--delete-delay", "--out-format=%i %l %n", f"{a}/", f"{b}/"]
    lines = subprocess.run(argv, capture_output=True, check=True).stdout.splitlines()
    plan = plan_of(item for item in map(parse_item, lines) if item is not None)
    assert plan.created == ("new",)
    assert plan.changed == ("x",)
    assert plan.deleted == ("gone d",)
    assert "m" in plan.touched
    assert plan.size == len("12345") + len("one")
    assert not plan.is_empty


def test_bounded() -> None:
    """Names are kept up to a bound, counts are whole, also of two roots together."""
    plan = deletions(NAMES_KEPT + 5)
    assert (len(plan.deleted), plan.deleted_count) == (NAMES_KEPT, NAMES_KEPT + 5)
    both = plan + deletions(7)
    assert (len(both.deleted), both.deleted_count) == (NAMES_KEPT, NAMES_KEPT + 12)
    assert Plan().is_empty
    assert not (Plan() + plan).is_empty


@pytest.mark.parametrize(
    ("count", "total", "refused"),
    [(1000, 10, False), (1001, 10, True), (1001, 10_010, False), (5000, 50_000, False), (5001, 50_000, True)],
)
def test_whichever_is_more(count: int, total: int, refused: bool) -> None:
    """10 % or 1000, whichever is more: over both, nothing at all is deleted."""
    if not refused:
        check_deletions(deletions(count), total, SET)
        return
    with pytest.raises(DeleteGuardError, match=f"delete {count} of {total} files") as refusal:
        check_deletions(deletions(count), total, SET)
    assert refusal.value.exit_code == EXIT_DELETE_GUARD
    assert "--override=delete" in refusal.value.cure
    assert "f0, f1" in refusal.value.what
    check_deletions(deletions(count), total, SET, ["delete"])


@pytest.mark.parametrize("kind", list(VerdictKind))
def test_who_deletes(kind: VerdictKind) -> None:
    """A copy never deletes, a mirror not in its first run."""
    assert not may_delete("copy", kind)
    assert may_delete("mirror", kind) == (kind is not VerdictKind.JOINING)
