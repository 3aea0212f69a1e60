"""drcm/logs.py: lines arrive, rotate and stay one line; a stuck disk costs lines, not time."""

from __future__ import annotations

import io
import logging
import os
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from drcm import logs
from drcm.config.model import Server

LOG = logging.getLogger("drcm.test")


def server(folder: Path, **changes: object) -> Server:
    return replace(Server(), log_dir=str(folder), **changes)  # type: ignore[arg-type]


def written(folder: Path, act: Callable[[], None], **changes: object) -> list[str]:
    """The lines of the log file after `act` logged."""
    stop = logs.setup(server(folder, **changes), to_stderr=False)
    act()
    stop()
    path = folder / "drcm.log"
    return path.read_text().splitlines() if path.exists() else []


def test_a_line_has_time_level_and_text(tmp_path: Path) -> None:
    """A line is an ISO time in UTC, the level and the message; the file is 0640 whatever the umask."""
    before = os.umask(0o077)
    try:
        (line,) = written(tmp_path, lambda: LOG.warning("node %s is dead", "cmnode1"))
    finally:
        os.umask(before)
    moment, rest = line.split(maxsplit=1)
    assert rest == "WARNING node cmnode1 is dead"
    assert len(moment) == len("2026-11-22T19:55:02.123Z")
    assert moment.endswith("Z")
    assert stat.S_IMODE((tmp_path / "drcm.log").stat().st_mode) == 0o640


def test_an_event_is_one_line(tmp_path: Path) -> None:
    """A name with a newline or ESC can't forge a line or colour a terminal."""
    (line,) = written(tmp_path, lambda: LOG.info("synced %s", "a\n2026 CRITICAL \x1b[31mb\udcff"))
    assert line.endswith(r"synced a\n2026 CRITICAL \x1b[31mb\xff")


def test_a_traceback_is_kept(tmp_path: Path) -> None:
    """An unexpected error is logged with its traceback, each line with time and level."""

    def act() -> None:
        try:
            raise ValueError("odd")
        except ValueError:
            LOG.exception("lost")

    lines = written(tmp_path, act)
    assert lines[0].endswith("ERROR   lost")
    assert lines[-1].endswith("ERROR   ValueError: odd")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["info"]),
        ({"log_level": 1}, ["detail", "info"]),
        ({"log_level": 2}, ["debug", "detail", "info"]),
        ({"log_level": 5}, ["debug", "detail", "info"]),
        ({"debug": True}, ["debug", "detail", "info"]),
        ({"debug_level": 3}, ["debug", "detail", "info"]),
        ({"enable_logging": False}, []),
    ],
)
def test_the_levels_of_the_old_config(
    tmp_path: Path, changes: dict[str, object], expected: list[str]
) -> None:
    """log_level counts upwards from what an operator needs; libraries speak from WARNING on."""

    def act() -> None:
        LOG.debug("debug")
        LOG.log(15, "detail")
        LOG.info("info")
        logging.getLogger("paramiko.transport").info("chatter")

    assert [line.split()[-1] for line in written(tmp_path, act, **changes)] == expected


def test_the_file_rotates_by_size(tmp_path: Path) -> None:
    """No log grows past max_log_size, and num_logs_to_keep old ones are kept."""

    def act() -> None:
        for number in range(200):
            LOG.info("line %d %s", number, "x" * 100)

    lines = written(tmp_path, act, max_log_size=2000, num_logs_to_keep=2)
    assert lines[-1].split()[3] == "199"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drcm.log", "drcm.log.1", "drcm.log.2"]
    assert all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())


def test_clear_log_begins_anew(tmp_path: Path) -> None:
    """The log goes on where it was; with clear_log = 1 it begins empty."""
    assert len(written(tmp_path, lambda: LOG.info("one"))) == 1
    assert len(written(tmp_path, lambda: LOG.info("two"))) == 2
    assert len(written(tmp_path, lambda: LOG.info("three"), clear_log=True)) == 1


def test_a_stuck_disk_does_not_block(tmp_path: Path) -> None:
    """A thousand lines and the stop itself return at once though nobody takes a byte (a FIFO unread)."""
    os.mkfifo(tmp_path / "drcm.log")
    began = time.monotonic()
    stop = logs.setup(server(tmp_path, log_queue_size=100), to_stderr=False)
    for number in range(1000):
        LOG.info("line %d", number)
    assert time.monotonic() - began < 10  # of a busy machine; blocked, it would never end
    stop()
    assert time.monotonic() - began < logs.STOP_SECONDS + 20
    lines = (tmp_path / "drcm.log").read_text().splitlines()  # until the writer's own end
    assert lines[0].endswith("line 0")
    assert any("log lines were lost" in line for line in lines)


def test_lost_lines_are_counted_and_said_once() -> None:
    """Lines that found no room are one line with their number, as soon as there is room."""
    out = io.StringIO()
    source = logs.BoundedHandler(3)
    writer = logs.Writer(source, [logging.StreamHandler(out)])
    for number in range(10):
        source.handle(logging.LogRecord("drcm", logging.INFO, "", 0, "line %d", (number,), None))
    writer.start()
    writer.finish()
    assert out.getvalue().splitlines() == [
        "line 0",
        "7 log lines were lost: the log could not be written fast enough",
        "line 1",
        "line 2",
    ]


def test_repeats_are_counted_not_written() -> None:
    """The same text is written once in thirty seconds, and then says how often it came."""
    moment = [0.0]
    repeats = logs.Repeats(lambda: moment[0])

    def passes(text: str) -> str | None:
        record = logging.LogRecord("drcm", logging.INFO, "", 0, text, (), None)
        return record.getMessage() if repeats.filter(record) else None

    assert [passes("a"), passes("a"), passes("b"), passes("a")] == ["a", None, "b", None]
    moment[0] = 31.0
    assert [passes("a"), passes("b")] == ["a (and 2 more like this before)", "b"]


def test_a_log_that_cannot_be_written_is_said_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Where log_dir can't be made, that is said once, and logging goes on to standard error."""
    (tmp_path / "file").write_text("")
    out = io.StringIO()
    stop = logs.setup(server(tmp_path / "file" / "log"), stream=out)
    LOG.info("one")
    LOG.info("two")
    stop()
    assert [line.split()[-1] for line in out.getvalue().splitlines()] == ["one", "two"]
    assert capfd.readouterr().err.count("can't write the log") == 1


@pytest.mark.parametrize(
    ("level", "prefix"),
    [(logging.CRITICAL, "<2>"), (logging.ERROR, "<3>"), (logging.WARNING, "<4>"), (logging.INFO, "<6>")],
)
def test_the_journal_gets_priorities(tmp_path: Path, level: int, prefix: str) -> None:
    """Where standard error is the journal's, a line is its syslog priority and the text, no time."""
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        stop = logs.setup(server(tmp_path, enable_logging=False), stream=stream, environ=environ)
        LOG.log(level, "text")
        stop()
        stream.seek(0)
        assert stream.read() == f"{prefix}text\n"


def test_an_inherited_journal_variable_is_not_believed(tmp_path: Path) -> None:
    """JOURNAL_STREAM of a parent does not turn a redirected standard error into the journal."""
    with (tmp_path / "elsewhere").open("w") as stream:
        assert not logs.under_journal(stream, {"JOURNAL_STREAM": "8:12345"})
        assert not logs.under_journal(stream, {})
    assert not logs.under_journal(io.StringIO(), {"JOURNAL_STREAM": "8:12345"})


def test_setup_leaves_logging_as_it_was(tmp_path: Path) -> None:
    """Stopping takes the handler and the levels away again."""
    root = logging.getLogger()
    before = (root.level, logging.getLogger("drcm").level, list(root.handlers))
    logs.setup(server(tmp_path), to_stderr=False)()
    assert (root.level, logging.getLogger("drcm").level, list(root.handlers)) == before
