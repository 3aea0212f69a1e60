"""How the daemon runs resources' programs, on real ones."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from drcm.cluster.agents import process

TURNS = 12  # of the loop, from the program's end to the caller's going on: it takes four


@pytest.fixture(autouse=True)
def _as_the_daemon() -> Iterator[None]:
    """Children are waited for without threads."""
    before = asyncio.get_child_watcher()
    asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
    yield
    asyncio.set_child_watcher(before)


async def _cancelled_beside_the_end(job: asyncio.Task[object], pid_file: Path, turns: int) -> bool:
    """End the program, and cancel `job` some turns of the loop later; whether it was still at work then."""
    while not job.done() and not (pid_file.exists() and pid_file.read_text()):
        await asyncio.sleep(0.01)
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # no turn of the loop goes by meanwhile
    for _ in range(turns):
        await asyncio.sleep(0)
    return job.cancel()


@pytest.mark.parametrize("turns", range(TURNS))
def test_cancelling_a_run_that_just_ends_is_not_lost(tmp_path: Path, turns: int) -> None:
    """Else a resource's `watch` went on for ever once its stop had begun, and started it again."""
    pid_file = tmp_path / "pid"

    async def watch() -> None:
        while True:
            await process.run(["/bin/sh", "-c", f'echo $$ > "{pid_file}"; exec sleep 60'], 60.0)
            pid_file.unlink()

    async def scene() -> None:
        job = asyncio.create_task(watch())
        assert await _cancelled_beside_the_end(job, pid_file, turns)
        await asyncio.wait([job], timeout=2.0)
        was_cancelled = job.cancelled()
        job.cancel()
        assert was_cancelled

    asyncio.run(scene())
