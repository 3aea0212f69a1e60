"""Runs a resource's program: own session, a deadline, output kept, nothing left behind.

Output goes to a file, never a pipe: a program that a script leaves in the background keeps its
standard output, and must neither block us nor die of SIGPIPE when the daemon is replaced.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from drcm.errors import AgentError

OUTPUT_LIMIT = 64 * 1024  # bytes of output handed back: the last ones say why
ANSWER_LIMIT = 1024 * 1024  # bytes of what a program was asked for
LOG_LIMIT = 1024 * 1024  # bytes after which a log is moved to NAME.1 before the next run
TERM_SECONDS = 3.0  # from TERM to KILL


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: exit code (negative: the signal) and its last output."""

    code: int
    output: str

    @property
    def tail(self) -> str:
        """The last lines, for an error message."""
        return " / ".join(line.strip() for line in self.output.splitlines()[-3:] if line.strip())


async def run(
    argv: Sequence[str],
    timeout: float,
    *,
    log: Path | None = None,
    cgroup: Path | None = None,
    term_seconds: float = TERM_SECONDS,
    environ: Mapping[str, str] | None = None,
) -> Ended:
    """Run `argv` to its end, for at most `timeout` seconds, then TERM and KILL to its process group.

    A cancelled caller ends it too. `log` takes its output, `cgroup` the process and all its children.
    AgentError where it can't be started or ran out of time.
    """
    opened, began = await asyncio.to_thread(_open_log, log)
    try:
        process = await _spawn(_into_cgroup(argv, cgroup), opened, environ)
        late = await _finish(process, timeout, term_seconds)
        output = await asyncio.to_thread(_since, log, began)
    finally:
        os.close(opened)
    if late:
        raise AgentError(f"{' '.join(argv)}: not done after {timeout:g} s, ended. {output[-300:]}".strip())
    return Ended(process.returncode if process.returncode is not None else -1, output)


async def must(
    argv: Sequence[str],
    timeout: float,
    log: Path | None = None,
    cgroup: Path | None = None,
    *,
    name: str = "",
) -> Ended:
    """`run`, and AgentError with the last lines of output unless it exits with 0. `name` tells what it is."""
    ended = await run(argv, timeout, log=log, cgroup=cgroup)
    if ended.code != 0:
        raise AgentError(
            f"{name or ' '.join(argv)}: exit code {ended.code}: {ended.tail or 'no output'}",
            f"See {log}." if log else "",
        )
    return ended


async def answer(argv: Sequence[str], timeout: float, environ: Mapping[str, str] | None = None) -> str:
    """The standard output of `argv`, ANSWER_LIMIT bytes of it at most, whatever its exit code.

    AgentError where it can't be started or ran out of time.
    """
    opened = os.memfd_create("answer")
    try:
        process = await _spawn(argv, opened, environ, errors=asyncio.subprocess.DEVNULL)
        late = await _finish(process, timeout, TERM_SECONDS)
        output = os.pread(opened, ANSWER_LIMIT, 0)
    finally:
        os.close(opened)
    if late:
        raise AgentError(f"{' '.join(argv)}: no answer after {timeout:g} s, ended")
    return output.decode(errors="replace")


async def _spawn(
    argv: Sequence[str], output: int, environ: Mapping[str, str] | None, errors: int | None = None
) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output if errors is None else errors,
            start_new_session=True,
            env=environ,
            cwd="/",
        )
    except (OSError, ValueError) as error:
        raise AgentError(f"{argv[0]}: can't be run: {error}") from error


async def _finish(process: asyncio.subprocess.Process, timeout: float, term_seconds: float) -> bool:
    """Wait for the end; True where it had to be ended."""
    try:
        async with asyncio.timeout(timeout):
            await process.wait()
    except TimeoutError:
        await _end(process, term_seconds)
        return True
    except asyncio.CancelledError:
        await asyncio.shield(_end(process, term_seconds))
        raise
    return False


async def _end(process: asyncio.subprocess.Process, term_seconds: float) -> None:
    """TERM to the group, `term_seconds`, KILL. A process in D state is left, not waited for (PEERS 36)."""
    _signal_group(process.pid, signal.SIGTERM)
    with suppress(TimeoutError):
        async with asyncio.timeout(term_seconds):
            await process.wait()
    _signal_group(process.pid, signal.SIGKILL)  # also what ignored TERM after its leader had gone
    with suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            await process.wait()


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _into_cgroup(argv: Sequence[str], cgroup: Path | None) -> Sequence[str]:
    """A shell joins the cgroup and becomes the program: no Python between fork and exec."""
    if cgroup is None:
        return argv
    return ("/bin/sh", "-c", 'echo 0 >"$0/cgroup.procs"; exec "$@"', str(cgroup), *argv)


def _open_log(log: Path | None) -> tuple[int, int]:
    """A descriptor to write to, and where the new output begins. A full disk stops no failover."""
    if log is not None:
        with suppress(OSError):
            log.parent.mkdir(parents=True, exist_ok=True)
            if log.exists() and log.stat().st_size > LOG_LIMIT:
                log.replace(log.with_name(log.name + ".1"))
            opened = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            return opened, os.fstat(opened).st_size
    return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 0


def _since(log: Path | None, began: int) -> str:
    """What was written since `began`, the last OUTPUT_LIMIT bytes of it."""
    if log is None:
        return ""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(began, size - OUTPUT_LIMIT))
            return file.read(OUTPUT_LIMIT).decode(errors="replace")
    except OSError:
        return ""
