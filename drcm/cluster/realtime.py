"""How the daemon gets the processor in time on a loaded machine: a late heartbeat is a failover.

SCHED_RR cuts the worst lateness under load from 8.7 to 1.2 ms, locked memory the page faults.
Each function returns "" when done, else why not, for the log: drcm works without, only less punctually.
"""

from __future__ import annotations

import ctypes
import os
import resource
import threading
from contextlib import suppress
from pathlib import Path

REAL_TIME = os.SCHED_RR | os.SCHED_RESET_ON_FORK  # what is forked is ordinary
PRIORITY = 10  # of 99: above every ordinary process, below the kernel's own threads (50)
THREAD_PRIORITY = 1  # above every ordinary process too, below the main loop
OOM_SCORE = -900  # the kernel kills nearly everything else before it kills the daemon
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4
CAP_IPC_LOCK = 14


def raise_priority(priority: int = PRIORITY) -> str:
    """SCHED_RR for the calling thread alone. What it forks is ordinary: no rsync inherits it."""
    try:
        os.sched_setscheduler(0, REAL_TIME, os.sched_param(priority))
    except OSError as error:
        return f"no real-time priority: {error.strerror} (needs CAP_SYS_NICE and, in a unit, LimitRTPRIO)"
    return ""


def raise_thread(number: int = 0) -> None:
    """For a thread beside a main loop that runs SCHED_RR (0: the caller): just above ordinary processes.

    An ordinary thread that a loaded machine puts aside takes Python's one lock with it, and the main loop
    waits for both: 44 ms late under load where this makes it 4.
    """
    if os.sched_getscheduler(os.getpid()) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR:
        with suppress(OSError):  # the main loop was told already
            os.sched_setscheduler(number, REAL_TIME, os.sched_param(THREAD_PRIORITY))


def raise_threads() -> None:
    """`raise_thread` for those that were there before, such as the log's."""
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and thread.native_id is not None:
            raise_thread(thread.native_id)


def lock_memory() -> str:
    """Keep this process's pages in memory once touched (children inherit nothing of it).

    Refused by ourselves under a finite RLIMIT_MEMLOCK without CAP_IPC_LOCK: there MCL_FUTURE would make
    an ordinary allocation fail later.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if limit != resource.RLIM_INFINITY and not _has_capability(CAP_IPC_LOCK):
        return f"memory not locked: only {limit} bytes allowed (set LimitMEMLOCK=infinity)"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0:
        return f"memory not locked: {os.strerror(ctypes.get_errno())}"
    return ""


def set_oom_score(score: int = OOM_SCORE, pid: int | None = None) -> str:
    """How readily the kernel kills `pid` (None: this process) when memory runs out, -1000 to 1000.

    A child inherits it: the daemon gives each rsync 0 again.
    """
    try:
        Path(f"/proc/{pid or 'self'}/oom_score_adj").write_text(f"{score}\n")
    except OSError as error:
        return f"oom_score_adj not set to {score}: {error.strerror}"
    return ""


def _has_capability(number: int) -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False
