"""The running part of a host: its process 1, from boot to the end of the power."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.lab.errors import LabError
from tests.lab.process import Control

INIT = Path(__file__).with_name("init.py")
END_SECONDS = 30.0  # the kernel ends a pid namespace at once; a process in disk wait delays it


class Machine:
    """One boot. `pid` is process 1 as the real machine counts, `control` asks it to start programs."""

    def __init__(self, spec: dict[str, Any], log: Path) -> None:
        """Boot; LabError with what process 1 said if it does not come up."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ready, ready_end = os.pipe()
        with theirs, log.open("wb") as output:
            wanted = json.dumps({**spec, "control": theirs.fileno(), "ready": ready_end})
            self._starter = subprocess.Popen(
                [sys.executable, "-I", "-S", str(INIT), wanted],
                pass_fds=(theirs.fileno(), ready_end),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a ^C is for the lab; the hosts follow it
            )
        os.close(ready_end)
        with open(ready, encoding="ascii") as lines:
            said = lines.read().split()
        if said[1:] != ["ready"]:
            ours.close()
            self._starter.kill()
            self._starter.wait()
            raise LabError(f"{spec['name']} does not boot: {log.read_text()[-2000:]}")
        self.control = Control(ours)
        self.pid = int(said[0])
        self._descriptor = os.pidfd_open(self.pid)

    def kill(self) -> float:
        """End everything that runs on it; the moment, in seconds of CLOCK_BOOTTIME."""
        with contextlib.suppress(ProcessLookupError):  # process 1 died before
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def bury(self) -> None:
        """Wait until all of it is gone; RuntimeError with what the kernel does not end."""
        self.control.close()
        try:
            self._starter.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"killed {END_SECONDS:g} s ago, and not ended: {_left_of(self.pid)}") from None
        finally:
            os.close(self._descriptor)


def _left_of(pid: int) -> list[str]:
    """Process 1 of a host and what lives below it: number, state, name, and where in the kernel it waits."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            name, _, fields = (process / "stat").read_text().rpartition(")")
            if pid in (int(process.name), int(fields.split()[1])):
                found.append(f"{name}) {fields.split()[0]} in {(process / 'wchan').read_text() or '-'}")
    return found
