"""What drcm-sync shows while bytes move: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from drcm.console import Progress, Step, progress
from drcm.replication.rsync import Position


class Quiet:
    """Shows nothing: --quiet, --json, and a plan."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def update(self, position: Position) -> None:
        """Take a step without a word."""


class Shown(Quiet):
    """rsync's own positions on drcm's progress. Enter it after the child is forked: a bar has a thread."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        self._bar = progress(self._title).__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, trace)

    def update(self, position: Position) -> None:
        if self._bar is not None:
            at = Step(position.files, position.bytes, position.percent, position.rate, position.left)
            self._bar.update(at)
