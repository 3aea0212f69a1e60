"""Days that this node's daemon has run, counted by itself: a wrong clock makes nothing older (HISTORIES R19).

STATE/days.json. Time in which the daemon does not run is not counted: what has a promise of days is kept
longer, never shorter. Standard library only.
"""

from __future__ import annotations

from drcm import state
from drcm.clock import Seconds
from drcm.paths import Paths

DAY_SECONDS: Seconds = 86_400.0
AT_ONCE: Seconds = 7_200.0  # of CLOCK_BOOTTIME that one call counts at most; the daemon calls each hour


def count(paths: Paths, seconds: Seconds) -> bool:
    """The daemon has run so much longer; True where that completes a day."""
    day, so_far = _read(paths)
    so_far += min(seconds, AT_ONCE)
    over = so_far >= DAY_SECONDS
    state.write_json(paths.state / "days.json", {"day": day + over, "seconds": so_far - over * DAY_SECONDS})
    return over


def today(paths: Paths) -> int:
    """How many days were completed."""
    return _read(paths)[0]


def _read(paths: Paths) -> tuple[int, Seconds]:
    value = state.read_json(paths.state / "days.json") or {"day": 0, "seconds": 0.0}
    return int(value["day"]), float(value["seconds"])
