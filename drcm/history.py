"""What happened: every run of every set, and events, in one SQLite file that several processes write.

It is for people and reports; no decision reads it, so a damaged one is moved aside and begun anew. A call
takes up to some tens of milliseconds and may wait BUSY_SECONDS for another writer: never on the main loop.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from drcm.clock import now, wall
from drcm.errors import EXIT_IO, EXIT_PROTOCOL, DrcmError

VERSION = 1  # of the tables, in SQLite's user_version
BUSY_SECONDS = 5.0
BUSY_RETRY_SECONDS = 0.01  # where SQLite itself does not wait
RUNS_KEPT = 50_000  # a run a minute for a month; the last good one of each set and target always stays
EVENTS_KEPT = 20_000
PRUNE_EVERY = 100  # rows between two prunings
GOOD = "good"  # the outcome of a run that left the target complete (replication.outcome.Kind.GOOD)
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, set_name TEXT NOT NULL, node TEXT NOT NULL, target TEXT NOT NULL,
    generation TEXT NOT NULL, run TEXT NOT NULL, started TEXT NOT NULL, ended TEXT NOT NULL,
    seconds REAL NOT NULL, outcome TEXT NOT NULL, rsync_rc INTEGER, files INTEGER NOT NULL,
    bytes INTEGER NOT NULL, created INTEGER NOT NULL, changed INTEGER NOT NULL, deleted INTEGER NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS runs_of_a_set ON runs (set_name, outcome, target, id);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY, time TEXT NOT NULL, kind TEXT NOT NULL, object TEXT NOT NULL, text TEXT NOT NULL
) STRICT;
PRAGMA user_version = 1;
COMMIT;
"""

log = logging.getLogger("drcm.history")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run of one set to one target. Times are UTC and for people; `seconds` was measured."""

    set_name: str
    node: str  # the writer
    target: str  # the node it was given to; a storage server; "" = it never got so far
    generation: str
    run: str
    started: datetime
    ended: datetime
    seconds: float
    outcome: str  # replication.outcome.Kind: "good", "partial", "refused" ...
    rsync_rc: int | None = None  # None: rsync did not run
    files: int = 0
    bytes: int = 0
    created: int = 0
    changed: int = 0
    deleted: int = 0
    detail: dict[str, Any] = field(default_factory=dict)  # reason, failed paths, ...


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to `object`, in a sentence."""

    time: datetime
    kind: str
    object: str
    text: str


class History:
    """The history at `path`. No handle outlives a call: any thread, any process, also after a repair.

    DrcmError where it can't be read or written (full disk, rights, another's lock).
    """

    def __init__(self, path: Path, runs_kept: int = RUNS_KEPT, events_kept: int = EVENTS_KEPT) -> None:
        self._path = path
        self._runs_kept = runs_kept
        self._events_kept = events_kept

    def record_run(self, row: RunRow) -> None:
        values = {**{name: getattr(row, name) for name in _RUN_COLUMNS}, **_stored(row)}
        self._write("runs", values, self._prune_runs)

    def record_event(self, kind: str, object: str, text: str) -> None:
        values = {"time": _text(wall()), "kind": kind, "object": _storable(object), "text": _storable(text)}
        self._write("events", values, self._prune_events)

    def runs(self, set_name: str | None = None, limit: int = 50) -> list[RunRow]:
        """The newest runs first, of one set or of all."""
        query = "SELECT * FROM runs WHERE ?1 IS NULL OR set_name = ?1 ORDER BY id DESC LIMIT ?2"
        return [_run(row) for row in self._read(query, (set_name, limit))]

    def last_good(self, set_name: str, target: str | None = None) -> RunRow | None:
        """The newest run that left a target (or `target`) complete."""
        query = (
            "SELECT * FROM runs WHERE set_name = ?1 AND outcome = ?2 AND (?3 IS NULL OR target = ?3)"
            " ORDER BY id DESC LIMIT 1"
        )
        rows = self._read(query, (set_name, GOOD, target))
        return _run(rows[0]) if rows else None

    def events(self, limit: int = 50) -> list[Event]:
        """The newest events first."""
        rows = self._read("SELECT * FROM events ORDER BY id DESC LIMIT ?1", (limit,))
        return [Event(_time(row["time"]), row["kind"], row["object"], row["text"]) for row in rows]

    def _write(self, table: str, values: dict[str, Any], prune: Callable[[sqlite3.Connection], None]) -> None:
        names, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
        insert = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - names of this module

        def work(database: sqlite3.Connection) -> None:
            with database:
                row = database.execute(insert, values).lastrowid or 0
                if row % PRUNE_EVERY == 0:
                    prune(database)

        self._perform(work)

    def _read(self, query: str, values: tuple[Any, ...]) -> list[sqlite3.Row]:
        if not self._path.exists():
            return []
        return self._perform(lambda database: database.execute(query, values).fetchall())

    def _prune_runs(self, database: sqlite3.Connection) -> None:
        database.execute(
            "DELETE FROM runs WHERE id <= (SELECT max(id) FROM runs) - ?"
            " AND id NOT IN (SELECT max(id) FROM runs WHERE outcome = ? GROUP BY set_name, target)",
            (self._runs_kept, GOOD),
        )

    def _prune_events(self, database: sqlite3.Connection) -> None:
        database.execute(
            "DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?", (self._events_kept,)
        )

    def _perform(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` on the open database; on a new one where the old one turns out to be damaged."""
        try:
            try:
                return self._attempt(work)
            except sqlite3.DatabaseError as error:
                if not _is_damaged(error):
                    raise
                self._move_aside(error)
                return self._attempt(work)
        except (sqlite3.Error, OSError) as error:
            raise DrcmError(
                f"{self._path}: the history can't be used: {error}",
                "Syncs and failover go on without it. Look at the free space and the rights there.",
                EXIT_IO,
            ) from error

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with closing(_connect(self._path)) as database:
            return work(database)

    def _move_aside(self, error: sqlite3.DatabaseError) -> None:
        """Rename the damaged file, once: whoever comes second finds a good one."""
        with _repair_lock(self._path):
            try:
                self._attempt(_check)
                return
            except sqlite3.DatabaseError as again:
                if not _is_damaged(again):
                    raise
            aside = self._path.with_name(f"{self._path.name}.damaged-{wall():%Y%m%dT%H%M%S%f}")
            self._path.rename(aside)
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        log.warning("%s was damaged (%s): moved to %s, a new history begins", self._path, error, aside.name)


def _connect(path: Path) -> sqlite3.Connection:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    database = sqlite3.connect(path, timeout=BUSY_SECONDS)
    try:
        database.row_factory = sqlite3.Row
        _prepare(database, path)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    """Tables as this version has them. synchronous=NORMAL: a power cut may cost the last rows, no more."""
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise DrcmError(f"{path}: written by a newer drcm (tables {version})", "Upgrade drcm.", EXIT_PROTOCOL)
    if version < VERSION:
        _use_wal(database)
        database.executescript(_TABLES)
    database.execute("PRAGMA synchronous = NORMAL")


def _use_wal(database: sqlite3.Connection) -> None:
    """Of two who want this at once SQLite refuses one without waiting (a deadlock otherwise): we wait."""
    deadline = now() + BUSY_SECONDS
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or now() > deadline:
                raise
        time.sleep(BUSY_RETRY_SECONDS)


def _check(database: sqlite3.Connection) -> None:
    """Raise as the damage did: SQLite finds most of it only by looking."""
    found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        error = sqlite3.DatabaseError(found)
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def _is_damaged(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED  # the low byte is the primary code


@contextmanager
def _repair_lock(path: Path) -> Iterator[None]:
    """One process at a time; the kernel lets go when it dies."""
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# -- rows ------------------------------------------------------------------------------------------

_RUN_COLUMNS = tuple(item.name for item in fields(RunRow))


def _stored(row: RunRow) -> dict[str, str]:
    """The columns that SQLite keeps in another form."""
    detail = json.dumps(row.detail, sort_keys=True)  # escapes what is no UTF-8
    return {"started": _text(row.started), "ended": _text(row.ended), "detail": detail}


def _run(row: sqlite3.Row) -> RunRow:
    values = {name: row[name] for name in _RUN_COLUMNS}
    times = {name: _time(values[name]) for name in ("started", "ended")}
    return RunRow(**{**values, **times, "detail": json.loads(values["detail"])})


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _storable(text: str) -> str:
    """SQLite takes no lone surrogates (file names that are no UTF-8): they become escapes."""
    return text.encode(errors="backslashreplace").decode()
