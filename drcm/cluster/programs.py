"""drcm's own commands, run as children: the daemon does exactly what a person can do by hand."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drcm.errors import DrcmError

log = logging.getLogger(__name__)

OUTPUT_LIMIT = 4 << 20  # bytes of a child's JSON
READY_SECONDS = 30.0  # to import, to connect
GRACE = 3.0  # seconds between TERM and KILL


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child ended: its exit code, its JSON (or {}), the last of its complaints."""

    code: int
    answer: dict[str, Any]
    complaint: str


@dataclass(slots=True)
class Waiting:
    """A child that has made everything ready and waits for `go` on its standard input."""

    child: asyncio.subprocess.Process

    async def go(self) -> Outcome:
        out, err = await self.child.communicate(b"go\n")
        return Outcome(self.child.returncode or 0, _json(out), _last_lines(err))


@dataclass(slots=True)
class Programs:
    """The children that run now, each in its own session."""

    config: Path
    children: set[asyncio.subprocess.Process] = field(default_factory=set)
    _leaving: set[asyncio.Task[None]] = field(default_factory=set)
    _over: bool = False  # the daemon ends: a child whose start was under way ends with it

    async def run(self, program: str, *arguments: str, text: str = "") -> Outcome:
        """Run one of drcm's programs to its end; `text` is its standard input."""
        stdin = asyncio.subprocess.PIPE if text else asyncio.subprocess.DEVNULL
        child = await self._spawn(program, arguments, stdin)
        try:
            out, err = await child.communicate(text.encode(errors="replace") if text else None)
        except asyncio.CancelledError:
            await self._see_off(child)
            raise
        finally:
            self.children.discard(child)
        return Outcome(child.returncode or 0, _json(out), _last_lines(err))

    async def lines(self, program: str, *arguments: str) -> AsyncIterator[str]:
        """What a program says, line by line; DrcmError with its complaint where it ends by itself."""
        child = await self._spawn(program, arguments, asyncio.subprocess.DEVNULL)
        assert child.stdout is not None
        try:
            while line := await child.stdout.readline():
                yield line.decode(errors="replace").rstrip()
            _, err = await child.communicate()
            raise DrcmError(_last_lines(err) or f"{program}: exit {child.returncode}")
        finally:
            self.children.discard(child)
            await self._see_off(child)

    async def _spawn(
        self, program: str, arguments: tuple[str, ...], stdin: int
    ) -> asyncio.subprocess.Process:
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                str(program_path(program)),
                "--config",
                str(self.config),
                *arguments,
                stdin=stdin,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                limit=OUTPUT_LIMIT,
            )
        )
        try:
            child = await asyncio.shield(starting)
        except asyncio.CancelledError:  # it may run already: asyncio would end it alone, not its group
            await self._see_off(await starting)
            raise
        self.children.add(child)
        if self._over:
            self.end(child, signal.SIGKILL)
        return child

    async def prepare(self, program: str, *arguments: str) -> Waiting | Outcome:
        """Start a child that says `ready` and then waits; its outcome where it ends or says nothing."""
        child = await self._spawn(program, arguments, asyncio.subprocess.PIPE)
        assert child.stdout is not None
        try:
            async with asyncio.timeout(READY_SECONDS):
                line = await child.stdout.readline()
        except TimeoutError:
            self.end(child, signal.SIGKILL)
            line = b""
        if line.strip() == b"ready":
            return Waiting(child)
        out, err = await child.communicate()
        self.children.discard(child)
        return Outcome(child.returncode or 1, _json(line + out), _last_lines(err))

    async def finish(self, waiting: Waiting) -> Outcome:
        """Let it go on, to its end."""
        try:
            return await waiting.go()
        except asyncio.CancelledError:
            await self._see_off(waiting.child)
            raise
        finally:
            self.children.discard(waiting.child)

    def drop(self, waiting: Waiting) -> None:
        """It is not wanted any more; it has not done anything."""
        self.children.discard(waiting.child)
        leaving = asyncio.get_running_loop().create_task(self._see_off(waiting.child))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def end_all(self) -> None:
        """TERM to each child's group, KILL after a while: nothing outlives the daemon's clean end."""
        self._over = True
        ending = list(self.children)
        for child in ending:
            self.end(child, signal.SIGTERM)
        if ending:
            await asyncio.wait([asyncio.ensure_future(child.wait()) for child in ending], timeout=GRACE)
        for child in ending:
            self.end(child, signal.SIGKILL)

    async def _see_off(self, child: asyncio.subprocess.Process) -> None:
        """TERM, and wait for the end: a child that nobody waits for stays a zombie, its pipes stay open."""
        self.end(child, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await child.communicate()
        self.end(child, signal.SIGKILL)

    def end(self, child: asyncio.subprocess.Process, number: int) -> None:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, number)


def program_path(program: str) -> Path:
    """The console script beside this Python: the one that was installed with this daemon."""
    beside = Path(sys.executable).with_name(program)
    if not beside.exists():
        raise DrcmError(f"{beside}: not found beside this Python", "Install drcm again: pip install drcm")
    return beside


def _json(out: bytes) -> dict[str, Any]:
    try:
        value = json.loads(out)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _last_lines(err: bytes, lines: int = 5) -> str:
    return "\n".join(err.decode(errors="replace").strip().splitlines()[-lines:])
