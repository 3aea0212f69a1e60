"""The keeper: releases what is held when the lease ends and the daemon does not (DESIGN.md rule 3, E7).

`python -m drcm.cluster.keeper RUN_DIR`. Standard library only, one per run directory, outlives the
daemon. It reads RUN_DIR/lease and, once a deadline has passed, does the releases of that phase in
RUN_DIR/held.json, once a deadline; what it did is in RUN_DIR/keeper.json and on standard error.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from drcm import clock
from drcm.cluster.lease_file import LeaseReader
from drcm.cluster.releasing import Releasing
from drcm.cluster.watchdog import Watchdog

LONGEST_SLEEP = 0.1  # seconds: a lease begins unseen for at most this
IDLE_SECONDS = 60.0  # nothing held and no daemon: then it ends by itself
PRIORITY = 20  # SCHED_RR, above the daemon's: it must run when the daemon spins


class Keeper:
    """Watches one lease. `tick` does what is due and says how long to sleep."""

    def __init__(self, run_dir: Path) -> None:
        self._reader = LeaseReader(run_dir / "lease")
        self._releasing = Releasing(run_dir / "keeper.json")
        self._watchdog = Watchdog(run_dir)
        self._done = {"address": 0.0, "rest": 0.0}  # phase -> the deadline already dealt with
        self._needed_at = clock.now()

    def tick(self) -> float:
        lease = self._reader.read()
        deadlines = {"address": lease.address_deadline, "rest": lease.rest_deadline}
        for phase, deadline in deadlines.items():
            if deadline and self._done[phase] != deadline and clock.now() >= deadline:
                self._done[phase] = deadline
                self._releasing.begin([r for r in self._reader.held() if r.get("phase") == phase])
        self._releasing.attend()
        self._watchdog.tick(healthy=not self._releasing.stuck)
        pending = [d for phase, d in deadlines.items() if d and self._done[phase] != d]
        if pending or self._releasing.busy or _alive(lease.pid):
            self._needed_at = clock.now()
        return max(0.0, min([LONGEST_SLEEP, *(d - clock.now() for d in pending)]))

    def close(self) -> None:
        self._watchdog.close()

    @property
    def idle(self) -> bool:
        """Whether nothing was held and no daemon lived for IDLE_SECONDS."""
        return clock.now() - self._needed_at > IDLE_SECONDS


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0


def _lock(run_dir: Path) -> int | None:
    """The descriptor of the keeper's lock, or None where another keeper has it."""
    descriptor = os.open(run_dir / "keeper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def ensure_keeper(run_dir: Path) -> None:
    """Start a keeper for `run_dir` unless one runs: in its own session, no child of ours. About 3 ms."""
    run_dir.mkdir(parents=True, exist_ok=True)
    lock = _lock(run_dir)
    if lock is None:
        return
    os.close(lock)
    with (run_dir / "keeper.log").open("ab") as log:
        argv = ["setsid", "--fork", sys.executable, "-m", "drcm.cluster.keeper", str(run_dir)]
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", check=True)


def _be_urgent() -> None:
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
    ctypes.CDLL(None).mlockall(3)  # refused without the right: then we go on unlocked


def main() -> int:
    run_dir = Path(sys.argv[1])
    lock = _lock(run_dir)
    if lock is None:
        return 0
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    _be_urgent()
    keeper = Keeper(run_dir)
    while not keeper.idle:
        time.sleep(keeper.tick())
    keeper.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
