"""A watchdog over the event loop of every Python that starts with this folder in PYTHONPATH.

A turn that took over 50 ms is written down, unless the machine was to blame: a thread that neither used its
processor time itself nor went to sleep was only kept waiting, and so it was while it was ready to run. One
that slept, in a call that blocks, is written down from 150 ms on.
LOOPWATCH names the file.
"""

import asyncio.events
import os
import resource
import time

LIMIT = 0.050  # seconds of one turn (a callback, a step of a task)
ASLEEP = 0.150  # of one that slept: on a machine that starves, Python's own lock may take 0.1 to come round
FILE = os.environ.get("LOOPWATCH", "")

_run = asyncio.events.Handle._run
_watching: set[int] = set()  # processes


def _note(text: str) -> None:
    with open(FILE, "a") as file:
        file.write(f"{os.getpid()}: {text}\n")


def _slept() -> int:
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def _kept_waiting() -> float:
    """Seconds in which this thread was ready and another had the processor."""
    with open("/proc/thread-self/schedstat") as file:
        return int(file.read().split()[1]) / 1e9


def _watched(self: asyncio.events.Handle) -> None:
    if os.getpid() not in _watching:
        _watching.add(os.getpid())
        _note("watched")
    waited, slept = _kept_waiting(), _slept()
    begun, worked = time.monotonic(), time.thread_time()
    _run(self)
    took, worked = time.monotonic() - begun, time.thread_time() - worked
    blocked = took - (_kept_waiting() - waited)
    if worked > LIMIT or (blocked > ASLEEP and _slept() > slept):
        _note(f"{took * 1e3:.0f} ms, {worked * 1e3:.0f} ms of work: {self!r}")


if FILE:
    asyncio.events.Handle._run = _watched  # type: ignore[method-assign]
