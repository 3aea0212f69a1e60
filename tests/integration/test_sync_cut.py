"""drcm-sync cut in the middle: by a promotion, a signal, a dead line; and what is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import BIN, Node, World, below, files, good, record_of, report, save, until

from drcm import errors
from drcm.replication import transitions
from drcm.replication.verdict import judge

SIZE = 8_000_000  # bytes: at 200 kB/s far longer than any of these tests waits

# What a daemon does to promote: take the set's lock from whoever holds it, then change the record.
PROMOTE = """
import sys
from pathlib import Path
from drcm.replication import records, transitions
sets = Path(sys.argv[1])
with records.seize(sets, "testfs", "promotion"):
    tree = records.load(sets, "testfs")
    promoted = transitions.promote(tree, tree.newest, "2" * 16, primary="alpha")
    records.save(sets, transitions.start(promoted))
"""


@pytest.fixture
def slow(world: World) -> Iterator[tuple[Node, Node, subprocess.Popen[str]]]:
    """alpha in the middle of a slow run to beta: bytes flow, nothing is published yet."""
    alpha, beta = world.nodes.values()
    (alpha.tree / "first").write_text("one")
    good(alpha, "--init")
    good(alpha)
    world.write_config("bwlimit = 200\n")
    (alpha.tree / "big").write_bytes(os.urandom(SIZE))
    (alpha.tree / "first").write_text("two")
    running = subprocess.Popen(
        [*alpha.inside(), str(BIN / "drcm-sync"), "testfs"],
        env=alpha.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        until(lambda: list((beta.tree / ".drcm" / "tmp").glob("big.*")))
        yield alpha, beta, running
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
        running.communicate()


def rsyncs(world_folder: Path) -> list[int]:
    """Live processes of this test's nodes: rsync, ssh and gates, known by our paths in their words."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            named = os.fsencode(world_folder) in words
            if named and any(word in words for word in (b"rsync\0", b"ssh\0-", b"drcm-gate", b"drcm-sync")):
                found.append(int(entry.name))
    return found


def test_a_promotion_ends_a_running_receive(slow: tuple[Node, Node, subprocess.Popen[str]]) -> None:
    """The new writer has the lock in 2 s; from then on the old one changes no byte of its tree."""
    alpha, beta, running = slow
    started = time.monotonic()
    done = beta.run(sys.executable, "-c", PROMOTE, str(beta.state / "sets"))
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 20  # 2 s and two Python starts on a busy machine
    assert files(beta) == {"first": "one"}
    running.communicate(timeout=120)
    assert running.returncode != 0
    again = alpha.sync("testfs")
    assert again.returncode == errors.EXIT_WRONG_ROLE
    assert files(beta) == {"first": "one"}
    record = record_of(beta)
    assert record.is_writer
    assert record.head.n == 2


def test_both_locks_live_in_the_rsyncs(slow: tuple[Node, Node, subprocess.Popen[str]], world: World) -> None:
    """HISTORIES R7: the lock is free only when rsync is gone, here and there, whoever else was killed."""

    def holds(words: bytes, node: Node) -> bool:
        lock = str(node.state / "sets" / "testfs.lock")
        found = [pid for pid in rsyncs(world.folder) if words in Path(f"/proc/{pid}/cmdline").read_bytes()]
        links = [os.readlink(fd) for pid in found for fd in Path(f"/proc/{pid}/fd").iterdir()]
        return lock in links

    alpha, beta, _ = slow
    assert holds(b"rsync\0--server", beta)
    assert holds(b"rsync\0-aHAXS", alpha)


def open_files(pid: int) -> dict[int, str]:
    """Number -> what it leads to: a path, `socket:[INODE]` or `pipe:[INODE]`."""
    return {int(fd.name): os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}


def test_children_inherit_nothing_of_the_line(slow: tuple[Node, Node, subprocess.Popen[str]]) -> None:
    """rsync and ssh are forked beside paramiko's thread while its line is open (TRAPS.md): no connection goes
    with them. What rsync shares with drcm-sync is its own output and the set's lock."""
    alpha, _, running = slow
    own, lock = open_files(running.pid), str(alpha.state / "sets" / "testfs.lock")
    lines = {link for link in own.values() if link.startswith("socket:")}
    assert lines, "paramiko's line was to be open"
    rsync, master = (open_files(_child(running, words)) for words in (b"rsync\0-aHAXS", b"ssh\0-M\0"))
    shared = set(rsync.values()) & set(own.values()) - {alpha.root}  # which rsync opens by itself
    assert shared == {os.devnull, rsync[1], rsync[2], lock}, f"{rsync} of {own}"
    assert rsync[0] == master[0] == os.devnull
    assert not {lock, *lines} & set(master.values()), f"{master} of {own}"


def _child(running: subprocess.Popen[str], words: bytes) -> int:
    pids = [pid for pid in below(running.pid) if words in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return pids[0]


def test_a_paused_writer_wakes_after_its_own_death(slow: tuple[Node, Node, subprocess.Popen[str]]) -> None:
    """SIGSTOP in mid-transfer, a promotion, SIGCONT: not one byte of the stale run arrives."""
    alpha, beta, running = slow
    group = rsyncs(alpha.folder.parent)
    senders = [pid for pid in group if b"--server" not in Path(f"/proc/{pid}/cmdline").read_bytes()]
    for pid in senders:
        os.kill(pid, signal.SIGSTOP)
    try:
        done = beta.run(sys.executable, "-c", PROMOTE, str(beta.state / "sets"))
        assert done.returncode == 0, done.stderr
        (beta.tree / "first").write_text("of beta")
        before = {path: path.stat().st_mtime_ns for path in beta.tree.rglob("*")}
    finally:
        for pid in senders:
            os.kill(pid, signal.SIGCONT)
    running.communicate(timeout=120)
    assert running.returncode != 0
    assert {path: path.stat().st_mtime_ns for path in beta.tree.rglob("*")} == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_leaves_no_process_and_the_next_run_goes_on(
    slow: tuple[Node, Node, subprocess.Popen[str]], world: World, number: signal.Signals
) -> None:
    """drcm-sync ends, its rsync and ssh with it, here and there; the same run is then completed."""
    alpha, beta, running = slow
    begun = record_of(alpha).given["beta"].begun
    os.killpg(running.pid, number)
    _, said = running.communicate(timeout=120)
    assert "Traceback" not in said
    assert running.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    until(lambda: not rsyncs(world.folder))
    assert files(beta) == {"first": "one"}
    applying = record_of(beta).applying
    assert applying is not None
    assert applying.run == begun
    world.write_config()
    assert report(alpha)["run"] == begun
    assert (beta.tree / "big").read_bytes() == (alpha.tree / "big").read_bytes()
    assert not list(beta.tree.rglob("big.*"))
    assert record_of(beta).applying is None


def test_a_dead_line_is_told_and_tried_again(
    slow: tuple[Node, Node, subprocess.Popen[str]], world: World
) -> None:
    """The peer's sshd and gate die in mid-transfer: exit 69, nothing published, the next run completes."""
    alpha, beta, running = slow
    beta.stop_sshd()
    for pid in rsyncs(world.folder):
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b"drcm-gate" in words or b"--server" in words:
            os.kill(pid, signal.SIGKILL)
    _, said = running.communicate(timeout=120)
    assert running.returncode == errors.EXIT_UNAVAILABLE, said
    assert files(beta) == {"first": "one"}
    world.write_config()
    beta.start_sshd()
    good(alpha)
    assert (beta.tree / "first").read_text() == "two"
    assert (beta.tree / "big").read_bytes() == (alpha.tree / "big").read_bytes()
    assert os.listdir(beta.tree / ".drcm" / "tmp") == []


def test_a_second_run_of_the_same_set_waits_its_turn(slow: tuple[Node, Node, subprocess.Popen[str]]) -> None:
    """Two runs never overlap: the second ends with 75 and names the first."""
    alpha = slow[0]
    done = alpha.sync("testfs")
    assert done.returncode == errors.EXIT_LOCKED
    assert "drcm-sync to beta" in done.stderr


def test_files_that_come_and_go_while_it_runs(world: World) -> None:
    """Files vanishing under way (24) are looked at again; the run ends well and is committed. What the first
    try has sent counts, though the second does not mention it."""
    alpha, beta = world.nodes.values()
    churn = (
        "i=0; while :; do i=$((i+1)); : > $1/tmp.$i; : > $1/d/tmp.$i; "
        "rm -f $1/tmp.$((i-20)) $1/d/tmp.$((i-20)); done"
    )
    (alpha.tree / "d").mkdir()
    for number in range(300):
        (alpha.tree / "d" / f"file{number}").write_text("x" * 100)
    good(alpha, "--init")
    writer = subprocess.Popen(["sh", "-c", churn, "sh", str(alpha.tree)])
    try:
        for _ in range(3):
            for number in range(100):
                (alpha.tree / "d" / f"file{number}").write_text(str(time.monotonic_ns()))
            document = json.loads(alpha.sync("testfs", "--json").stdout)
            assert document["exit_code"] == 0, document
    finally:
        writer.kill()
        writer.wait()
    assert (beta.tree / "d" / "file0").read_text() == (alpha.tree / "d" / "file0").read_text()
    assert record_of(beta).applying is None


def slow_run(alpha: Node, beta: Node) -> subprocess.Popen[bytes]:
    """A run that is under way, some seconds in one big file; what sorts behind `big` comes later."""
    (alpha.tree / "big").write_bytes(os.urandom(1 << 20))
    running = subprocess.Popen(
        [*alpha.inside(), str(BIN / "drcm-sync"), "testfs", "--json"],
        env=alpha.environ,
        stdout=subprocess.PIPE,
    )
    until(lambda: list((beta.tree / ".drcm" / "tmp").glob("big.*")))
    return running


def test_a_link_keeps_its_content_when_the_other_name_is_replaced(world: World) -> None:
    """rsync would link it to what came under the name that it had looked at, and call that a success."""
    world.write_config("bwlimit = 200\n")
    alpha, beta = world.nodes.values()
    good(alpha, "--init")
    for one, other in (("x1", "x2"), ("y1", "y2")):  # whichever of two it sends
        (alpha.tree / one).write_text(f"{one[0]}: kept")
        os.link(alpha.tree / one, alpha.tree / other)
    running = slow_run(alpha, beta)
    for name in ("x2", "y1"):
        (alpha.folder / name).write_text(f"new, and longer, {name}")
        os.replace(alpha.folder / name, alpha.tree / name)
    assert running.communicate(timeout=120)[0]
    assert running.returncode == 0
    for name in ("x1", "x2", "y1", "y2"):
        assert (beta.tree / name).read_text() == (alpha.tree / name).read_text()
    assert record_of(beta).applying is None


def test_a_link_arrives_when_the_name_that_stands_for_it_goes(world: World) -> None:
    """rsync sends a file under the name that the backup has already; where that vanishes meanwhile, it leaves
    the other names out and says nothing of them."""
    world.write_config("bwlimit = 200\n")
    alpha, beta = world.nodes.values()
    for name in ("x1", "y2"):
        (alpha.tree / name).write_text("old")
    good(alpha, "--init")
    good(alpha)
    for one, other in (("x1", "x2"), ("y2", "y1")):
        (alpha.tree / one).unlink()
        (alpha.tree / one).write_text("new, and longer")
        os.link(alpha.tree / one, alpha.tree / other)
    running = slow_run(alpha, beta)
    for name in ("x1", "y2"):
        (alpha.tree / name).unlink()
    assert running.communicate(timeout=120)[0]
    assert running.returncode == 0
    for name in ("x2", "y1"):
        assert (beta.tree / name).read_text() == "new, and longer"


def test_the_last_pass_of_a_hand_over_is_verified(world: World) -> None:
    """--hand-over proves by a second dry run that nothing is left; a tree that still changes fails."""
    alpha, beta = world.nodes.values()
    (alpha.tree / "first").write_text("one")
    good(alpha, "--init")
    assert report(alpha, "--hand-over", "beta")["exit_code"] == 0
    assert files(beta) == {"first": "one"}
    writer = subprocess.Popen(["sh", "-c", "while :; do date +%N > $1/first; done", "sh", str(alpha.tree)])
    try:
        target = report(alpha, "--hand-over", "beta")
    finally:
        writer.kill()
        writer.wait()
    assert target["exit_code"] != 0
    assert "still differs" in target["error"]
    assert record_of(beta).applying is not None


def test_a_copy_keeps_what_the_source_lost(world: World) -> None:
    """A copy root never deletes on the backup; changes still arrive."""
    world.write_config(kind="copy")
    alpha, beta = world.nodes.values()
    (alpha.tree / "first").write_text("one")
    (alpha.tree / "second").write_text("x")
    good(alpha, "--init")
    good(alpha)
    (alpha.tree / "second").unlink()
    (alpha.tree / "first").write_text("two")
    good(alpha)
    assert files(beta) == {"first": "two", "second": "x"}


def test_a_promoted_backup_in_mid_run_is_brought_on(world: World) -> None:
    """A run cut while it applied, then a promotion: the old primary is `ahead`, keeps, and follows."""
    alpha, beta = world.nodes.values()
    (alpha.tree / "first").write_text("one")
    good(alpha, "--init")
    good(alpha)
    tree = record_of(beta)
    writer = record_of(alpha)
    begun = transitions.begin_run(writer, "beta", "2-00000000")
    save(alpha, begun)
    found = judge(begun, tree)
    half = transitions.receive_begin(tree, begun, "2-00000000", found)
    save(beta, transitions.start(transitions.promote(half, half.newest, "2" * 16, primary="alpha")))
    (alpha.tree / "first").write_text("unsent")
    target = report(beta)
    assert (target["exit_code"], target["verdict"]) == (0, "ahead"), target
    assert files(alpha) == {"first": "one"}
    assert len(target["kept"]) == 1


def test_a_root_that_is_unmounted_after_it_was_looked_at(world: World) -> None:
    """The second root is unmounted while the first one is sent: the empty directory that is left is not the
    source, nothing is deleted on the other node. The next run refuses."""
    world.write_config(f"mirror = {world.second}\n")
    alpha, beta = world.nodes.values()
    (alpha.extra_tree / "kept").write_text("k")
    good(alpha, "--init")
    good(alpha)
    world.write_config(f"mirror = {world.second}\nbwlimit = 200\n")
    (alpha.tree / "big").write_bytes(os.urandom(SIZE // 4))
    (alpha.extra_tree / "changed").write_text("c")
    words = [*alpha.inside(), str(BIN / "drcm-sync"), "testfs", "--json"]
    running = subprocess.Popen(words, env=alpha.environ, stdout=subprocess.PIPE, text=True)
    until(lambda: list((beta.tree / ".drcm" / "tmp").glob("big.*")), 60)
    assert alpha.run("umount", "-l", alpha.second).returncode == 0
    running.communicate(timeout=120)
    assert (beta.extra_tree / "kept").read_text() == "k"
    assert alpha.sync("testfs").returncode == errors.EXIT_NO_INPUT


def test_two_roots_and_a_path_with_a_blank_and_a_quote(world: World) -> None:
    """A mirror and a copy in one set: each by its own rule, both or neither committed."""
    world.write_config(f"copy = {world.second}\n")
    alpha, beta = world.nodes.values()
    (alpha.tree / "first").write_text("one")
    (alpha.extra_tree / "kept").write_text("k")
    good(alpha, "--init")
    good(alpha)
    (alpha.tree / "first").unlink()
    (alpha.tree / "second").write_text("two")
    (alpha.extra_tree / "kept").unlink()
    (alpha.extra_tree / "new").write_text("n")
    good(alpha)
    assert files(beta) == {"second": "two"}
    assert {path.name: path.read_text() for path in beta.extra_tree.iterdir() if path.is_file()} == {
        "kept": "k",
        "new": "n",
    }
    assert record_of(beta).applying is None
