"""The lock of a set on one node: who holds it, and taking it from whoever does.

flock on NAME.lock. The descriptor may live through exec into rsync, so the kernel's own word in
/proc/PID/fdinfo tells who holds it, never the pid in the file alone: that may be reused.
Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drcm.clock import Seconds, now
from drcm.errors import LockedError

POLL_SECONDS = 0.01
TERM_SECONDS = 0.5  # after TERM: rsync keeps its partial files within it
DECLINE_SECONDS = 2.0  # HISTORIES R8: rsync in D state never lets go


@dataclass(frozen=True, slots=True)
class Lock:
    """The lock of a set while it is held."""

    fd: int
    path: Path


@contextmanager
def lock(
    sets: Path, name: str, purpose: str, wait: Seconds = 0.0, inheritable: bool = False
) -> Iterator[Lock]:
    """Hold the set's lock; LockedError names the holder if it is not free within `wait`.

    `inheritable`: the descriptor lives through exec, and with it the lock.
    """
    held = _take(sets, name, purpose, now() + wait)
    try:
        os.set_inheritable(held.fd, inheritable)
        yield held
    finally:
        os.close(held.fd)


@contextmanager
def seize(sets: Path, name: str, purpose: str) -> Iterator[Lock]:
    """Hold the set's lock, taken from whoever has it. LockedError as `evict`."""
    held = _seized(sets, name, purpose)
    try:
        yield held
    finally:
        os.close(held.fd)


def evict(sets: Path, name: str) -> None:
    """End what holds the set's lock: TERM to its process group, KILL after 0.5 s.

    My own process group is never hit, but waited for: another thread is about to let go.
    LockedError if the lock is not free within 2 s (HISTORIES R8).
    """
    path = sets / f"{name}.lock"
    begun = now()
    signals = [(begun, signal.SIGTERM), (begun + TERM_SECONDS, signal.SIGKILL)]
    while holders := _holders(path):
        if now() > begun + DECLINE_SECONDS:
            raise LockedError(f"{name}: declined: still locked after KILL: {_who(path)}, pids {holders}")
        if signals and now() >= signals[0][0]:
            _end(holders, signals.pop(0)[1])
        time.sleep(POLL_SECONDS)


def _seized(sets: Path, name: str, purpose: str) -> Lock:
    """Somebody else may be quicker once it is free: again, until the time to decline."""
    deadline = now() + DECLINE_SECONDS
    while True:
        with contextlib.suppress(LockedError):
            return _take(sets, name, purpose, 0.0)
        evict(sets, name)
        if now() > deadline:
            raise LockedError(f"{name}: declined: others keep taking its lock: {_who(sets / f'{name}.lock')}")


def _take(sets: Path, name: str, purpose: str, deadline: Seconds) -> Lock:
    sets.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = sets / f"{name}.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _try(fd):
            if now() >= deadline:
                raise LockedError(
                    f"{name}: somebody else works on it: {_who(path)}", "Try again when it ends."
                )
            time.sleep(POLL_SECONDS)
        words = {"pid": os.getpid(), "group": os.getpgid(0), "purpose": purpose}
        os.truncate(fd, 0)
        os.pwrite(fd, json.dumps(words).encode(), 0)
    except BaseException:
        os.close(fd)
        raise
    return Lock(fd, path)


def _try(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _who(path: Path) -> str:
    """The holder in words, as it wrote them."""
    try:
        words = json.loads(path.read_bytes())
        return f"{words['purpose']} (pid {words['pid']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "it did not say who it is"


def _holders(path: Path) -> list[int]:
    """Every process that holds the lock by an open descriptor, its heirs through fork and exec too."""
    try:
        wanted = os.stat(path)
    except FileNotFoundError:
        return []
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    return [pid for pid in pids if _holds(pid, path, wanted)]


def _holds(pid: int, path: Path, wanted: os.stat_result) -> bool:
    folder = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):  # it ended, or is not ours to look at
        return any(_is_same(f"{folder}/{fd}", path, wanted) and _locks(pid, fd) for fd in os.listdir(folder))
    return False


def _is_same(link: str, path: Path, wanted: os.stat_result) -> bool:
    """The name is compared first: a stat of a file on a dead NFS server would hang."""
    with contextlib.suppress(OSError):
        if os.readlink(link).endswith(f"/{path.name}"):
            status = os.stat(link)
            return (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino)
    return False


def _locks(pid: int, fd: str) -> bool:
    """The kernel lists the lock with each descriptor that holds it; not with one that merely waits."""
    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii", errors="replace") as lines:
        return any(line.startswith("lock:") and "FLOCK" in line for line in lines)


def _end(holders: list[int], number: signal.Signals) -> None:
    """Signal the process groups of `holders`, but for mine."""
    groups = set()
    for pid in holders:
        with contextlib.suppress(ProcessLookupError):
            groups.add(os.getpgid(pid))
    for group in groups - {os.getpgid(0), 0, 1}:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)
