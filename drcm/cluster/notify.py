"""What the daemon tells systemd: sd_notify(3) in a few lines, without a library.

Without systemd (no NOTIFY_SOCKET) every call is a no-op. No call blocks or raises: a service manager
that does not read must not cost a heartbeat.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping

from drcm.clock import Seconds


class Notifier:
    """The way to the service manager that started this process.

    Takes its variables out of `environ`: a child must not speak for the daemon.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        self._address = _address(environ.pop("NOTIFY_SOCKET", ""))
        usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        mine = pid in ("", str(os.getpid()))
        self.watchdog_interval: Seconds | None = _half(usec) if mine else None  # None: nobody waits for it
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if self._address else None

    def ready(self) -> None:
        """The daemon does its work (also: the new configuration is in force)."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send("STATUS=" + text.replace("\n", " "))

    def reloading(self) -> None:
        """The configuration is being read again; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, seconds: Seconds = 0.0) -> None:
        """The daemon leaves, and wants `seconds` for it before it is killed (0: as the unit says)."""
        self._send("STOPPING=1" + (f"\nEXTEND_TIMEOUT_USEC={int(seconds * 1e6)}" if seconds else ""))

    def watchdog(self) -> None:
        """The main loop finished a whole pass. Only the main loop may say so."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is None:
            return
        data = message.encode(errors="replace")
        with contextlib.suppress(OSError):  # nobody there, or not reading: not our trouble
            self._socket.sendto(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL, self._address)


def _address(name: str) -> str:
    """systemd writes an abstract socket as `@name`, the kernel as NUL and name."""
    return "\0" + name[1:] if name.startswith("@") else name


def _half(usec: str) -> Seconds | None:
    """Half of WatchdogSec, as sd_watchdog_enabled(3) advises; None where it is off or no number."""
    return int(usec) / 2e6 if usec.isascii() and usec.isdigit() and int(usec) > 0 else None
