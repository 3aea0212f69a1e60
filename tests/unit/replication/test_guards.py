"""The guards refuse before anything is touched, and say what to do."""

from __future__ import annotations

import pytest
from set_histories import at, generation, record

from drcm.errors import GuardError
from drcm.replication import guards
from drcm.replication.generation import Root, replace
from drcm.replication.rootstate import RootState

ROOT = Root("/testfs", "mirror", "root-a", 1, mounts=("data",), mount="/testfs", files=1000)
RECORD = record("A", generation(5), pos=at("g5", "40-aa"), roots=(ROOT,))
GOOD = RootState(
    "/testfs",
    exists=True,
    is_dir=True,
    device=9,
    mount="/testfs",
    mounts=("data", "new"),
    entries=3,
    uuid="root-a",
    marker=RECORD,
    free=10_000,
)


def refused(state: RootState, *overrides: str) -> GuardError:
    with pytest.raises(GuardError) as refusal:
        guards.check_source(RECORD, ROOT, state, overrides)
    assert "/testfs" in refusal.value.what
    assert "Usual causes:" in refusal.value.cure
    assert "drcm-sync testfs" in refusal.value.cure
    return refusal.value


def test_good() -> None:
    """A root as recorded passes; another device number and a new mount are no fault."""
    guards.check_source(RECORD, ROOT, GOOD)
    guards.check_target(RECORD, ROOT, GOOD, needed=9_000)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"exists": False, "is_dir": False}, "there is nothing"),
        ({"is_dir": False}, "something else"),
        ({"marker": None, "uuid": ""}, "not mounted"),
        ({"marker": None, "marker_fault": "broken"}, "broken"),
        ({"uuid": "root-b"}, "root-b"),
        ({"marker": replace(RECORD, set_uuid="other", name="www")}, "www"),
    ],
)
def test_not_the_root(change: dict[str, object], says: str) -> None:
    """What doesn't carry the set's marker is never its tree: no override."""
    error = refused(replace(GOOD, **change), *guards.OVERRIDES)
    assert says in error.what
    assert "--override" not in error.cure


@pytest.mark.parametrize(
    ("guard", "change", "says"),
    [
        ("mount", {"mount": "/"}, "expected it on the mount /testfs, found it on /"),
        ("mounts", {"mounts": ("new",)}, "data not mounted"),
        ("empty", {"entries": 0}, "it is empty"),
    ],
)
def test_overridable(guard: str, change: dict[str, object], says: str) -> None:
    """A refusal names its own one-time override, and only that one lets it pass."""
    state = replace(GOOD, **change)
    error = refused(state, *(one for one in guards.OVERRIDES if one != guard))
    assert says in error.what
    assert f"--override={guard}" in error.cure
    guards.check_source(RECORD, ROOT, state, [guard])


def test_empty_before_the_first_run() -> None:
    """A set that begins with an empty directory is no fault: there is nothing to lose yet."""
    fresh = replace(RECORD, pos=at("g5"))
    guards.check_source(fresh, ROOT, replace(GOOD, entries=0))


def test_empty_target() -> None:
    """An empty target is no fault."""
    guards.check_target(RECORD, ROOT, replace(GOOD, entries=0))


def test_shrink() -> None:
    """A source that lost more than the limit is refused; growing, and a first count, are not."""
    for files in (500, 1000, 5000):
        guards.check_shrink("testfs", ROOT, files, 50.0)
    with pytest.raises(GuardError, match=r"at least 500 files .1000.*found 499") as refusal:
        guards.check_shrink("testfs", ROOT, 499, 50.0)
    assert "--override=shrink" in refusal.value.cure
    guards.check_shrink("testfs", ROOT, 499, 50.0, ["shrink"])
    guards.check_shrink("testfs", replace(ROOT, files=0), 0, 50.0)


def test_target_room() -> None:
    """A target without room or mounted read-only is refused."""
    with pytest.raises(GuardError, match="room for 10000 bytes, 10000 are free"):
        guards.check_target(RECORD, ROOT, GOOD, needed=10_000)
    guards.check_target(RECORD, ROOT, GOOD, needed=10_000, overrides=["room"])
    with pytest.raises(GuardError, match="read-only"):
        guards.check_target(RECORD, ROOT, replace(GOOD, read_only=True))
