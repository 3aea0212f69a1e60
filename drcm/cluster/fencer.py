"""Runs a node's fence command: an administrator's program, or an agent of the fence-agents package.

An agent gets its parameters on standard input, one `key=value` a line, as the fence-agents API wants it:
nothing secret is ever in an argument list. Success is exit code 0, and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

from drcm.config.fence import PASSWORD_FILE, FenceCall
from drcm.errors import DrcmError

LIMIT_SECONDS = 60.0  # a power switch that has not answered by then is tried anew
OUTPUT = 2000  # bytes of what it says that are told


async def fence(call: FenceCall, node: str, limit: float = LIMIT_SECONDS) -> None:
    """Cut `node` off; DrcmError with the program's last words unless it says by exit code 0 that it did."""
    text = "".join(f"{key}={value}\n" for key, value in await asyncio.to_thread(_parameters, call))
    child = await _start(call, node)
    try:
        async with asyncio.timeout(limit):
            out, _ = await child.communicate(text.encode())
    except TimeoutError:
        raise DrcmError(f"{call.argv[0]}: not done after {limit:.0f} s") from None
    finally:
        await asyncio.shield(_end(child))
    if child.returncode != 0:
        said = " / ".join(out[-OUTPUT:].decode(errors="replace").split("\n")[-4:]).strip(" /")
        raise DrcmError(f"{call.argv[0]}: exit code {child.returncode}: {said or 'no output'}")


async def _start(call: FenceCall, node: str) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *call.argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "DRCM_NODE": node},
            cwd="/",
        )
    except OSError as error:
        raise DrcmError(f"{call.argv[0]}: can't be run: {error.strerror}") from error


def _parameters(call: FenceCall) -> list[tuple[str, str]]:
    """For an agent: passwd_file=FILE becomes passwd=, read now."""
    path = call.password_file
    given = [(key, value) for key, value in call.parameters if key != PASSWORD_FILE]
    if not path:
        return given
    try:
        password = Path(path).read_text().rstrip("\n")
    except (OSError, ValueError) as error:
        raise DrcmError(f"{path}: the password of {call.argv[0]} can't be read: {error}") from error
    return [*given, ("passwd", password)]


async def _end(child: asyncio.subprocess.Process) -> None:
    """Nothing that it started goes on: a late `off` must not hit a node that is back."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            await child.communicate()
