"""What is tried again after an rsync that did not end well, how often, and after which pause. Pure.

A line that broke is tried again with a pause that doubles and is spread, so that nodes which lost the same
switch don't all come back at the same moment. Paths that failed or vanished are tried again alone, once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection

from drcm.errors import EXIT_LOCKED
from drcm.replication.outcome import Kind, Outcome
from drcm.replication.rsync import OWN_DIR

TRIES = {  # how often, after the first time; what is not named here would end in the same way
    Kind.RETRY: 2,  # the whole run, by its own id; the next one that is due goes on from there as well
    Kind.VANISHED: 1,  # a live tree always has files that come and go: then it is good
    Kind.PARTIAL: 1,
}
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds
PATHS_MAX = 1000  # more of them: the whole root again
BYTES_MAX = 100_000  # of the command line that names them


def pause(attempt: int, chance: float) -> float:
    """Seconds after try `attempt` (from 1 on): doubled each time, from half to all of it by `chance`."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (attempt - 1))
    return longest * (0.5 + chance / 2)


def run_again(ended: Outcome | None, exit_code: int, attempt: int) -> bool:
    """The whole run once more after its try number `attempt`? `ended` is None where the gate said no.

    After a broken line the other side may need a moment to notice it: till then the set is locked there.
    """
    if ended is None:
        return attempt > 1 and exit_code == EXIT_LOCKED and attempt <= TRIES[Kind.RETRY]
    transient = ended.kind is Kind.RETRY or (ended.kind is Kind.REFUSED and exit_code == EXIT_LOCKED)
    return transient and attempt <= TRIES[Kind.RETRY]


def paths_again(ended: Outcome, root: str) -> tuple[str, ...] | None:
    """The names, relative to `root`, that one more rsync is for; () = all of it, None = none is due.

    All of it where the names are not known, or too many, or where nothing was deleted because the source
    could not be read: a run for some paths alone deletes nothing.
    """
    if ended.kind not in (Kind.VANISHED, Kind.PARTIAL):
        return None
    if ended.kind is Kind.PARTIAL and not ended.failed:
        return None
    return () if ended.undeleted else _few(ended.failed, root)


def also(names: tuple[str, ...] | None, more: tuple[str, ...], root: str) -> tuple[str, ...] | None:
    """What `paths_again` said, and `more` names."""
    if not more or names == ():
        return names
    return _few((*(names or ()), *more), root)


def _few(paths: Collection[str], root: str) -> tuple[str, ...]:
    """Their names, relative to `root`; () where they are too many, or can't be asked for."""
    names = tuple(_relative(path, root) for path in paths)
    known = names and all(names) and len(names) <= PATHS_MAX
    fits = sum(len(pattern) for name in names for pattern in patterns([name])) <= BYTES_MAX
    return names if known and fits else ()


def _relative(path: str, root: str) -> str:
    """Both sides of rsync name a path in their own way; "" for one that can't be asked for by a pattern."""
    if os.path.isabs(path):
        path = os.path.relpath(path, root)
    plain = path.isprintable() and "\\" not in path and path not in (".", "")
    return path if plain and path.split("/")[0] not in ("..", OWN_DIR) else ""


def patterns(names: Collection[str]) -> list[str]:
    """rsync's include patterns for these names, what lies in them, and the folders above."""
    found: dict[str, None] = {}
    for name in names:
        parts = _literal(name).split("/")
        for depth in range(1, len(parts)):
            found[f"/{'/'.join(parts[:depth])}/"] = None
        found[f"/{'/'.join(parts)}"] = None
        found[f"/{'/'.join(parts)}/***"] = None
    return list(found)


def _literal(name: str) -> str:
    """A backslash escapes in a pattern that has wildcards; without any, rsync compares letter by letter."""
    return re.sub(r"([*?\[])", r"\\\1", name)
