"""What a watcher saw, judged: who had the address, from when on. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

Seen = Sequence[tuple[float, tuple[str, ...]]]  # (CLOCK_BOOTTIME in seconds, holders from then on)


def departures(seen: Seen, home: str) -> int:
    """How often the address was no longer at home and nowhere else, whatever came of it."""
    at_home = [names == (home,) for _, names in seen]
    return sum(before and not after for before, after in itertools.pairwise(at_home))


def double_seconds(seen: Seen, home: str) -> float:
    """How long two nodes or more had the address at once."""
    return sum(end - start for (start, names), (end, _) in itertools.pairwise(seen) if len(names) > 1)


def parse(text: str) -> Seen:
    """The watcher's lines, `TIME NAME,NAME`; a last one that is not whole is left out."""
    pairs = [line.partition(" ")[::2] for line in text.rpartition("\n")[0].splitlines()]
    return [(float(moment), tuple(filter(None, names.split(",")))) for moment, names in pairs]
