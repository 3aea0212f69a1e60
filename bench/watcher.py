"""Who has the floating address, looked at every 5 ms from outside the hosts, until it is killed.

A script of its own (standard library only): `watcher.py IP NAME=PID ...`, PID being a host's process 1.
Writes `TIME NAME,NAME` at every change (seconds of CLOCK_BOOTTIME) and once a second, so that a reader
knows how far "no change" reaches.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time

INTERVAL_SECONDS = 0.005
TOLD_SECONDS = 1.0
PRIORITY = 30  # SCHED_RR, above all that is watched


def has(pid: str, row: str) -> bool:
    """Whether the network namespace of `pid` has the address as its own; False where the host is off."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/net/fib_trie", encoding="ascii") as table:
        return row in table.read()
    return False


def holders(hosts: dict[str, str], row: str) -> list[str]:
    """Several only where all of them had it at one moment: each before the last was seen, and after."""
    found = [name for name, pid in hosts.items() if has(pid, row)]
    return [name for name in found if has(hosts[name], row)] if len(found) > 1 else found


def main(ip: str, hosts: dict[str, str]) -> None:
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
    row, last, told = f"|-- {ip}\n", None, 0.0
    due = time.monotonic()
    while True:
        now, found = time.clock_gettime(time.CLOCK_BOOTTIME), holders(hosts, row)
        if found != last or now - told >= TOLD_SECONDS:
            last, told = found, now
            print(f"{now:.6f} {','.join(found)}", flush=True)
        due = max(due + INTERVAL_SECONDS, time.monotonic())  # what was missed is not made up for
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main(sys.argv[1], dict(word.split("=") for word in sys.argv[2:]))
