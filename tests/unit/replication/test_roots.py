"""A look at a root, on real directories and mounts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from set_histories import at, generation, record

from drcm.errors import GuardError
from drcm.replication import roots
from drcm.replication.rootstate import ENTRIES_COUNTED

RECORD = record("A", generation(1), pos=at("g1"))


def test_nothing_there(tmp_path: Path) -> None:
    """A path that isn't there, or is a file, is said so."""
    assert not roots.inspect(tmp_path / "none").exists
    (tmp_path / "file").touch()
    found = roots.inspect(tmp_path / "file")
    assert found.exists
    assert not found.is_dir
    assert roots.read_marker(tmp_path / "file") == ("", None)


def test_marker(tmp_path: Path) -> None:
    """A marked root tells its uuid and record; drcm's own and lost+found are no entries."""
    for name in ("a", "lost+found", ".drcm-partial"):
        (tmp_path / name).mkdir()
    assert roots.inspect(tmp_path).marker is None
    roots.make_marker(tmp_path, "root-a", RECORD)
    found = roots.inspect(tmp_path)
    assert (found.uuid, found.marker, found.entries) == ("root-a", RECORD, 1)
    assert found.free > 0
    assert found.device == os.stat(tmp_path).st_dev
    assert sorted(os.listdir(tmp_path / ".drcm")) == [".reserve", "conflicts", "set.json", "tmp", "trash"]
    assert (tmp_path / ".drcm").stat().st_mode & 0o777 == 0o700


def test_damaged_marker(tmp_path: Path) -> None:
    """A marker that can't be read is a fault, not a missing one."""
    roots.make_marker(tmp_path, "root-a", RECORD)
    (tmp_path / ".drcm/set.json").write_text("{}")
    found = roots.inspect(tmp_path)
    assert found.marker is None
    assert "set.json" in found.marker_fault


def test_entries_are_bounded(tmp_path: Path) -> None:
    """A directory of a million files costs no more than one of a thousand."""
    for number in range(ENTRIES_COUNTED + 5):
        (tmp_path / str(number)).touch()
    assert roots.inspect(tmp_path).entries == ENTRIES_COUNTED


def test_mounts(tmp_path: Path) -> None:
    """The mount that holds the root and those below it are found, odd names too."""
    (tmp_path / "fs").mkdir()
    table = tmp_path / "mountinfo"
    points = ["/", str(tmp_path), f"{tmp_path}/fs/b\\040c", f"{tmp_path}/fs/a/d", f"{tmp_path}/fsx"]
    table.write_text("".join(f"22 27 0:21 / {point} rw - ext4 /dev/sda rw\n" for point in points))
    found = roots.inspect(tmp_path / "fs", str(table))
    assert found.mount == str(tmp_path)
    assert found.mounts == ("a/d", "b c")


def test_real_mounts() -> None:
    """/proc is its own mount on this machine."""
    assert roots.inspect("/proc/sys").mount == "/proc"


@pytest.mark.parametrize(
    "path", ["/", "/etc", "/usr", "/proc/x", "relative", "/a/../b", "/x/.drcm/trash", "/a//b"]
)
def test_forbidden(path: str) -> None:
    """The system's directories, and what is no plain absolute path, are refused."""
    assert roots.forbidden(path)
    with pytest.raises(GuardError):
        roots.describe(path, "mirror", "u")


@pytest.mark.parametrize("path", ["/testfs", "/usr/local", "/var/www", "/etc/httpd", "/testfs/"])
def test_allowed(path: str) -> None:
    """What people replicate is allowed."""
    assert roots.forbidden(path) == ""


def test_describe(tmp_path: Path) -> None:
    """What is recorded of a root is what is found; a missing directory is refused with the cure."""
    root = roots.describe(str(tmp_path), "copy", "u")
    assert (root.path, root.mode, root.uuid) == (str(tmp_path), "copy", "u")
    assert root.mount == roots.inspect(tmp_path).mount
    with pytest.raises(GuardError, match="does not exist"):
        roots.describe(str(tmp_path / "none"), "mirror", "u")
