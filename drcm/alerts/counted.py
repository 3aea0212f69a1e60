"""Counted time: how far CLOCK_BOOTTIME went between two looks, be they in two processes or two boots.

The time of day is not asked. After a reboot exactly the time since that boot has surely passed; the rest of
the former boot and the time without power are not known without trusting a clock that may say 1970 or 2099,
so they don't count (HISTORIES R19 counts the same way). Too little counted makes a reminder late; too much
would make a flood.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drcm import clock

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the clock: which boot, and seconds since it."""

    boot: str
    seconds: float


def read() -> Reading:
    """The clock of this machine, now."""
    return Reading(BOOT_ID.read_text().strip(), clock.now())


def elapsed(last: Reading | None, now: Reading) -> float:
    """Seconds that have surely passed from `last` to `now`, never negative. Pure."""
    if last is None:
        return 0.0
    if last.boot == now.boot:
        return max(0.0, now.seconds - last.seconds)  # it goes back when a snapshot of the machine is restored
    return max(0.0, now.seconds)
