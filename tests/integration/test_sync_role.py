"""drcm-sync asks the daemon of its node before it moves a byte."""

from __future__ import annotations

import os
import pty

import pytest
from loopback import BIN, Node, World, daemon, files, good

from drcm import errors
from drcm.history import History


def begun(world: World) -> tuple[Node, Node]:
    alpha, beta = world.nodes.values()
    (alpha.tree / "first").write_text("one")
    good(alpha, "--init")
    return alpha, beta


def test_the_daemon_says_writer(world: World) -> None:
    """As writer with the peer heard it runs, and it asked for this set."""
    alpha, beta = begun(world)
    with daemon(alpha, {"ok": True, "role": "writer", "reason": "", "targets": ["beta"]}) as asked:
        good(alpha)
    assert asked == [{"op": "set", "name": "testfs"}]
    assert files(beta) == {"first": "one"}


def test_a_node_that_is_not_heard_is_left_out(world: World) -> None:
    """Nothing is pushed to a node that the daemon does not hear; exit 69 names it."""
    alpha, beta = begun(world)
    with daemon(alpha, {"ok": True, "role": "writer", "reason": "", "targets": []}):
        done = alpha.sync("testfs")
    assert done.returncode == errors.EXIT_UNAVAILABLE
    assert "beta is not heard" in done.stderr
    assert files(beta) == {}


@pytest.mark.parametrize(
    ("role", "code"),
    [
        ("waiting", errors.EXIT_WRONG_ROLE),
        ("diverged", errors.EXIT_DIVERGED),
        ("none", errors.EXIT_WRONG_ROLE),
    ],
)
def test_the_daemon_says_no(world: World, role: str, code: int) -> None:
    """Whatever the record says: waiting, diverged and none push nothing and give the daemon's reason."""
    alpha, beta = begun(world)
    with daemon(alpha, {"ok": True, "role": role, "reason": "because of the test", "targets": ["beta"]}):
        done = alpha.sync("testfs")
    assert done.returncode == code
    assert "because of the test" in done.stderr
    assert files(beta) == {}


def test_a_daemon_that_fails_is_not_taken_for_none(world: World) -> None:
    """A daemon that answers with an error is no reason to fall back to the record."""
    alpha, beta = begun(world)
    with daemon(alpha, {"ok": False, "error": "no such set", "cure": "reload"}):
        done = alpha.sync("testfs")
    assert done.returncode != 0
    assert "no such set" in done.stderr
    assert files(beta) == {}


def test_a_terminal_gets_a_bar_and_a_pipe_gets_lines(world: World) -> None:
    """On a terminal progress is drawn; in a pipe there is not one control character."""
    alpha, _ = begun(world)
    (alpha.tree / "big").write_bytes(os.urandom(3_000_000))
    leader, terminal = pty.openpty()
    import subprocess

    with subprocess.Popen(
        [*alpha.inside(), str(BIN / "drcm-sync"), "testfs"],
        env={**alpha.environ, "TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    ) as running:
        os.close(terminal)
        shown = _all_of(leader)
        assert running.wait(120) == 0, shown
    assert b"testfs to beta" in shown
    assert b"\x1b[" in shown
    (alpha.tree / "big").write_bytes(os.urandom(3_000_000))
    done = alpha.sync("testfs")
    assert done.returncode == 0
    assert not [char for char in done.stdout + done.stderr if not char.isprintable() and char != "\n"]


def _all_of(leader: int) -> bytes:
    """What a terminal shows until its last user closes it (EIO, as Linux says it)."""
    parts = []
    try:
        while True:
            parts.append(os.read(leader, 65536))
    except OSError:
        return b"".join(parts)
    finally:
        os.close(leader)


def test_every_run_is_in_the_history(world: World) -> None:
    """Good, unreachable and refused runs each leave a row; a dry run leaves none."""
    alpha, beta = begun(world)
    good(alpha, "--dry-run")
    good(alpha)
    beta.stop_sshd()
    alpha.sync("testfs")
    (alpha.tree / "first").unlink()
    alpha.sync("testfs")
    rows = History(alpha.state / "history.db").runs("testfs")
    assert [(row.target, row.outcome) for row in rows] == [
        ("", "guard"),
        ("beta", "unreachable"),
        ("beta", "good"),
    ]
    assert rows[-1].created == 1
    assert rows[-1].run
