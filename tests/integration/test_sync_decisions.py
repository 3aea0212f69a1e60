"""What a person decides for a set: --resolve, --promote --accept-loss and --reinit, over real sshd."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest
from loopback import BIN, Node, World, daemon, files, good, record_of, report, save

from drcm import errors
from drcm.replication import transitions
from drcm.replication.generation import Record, replace

WAITING = {"ok": True, "role": "waiting", "reason": "behind a whole generation", "targets": []}


@pytest.fixture
def pair(world: World) -> tuple[Node, Node]:
    """alpha and beta, the set begun and run once."""
    alpha, beta = world.nodes.values()
    for name in ("both", "changed at alpha", "changed at beta", "gone at alpha", "gone at beta"):
        (alpha.tree / name).write_text(f"old {name}")
    good(alpha, "--init")
    good(alpha)
    return alpha, beta


@pytest.fixture
def diverged(pair: tuple[Node, Node]) -> tuple[Node, Node]:
    """Both went on alone and wrote; alpha serves, beta's copy is marked as the daemon does."""
    alpha, beta = pair
    tree = record_of(beta)
    theirs = transitions.start(transitions.promote(tree, tree.newest, "2" * 16, "alone"))
    save(beta, replace(theirs, doubt="DIVERGED from alpha, whose copy is served"))
    save(alpha, transitions.go_alone(record_of(alpha), "3" * 16))
    for node in pair:
        (node.tree / "both").write_text(f"by {node.name}")
        (node.tree / f"changed at {node.name}").write_text(f"new by {node.name}")
        (node.tree / f"gone at {node.name}").unlink()
        (node.tree / f"only {node.name}").write_text(f"{node.name}'s own")
    (beta.tree / "folder").mkdir()
    (beta.tree / "folder" / "deep").write_text("beta's deep")
    return pair


def everything(*nodes: Node) -> dict[str, bytes]:
    """Every file of both trees and states, but for who locked last and the history of runs."""
    places = [place for node in nodes for place in (node.tree, node.state)]
    paths = (path for place in places for path in place.rglob("*") if path.is_file())
    return {
        str(path): path.read_bytes()
        for path in paths
        if path.suffix != ".lock" and not path.name.startswith("history.db")
    }


def kept_on(node: Node) -> set[tuple[str, str]]:
    """(name in the tree, content) of every file in the node's conflicts."""
    place = node.tree / ".drcm" / "conflicts"
    return {
        ("/".join(path.relative_to(place).parts[1:]), path.read_text())
        for path in place.rglob("*")
        if path.is_file() and path.parent != place
    }


# -- --resolve -------------------------------------------------------------------------------------


def test_a_resolved_divergence_loses_nothing(diverged: tuple[Node, Node]) -> None:
    """Both nodes have alpha's tree; every version of beta's that is not in it lies in beta's conflicts."""
    alpha, beta = diverged
    mine, theirs = files(alpha), files(beta)
    target = report(alpha, "--resolve", "keep=alpha")
    assert (target["exit_code"], target["verdict"]) == (0, "ahead"), target
    assert files(alpha) == files(beta) == mine
    lost = set(theirs.items()) - set(mine.items())
    assert len(lost) == 6
    assert kept_on(beta) == lost
    assert len(target["kept"]) == len(lost)
    assert not kept_on(alpha)


def test_after_it_the_set_is_one_again(diverged: tuple[Node, Node]) -> None:
    """One history on both sides, the doubt gone, and the next run is an ordinary one."""
    alpha, beta = diverged
    good(alpha, "--resolve", "keep=alpha")
    writer, tree = record_of(alpha), record_of(beta)
    assert (writer.head.why, writer.head.n, writer.head.merged) == ("resolve", 3, ("2" * 16,))
    assert writer.head.started
    assert tree.chain == writer.chain
    assert (tree.doubt, tree.beyond, tree.applying) == ("", False, None)
    (alpha.tree / "later").write_text("x")
    target = report(alpha)
    assert (target["exit_code"], target["verdict"]) == (0, "behind"), target
    assert files(beta) == files(alpha)


def test_its_dry_run_changes_nothing(diverged: tuple[Node, Node]) -> None:
    """It lists what beta would lose; trees, records and drcm's own folders of both stay as they are."""
    before = everything(*diverged)
    said = good(diverged[0], "--resolve", "keep=alpha", "--dry-run")
    assert everything(*diverged) == before
    lines = [line.split() for line in said.splitlines()]
    assert ["beta", "deleted", "only", "beta"] in lines
    assert ["beta", "changed", "both"] in lines


def test_a_rolled_back_writer_keeps_what_the_backup_has(pair: tuple[Node, Node]) -> None:
    """Row 3: the backup's later run, which the restored writer forgot, goes to conflicts, not to trash."""
    alpha, beta = pair
    yesterday = record_of(alpha)
    (alpha.tree / "both").write_text("today")
    good(alpha)
    save(alpha, replace(yesterday, serial=record_of(alpha).serial))
    (alpha.tree / "both").write_text("yesterday")
    assert alpha.sync("testfs").returncode == errors.EXIT_DIVERGED
    good(alpha, "--resolve", "keep=alpha")
    assert files(beta)["both"] == "yesterday"
    assert kept_on(beta) == {("both", "today")}


def test_where_it_is_refused(diverged: tuple[Node, Node]) -> None:
    """On another node than the kept one, for a copy that is not served, for a node that is none."""
    alpha, beta = diverged
    before = everything(*diverged)
    elsewhere = beta.sync("testfs", "--resolve", "keep=alpha")
    assert "On alpha: drcm-sync testfs --resolve keep=alpha" in elsewhere.stderr
    marked = beta.sync("testfs", "--resolve", "keep=beta")
    assert "On the node that serves it (alpha)" in marked.stderr
    assert elsewhere.returncode == marked.returncode == errors.EXIT_WRONG_ROLE
    for strange in ("keep=gamma", "beta"):
        assert alpha.sync("testfs", "--resolve", strange).returncode == errors.EXIT_USAGE
    assert everything(*diverged) == before


def test_a_loser_that_still_writes_is_waited_for(diverged: tuple[Node, Node]) -> None:
    """With daemons, a copy whose node has not yet released it is not written to."""
    alpha, beta = diverged
    save(beta, replace(record_of(beta), doubt=""))
    before = everything(*diverged)
    with daemon(alpha, {"ok": True, "role": "writer", "reason": "", "targets": ["beta"]}):
        done = alpha.sync("testfs", "--resolve", "keep=alpha")
    assert done.returncode == errors.EXIT_WRONG_ROLE
    assert "still counts itself the writer" in done.stderr
    assert everything(*diverged) == before


def test_nothing_to_resolve(pair: tuple[Node, Node]) -> None:
    """Copies that did not diverge are left to the ordinary run."""
    before = everything(*pair)
    done = pair[0].sync("testfs", "--resolve", "keep=alpha")
    assert done.returncode == errors.EXIT_WRONG_ROLE
    assert "no copy DIVERGED" in done.stderr
    assert everything(*pair) == before


# -- --promote -------------------------------------------------------------------------------------


def test_promote_needs_its_other_half(pair: tuple[Node, Node]) -> None:
    """--promote alone is a usage error that says what would be lost."""
    done = pair[1].sync("testfs", "--promote")
    assert done.returncode == errors.EXIT_USAGE
    assert "--promote needs --accept-loss: what a newer copy holds" in done.stderr


def test_promote_asks_the_daemon(pair: tuple[Node, Node]) -> None:
    """It says which copy would be served, passes the decision on, and prints the answer."""
    beta = pair[1]
    with daemon(beta, {**WAITING, "text": "testfs: starts here"}) as asked:
        said = good(beta, "--promote", "--accept-loss", "--yes")
    assert asked[-1] == {"op": "promote", "name": "testfs"}
    assert "the copy that it has: generation 1, run 1-" in said
    assert "Now: waiting: behind a whole generation" in said
    assert said.endswith("testfs: starts here\n")


def test_promote_asks_a_person(pair: tuple[Node, Node]) -> None:
    """Without --yes: a terminal is asked and `n` leaves all as it is; where none is, nothing is done."""
    beta = pair[1]
    words = [*beta.inside(), str(BIN / "drcm-sync"), "testfs", "--promote", "--accept-loss"]
    master, terminal = pty.openpty()
    with daemon(beta, {**WAITING, "text": "no"}) as asked:
        silent = subprocess.run(
            words, env=beta.environ, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        os.write(master, b"n\n")
        no = subprocess.run(words, env=beta.environ, stdin=terminal, capture_output=True, check=False)
    for end in (master, terminal):
        os.close(end)
    assert silent.returncode == errors.EXIT_USAGE
    assert b"with --yes" in silent.stderr
    assert no.returncode == errors.EXIT_FAILED
    assert no.stdout.endswith(b"Nothing was changed.\n")
    assert {question["op"] for question in asked} == {"set"}


def test_promote_without_a_daemon(pair: tuple[Node, Node]) -> None:
    """Only the daemon promotes; the cure starts it."""
    done = pair[1].sync("testfs", "--promote", "--accept-loss", "--yes")
    assert done.returncode == errors.EXIT_UNAVAILABLE
    assert "systemctl start drcm-server" in done.stderr


# -- --reinit --------------------------------------------------------------------------------------


def test_a_new_disk_joins_again(pair: tuple[Node, Node]) -> None:
    """A backup's empty directory is refused until --reinit; then the next run fills it."""
    alpha, beta = pair
    for path in beta.tree.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert alpha.sync("testfs").returncode == errors.EXIT_NO_INPUT
    assert "beta joins again" in good(beta, "--reinit")
    assert report(alpha)["verdict"] == "joining"
    assert files(beta) == files(alpha)


def test_reinit_has_nothing_to_do(pair: tuple[Node, Node]) -> None:
    """A copy that carries its marker is not touched."""
    before = everything(*pair)
    assert pair[1].sync("testfs", "--reinit").returncode == errors.EXIT_NO_INPUT
    assert everything(*pair) == before


def test_the_only_copy_is_not_given_up(world: World) -> None:
    """The writer of a set that nobody else ever got stays what it is."""
    alpha = world.nodes["alpha"]
    (alpha.tree / "first").write_text("one")
    good(alpha, "--init")
    shutil.rmtree(alpha.tree / ".drcm")
    done = alpha.sync("testfs", "--reinit")
    assert done.returncode == errors.EXIT_WRONG_ROLE
    assert "the only copy" in done.stderr
    assert record_of(alpha).pos is not None


# -- records that lag or are lost ------------------------------------------------------------------


def before_commit(writer: Record, earlier: Record) -> Record:
    """The writer's record as if the answer to its last commit had been lost."""
    given = replace(writer.given["beta"], complete=earlier.given["beta"].complete)
    return replace(writer, pos=earlier.pos, given={"beta": given})


def test_a_committed_run_is_never_used_again(pair: tuple[Node, Node]) -> None:
    """The answer to a commit was lost: the run is complete here too, and the next has an id of its own."""
    alpha, beta = pair
    earlier = record_of(alpha)
    (alpha.tree / "both").write_text("second")
    second = report(alpha)["run"]
    save(alpha, before_commit(record_of(alpha), earlier))
    (alpha.tree / "both").write_text("third")
    third = report(alpha)
    assert third["exit_code"] == 0, third
    assert third["run"].split("-")[0] == "3"
    assert third["run"] != second
    assert files(beta)["both"] == "third"
    folders = {path.name for path in (beta.tree / ".drcm" / "trash").iterdir() if path.is_dir()}
    assert folders == {f"1-{second}-1", f"1-{third['run']}-1"}


def test_a_lost_answer_with_nothing_new_to_send(pair: tuple[Node, Node]) -> None:
    """The run counts as complete, and no other is begun for it."""
    alpha, beta = pair
    earlier = record_of(alpha)
    (alpha.tree / "both").write_text("second")
    second = report(alpha)["run"]
    save(alpha, before_commit(record_of(alpha), earlier))
    tree = record_of(beta)
    assert report(alpha)["run"] == ""
    assert record_of(alpha).given["beta"].complete == second
    assert record_of(beta) == tree


def test_a_backup_that_lost_its_record(pair: tuple[Node, Node]) -> None:
    """Its marker says what its tree is; in doubt it is `ahead`: the run keeps all and makes it whole."""
    alpha, beta = pair
    (beta.state / "sets" / "testfs.json").unlink()
    (alpha.tree / "both").write_text("new")
    target = report(alpha)
    assert (target["exit_code"], target["verdict"]) == (0, "ahead"), target
    assert files(beta) == files(alpha)
    assert kept_on(beta) == {("both", "old both")}
    assert record_of(beta).doubt == ""


# -- the last pass of a hand-over ------------------------------------------------------------------


def waiting(node: Node) -> subprocess.Popen[str]:
    """The last pass to beta, with its connections open, before it was told to go."""
    words = [
        *node.inside(),
        str(BIN / "drcm-sync"),
        "testfs",
        "--json",
        "-q",
        "--hand-over",
        "beta",
        "--wait-go",
    ]
    started = subprocess.Popen(
        words, env=node.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


def test_it_waits_and_goes(pair: tuple[Node, Node]) -> None:
    """What is written before `go` is in the pass; while it waits, the set is not locked."""
    alpha, beta = pair
    last = waiting(alpha)
    (alpha.tree / "in between").write_text("1")
    good(alpha)
    (alpha.tree / "at last").write_text("2")
    out, _ = last.communicate("go\n", 30)
    document = json.loads(out)
    assert last.returncode == 0
    assert document["targets"][0]["created"] == ["at last"]
    assert files(beta) == files(alpha)


def test_it_is_not_told_to_go(pair: tuple[Node, Node]) -> None:
    """The end of its input instead of `go`: exit 0, and nothing was done."""
    alpha, beta = pair
    last = waiting(alpha)
    (alpha.tree / "new").write_text("1")
    before = everything(alpha, beta)
    out, _ = last.communicate("", 30)
    assert (last.returncode, out) == (0, "")
    assert everything(alpha, beta) == before


def test_a_writer_that_lost_its_role_while_it_waited(pair: tuple[Node, Node]) -> None:
    """The role is asked for again after `go`: who is no longer the writer sends nothing."""
    alpha, beta = pair
    last = waiting(alpha)
    heard = replace(transitions.promote(record_of(beta), record_of(beta).newest, "2" * 16).head, started=True)
    save(alpha, transitions.hear(record_of(alpha), heard))
    (alpha.tree / "new").write_text("1")
    out, _ = last.communicate("go\n", 30)
    assert json.loads(out)["role"] == "replica"
    assert "new" not in files(beta)


# -- three nodes -----------------------------------------------------------------------------------


def test_of_three_copies_one_is_kept(tmp_path: Path) -> None:
    """Two diverged, the third followed a loser and was away when it was decided: every version that is not
    in the kept tree is in the conflicts of the node that lost it, and all three are one set again."""
    world = World(tmp_path, ("alpha", "beta", "gamma"), quorum="none")
    try:
        alpha, beta, gamma = world.nodes.values()
        (alpha.tree / "both").write_text("old")
        good(alpha, "--init")
        good(alpha)
        tree = record_of(beta)
        promoted = transitions.start(transitions.promote(tree, tree.newest, "2" * 16, "alone"))
        save(beta, promoted)
        save(alpha, transitions.go_alone(record_of(alpha), "3" * 16))
        (beta.tree / "both").write_text("by beta")
        good(beta, "--target", "gamma")
        (beta.tree / "later").write_text("beta alone")
        (alpha.tree / "both").write_text("by alpha")
        save(beta, replace(record_of(beta), doubt="DIVERGED from alpha, whose copy is served"))
        stopped = alpha.sync("testfs")
        assert stopped.returncode == errors.EXIT_DIVERGED
        assert stopped.stderr.count("testfs DIVERGED") == 2
        gamma.stop_sshd()
        good(alpha, "--resolve", "keep=alpha", "--target", "beta")
        gamma.start_sshd()
        good(alpha)
        assert files(alpha) == files(beta) == files(gamma) == {"both": "by alpha"}
        assert kept_on(beta) == {("both", "by beta"), ("later", "beta alone")}
        assert ("both", "by beta") in kept_on(gamma)
        assert record_of(beta).chain == record_of(gamma).chain == record_of(alpha).chain
    finally:
        world.stop()
