"""A database at work is told from its files at rest, by real processes and locks."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from set_histories import at, generation, record

from drcm.errors import GuardError
from drcm.replication import guards, livedata
from drcm.replication.livedata import find

LOCKER = """
import fcntl, os, sys
os.chdir(sys.argv[1])
file = open(sys.argv[2], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def process(folder: Path, locks: Path) -> Iterator[int]:
    """A process that lives in `folder` and holds a lock on a file; its pid."""
    words = [sys.executable, "-c", LOCKER, str(folder), str(locks)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        yield child.pid
        child.kill()


def test_innodb(tmp_path: Path) -> None:
    """mysqld locks ibdata1 while it runs; without it the file is a file."""
    folder = tmp_path / "mysql" / "data"
    folder.mkdir(parents=True)
    (folder / "ibdata1").write_bytes(b"x")
    assert find(str(tmp_path)) == ()
    with process(tmp_path, folder / "ibdata1"):
        assert find(str(tmp_path)) == (f"MySQL or MariaDB (InnoDB) in {folder}",)
    assert find(str(tmp_path)) == ()


def test_postgresql(tmp_path: Path) -> None:
    """postmaster.pid of a process that lives in the folder; a number left behind by a crash is none."""
    (tmp_path / "PG_VERSION").write_text("16\n")
    (tmp_path / "postmaster.pid").write_text(f"1\n{tmp_path}\n")
    assert find(str(tmp_path)) == ()
    with process(tmp_path, tmp_path / "PG_VERSION") as pid:
        (tmp_path / "postmaster.pid").write_text(f"{pid}\n{tmp_path}\n")
        assert find(str(tmp_path)) == (f"PostgreSQL in {tmp_path}",)
    assert find(str(tmp_path)) == ()
    (tmp_path / "postmaster.pid").write_text("rubbish")
    assert find(str(tmp_path)) == ()


def test_sqlite(tmp_path: Path) -> None:
    """Somebody has the database open in WAL mode; a -wal that was left behind is a file."""
    use = "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('SELECT * FROM t').fetchall()\n"
    use += "print('ready', flush=True); sys.stdin.read()"
    path = tmp_path / "app.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE t (x)")
        database.commit()
    words = [sys.executable, "-c", use, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        assert find(str(tmp_path)) == (f"SQLite (app.sqlite) in {tmp_path}",)
        child.kill()
    assert (tmp_path / "app.sqlite-wal").exists()
    assert find(str(tmp_path)) == ()


def test_the_look_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deep folders and the rest of a big tree are not looked at; a symlink is not followed."""
    deep = tmp_path / "1" / "2" / "3" / "4"
    (deep / "5").mkdir(parents=True)
    (tmp_path / "loop").symlink_to(tmp_path)
    monkeypatch.setattr(livedata, "_live", lambda folder, names: ["seen"])
    seen = [f"seen in {folder}" for folder in (tmp_path, *reversed(deep.parents), deep) if tmp_path in
            (folder, *folder.parents)]  # fmt: skip
    assert find(str(tmp_path)) == tuple(dict.fromkeys(seen))
    monkeypatch.setattr(livedata, "ENTRIES", 1)
    assert find(str(tmp_path)) == (f"seen in {tmp_path}",)


def test_the_guard() -> None:
    """It says what is at work, the ways out, and its one-time override."""
    here = record("A", generation(1), pos=at("g1"))
    guards.check_live(here, here.roots[0], ())
    guards.check_live(here, here.roots[0], ("PostgreSQL in /testfs",), ["live"])
    with pytest.raises(GuardError, match="found at work: PostgreSQL in /testfs") as refused:
        guards.check_live(here, here.roots[0], ("PostgreSQL in /testfs",), ["delete"])
    for word in ("pre_sync", "allow_live = 1", "--override=live", "Nothing was changed"):
        assert word in refused.value.cure
