"""Children: their end, whatever the reason, is the end of their whole group."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from drcm.errors import DrcmError
from drcm.replication import process

# drcm-sync's shape: SIGTERM unwinds, one child with a grandchild; both write their pids.
PROGRAM = """
import signal, sys
from drcm.replication import process
def end(number, frame): raise SystemExit(143)
signal.signal(signal.SIGTERM, end)
script = 'echo $$ >> {pids}; sleep 600 & echo $! >> {pids}; wait'
process.run(["/bin/sh", "-c", script])
"""


def wait_until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "deadline"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Alive and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def read_pids(path: Path) -> list[int]:
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def test_output_code_and_stderr() -> None:
    """What it printed comes as bytes in order; the exit code is its own."""
    parts: list[bytes] = []
    ended = process.run(["/bin/sh", "-c", "printf 'a\\rb'; echo oops >&2; exit 7"], parts.append)
    assert b"".join(parts) == b"a\rb"
    assert (ended.code, ended.stderr, ended.timed_out) == (7, "oops\n", False)


def test_an_unfinished_line_is_seen_at_once() -> None:
    """Progress ends with a carriage return: it is handed on before the child ends."""
    seen: list[bytes] = []

    def take(data: bytes) -> None:
        seen.append(data)
        raise StopIteration

    with pytest.raises(StopIteration):
        process.run(["/bin/sh", "-c", "printf '1%%\\r'; sleep 600"], take)
    assert seen == [b"1%\r"]


def test_an_error_while_reading_is_not_lost() -> None:
    """An exception of the reader comes out, and the child is gone."""

    def fail(data: bytes) -> None:
        raise ValueError(data)

    with pytest.raises(ValueError, match="x"):
        process.run(["/bin/sh", "-c", "echo x; sleep 600"], fail)


def test_nothing_is_left_after_a_timeout(tmp_path: Path) -> None:
    """The whole group ends at the deadline, one that ignores TERM too."""
    pids = tmp_path / "pids"
    script = f"trap '' TERM; echo $$ >> {pids}; sleep 600 & echo $! >> {pids}; wait; sleep 600"
    ended = process.run(["/bin/sh", "-c", script], seconds=0.5)
    assert ended.timed_out
    assert len(read_pids(pids)) == 2
    assert not any(map(is_running, read_pids(pids)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_after_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    """^C, SIGTERM, or the KILL with which a daemon ends a push: rsync does not outlive drcm-sync."""
    pids = tmp_path / "pids"
    parent = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(pids=pids)], stderr=subprocess.DEVNULL, start_new_session=True
    )
    wait_until(lambda: len(read_pids(pids)) == 2)
    parent.send_signal(number)
    parent.wait(60)
    leader, helper = read_pids(pids)
    wait_until(lambda: not is_running(leader))
    if number is not signal.SIGKILL:
        assert not is_running(helper)
    elif is_running(helper):
        os.kill(helper, signal.SIGKILL)  # a plain sleep; ssh ends when rsync's pipe closes


def test_a_kept_descriptor_lives_in_the_child(tmp_path: Path) -> None:
    """The lock's descriptor is inherited, any other is not."""
    with (tmp_path / "kept").open("w") as kept, (tmp_path / "other").open("w") as other:
        os.set_inheritable(other.fileno(), True)
        parts: list[bytes] = []
        process.run(["/bin/ls", "-l", "/proc/self/fd"], parts.append, keep=[kept.fileno()])
    listed = b"".join(parts).decode()
    assert str(tmp_path / "kept") in listed
    assert str(tmp_path / "other") not in listed


def test_the_environment_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """RSYNC_RSH and the like of a caller would change what rsync does."""
    monkeypatch.setenv("RSYNC_RSH", "evil")
    monkeypatch.setenv("LC_ALL", "de_DE")
    _, text = process.output(["/usr/bin/env"])
    assert "RSYNC" not in text
    assert "LC_ALL=C.UTF-8" in text.splitlines()


def test_a_missing_program_is_named_with_its_package() -> None:
    """No traceback for a program that is not installed."""
    with pytest.raises(DrcmError, match="no-such-program is not installed") as caught:
        process.find_program("no-such-program", "its-package")
    assert "its-package" in caught.value.cure
