"""What a client may ask of drcm-gate: every word and field is checked before it is used. Pure."""

from __future__ import annotations

import re
from typing import Any

from drcm.errors import EXIT_PROTOCOL, DrcmError
from drcm.replication.generation import Record, from_json

Request = dict[str, Any]
Answer = dict[str, Any]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
GENERATION = re.compile(r"[0-9A-Za-z]{1,64}")
RUN = re.compile(r"[0-9]{1,9}-[0-9a-f]{8}")
INDEX = re.compile(r"[0-9]{1,3}")


def malformed(what: str) -> DrcmError:
    return DrcmError(what, "Is the same drcm installed on both nodes?", EXIT_PROTOCOL)


def checked(pattern: re.Pattern[str], value: object, what: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise malformed(f"{str(value)[:80]!r} is no {what}")
    return value


def writer_record(request: Request, name: str) -> Record:
    """The record that the writer sent, of plausible shape."""
    try:
        record = from_json(request["record"])
        texts = [record.name, record.node, record.set_uuid]
        texts += [text for one in record.chain for text in (one.id, one.writer, one.why, *one.merged)]
        texts += [text for given in record.given.values() for text in (given.begun, given.complete)]
        texts += [text for at in (record.pos, record.applying) if at for text in (at.id, at.run)]
        numbers = [one.n for one in record.chain]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise malformed(f"a writer's record that can't be read: {type(error).__name__}") from error
    whole = all(isinstance(text, str) for text in texts) and all(isinstance(one, int) for one in numbers)
    if not whole or not record.chain:
        raise malformed("a writer's record that can't be read")
    if record.name != name:
        raise malformed(f"a record of {record.name!r} where {name!r} was asked")
    return record


def strings(request: Request, key: str) -> tuple[str, ...]:
    value = request.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise malformed(f"{key} is not a list of strings")
    return tuple(value)
