"""The kernel's watchdog: a machine that nobody can vouch for any more is reset (DESIGN.md rule 3).

The keeper feeds it, for as long as it gets what its lease no longer covers released; once something can't
be, it stops, and the machine is reset within a second. A keeper that hangs or is killed feeds nothing either.
Standard library only: the keeper imports this.
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress
from pathlib import Path

from drcm import clock

RESET_SECONDS = 10  # without food; longer than the daemon needs to start a keeper anew
AT_ONCE = 1  # the shortest that every driver takes
FEED_SECONDS = 0.5
LOOK_SECONDS = 1.0  # between looks at which device is configured
SET_TIMEOUT = 0xC0045706  # WDIOC_SETTIMEOUT of linux/watchdog.h
NAME = "watchdog"  # file in the run directory: the device's path


def configure(run_dir: Path, device: str) -> None:
    """Tell the keeper which device to feed; "" = none. The daemon calls this."""
    path = run_dir / NAME
    if device:
        path.write_text(device)
    else:
        path.unlink(missing_ok=True)


class Watchdog:
    """The device that RUN_DIR/watchdog names, as far as there is one."""

    def __init__(self, run_dir: Path) -> None:
        self._configured = run_dir / NAME
        self._device = ""
        self._open = -1
        self._looked = self._fed = float("-inf")
        self._given_up = False

    def tick(self, healthy: bool) -> None:
        """Feed it, or, for good, let it reset this machine."""
        now = clock.now()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._follow()
        if self._open < 0 or self._given_up:
            return
        if not healthy:
            self._given_up = True
            self._set_timeout(AT_ONCE)
        elif now - self._fed >= FEED_SECONDS:
            self._fed = now
            with suppress(OSError):
                os.write(self._open, b"\0")

    def close(self) -> None:
        """Disarm it: nothing is held here any more. Not one that is to reset the machine."""
        if self._open >= 0 and not self._given_up:
            with suppress(OSError):
                os.write(self._open, b"V")
            os.close(self._open)
            self._open = -1

    def _follow(self) -> None:
        try:
            wanted = self._configured.read_text().strip()
        except OSError:
            wanted = ""
        if wanted != self._device:
            self.close()
        if wanted and self._open < 0:
            with suppress(OSError):  # its driver may come later; --check-config has told
                self._open = os.open(wanted, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                self._set_timeout(RESET_SECONDS)
        self._device = wanted

    def _set_timeout(self, seconds: int) -> None:
        with suppress(OSError):  # some drivers have a fixed one
            fcntl.ioctl(self._open, SET_TIMEOUT, struct.pack("i", seconds))
