"""Trash goes by the days that a daemon counted and by size, never within the promise (HISTORIES R19, R20)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drcm import state
from drcm.errors import EXIT_IO, DrcmError
from drcm.paths import Paths
from drcm.replication import days, records, tidying, transitions
from drcm.replication.generation import Record, Root
from drcm.replication.retention import Aged, expired

FOLDERS = st.lists(
    st.builds(Aged, st.just("r"), st.uuids().map(str), st.integers(0, 40), st.integers(0, 100)), max_size=12
)


@given(FOLDERS, st.integers(1, 40), st.integers(0, 500))
def test_nothing_goes_within_its_days(folders: list[Aged], promised: int, limit: int) -> None:
    """Whatever the size; and of what may go, the oldest goes first and no more than must."""
    gone = expired(folders, 40, promised, limit)
    assert all(40 - one.seen >= promised for one in gone)
    left = [one for one in folders if one not in gone]
    past = [one for one in left if 40 - one.seen >= promised]
    if not limit:
        assert past == []
    elif past:
        assert sum(one.size for one in left) <= limit
        assert all(one.seen <= past_one.seen for one in gone for past_one in past)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "cm.cfg", tmp_path / "auth", tmp_path / "state", tmp_path / "run")


@pytest.fixture
def record(tmp_path: Path, paths: Paths) -> Record:
    root = tmp_path / "tree"
    root.mkdir()
    made = transitions.initial("t", "u" * 8, "a", (Root(str(root), "mirror", "f" * 8, 0),), "1" * 16)
    return records.save(paths.sets, made, fresh=[str(root)])


def keep(record: Record, label: str, size: int = 0) -> Path:
    """A folder of trash with a file of `size` bytes on disk."""
    folder = Path(record.roots[0].path) / ".drcm" / "trash" / label
    folder.mkdir()
    (folder / "file").write_bytes(b"x" * size)
    folder.with_name(f"{label}.list").touch()
    return folder


def pass_days(paths: Paths, number: int) -> None:
    """The daemon has run so long."""
    state.write_json(paths.state / "days.json", {"day": days.today(paths) + number, "seconds": 0.0})


def test_a_day_is_time_that_the_daemon_ran(paths: Paths) -> None:
    """12 x 2 hours make one; a single call counts 2 hours at most, whatever a clock says (R19)."""
    assert days.today(paths) == 0
    counted = [days.count(paths, seconds) for seconds in [7_200] * 11 + [1e9] * 12]
    assert counted == [False] * 11 + [True] + [False] * 11
    assert days.today(paths) == 1


def test_trash_goes_after_its_days_with_its_list(paths: Paths, record: Record) -> None:
    """Kept for at least so many counted days; a folder's mtime of 1970 or 2099 makes no difference."""
    import os

    old = keep(record, "1-1-00000000-1")
    os.utime(old, (0, 0))
    assert tidying.tidy(paths, "t", record, 2, 0).dropped == ()
    pass_days(paths, 1)
    young = keep(record, "1-2-00000000-1")
    assert tidying.tidy(paths, "t", record, 2, 0).dropped == ()
    pass_days(paths, 1)
    done = tidying.tidy(paths, "t", record, 2, 0)
    assert (done.dropped, done.left) == (("1-1-00000000-1",), 1)
    assert not old.exists()
    assert not old.with_name("1-1-00000000-1.list").exists()
    assert young.exists()


def test_a_lost_ledger_only_keeps_longer(paths: Paths, record: Record) -> None:
    """What nobody remembers is new today; so is what was noted for a day that is still to come."""
    kept = keep(record, "1-1-00000000-1")
    pass_days(paths, 5)
    tidying.tidy(paths, "t", record, 2, 0)
    (paths.state / "days.json").unlink()
    tidying.tidy(paths, "t", record, 2, 0)
    pass_days(paths, 1)
    tidying.tidy(paths, "t", record, 2, 0)
    assert kept.exists()
    pass_days(paths, 1)
    assert tidying.tidy(paths, "t", record, 2, 0).dropped == ("1-1-00000000-1",)


def test_conflicts_and_an_unmounted_root_are_left_alone(paths: Paths, record: Record) -> None:
    """Conflicts never expire; where the marker is missing, nothing is dropped and nothing forgotten."""
    kept = keep(record, "1-1-00000000-1")
    conflict = kept.parents[1] / "conflicts" / "1-1-00000000-1"
    conflict.mkdir()
    tidying.tidy(paths, "t", record, 1, 0)
    pass_days(paths, 3)
    marker = kept.parents[1] / "set.json"
    marker.rename(marker.with_name("away"))
    assert tidying.tidy(paths, "t", record, 1, 0).left == 1
    assert kept.exists()
    marker.with_name("away").rename(marker)
    tidying.tidy(paths, "t", record, 1, 0)
    assert not kept.exists()
    assert conflict.exists()


def test_a_full_trash_within_its_days_fails_the_run(paths: Paths, record: Record) -> None:
    """Never is room made by what is promised still; once it is past its days, a run takes it."""
    kept = keep(record, "1-1-00000000-1", 100_000)
    tidying.tidy(paths, "t", record, 2, 50_000)
    with pytest.raises(DrcmError) as refused:
        tidying.need_room(paths, record)
    assert refused.value.exit_code == EXIT_IO
    assert "trash_size" in refused.value.what
    assert kept.exists()
    pass_days(paths, 2)
    tidying.need_room(paths, record)
    assert not kept.exists()
    keep(record, "1-2-00000000-1", 100_000)
    tidying.note_run(paths, record, ["1-2-00000000-1"])
    with pytest.raises(DrcmError):
        tidying.need_room(paths, record)


def test_below_its_size_it_stays_longer(paths: Paths, record: Record) -> None:
    """With a trash_size, what is past its days stays as long as all of it fits."""
    kept = keep(record, "1-1-00000000-1", 10_000)
    tidying.tidy(paths, "t", record, 1, 1_000_000)
    pass_days(paths, 9)
    assert tidying.tidy(paths, "t", record, 1, 1_000_000).dropped == ()
    assert kept.exists()
