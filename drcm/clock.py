"""Two clocks that do not mix: `now()` measures, `wall()` is for people.

`now()` is CLOCK_BOOTTIME: it goes on while the machine sleeps, so a lease can't survive a suspend
(HISTORIES E9), and nobody sets it.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

Seconds = float


def now() -> Seconds:
    """Seconds since this machine booted, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wall() -> datetime:
    """The time for people, in UTC. Never compared, never subtracted."""
    return datetime.now(UTC)
