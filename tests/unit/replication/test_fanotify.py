"""Changes as this kernel tells them, in a file system of the test's own."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drcm.errors import EXIT_UNAVAILABLE, DrcmError
from drcm.replication import fanotify
from drcm.replication.fanotify import Changes
from drcm.replication.watching import line, watch

pytestmark = pytest.mark.lab

PRIVATE = ".drcm"
TOLD_WITHIN = 5.0  # seconds of a busy machine


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """An empty file system in memory, with a set's own folder and one of a user's."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "drcm-test", str(place)], check=True)
    (place / PRIVATE).mkdir()
    (place / "a" / "b").mkdir(parents=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def changes(root: Path) -> Iterator[Changes]:
    made = Changes([str(root)], ignored=[PRIVATE])
    yield made
    made.close()


def told(changes: Changes, expected: str) -> set[str]:
    """Everything that was told until `expected` was."""
    found: set[str] = set()
    end = time.monotonic() + TOLD_WITHIN
    while expected not in found and time.monotonic() < end:
        found |= set(changes.read())
    assert expected in found
    return found


def test_each_kind_of_change_is_told(root: Path, changes: Changes) -> None:
    file = root / "a" / "b" / "new"
    file.write_bytes(b"x")
    assert told(changes, str(file)) == {str(file)}
    with file.open("ab") as opened:
        opened.write(b"y")
        opened.flush()
        told(changes, str(file))
    told(changes, str(file))
    file.chmod(0o600)
    told(changes, str(file))
    os.link(file, root / "a" / "link")
    told(changes, str(root / "a" / "link"))
    os.utime(file, (1, 1))
    told(changes, str(file))
    file.unlink()
    told(changes, str(file))
    (root / "a" / "folder").mkdir()
    told(changes, str(root / "a" / "folder"))


def test_a_folder_that_moved_is_followed(root: Path, changes: Changes) -> None:
    """What was seen under its old path, and what comes in from elsewhere in the file system."""
    (root / "a" / "b" / "f").write_bytes(b"")
    told(changes, str(root / "a" / "b" / "f"))
    os.rename(root / "a", root / "z")
    told(changes, str(root / "z"))
    (root / "z" / "b" / "g").write_bytes(b"")
    told(changes, str(root / "z" / "b" / "g"))
    shutil.rmtree(root / "z")
    told(changes, str(root / "z"))


def test_what_happens_elsewhere_in_the_file_system_is_not_told(root: Path) -> None:
    (root / "a" / "bc").mkdir()
    changes = Changes([str(root / "a" / "b")], ignored=[PRIVATE])
    for name in ("a/outside", "a/bc/outside", "outside", f"{PRIVATE}/outside"):
        (root / name).write_bytes(b"x")
    (root / "a" / "b" / "inside").write_bytes(b"x")
    inside = str(root / "a" / "b" / "inside")
    assert told(changes, inside) == {inside}
    os.rename(root / "a" / "outside", root / "a" / "b" / "came")
    told(changes, str(root / "a" / "b" / "came"))
    changes.close()


def test_the_sets_own_folder_does_not_count(root: Path, changes: Changes) -> None:
    (root / PRIVATE / "set.json").write_bytes(b"x")
    (root / f"{PRIVATE}s").write_bytes(b"x")
    assert told(changes, str(root / f"{PRIVATE}s")) == {str(root / f"{PRIVATE}s")}


def test_a_name_that_is_no_text_is_told(root: Path, changes: Changes) -> None:
    odd = os.fsencode(root) + b"/\xff\n"
    with open(odd, "wb"):
        pass
    told(changes, os.fsdecode(odd))
    assert line([os.fsdecode(odd), "b"]) == f"changed '{root}/\\udcff\\n' and 1 more"


def test_an_overflow_says_that_all_may_have_changed(root: Path, changes: Changes) -> None:
    limit = int(Path("/proc/sys/fs/fanotify/max_queued_events").read_text())
    for number in range(limit + 10):
        (root / "a" / f"{number % 1000}-{number}").symlink_to("x")
        if number >= 1000:
            (root / "a" / f"{number % 1000}-{number - 1000}").unlink()
    told(changes, str(root))


def test_a_file_system_that_tells_nothing_is_refused_with_what_to_expect() -> None:
    with pytest.raises(DrcmError, match=r"web: changes in /proc can't be watched: Operation") as caught:
        watch("web", ["/proc"], lambda text: None)
    assert caught.value.exit_code == EXIT_UNAVAILABLE
    assert "every 10 s" in caught.value.cure


def test_nothing_stays_open_where_a_root_is_missing(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="No such file"):
        Changes([str(root), str(root / "missing")])
    assert len(os.listdir("/proc/self/fd")) == before


def test_events_that_are_not_understood_are_an_error() -> None:
    with pytest.raises(OSError, match="not understood"):
        list(fanotify.parse(struct.pack("=IBBHQii", 8, 3, 0, 24, 0, -1, 0)))
    assert list(fanotify.parse(b"")) == []
    overflow = struct.pack("=IBBHQii", 24, 3, 0, 24, fanotify.FAN_Q_OVERFLOW, -1, 0)
    assert list(fanotify.parse(overflow)) == [fanotify.Event(fanotify.FAN_Q_OVERFLOW)]
