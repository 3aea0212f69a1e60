"""drcm/history.py: rows come back as they were given, from several writers, also after damage."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from drcm import history
from drcm.errors import EXIT_IO, EXIT_PROTOCOL, DrcmError
from drcm.history import GOOD, History, RunRow

STARTED = datetime(2026, 11, 22, 19, 55, 2, 123000, tzinfo=UTC)
ROW = RunRow(
    set_name="testfs",
    node="cmnode1",
    target="cmnode2",
    generation="00ff",
    run="40-1a2b3c4d",
    started=STARTED,
    ended=STARTED + timedelta(seconds=3),
    seconds=3.25,
    outcome=GOOD,
    rsync_rc=0,
    files=1200,
    bytes=2**40,
    created=1,
    changed=2,
    deleted=3,
    detail={"failed": ["a\udcff", 'q"uote'], "reason": "día"},
)


@pytest.fixture
def made(tmp_path: Path) -> History:
    return History(tmp_path / "state" / "history.db")


def test_a_run_comes_back_as_it_was(made: History) -> None:
    """Every field survives, names that are no UTF-8 and big numbers too."""
    made.record_run(ROW)
    made.record_run(replace(ROW, rsync_rc=None, detail={}))
    assert made.runs() == [replace(ROW, rsync_rc=None, detail={}), ROW]


def test_times_are_kept_in_utc(made: History) -> None:
    """A time given in another zone is the same moment in UTC."""
    made.record_run(replace(ROW, started=STARTED.astimezone(timezone(timedelta(hours=5)))))
    assert made.runs()[0].started.isoformat() == "2026-11-22T19:55:02.123000+00:00"


def test_runs_are_newest_first_and_of_one_set(made: History) -> None:
    """`runs` takes a set and a limit."""
    for number in range(6):
        made.record_run(replace(ROW, set_name="ab"[number % 2], run=f"{number}-00"))
    assert [row.run for row in made.runs("b", 2)] == ["5-00", "3-00"]
    assert len(made.runs()) == 6
    assert made.runs("'; DROP TABLE runs; --") == []


def test_the_last_good_run_is_the_newest_that_was_good(made: History) -> None:
    """Later failures and other targets do not count."""
    for target, outcome, run in (("b", GOOD, "1"), ("c", GOOD, "2"), ("b", GOOD, "3"), ("b", "partial", "4")):
        made.record_run(replace(ROW, target=target, outcome=outcome, run=run))
    found = [made.last_good("testfs"), made.last_good("testfs", "c"), made.last_good("testfs", "x")]
    assert [row and row.run for row in found] == ["3", "2", None]


def test_events_come_back_newest_first(made: History) -> None:
    """An event keeps kind, object and sentence, and gets the time."""
    before = datetime.now(UTC) - timedelta(seconds=1)
    made.record_event("node-dead", "cmnode1", "not heard for 2.0 s")
    made.record_event("moved", "ip:web", "to cmnode2 \udcff")
    newest, oldest = made.events()
    assert (newest.kind, newest.object, newest.text) == ("moved", "ip:web", r"to cmnode2 \udcff")
    assert oldest.text == "not heard for 2.0 s"
    assert before < oldest.time <= newest.time <= datetime.now(UTC)


def test_looking_creates_nothing(made: History, tmp_path: Path) -> None:
    """A report on a node without history is empty and leaves no file."""
    assert (made.runs(), made.events(), made.last_good("testfs")) == ([], [], None)
    assert list(tmp_path.iterdir()) == []


def test_only_its_owner_may_read_it(made: History, tmp_path: Path) -> None:
    """The file names other people's files: 0600."""
    made.record_run(ROW)
    assert stat.S_IMODE((tmp_path / "state" / "history.db").stat().st_mode) == 0o600


def test_old_rows_go_but_never_the_last_good_run(tmp_path: Path) -> None:
    """The file is bounded; the last good run of each set and target stays, however old."""
    made = History(tmp_path / "h.db", runs_kept=10, events_kept=10)
    made.record_run(replace(ROW, set_name="quiet"))
    for number in range(2 * history.PRUNE_EVERY):
        made.record_run(replace(ROW, outcome="retry", run=f"{number}-00"))
        made.record_event("retry", "testfs", str(number))
    assert len(made.runs(limit=1000)) <= 11 + history.PRUNE_EVERY
    assert len(made.runs("testfs", 1000)) < 2 * history.PRUNE_EVERY
    assert len(made.events(1000)) <= 10 + history.PRUNE_EVERY
    assert made.last_good("quiet") == replace(ROW, set_name="quiet")


def test_processes_write_at_the_same_time(tmp_path: Path) -> None:
    """The daemon and several drcm-sync begin and fill one history together; no row is lost."""
    path = tmp_path / "h.db"
    code = (
        "import sys\nfrom pathlib import Path\nfrom drcm.history import History\n"
        "for n in range(25): History(Path(sys.argv[1])).record_event(sys.argv[2], str(n), 'x')"
    )
    children = [subprocess.Popen([sys.executable, "-c", code, str(path), str(n)]) for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: History(path).record_event("thread", str(n), "x"), range(25)))
    assert [child.wait(60) for child in children] == [0] * 4
    assert len({(event.kind, event.object) for event in History(path).events(1000)}) == 125


@pytest.mark.parametrize("damage", [b"this is no database" * 100, b"\0" * 5000])
def test_a_foreign_file_is_moved_aside(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that is no database is kept under another name, said, and a new history begins."""
    path = tmp_path / "h.db"
    path.write_bytes(damage)
    with caplog.at_level(logging.WARNING, "drcm.history"):
        History(path).record_run(ROW)
    assert History(path).runs() == [ROW]
    (aside,) = tmp_path.glob("h.db.damaged-*")
    assert aside.read_bytes() == damage
    assert "a new history begins" in caplog.text


def test_a_database_damaged_inside_is_moved_aside(tmp_path: Path) -> None:
    """Damage behind a good first page is found when it is met, and costs no run."""
    path = tmp_path / "h.db"
    for number in range(60):
        History(path).record_run(replace(ROW, run=f"{number}-00", detail={"x": "y" * 500}))
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    History(path).record_run(ROW)
    assert History(path).runs() == [ROW]
    assert len(list(tmp_path.glob("h.db.damaged-*"))) == 1


def test_several_who_meet_the_damage_move_it_once(tmp_path: Path) -> None:
    """Of several writers one repairs; the rows of all are in the new file."""
    path = tmp_path / "h.db"
    path.write_bytes(b"no database at all" * 300)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: History(path).record_event("e", str(n), ""), range(8)))
    assert len(History(path).events()) == 8
    assert len(list(tmp_path.glob("h.db.damaged-*"))) == 1


def test_a_full_disk_is_an_error_to_log(tmp_path: Path) -> None:
    """A write that fails is a DrcmError with a cure, never another exception, and loses no old row."""
    path = tmp_path / "h.db"
    History(path).record_run(ROW)
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom drcm.errors import DrcmError\n"
        "from drcm.history import History\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: History(Path(sys.argv[1])).record_event('a', 'b', 'c' * 100000)\n"
        "except DrcmError as error: sys.exit(error.exit_code)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == EXIT_IO
    assert History(path).runs() == [ROW]


def test_a_history_that_cannot_be_is_an_error_to_log(tmp_path: Path) -> None:
    """Where its folder can't be made, the error says what and that work goes on."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DrcmError, match="history can't be used") as caught:
        History(tmp_path / "file" / "h.db").record_run(ROW)
    assert caught.value.exit_code == EXIT_IO
    assert "go on without it" in caught.value.cure


def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    """After a downgrade the newer file is refused, not changed."""
    path = tmp_path / "h.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    before = path.read_bytes()
    with pytest.raises(DrcmError, match="newer drcm") as caught:
        History(path).record_run(ROW)
    assert caught.value.exit_code == EXIT_PROTOCOL
    assert path.read_bytes() == before
