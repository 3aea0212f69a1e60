"""What an alert is: a key that names one problem, and words for people. Pure.

The key is `KIND:OBJECT` ("node-dead:cmnode2"): everything that is counted, throttled and resolved goes by it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from drcm.errors import EXIT_USAGE, DrcmError

SUBJECT_LENGTH = 200  # characters; a mail client shows half of them
BODY_LENGTH = 20_000  # characters; a log that somebody pipes in is cut, not refused
OBJECT_LENGTH = 200
ACTION = "[!ACTION!]"  # how the subjects of 1.41 begin; mail filters go by it
RESOLVED = "[RESOLVED]"

Key = str


class Kind(StrEnum):
    """The kinds of problem that drcm knows."""

    NODE_DEAD = "node-dead"
    FAILED_OVER = "failed-over"
    SET_FAILED = "set-failed"
    SET_LATE = "set-late"
    SET_DIVERGED = "set-diverged"
    GUARD = "guard"
    CONFIG_DIFFERS = "config-differs"
    KEY_UNKNOWN = "key-unknown"
    BEATS_MALFORMED = "beats-malformed"
    RESOURCE_FAILED = "resource-failed"
    RESOURCE_WARNING = "resource-warning"
    STOPPED = "stopped"
    BLOCKED = "blocked"
    FLAPPING = "flapping"
    FENCED = "fenced"
    FENCE_FAILED = "fence-failed"
    UNSENT = "unsent"
    CONFLICTS = "conflicts"
    TEST = "test"
    CUSTOM = "custom"


# What happened once, and is over when it is said; all else lasts until it is resolved.
EVENTS = (Kind.UNSENT, Kind.CONFLICTS, Kind.FENCED, Kind.TEST, Kind.CUSTOM)


class Severity(StrEnum):
    """How much it hurts: CRITICAL = something is down or at risk, WARNING = it will be if nobody looks."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


SEVERITIES: dict[str, Severity] = {
    Kind.NODE_DEAD: Severity.CRITICAL,
    Kind.FAILED_OVER: Severity.WARNING,
    Kind.SET_FAILED: Severity.WARNING,
    Kind.SET_LATE: Severity.CRITICAL,
    Kind.SET_DIVERGED: Severity.CRITICAL,
    Kind.GUARD: Severity.CRITICAL,
    Kind.CONFIG_DIFFERS: Severity.WARNING,
    Kind.KEY_UNKNOWN: Severity.WARNING,
    Kind.BEATS_MALFORMED: Severity.WARNING,
    Kind.RESOURCE_FAILED: Severity.CRITICAL,
    Kind.RESOURCE_WARNING: Severity.WARNING,
    Kind.STOPPED: Severity.CRITICAL,
    Kind.BLOCKED: Severity.CRITICAL,
    Kind.FLAPPING: Severity.WARNING,
    Kind.FENCED: Severity.WARNING,
    Kind.FENCE_FAILED: Severity.CRITICAL,
    Kind.UNSENT: Severity.CRITICAL,
    Kind.CONFLICTS: Severity.WARNING,
    Kind.TEST: Severity.INFO,
    Kind.CUSTOM: Severity.WARNING,
}


@dataclass(frozen=True, slots=True)
class Alert:
    """One problem, in words. `key` is "kind:object"; `subject` carries no prefix yet."""

    key: Key
    subject: str
    body: str = ""

    @property
    def severity(self) -> Severity:
        return SEVERITIES.get(kind_of(self.key), Severity.WARNING)


def alert(key: Key, subject: str, body: str = "") -> Alert:
    """An alert made of somebody's words: one line of subject, no control characters, bounded lengths."""
    check_key(key)
    title = one_line(subject).removeprefix(ACTION).strip()
    return Alert(key, title or key, plain_text(body))


def custom(subject: str, body: str = "") -> Alert:
    """An alert of other people's scripts: its subject is what it is throttled by."""
    title = one_line(subject).removeprefix(ACTION).strip()
    if not title:
        raise DrcmError("The subject is empty.", "Give one: drcm-alert send -s SUBJECT", EXIT_USAGE)
    return Alert(f"{Kind.CUSTOM}:{title[:OBJECT_LENGTH]}", title, plain_text(body))


def check_key(key: Key) -> None:
    """DrcmError where `key` isn't KIND:OBJECT on one printable line.

    A kind that isn't in the list is taken as a lasting warning: better an odd alert than none.
    """
    kind, colon, thing = key.partition(":")
    good = re.fullmatch(r"[a-z][a-z0-9-]{0,30}", kind) and colon and 0 < len(thing) <= OBJECT_LENGTH
    if not good or one_line(key) != key:
        raise DrcmError(
            f"{one_line(key)!r} is not an alert's key: expected KIND:OBJECT on one line",
            f"Such as node-dead:cmnode2. Kinds: {', '.join(Kind)}.",
            EXIT_USAGE,
        )


def kind_of(key: Key) -> str:
    return key.partition(":")[0]


def is_lasting(key: Key) -> bool:
    """Whether the problem goes on until it is resolved."""
    return kind_of(key) not in EVENTS


def one_line(text: str) -> str:
    """`text` fit for a mail header: no newline or other control character, no half of a surrogate pair."""
    blank = re.sub(r"[^\S ]+|[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", _encodable(text))
    return blank.strip()[:SUBJECT_LENGTH]


def plain_text(text: str) -> str:
    """`text` fit for a mail's body: lines, tabs and printable characters."""
    lines = _encodable(text[: BODY_LENGTH + 1]).splitlines()
    body = "\n".join(re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "?", line) for line in lines)
    return body[:BODY_LENGTH] + ("\n[cut here]" if len(text) > BODY_LENGTH else "")


def _encodable(text: str) -> str:
    """File names come with surrogate escapes for bytes that are no UTF-8; a mail can't carry them."""
    return text.encode("utf-8", "replace").decode("utf-8")
