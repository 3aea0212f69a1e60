"""Work that dies at the n-th step it takes on a disk: by KILL, by a power cut, or the disk is full.

A step is what changes a disk: open to create, fsync, rename, unlink, mkdir. After KILL all that was done is
there; after a power cut only what was synced is (the names of a folder by an fsync of the folder); a full
disk refuses all that needs room from the n-th step on, and the work goes on. Who is dead takes no step any
more: what `except` and `finally` would still do changes nothing, as in a process that is gone.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import Any
from unittest import mock

from drcm.errors import DrcmError


class Died(BaseException):
    """There is no process any more."""


class Fault(StrEnum):
    KILL = "kill"
    POWER = "power cut"
    FULL = "full disk"


class Disk:
    """Counts steps, and does the fault at step `last`."""

    def __init__(self, fault: Fault, last: int) -> None:
        self.fault, self.last, self.steps, self.dead = fault, last, 0, False
        self.undo: dict[str, list[Callable[[], None]]] = {}  # of names that are not durable, by folder

    def run(self, work: Callable[[], object]) -> None:
        """Do `work` as far as it gets; what it tells of a full disk is as it may be."""
        with self._failing(), suppress(Died, OSError, DrcmError):
            work()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        names = ("open", "fsync", "rename", "unlink", "mkdir")
        real = {name: getattr(os, name) for name in names}
        with mock.patch.multiple(os, **{name: self._step(name, real) for name in names}):
            yield

    def _step(self, name: str, real: dict[str, Callable[..., Any]]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            if name == "open" and not arguments[1] & os.O_CREAT:
                return real[name](*arguments, **options)
            self.steps += 1
            if self.dead:
                raise Died
            if self.steps >= self.last:
                self._fail(name, arguments)
            if self.fault is Fault.POWER:
                self._note(name, arguments, real)
            return real[name](*arguments, **options)

        return step

    def _fail(self, name: str, arguments: tuple[Any, ...]) -> None:
        if self.fault is Fault.FULL:
            if name in ("open", "mkdir"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))
            return
        self.dead = True
        for steps in self.undo.values():
            for back in reversed(steps):
                back()
        self.undo.clear()
        raise Died

    def _note(self, name: str, arguments: tuple[Any, ...], real: dict[str, Callable[..., Any]]) -> None:
        """How to undo the step, until its folder is synced."""
        if name == "fsync":
            self.undo.pop(os.readlink(f"/proc/self/fd/{arguments[0]}"), None)
            return
        if name not in ("rename", "unlink"):
            return
        target = os.fspath(arguments[-1])
        steps = self.undo.setdefault(os.path.dirname(target), [])
        if not os.path.exists(target):
            steps.append(lambda: real["unlink"](target))
        elif os.path.isfile(target):
            with open(target, "rb") as file:
                data = file.read()
            steps.append(lambda: _put_back(target, data, real))


def _put_back(target: str, data: bytes, real: dict[str, Callable[..., Any]]) -> None:
    descriptor = real["open"](target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(descriptor, data)
    os.close(descriptor)
