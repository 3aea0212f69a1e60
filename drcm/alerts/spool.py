"""Messages on their way: one durable file each, removed when every recipient has it."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from drcm import state as files
from drcm.alerts.alert import Key

SCHEMA = 1
MESSAGES_KEPT = 200
TIME_KEPT = 5 * 86400.0  # counted seconds; mail servers give up after 4 to 5 days too (RFC 5321, 4.5.4.1)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """One message and who still waits for it: channel -> addresses. `spooled`: counted seconds."""

    serial: int
    id: str  # Message-ID
    key: Key
    subject: str
    body: str
    short: str
    date: float  # seconds since 1970
    spooled: float
    pending: dict[str, tuple[str, ...]] = field(default_factory=dict)
    tries: int = 0
    error: str = ""

    @property
    def name(self) -> str:
        """Known before it is written: a crash before the ledger is written makes the same file again."""
        return f"{self.serial:08d}-{hashlib.sha256(self.key.encode()).hexdigest()[:12]}.json"


def put(folder: Path, entry: Entry) -> None:
    """Keep `entry` durably. Beyond MESSAGES_KEPT the oldest go."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    files.write_json(folder / entry.name, {"schema": SCHEMA, **asdict(entry)})
    for path in _files(folder)[:-MESSAGES_KEPT]:
        log.warning("more than %d messages wait to be sent: %s is dropped", MESSAGES_KEPT, path)
        path.unlink(missing_ok=True)


def entries(folder: Path) -> list[Entry]:
    """All that waits, oldest first."""
    found = (_read(path) for path in _files(folder))
    return [entry for entry in found if entry is not None]


def settle(folder: Path, entry: Entry, counted: float) -> None:
    """Keep what is left of `entry` after a try, or remove it: nobody waits any more, or for too long."""
    if not entry.pending:
        return (folder / entry.name).unlink(missing_ok=True)
    if counted - entry.spooled > TIME_KEPT:
        log.error("given up after 5 days: %s, %s", entry.subject, entry.error)
        return (folder / entry.name).unlink(missing_ok=True)
    try:
        return files.write_json(folder / entry.name, {"schema": SCHEMA, **asdict(entry)})
    except OSError as error:  # a full disk: the message is safe as it lies there, only the try isn't noted
        log.warning("%s: %s", folder / entry.name, error)


def after_try(entry: Entry, channel: str, sent: tuple[str, ...], error: str) -> Entry:
    """`entry` once `sent` of a channel have it. Pure."""
    left = tuple(address for address in entry.pending[channel] if address not in sent)
    pending = {**entry.pending, channel: left} if left else {**entry.pending}
    if not left:
        del pending[channel]
    return replace(entry, pending=pending, error=error or entry.error)


def next_serial(folder: Path) -> int:
    """A serial that no waiting message has."""
    return 1 + max((entry.serial for entry in entries(folder)), default=-1)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.json"))


def _read(path: Path) -> Entry | None:
    try:
        value = json.loads(path.read_bytes())
        return _from_json(value)
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        log.warning("%s is no message as drcm spools them (%s): it is left alone as .damaged", path, error)
        path.replace(path.with_suffix(".damaged"))
        return None


def _from_json(value: dict[str, Any]) -> Entry:
    if value["schema"] != SCHEMA:
        raise ValueError(f"schema {value['schema']!r}, expected {SCHEMA}")
    fields = {name: item for name, item in value.items() if name != "schema"}
    return Entry(**{**fields, "pending": {name: tuple(to) for name, to in value["pending"].items()}})
