"""Children of the daemon: what they answer, and that nothing of them outlives its end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from drcm.cluster.programs import Outcome, Programs, program_path
from drcm.errors import DrcmError

Install = Callable[[str], Programs]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """`drcm-test` beside this Python, with the given lines of shell."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    def write(script: str) -> Programs:
        path = tmp_path / "drcm-test"
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)
        return Programs(tmp_path / "cm.cfg")

    return write


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ("""echo '{"targets": [1]}'""", Outcome(0, {"targets": [1]}, "")),
        ("echo no json; exit 3", Outcome(3, {}, "")),
        ("echo '[1]'", Outcome(0, {}, "")),
        ("echo 'one\ntwo' >&2; exit 75", Outcome(75, {}, "one\ntwo")),
        ("seq 1 9 >&2", Outcome(0, {}, "5\n6\n7\n8\n9")),
        (r"printf '\377' >&2", Outcome(0, {}, "�")),
        ("kill -KILL $$", Outcome(-signal.SIGKILL, {}, "")),
    ],
)
def test_outcome(install: Install, script: str, outcome: Outcome) -> None:
    """Exit code, JSON where there is some, and the last five lines of complaint."""
    assert asyncio.run(install(script).run("drcm-test")) == outcome


def test_arguments(install: Install, tmp_path: Path) -> None:
    """The daemon's own cm.cfg, then the words as given; standard input is empty."""
    programs = install('cat; printf "%s|" "$@" >&2')
    outcome = asyncio.run(programs.run("drcm-test", "testfs", "two words"))
    assert outcome.complaint == f"--config|{tmp_path / 'cm.cfg'}|testfs|two words|"
    assert programs.children == set()


def test_much_output(install: Install) -> None:
    """A long answer does not stall the child: both pipes are read while it runs."""
    script = """seq 1 100000 >&2; printf '{"x": "'; head -c 1000000 /dev/zero | tr '\\0' a; echo '"}'"""
    outcome = asyncio.run(asyncio.wait_for(install(script).run("drcm-test"), 60))
    assert len(outcome.answer["x"]) == 1000000


def test_cancelling_ends_the_whole_group(
    install: Install, tmp_path: Path, until: Callable[..., None]
) -> None:
    """A run that is no longer wanted gets TERM, with all that it started (rsync, ssh)."""
    programs = install(
        f"sleep 60 & echo $$ $! > {tmp_path}/pids.new; mv {tmp_path}/pids.new {tmp_path}/pids; wait"
    )

    async def story() -> None:
        task = asyncio.create_task(programs.run("drcm-test"))
        while not (tmp_path / "pids").exists():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert programs.children == set()
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        while not all(map(gone, pids)):
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(story(), 60))


def test_end_all_kills_what_ignores_term(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing outlives the daemon's clean end: TERM, and KILL after a while."""
    monkeypatch.setattr("drcm.cluster.programs.GRACE", 0.2)
    programs = install(f"trap '' TERM; echo > {tmp_path}/deaf; while :; do sleep 0.05; done")

    async def story() -> Outcome:
        task = asyncio.create_task(programs.run("drcm-test"))
        while not (tmp_path / "deaf").exists():
            await asyncio.sleep(0.01)
        await programs.end_all()
        return await task

    assert asyncio.run(asyncio.wait_for(story(), 60)).code == -signal.SIGKILL


def test_a_missing_program(install: Install, tmp_path: Path) -> None:
    """Only what was installed with this daemon is run, never what PATH finds."""
    with pytest.raises(DrcmError, match="not found beside this Python"):
        program_path("drcm-sync")
    assert install("exit").config == tmp_path / "cm.cfg"
    assert program_path("drcm-test") == tmp_path / "drcm-test"
