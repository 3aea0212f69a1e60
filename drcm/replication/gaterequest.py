"""What a client may ask of drcm-gate: every word and field is checked before it is used. Pure."""

from __future__ import annotations

import re
from typing import Any

from drcm.errors import EXIT_PROTOCOL, DrcmError
from drcm.replication.generation import CHAIN_KEPT, Generation, Position, Record, from_json

Request = dict[str, Any]
Answer = dict[str, Any]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
GENERATION = re.compile(r"[0-9A-Za-z]{1,64}")
RUN = re.compile(r"[0-9]{1,9}-[0-9a-f]{8}")
INDEX = re.compile(r"[0-9]{1,3}")
WHY = re.compile(r"[a-z-]{1,20}")
NUMBER_MAX = 1 << 53  # of a generation, of bytes: what every JSON reader takes
PATHS_MAX = 128  # roots of one set
PATH_MAX = 4096  # bytes, as the kernel's


def malformed(what: str) -> DrcmError:
    return DrcmError(what, "Is the same drcm installed on both nodes?", EXIT_PROTOCOL)


def checked(pattern: re.Pattern[str], value: object, what: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise malformed(f"{str(value)[:80]!r} is no {what}")
    return value


def writer_record(request: Request, name: str) -> Record:
    """The record that the writer sent: its ids and names go into paths and into our own record."""
    try:
        record = from_json(request["record"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise malformed(f"a writer's record that can't be read: {type(error).__name__}") from error
    if record.name != name:
        raise malformed(f"a record of {str(record.name)[:80]!r} where {name!r} was asked")
    if not 0 < len(record.chain) <= CHAIN_KEPT:
        raise malformed(f"a writer's record of {len(record.chain)} generations")
    checked(NAME, record.node, "name of a node")
    if not all(isinstance(root.uuid, str) for root in record.roots):
        raise malformed("a writer's record whose roots can't be read")
    for one in record.chain:
        _check_generation(one)
    for position in (record.pos, record.applying):
        _check_position(position)
    return record


def _check_generation(one: Generation) -> None:
    checked(GENERATION, one.id, "generation")
    checked(NAME, one.writer, "name of a node")
    checked(WHY, one.why, "reason of a generation")
    _check_position(one.origin)
    for merged in one.merged:
        checked(GENERATION, merged, "generation")
    if not _is_number(one.n) or not isinstance(one.started, bool):
        raise malformed("a generation that can't be read")


def _check_position(position: Position | None) -> None:
    if position is not None:
        checked(GENERATION, position.id, "generation")


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < NUMBER_MAX


def strings(request: Request, key: str) -> tuple[str, ...]:
    value = request.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise malformed(f"{key} is not a list of strings")
    return tuple(value)


def paths_of(request: Request, key: str) -> tuple[str, ...]:
    """Directories: absolute and plain, few enough to be looked at."""
    found = strings(request, key)
    if len(found) > PATHS_MAX:
        raise malformed(f"{key} names {len(found)} directories, expected at most {PATHS_MAX}")
    for path in found:
        plain = path.startswith("/") and ".." not in path.split("/") and "\0" not in path
        if not plain or not 0 < _length(path) <= PATH_MAX:
            raise malformed(f"{path[:80]!r} is no absolute and plain path")
    return found


def _length(path: str) -> int:
    """In bytes; 0 where it is no name of a file at all."""
    try:
        return len(path.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return 0


def numbers(request: Request, key: str) -> dict[str, int]:
    """By root; what is none is left out."""
    value = request.get(key, {})
    found = value if isinstance(value, dict) else {}
    return {path: number for path, number in found.items() if _is_number(number)}
