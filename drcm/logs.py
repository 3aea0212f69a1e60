"""Where log lines go: the log file of 1.41, and standard error, both written by a thread of their own.

Whoever logs only puts a record into a bounded queue: a stuck disk or a journal that does not read costs
lines (counted, and said once there is room), never a heartbeat. No line holds a secret: keys and
passwords are not given to a logger, not even at debug.

The daemon alone writes the file. Its children log to standard error, which it reads.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from logging.handlers import QueueHandler, RotatingFileHandler
from pathlib import Path
from typing import TextIO

from drcm.clock import Seconds, now
from drcm.config.model import Server
from drcm.console import clean

# log_level of cm.cfg. 1.41 counted upwards from 0 = what an operator needs; so do we.
# 0: events, refusals, warnings, errors. 1: also why nothing was done. 2 to 5 are the same here: all.
LEVELS = {0: logging.INFO, 1: 15, 2: logging.DEBUG}
LIBRARY_LEVEL = logging.WARNING  # of paramiko, apscheduler, asyncio
REPEAT_SECONDS = 30.0  # within this, the same text again is counted, not written
REPEATS_KEPT = 256  # different texts remembered for that
STOP_SECONDS = 2.0  # longest wait for the writer's end
FILE_MODE = 0o640

# sd-daemon(3): journald reads the priority from the front of each line.
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


# -- lines -----------------------------------------------------------------------------------------


class LineFormatter(logging.Formatter):
    """One line an event, `TIME LEVEL text`; a traceback follows line by line. Nothing raw gets through."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(self.head(record) + clean(line) for line in _lines(record))

    def head(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03d}Z {record.levelname:<7} "


class JournalFormatter(LineFormatter):
    """`<3>text`: the journal has time and program itself."""

    def head(self, record: logging.LogRecord) -> str:
        return next((f"<{number}>" for level, number in _PRIORITIES if record.levelno >= level), "<7>")


def _lines(record: logging.LogRecord) -> list[str]:
    """The message as one line, then those of its traceback."""
    return [record.getMessage(), *(record.exc_text or "").splitlines()]


def under_journal(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `stream` is the journal's own (systemd.exec(5), JOURNAL_STREAM = device:inode)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # ValueError: no file behind it
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


# -- the way from the loop to the disk --------------------------------------------------------------


class Repeats(logging.Filter):
    """Lets the same text through once in REPEAT_SECONDS; the next one says how many were left out."""

    def __init__(self, clock: Callable[[], Seconds] = now) -> None:
        super().__init__()
        self._clock = clock
        self._seen: OrderedDict[tuple[int, str], tuple[Seconds, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "always", False):  # a change of state is told each time
            return True
        key = (record.levelno, record.getMessage())
        moment = self._clock()
        first, left_out = self._seen.get(key, (moment - REPEAT_SECONDS, 0))
        if moment - first < REPEAT_SECONDS:
            self._seen[key] = (first, left_out + 1)
            return False
        self._seen[key] = (moment, 0)
        self._seen.move_to_end(key)
        if len(self._seen) > REPEATS_KEPT:
            self._seen.popitem(last=False)
        if left_out:
            record.msg, record.args = f"{key[1]} (and {left_out} more like this before)", ()
        return True


class BoundedHandler(QueueHandler):
    """Hands records over without ever waiting; counts those that found no room."""

    queue: queue.Queue[logging.LogRecord | None]

    def __init__(self, size: int) -> None:
        super().__init__(queue.Queue(size))
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """The record with its text made now: arguments may change before it is written."""
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.msg, record.args, record.exc_info = record.getMessage(), (), None
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class Writer(threading.Thread):
    """Takes records out of the queue and gives them to the handlers that may block."""

    def __init__(self, source: BoundedHandler, targets: list[logging.Handler]) -> None:
        super().__init__(name="drcm-log", daemon=True)
        self._source = source
        self._targets = targets
        self._said = 0
        self._ending = False

    def run(self) -> None:
        while (record := self._source.queue.get()) is not None:
            self._write(record)
            if self._source.dropped > self._said:
                self._say_dropped()
            if self._ending and self._source.queue.empty():
                break  # the end itself found no room in the queue
        for target in self._targets:
            with contextlib.suppress(OSError):  # a disk or pipe that fails at the very end
                target.close()

    def finish(self) -> None:
        """Write what is queued, within STOP_SECONDS; what a stuck disk holds up is left behind."""
        deadline = now() + STOP_SECONDS
        self._ending = True
        try:
            self._source.queue.put(None, timeout=STOP_SECONDS)
        except queue.Full:
            return
        self.join(max(0.0, deadline - now()))

    def _write(self, record: logging.LogRecord) -> None:
        for target in self._targets:
            if record.levelno >= target.level:
                target.handle(record)

    def _say_dropped(self) -> None:
        lost, self._said = self._source.dropped - self._said, self._source.dropped
        text = f"{lost} log lines were lost: the log could not be written fast enough"
        self._write(logging.LogRecord("drcm.logs", logging.WARNING, __file__, 0, text, (), None))


# -- targets ---------------------------------------------------------------------------------------


class LogFile(RotatingFileHandler):
    """The log file, 0640, rotated by size to NAME.1, NAME.2 ... Opened by the writer, at the first line."""

    def __init__(self, path: Path, max_bytes: int, keep: int, clear: bool) -> None:
        self._clear = clear
        self._failed = ""
        super().__init__(path, maxBytes=max_bytes, backupCount=keep, delay=True, encoding="utf-8")
        self.setFormatter(LineFormatter())

    def _open(self) -> TextIO:  # type: ignore[override]  # typeshed: TextIOWrapper
        Path(self.baseFilename).parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        fresh = os.O_TRUNC if self._clear else 0
        self._clear = False
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | fresh
        descriptor = os.open(self.baseFilename, flags, FILE_MODE)
        os.fchmod(descriptor, FILE_MODE)  # the unit's umask is narrower
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the stdlib's name
        """Say once why the file can't be written; the lines are on standard error or lost."""
        reason = str(sys.exc_info()[1])
        if reason != self._failed:
            self._failed = reason
            print(f"<4>can't write the log {self.baseFilename}: {reason}", file=sys.stderr)


def _stderr_handler(stream: TextIO, environ: Mapping[str, str]) -> logging.Handler:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JournalFormatter() if under_journal(stream, environ) else LineFormatter())
    return handler


def level_of(server: Server) -> int:
    """The stdlib level that `log_level`, `debug` and `debug_level` of cm.cfg ask for."""
    if server.debug or server.debug_level > 0:
        return logging.DEBUG
    return LEVELS.get(server.log_level, logging.DEBUG)


def setup(
    server: Server,
    to_stderr: bool = True,
    *,
    file: Path | None = None,
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Callable[[], None]:
    """Have every `logging.getLogger("drcm...")` line written as `server` says; return what ends it.

    `file` replaces log_dir/logfile (--log-file); with enable_logging = 0 there is none. The command line's
    other options (--log-level, --log-disable, --log-file-clear) are given as a changed `server`.
    Returns at once, also where the disk is stuck; the returned callable waits STOP_SECONDS at most.
    """
    targets: list[logging.Handler] = []
    if server.enable_logging:
        path = file or Path(server.log_dir) / server.logfile
        targets.append(LogFile(path, server.max_log_size, server.num_logs_to_keep, server.clear_log))
    if to_stderr:
        targets.append(_stderr_handler(stream or sys.stderr, environ))
    source = BoundedHandler(max(1, server.log_queue_size))
    source.addFilter(Repeats())
    writer = Writer(source, targets)
    writer.start()
    return _attach(source, writer, level_of(server))


def _attach(source: BoundedHandler, writer: Writer, level: int) -> Callable[[], None]:
    root, ours = logging.getLogger(), logging.getLogger("drcm")
    before = (root.level, ours.level)
    root.setLevel(LIBRARY_LEVEL)
    ours.setLevel(level)
    root.addHandler(source)

    def stop() -> None:
        root.removeHandler(source)
        root.setLevel(before[0])
        ours.setLevel(before[1])
        writer.finish()

    return stop
