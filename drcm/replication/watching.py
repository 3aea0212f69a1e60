"""`drcm-sync NAME --watch`: says which files of a set change, as they change. The daemon takes it as a hint.

It runs until nobody reads it any more. Several changes in a moment are one line: what is to be told is that
something changed, and a run reads the whole tree anyway.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterable

from drcm.errors import EXIT_UNAVAILABLE, DrcmError
from drcm.replication import mounts
from drcm.replication.fanotify import Changes
from drcm.replication.rootstate import PRIVATE

BURST = 0.1  # seconds: what changes in this time is one line


def watch(name: str, roots: Iterable[str], tell: Callable[[str], None]) -> None:
    """Tell each change below `roots`, first that it begins; returns when standard output is closed.

    DrcmError where the kernel can't tell.
    """
    places = _places(roots)
    try:
        changes = Changes(places, ignored=(PRIVATE,))
    except OSError as error:
        cure = "It is synced every 10 s instead; an ordinary local file system can be watched"
        what = f"{name}: changes in {error.filename or 'it'} can't be watched: {error.strerror or error}"
        raise DrcmError(what, cure, EXIT_UNAVAILABLE) from error
    try:
        tell(f"watching {', '.join(places)}")
        while _wait(changes):
            time.sleep(BURST)
            if paths := list(dict.fromkeys(changes.read())):
                tell(line(paths))
    finally:
        changes.close()


def line(paths: list[str]) -> str:
    """What a person reads of some changes."""
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"changed {paths[0]!a}{more}"


def _places(roots: Iterable[str]) -> list[str]:
    """The roots, and what is mounted below them: each has its own mark."""
    mounted = mounts.read()
    found = [os.path.realpath(root) for root in roots]
    return found + [one.point for root in found for one in mounts.below(root, mounted)]


def _wait(changes: Changes) -> bool:
    """Until something changed; False when nobody reads any more."""
    poll = select.poll()
    poll.register(changes, select.POLLIN)
    poll.register(sys.stdout, 0)  # its end alone
    return all(number == changes.fileno() for number, _ in poll.poll())
