"""The durable ledger of problems, `alerts.json`: read, decided upon and written under one lock."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drcm import state as files
from drcm.alerts.counted import Reading
from drcm.alerts.policy import Problem, State
from drcm.clock import now
from drcm.errors import LockedError

SCHEMA = 1
LOCK_WAIT = 60.0  # seconds; as long as a flush may take
LOCK_POLL = 0.05  # seconds

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ledger:
    """`state`, and the look at the clock that its counted time belongs to (None: there was none yet)."""

    state: State
    reading: Reading | None


def load(path: Path, serial: int = 0) -> Ledger:
    """The ledger in `path`; an empty one where there is none, or it is damaged: then it begins with `serial`.

    Unlike a set's record a lost throttle costs at most one message more a problem, while refusing would mute
    everything; the damaged file is kept as `alerts.json.damaged`.
    """
    try:
        return _from_json(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return Ledger(State(), None)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        aside = path.with_name(f"{path.name}.damaged")
        path.replace(aside)
        log.warning(
            "%s was not as drcm wrote it (%s): kept as %s, the throttle begins anew", path, error, aside
        )
        return Ledger(State(serial=serial), None)


def save(path: Path, state: State, reading: Reading) -> None:
    """Write the ledger durably."""
    problems = [asdict(problem) for problem in state.problems.values()]
    head = {"schema": SCHEMA, "counted": state.counted, "serial": state.serial, "sent": state.sent}
    files.write_json(path, {**head, "clock": asdict(reading), "problems": problems})


def _from_json(value: dict[str, Any]) -> Ledger:
    if value["schema"] != SCHEMA:
        raise ValueError(f"schema {value['schema']!r}, expected {SCHEMA}")
    problems = [Problem(**{**item, "openings": tuple(item["openings"])}) for item in value["problems"]]
    state = State(
        counted=float(value["counted"]),
        problems={problem.key: problem for problem in problems},
        sent=tuple(value["sent"]),
        serial=int(value["serial"]),
    )
    return Ledger(state, Reading(**value["clock"]))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the kernel's lock on `path` (it ends with the process); LockedError after LOCK_WAIT."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, path: Path) -> None:
    deadline = now() + LOCK_WAIT
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if now() > deadline:
                raise LockedError(
                    f"{path}: another drcm-alert has held it for {LOCK_WAIT:.0f} s",
                    f"See which: fuser -v {path}",
                ) from None
        time.sleep(LOCK_POLL)
