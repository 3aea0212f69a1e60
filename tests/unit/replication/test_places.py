"""Where no set may lie, with real mounts and symlinks."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from set_histories import at, generation, record

from drcm.errors import GuardError
from drcm.paths import Paths
from drcm.replication import mounts, places, records
from drcm.replication.generation import Root


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    """A set `testfs` has begun here in /testfs; bind mounts made below are taken away again."""
    root = tmp_path / "testfs"
    (root / "sub").mkdir(parents=True)
    for name in ("own", "free", "state"):
        (tmp_path / name).mkdir()
    begun = record("A", generation(1), pos=at("g1"), roots=(Root(str(root), "mirror", "root-a", 1),))
    records.save(here(tmp_path).sets, begun, fresh=[str(root)])
    yield tmp_path
    for mount in reversed(mounts.read()):
        if mounts.holds(str(tmp_path), mount.point):
            subprocess.run(["umount", mount.point], check=True)


def here(base: Path) -> Paths:
    return Paths(base / "cm.cfg", base / "auth", base / "state", base / "run")


def bind(source: Path, target: Path) -> None:
    subprocess.run(["mount", "--bind", source, target], check=True)


def test_a_place_of_its_own(base: Path) -> None:
    """A directory, a symlink to one, and a bind mount of one are all good; so is the set itself."""
    (base / "link").symlink_to(base / "own")
    bind(base / "free", base / "own")
    places.check(here(base), "other", [str(base / "free"), str(base / "link"), str(base / "own")])
    places.check(here(base), "testfs", [str(base / "testfs")])


@pytest.mark.parametrize("target", ["/etc", "/", "/boot", "/etc/cron.d", "/var/spool"])
def test_a_symlink_to_the_system(base: Path, target: str) -> None:
    """What cm.cfg can't see: the path is harmless, what it leads to is not."""
    (base / "link").symlink_to(target)
    with pytest.raises(GuardError, match=f"leads to {target} and") as refused:
        places.check(here(base), "other", [str(base / "link")])
    assert "Nothing was changed" in refused.value.cure


@pytest.mark.parametrize(
    "how",
    ["inside", "above", "symlink", "bind of it", "bind of a part", "bind inside", "bind of what holds it"],
)
def test_a_set_inside_a_set(base: Path, how: str) -> None:
    """By whatever path: each would delete the other's files."""
    testfs, own = base / "testfs", base / "own"
    root = {"inside": testfs / "sub", "above": base, "symlink": base / "link"}.get(how, own)
    if how == "symlink":
        root.symlink_to(testfs / "sub")
    elif how == "bind of it":
        bind(testfs, own)
    elif how == "bind of a part":
        bind(testfs / "sub", own)
    elif how == "bind inside":
        (own / "deep").mkdir()
        bind(testfs, own / "deep")
    elif how == "bind of what holds it":
        bind(base, own)
    with pytest.raises(GuardError, match="overlaps"):
        places.check(here(base), "other", [str(root)])


def test_drcms_own_folders(base: Path) -> None:
    """The state of a node is its own, also through a bind mount."""
    bind(base / "state", base / "own")
    for root in (base / "state", base / "own"):
        with pytest.raises(GuardError, match="which is each node's own"):
            places.check(here(base), "other", [str(root)])
