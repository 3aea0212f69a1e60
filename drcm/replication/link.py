"""The two connections of a run to one node, opened at the same time and kept until it ends."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from drcm.clock import Seconds
from drcm.replication.openssh import Master
from drcm.replication.remote import CALL_SECONDS, Line


class Link:
    """`line` for what the gate answers, `shell` for rsync's bytes.

    `warnings`: of both sides' rsync, None until they were looked at; once a link is enough.
    """

    def __init__(self, line: Line, master: Master) -> None:
        self.line = line
        self.warnings: tuple[str, ...] | None = None
        self._master = master

    def __enter__(self) -> Self:
        self._master.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.line.close()
        finally:
            self._master.__exit__(kind, error, trace)

    def call(
        self, verb: str, name: str, request: Mapping[str, Any], seconds: Seconds = CALL_SECONDS
    ) -> dict[str, Any]:
        """As `Line.call`."""
        return self.line.call(verb, name, request, seconds)

    def wait(self) -> None:
        """Until rsync's connection is up."""
        self._master.wait()

    @property
    def shell(self) -> tuple[str, ...]:
        """ssh through the kept connection, for rsync's -e."""
        return self._master.shell
