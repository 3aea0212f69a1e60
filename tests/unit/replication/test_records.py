"""Records on disk, their markers, and the lock, with real processes."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from set_histories import at, generation, record

from drcm import state
from drcm.errors import DrcmError, LockedError
from drcm.replication import records, roots
from drcm.replication.generation import Record, Root, replace

G1 = generation(1)


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    return tmp_path / "sets"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "testfs"
    path.mkdir()
    return path


def of(root: Path) -> Record:
    return record("A", G1, pos=at("g1"), roots=(Root(str(root), "mirror", "root-a", 1),))


def test_save_and_load(sets: Path, root: Path) -> None:
    """A record is durable in /var/lib/drcm and in its tree, and each save has a higher serial."""
    saved = records.save(sets, of(root), fresh=[str(root)])
    assert records.load(sets, "testfs") == saved
    assert roots.read_marker(root) == ("root-a", saved)
    again = records.save(sets, replace(saved, giving="B"))
    assert again.serial == saved.serial + 1
    assert records.current(sets, "testfs", [str(root)], "A") == again
    assert records.load(sets, "other") is None


def test_a_save_while_it_is_read(sets: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads without the lock meets a save between the record and its copy: that is no restored one."""
    records.save(sets, of(root), fresh=[str(root)])
    read_marker, saves = roots.read_marker, iter("BCD")

    def read(path: str | Path) -> tuple[str, Record | None]:
        monkeypatch.setattr(roots, "read_marker", read_marker)
        for to in saves:
            records.save(sets, replace(of(root), giving=to))
            monkeypatch.setattr(roots, "read_marker", read)
            break
        return read_marker(path)

    monkeypatch.setattr(roots, "read_marker", read)
    found = records.current(sets, "testfs", [str(root)], "A")
    assert found is not None
    assert (found.giving, found.doubt) == ("D", "")


def test_no_marker_is_made_by_a_save(sets: Path, root: Path) -> None:
    """An unmarked directory, as an unmounted mount point is, never gets a marker by an ordinary save."""
    records.save(sets, of(root))
    assert list(root.iterdir()) == []


def test_another_sets_marker_is_left(sets: Path, root: Path) -> None:
    """A marker of another set or root is not overwritten."""
    roots.make_marker(root, "root-b", replace(of(root), set_uuid="another"))
    before = roots.read_marker(root)
    records.save(sets, of(root))
    assert roots.read_marker(root) == before


def test_restored_record(sets: Path, root: Path) -> None:
    """Where /var/lib was restored from a backup, the tree's copy tells, in doubt and ahead (R23)."""
    saved = records.save(sets, of(root), fresh=[str(root)])
    for run in ("1-aa", "2-aa", "3-aa"):
        saved = records.save(sets, replace(saved, pos=at("g1", run)))
    (sets / "testfs.json").write_text(
        json.dumps({**json.loads((sets / "testfs.json").read_text()), "serial": 1})
    )
    found = records.current(sets, "testfs", [str(root)], "A")
    assert found is not None
    assert found.pos == at("g1", "3-aa")
    assert found.doubt
    assert found.beyond
    assert not found.is_writer


def test_restored_tree(sets: Path, root: Path) -> None:
    """Where the tree was restored, the position is the old one that the tree says."""
    saved = records.save(sets, of(root), fresh=[str(root)])
    old = (root / ".drcm/set.json").read_bytes()
    for run in ("1-aa", "2-aa"):
        saved = records.save(sets, replace(saved, pos=at("g1", run)))
    (root / ".drcm/set.json").write_bytes(old)
    found = records.current(sets, "testfs", [str(root)], "A")
    assert found is not None
    assert found.pos == at("g1")
    assert "restored" in found.doubt


def test_crash_between_the_two_writes(sets: Path, root: Path) -> None:
    """A marker one save behind is a crash in the middle of a save: the record stands."""
    saved = records.save(sets, of(root), fresh=[str(root)])
    old = (root / ".drcm/set.json").read_bytes()
    saved = records.save(sets, replace(saved, pos=at("g1", "1-aa")))
    (root / ".drcm/set.json").write_bytes(old)
    assert records.current(sets, "testfs", [str(root)], "A") == saved


def test_lost_record(sets: Path, root: Path) -> None:
    """Where the record is lost the marker is read, in doubt; another node's marker counts for nothing."""
    saved = records.save(sets, of(root), fresh=[str(root)])
    (sets / "testfs.json").unlink()
    found = records.current(sets, "testfs", [str(root)], "A")
    assert found is not None
    assert replace(found, doubt="") == replace(saved, beyond=True)
    assert "lost" in found.doubt
    assert records.current(sets, "testfs", [str(root)], "B") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}', "\x00\x01"])
def test_damaged(sets: Path, root: Path, text: str) -> None:
    """A damaged record or marker is an error that names the file, never a guess."""
    records.save(sets, of(root), fresh=[str(root)])
    (sets / "testfs.json").write_text(text)
    with pytest.raises(DrcmError, match=r"testfs\.json"):
        records.load(sets, "testfs")
    (root / ".drcm/set.json").write_text(text)
    with pytest.raises(DrcmError, match=r"set\.json"):
        roots.read_marker(root)


# -- the lock --------------------------------------------------------------------------------------

HOLD = """
import os, signal, sys, time
from pathlib import Path
from drcm.replication import records
if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with records.lock(Path(sys.argv[1]), "testfs", "a test", inheritable=True):
    if sys.argv[2] == "exec":
        os.execlp("sh", "sh", "-c", "sleep 60 & echo held; wait")
    if sys.argv[2] == "orphan":
        if os.fork():
            os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""

Holder = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def holder(sets: Path) -> Iterator[Holder]:
    """Start a process that holds the lock, in a process group of its own unless said otherwise."""
    running = []

    def start(how: str = "plain", own_group: bool = True) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(sets), how],
            stdout=subprocess.PIPE,
            text=True,
            process_group=0 if own_group else None,
        )
        running.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        return child

    yield start
    for child in running:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def test_locked(sets: Path, holder: Holder) -> None:
    """Who finds the lock taken is told by whom and for what, and waits no longer than it said."""
    child = holder()
    begun = time.monotonic()
    with (
        pytest.raises(LockedError, match=f"a test.*{child.pid}"),
        records.lock(sets, "testfs", "me", wait=0.2),
    ):
        pass
    assert 0.2 <= time.monotonic() - begun < 20  # of a busy machine


def test_free_again(sets: Path) -> None:
    """The lock is free after its block, and another set's is another lock."""
    with records.lock(sets, "testfs", "one"), records.lock(sets, "other", "two"):
        pass
    with records.lock(sets, "testfs", "three"):
        pass


@pytest.mark.parametrize(
    ("how", "least", "by"),
    [("plain", 0, signal.SIGTERM), ("exec", 0, signal.SIGTERM), ("stubborn", 0.5, signal.SIGKILL)],
)
def test_seize(sets: Path, holder: Holder, how: str, least: float, by: signal.Signals) -> None:
    """The lock is taken by TERM, from what was executed and forked too, and by KILL after 0.5 s."""
    child = holder(how)
    begun = time.monotonic()
    with records.seize(sets, "testfs", "promotion") as held:
        assert time.monotonic() - begun >= least
        assert held.path == sets / "testfs.lock"
        with pytest.raises(LockedError, match="promotion"), records.lock(sets, "testfs", "other"):
            pass
    assert child.wait(60) == -by


def test_seize_from_an_orphan(sets: Path, holder: Holder) -> None:
    """A child that outlived the process that took the lock is found by the kernel's word."""
    holder("orphan").wait(60)
    with records.seize(sets, "testfs", "promotion"):
        pass


def test_seize_free(sets: Path) -> None:
    """A lock that nobody holds is simply taken."""
    with records.seize(sets, "testfs", "promotion"):
        pass


def test_reused_pid_is_not_killed(sets: Path, holder: Holder) -> None:
    """A process whose pid stands in the file, but which doesn't hold the lock, is left alone."""
    bystander = subprocess.Popen(["sleep", "60"], process_group=0)
    try:
        holder()
        (sets / "testfs.lock").write_text(
            json.dumps({"pid": bystander.pid, "group": bystander.pid, "purpose": "x"})
        )
        with records.seize(sets, "testfs", "promotion"):
            assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_waiting_is_not_holding(sets: Path, holder: Holder) -> None:
    """A process that has the lock file open without the lock is left alone."""
    holder()
    with (sets / "testfs.lock").open("rb") as file:
        bystander = subprocess.Popen(["sleep", "60"], process_group=0, pass_fds=[file.fileno()])
        try:
            with records.seize(sets, "testfs", "promotion"):
                assert bystander.poll() is None
        finally:
            bystander.kill()
            bystander.wait()


def test_own_group_is_never_hit(sets: Path, holder: Holder) -> None:
    """A holder in my own process group is waited for, then the seizing declines."""
    child = holder(own_group=False)
    with pytest.raises(LockedError, match="declined"), records.seize(sets, "testfs", "promotion"):
        pass
    assert child.poll() is None


def test_evict(sets: Path, holder: Holder) -> None:
    """What pushes is ended; where nothing does, nothing happens."""
    records.evict(sets, "testfs")
    child = holder()
    records.evict(sets, "testfs")
    assert child.wait(60) != 0
    assert os.path.exists(sets / "testfs.lock")


# -- a full disk -----------------------------------------------------------------------------------


def test_no_marker_falls_two_saves_behind(sets: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A marker that could not be written is brought on before the next change, or there is none."""
    records.save(sets, of(root), fresh=[str(root)])

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(roots, "write_marker", full)
        for _ in range(3):
            with pytest.raises(OSError, match="No space"):
                records.save(sets, of(root))
    found = records.current(sets, "testfs", [str(root)], "A")
    assert found is not None
    assert (found.serial, found.doubt) == (2, "")
    assert records.save(sets, found).serial == 3
    assert roots.read_marker(root)[1] == records.load(sets, "testfs")


def fill(path: Path) -> None:
    """Until the disk is full."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_record_fits_on_a_full_disk(tmp_path: Path) -> None:
    """What a node must note to take over finds room by its reserve, on the state's disk and the tree's."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "drcm-test", disk], check=True)
    try:
        root = disk / "testfs"
        root.mkdir()
        saved = records.save(disk / "sets", of(root), fresh=[str(root)])
        with pytest.raises(OSError, match="No space"):
            fill(root / "big")
        for serial in range(2, 10):
            saved = records.save(disk / "sets", saved)
            assert saved.serial == serial
        assert records.current(disk / "sets", "testfs", [str(root)], "A") == saved
        (root / "big").unlink()
        records.save(disk / "sets", saved)
        assert (disk / "sets" / state.RESERVE).stat().st_size == state.RESERVE_BYTES
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
