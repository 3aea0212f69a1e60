"""kill -9 of each process of a run, at each of its moments: it goes on from where it was, by itself.

A moment is seen in the process list and the durable records; nothing in drcm is made for these tests. What
is durable is cut at every single step in tests/unit/replication/test_interruptions.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from loopback import BIN, Node, World, below, files, good, record_of, until

from drcm import errors

SIZE = 1_500_000  # bytes: a second or two at the limit below
LIMIT = "bwlimit = 1000\n"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Node]]:
    world = World(tmp_path_factory.mktemp("world"))
    try:
        alpha, beta = world.nodes.values()
        (alpha.tree / "first").write_text("one")
        good(alpha, "--init")
        world.write_config(LIMIT)
        good(alpha)
        yield alpha, beta
    finally:
        world.stop()


def _read(pid: int, name: str) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


def words_of(pid: int) -> bytes:
    return _read(pid, "cmdline")


Run = subprocess.Popen[str]


def sender(run: Run, beta: Node, *words: bytes) -> list[int]:
    return [pid for pid in below(run.pid) if all(word in words_of(pid) for word in words)]


def receiver(run: Run, beta: Node, *words: bytes) -> list[int]:
    assert beta.sshd is not None
    return [pid for pid in below(beta.sshd.pid) if all(word in words_of(pid) for word in words)]


VICTIMS: dict[str, Callable[[Run, Node], list[int]]] = {
    "drcm-sync": lambda run, beta: [run.pid, *sender(run, beta, b"/drcm-sync\0")],
    "rsync": lambda run, beta: sender(run, beta, b"rsync\0-aHAXS"),
    "ssh": lambda run, beta: sender(run, beta, b"ssh\0", b"-M\0"),
    "sshd": lambda run, beta: receiver(run, beta, b"sshd: "),
    "drcm-gate": lambda run, beta: receiver(run, beta, b"python", b"drcm-gate"),
    "rsync of the gate": lambda run, beta: receiver(run, beta, b"--server"),
}


def in_the_transfer(run: Run, beta: Node) -> bool:
    """Bytes of the big file have come."""
    return any(path.stat().st_size for path in (beta.tree / ".drcm" / "tmp").glob("big.*") if path.exists())


def at_the_verify(run: Run, beta: Node) -> bool:
    """The last pass has published all, and is looked through again: not committed yet."""
    if record_of(beta).applying is None or list((beta.tree / ".drcm" / "tmp").iterdir()):
        return False
    gates = receiver(run, beta, b"python", b"drcm-gate")
    return (beta.tree / "big").exists() and any(b"drcm-gate plan" in _read(pid, "environ") for pid in gates)


def start(alpha: Node, *options: str) -> Run:
    return subprocess.Popen(
        [*alpha.inside(), str(BIN / "drcm-sync"), "testfs", *options],
        env=alpha.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def kill(found: list[int]) -> None:
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def check_whole(alpha: Node, beta: Node) -> None:
    """Both sides agree on the run, the trees are equal, nothing of a half is left."""
    source, tree = record_of(alpha), record_of(beta)
    assert tree.applying is None
    assert tree.pos == source.pos
    given = source.given["beta"]
    assert given.begun == given.complete == (tree.pos and tree.pos.run)
    assert files(beta) == files(alpha)
    assert os.listdir(beta.tree / ".drcm" / "tmp") == []


CASES = [
    *(("bulk pass", victim) for victim in VICTIMS),
    *(("last pass", victim) for victim in ("drcm-sync", "ssh", "drcm-gate")),
    *(("verify", victim) for victim in ("drcm-sync", "rsync", "ssh", "drcm-gate")),
]


@pytest.mark.parametrize(("moment", "victim"), CASES)
def test_killed(pair: tuple[Node, Node], moment: str, victim: str) -> None:
    """drcm-sync goes on by itself, or, where it died, the next run does: under the run's own id, to its end.
    Before it is published nothing of a file is seen under its name."""
    alpha, beta = pair
    (alpha.tree / "big").unlink(missing_ok=True)
    good(alpha)
    (alpha.tree / "big").write_text(os.urandom(SIZE // 2).hex())
    run = start(alpha, *(() if moment == "bulk pass" else ("--hand-over", "beta")))
    reached = at_the_verify if moment == "verify" else in_the_transfer
    try:
        until(lambda: reached(run, beta), 60)
        found = VICTIMS[victim](run, beta)
        begun = record_of(alpha).given["beta"].begun
        kill(found)
        assert found, "the victim was to be there"
        _, said = run.communicate(timeout=120)
    finally:
        kill([run.pid])
    assert "Traceback" not in said
    if run.returncode != 0:
        assert run.returncode in (-signal.SIGKILL, errors.EXIT_UNAVAILABLE, errors.EXIT_LOCKED), said
        until(lambda: not receiver(run, beta, b"--server"), 30)
        assert (beta.tree / "big").exists() == (moment == "verify")
        assert record_of(alpha).given["beta"].begun == begun
        good(alpha)
    assert record_of(alpha).given["beta"].complete == begun, "it was to go on under the run's own id"
    check_whole(alpha, beta)
