"""Which folders of trash may go: by days that the daemon counted, and by size (HISTORIES R19, R20). Pure.

`trash_days` is a promise: nothing younger goes, whatever space is wanted; a run that finds the trash over
`trash_size` then fails. Where a size is set, what is older stays as long as all of it fits; without one it
goes when its days are over. Conflicts are no trash: they never come here. Standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Aged:
    """One folder. `seen`: the counted day on which it was first seen; `size` in bytes, 0 = not measured."""

    root: str  # the root's uuid
    label: str
    seen: int
    size: int = 0


def expired(folders: Sequence[Aged], today: int, days: int, limit: int = 0) -> list[Aged]:
    """What may go now, the oldest first. `limit` in bytes, 0 = none."""
    oldest_first = sorted(folders, key=lambda one: (one.seen, one.root, one.label))
    past_promise = [one for one in oldest_first if today - one.seen >= days]
    if not limit:
        return past_promise
    over = sum(one.size for one in folders) - limit
    gone = []
    for one in past_promise:
        if over <= 0:
            break
        gone.append(one)
        over -= one.size
    return gone
