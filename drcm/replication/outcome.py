"""What the end of an rsync means, and what to do about it. Pure.

0 and 24 are good, unless stderr says that a finished file was thrown away: rsync ends with 0 then
(HISTORIES R1). rsync's number is for `--json` alone; a command ends with drcm's own exit codes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from drcm.errors import (
    EXIT_CONFIG,
    EXIT_DELETE_GUARD,
    EXIT_FAILED,
    EXIT_IO,
    EXIT_LOCKED,
    EXIT_OK,
    EXIT_UNAVAILABLE,
)


class Kind(StrEnum):
    """The classes of ends; each has one thing to do."""

    GOOD = "good"
    VANISHED = "vanished"  # files went away under way: run again once
    PARTIAL = "partial"  # named paths failed: keep the rest, try them again, warn
    RETRY = "retry"  # the line or the other side: back off and try again
    CONFIG = "config"  # the same would fail again: a person must look
    NO_SPACE = "no-space"
    GUARD = "guard"  # the seat belt on deletions
    REFUSED = "refused"  # the gate said no, and why


@dataclass(frozen=True, slots=True)
class Outcome:
    """`reason` in operator's words, `failed` the paths that did not arrive, or vanished under way."""

    kind: Kind
    reason: str
    exit_code: int
    rsync_rc: int
    failed: tuple[str, ...] = ()
    undeleted: bool = False  # the source could not be read wholly, so nothing was deleted

    @property
    def good(self) -> bool:
        """The tree over there is complete."""
        return self.kind is Kind.GOOD


_EXITS = {
    Kind.GOOD: EXIT_OK,
    Kind.VANISHED: EXIT_LOCKED,
    Kind.PARTIAL: EXIT_FAILED,
    Kind.RETRY: EXIT_UNAVAILABLE,
    Kind.CONFIG: EXIT_CONFIG,
    Kind.NO_SPACE: EXIT_IO,
    Kind.GUARD: EXIT_DELETE_GUARD,
}
_CODES = {
    0: (Kind.GOOD, "complete"),
    1: (Kind.CONFIG, "rsync did not understand its options"),
    2: (Kind.CONFIG, "the two rsyncs speak different protocols"),
    3: (Kind.CONFIG, "rsync refused a path"),
    4: (Kind.CONFIG, "one of the two rsyncs can't do what was asked (ACLs, extended attributes)"),
    5: (Kind.CONFIG, "the other side's rsync did not start the transfer"),
    6: (Kind.CONFIG, "rsync can't write its log"),
    10: (Kind.RETRY, "the connection broke"),
    11: (Kind.PARTIAL, "a file could not be read or written"),
    12: (Kind.RETRY, "the connection ended in mid-transfer"),
    13: (Kind.CONFIG, "rsync's diagnostics failed"),
    14: (Kind.CONFIG, "rsync could not talk to its own processes"),
    20: (Kind.RETRY, "rsync was told to stop"),
    22: (Kind.CONFIG, "rsync had no memory left"),
    23: (Kind.PARTIAL, "some files could not be transferred"),
    24: (Kind.VANISHED, "files vanished while they were sent"),
    25: (Kind.GUARD, "rsync reached the limit of deletions"),
    30: (Kind.RETRY, "no byte came for too long"),
    35: (Kind.RETRY, "no connection in time"),
    255: (Kind.RETRY, "ssh could not connect"),
}
_REFUSED = re.compile(r"^drcm-gate: refused \((\d+)\): (.*)$", re.MULTILINE)
_DISCARDED = re.compile(r"^.*discarding completed file.*$", re.MULTILINE)
_NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded")
_SYMLINKS = re.compile(r"Too many levels of symbolic links")
_VANISHED = re.compile(r'^file has vanished: "(.+?)"', re.MULTILINE)
_UNLISTED = re.compile(r"skipping file deletion")
_FAILED_PATH = re.compile(
    r"^rsync: (?:\[\w+\] )?[^\"\n]*\"(?P<quoted>.+?)\""
    r"|^Unable to create partial-dir for (?P<partial>.+?) -- ",
    re.MULTILINE,
)


def judge(code: int, stderr: str) -> Outcome:
    """What exit `code` (negative: ended by that signal) with `stderr` means."""
    refused = _REFUSED.search(stderr)
    if refused is not None:
        return Outcome(Kind.REFUSED, refused[2].strip(), int(refused[1]), code)
    kind, reason = _CODES.get(code, _unknown(code))
    discarded = _DISCARDED.search(stderr)
    if discarded is not None and kind in (Kind.GOOD, Kind.VANISHED):
        kind, reason = Kind.PARTIAL, f"rsync threw finished files away: {discarded[0].strip()}"
    elif kind is not Kind.GOOD and _NO_SPACE.search(stderr):
        kind, reason = Kind.NO_SPACE, "no space left on the receiving side"
    elif code == 3 and _SYMLINKS.search(stderr):
        reason = "a path passes a symlink that belongs to neither root nor the backup user"
    failed = failed_paths(stderr) if kind in (Kind.PARTIAL, Kind.NO_SPACE) else ()
    if kind is Kind.VANISHED:
        failed = tuple(dict.fromkeys(_VANISHED.findall(stderr)))
    undeleted = _UNLISTED.search(stderr) is not None
    return Outcome(kind, _with_detail(kind, reason, stderr), _EXITS[kind], code, failed, undeleted)


def _unknown(code: int) -> tuple[Kind, str]:
    if code < 0:
        return Kind.RETRY, f"rsync was ended by signal {-code}"
    if 124 <= code <= 127:
        return Kind.CONFIG, "drcm-gate or rsync could not be started over there"
    return Kind.RETRY, f"rsync ended with {code}"


def _with_detail(kind: Kind, reason: str, stderr: str) -> str:
    """`reason` with the first line that rsync or ssh said about it."""
    if kind in (Kind.GOOD, Kind.VANISHED):
        return reason
    said = (line.strip() for line in stderr.splitlines())
    detail = next((line for line in said if line and not line.startswith("rsync error:")), "")
    return f"{reason}: {detail}" if detail and detail not in reason else reason


def failed_paths(stderr: str) -> tuple[str, ...]:
    """The paths that rsync names as failed, in its order, each once."""
    found = (match["quoted"] or match["partial"] for match in _FAILED_PATH.finditer(stderr))
    return tuple(dict.fromkeys(found))
