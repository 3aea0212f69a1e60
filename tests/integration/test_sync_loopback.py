"""drcm-sync between two nodes over real sshd, real drcm-gate and real rsync."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from loopback import Node, World, files, good, record_of, report, save

from drcm import errors
from drcm.replication import records, transitions
from drcm.replication.generation import Position, replace


@pytest.fixture
def pair(world: World) -> tuple[Node, Node]:
    """alpha and beta, the set begun and run once."""
    alpha, beta = world.nodes.values()
    (alpha.tree / "first").write_text("one")
    (alpha.tree / "sub").mkdir()
    (alpha.tree / "sub" / "deep").write_text("two")
    good(alpha, "--init")
    good(alpha)
    return alpha, beta


# -- the plain way ---------------------------------------------------------------------------------


def test_a_set_begins_runs_and_follows(pair: tuple[Node, Node]) -> None:
    """Init, first run, then changes, new files and deletions: the backup has the same tree."""
    alpha, beta = pair
    assert files(beta) == {"first": "one", "sub/deep": "two"}
    (alpha.tree / "first").write_text("ONE")
    (alpha.tree / "sub" / "deep").unlink()
    (alpha.tree / "new [b]file\n").write_text("three")
    said = good(alpha)
    assert "1 created" in said
    assert "1 changed" in said
    assert "1 deleted" in said
    assert files(beta) == files(alpha) == {"first": "ONE", "new [b]file\n": "three"}


def test_what_is_replaced_or_deleted_is_in_the_trash(pair: tuple[Node, Node]) -> None:
    """Every version that a run overwrites or deletes lies in its own folder on the receiver."""
    alpha, beta = pair
    for text in ("v1", "v22", "v333"):
        (alpha.tree / "first").write_text(text)
        good(alpha)
    (alpha.tree / "sub" / "deep").unlink()
    good(alpha)
    kept = [path for path in (beta.tree / ".drcm" / "trash").rglob("*") if path.is_file()]
    texts = {path.read_text() for path in kept if path.suffix != ".list"}
    assert texts == {"one", "v1", "v22", "two"}


def test_a_rewrite_of_the_same_size_in_the_same_second_arrives(pair: tuple[Node, Node]) -> None:
    """HISTORIES R3: nanoseconds count."""
    alpha, beta = pair
    target = alpha.tree / "same"
    target.write_text("AAAA")
    os.utime(target, ns=(10**18 + 100_000_000, 10**18 + 100_000_000))
    good(alpha)
    target.write_text("BBBB")
    os.utime(target, ns=(10**18 + 600_000_000, 10**18 + 600_000_000))
    good(alpha)
    assert files(beta)["same"] == "BBBB"


def test_a_backup_with_nothing_to_do_says_so(pair: tuple[Node, Node]) -> None:
    """1.41's three lines, to the letter, and exit 0."""
    assert good(pair[1]) == (
        "Checking to see if failback sync flag exists\n"
        "We have no sync flag for testfs files\n"
        "No file sync to primary cluster node will be performed\n"
    )


def test_a_dry_run_changes_nothing_on_either_side(pair: tuple[Node, Node]) -> None:
    """It lists what would happen; records, trees and drcm's own folders stay as they are."""
    alpha = pair[0]
    (alpha.tree / "first").unlink()
    (alpha.tree / "new").write_text("x" * 1000)

    def everything() -> dict[str, bytes]:
        places = [place for node in pair for place in (node.tree, node.state)]
        return {
            str(path): path.read_bytes() for place in places for path in place.rglob("*") if path.is_file()
        }

    before = everything()
    said = good(alpha, "--dry-run")
    assert everything() == before
    lines = [line.split() for line in said.splitlines()]
    assert ["beta", "deleted", "first"] in lines
    assert ["beta", "created", "new"] in lines
    assert "1.0 kB" in said


def test_nothing_to_do_begins_no_run(pair: tuple[Node, Node]) -> None:
    """A second run right after the first moves no position and no byte."""
    alpha, beta = pair
    before = record_of(beta)
    target = report(alpha)
    assert (target["exit_code"], target["run"], target["sent"]) == (0, "", 0)
    assert record_of(beta) == before


def test_positions_after_a_run(pair: tuple[Node, Node]) -> None:
    """Begun, complete and the receiver's position are the same run, and nothing is being applied."""
    alpha, beta = pair
    (alpha.tree / "first").write_text("again")
    target = report(alpha)
    writer, tree = record_of(alpha), record_of(beta)
    assert writer.given["beta"].begun == writer.given["beta"].complete == target["run"]
    assert tree.pos == Position(writer.head.id, target["run"])
    assert tree.applying is None


# -- refusals --------------------------------------------------------------------------------------


def test_an_emptied_source_is_refused(pair: tuple[Node, Node]) -> None:
    """LEGACY fault 3: an empty source empties nothing; exit 66, the backup keeps every file."""
    alpha, beta = pair
    for path in (alpha.tree / "first", alpha.tree / "sub" / "deep"):
        path.unlink()
    (alpha.tree / "sub").rmdir()
    done = alpha.sync("testfs")
    assert done.returncode == errors.EXIT_NO_INPUT
    assert "empty" in done.stderr
    assert files(beta) == {"first": "one", "sub/deep": "two"}


def test_an_unmounted_source_is_refused(pair: tuple[Node, Node]) -> None:
    """A root without its marker is not the set's tree, whatever lies there."""
    alpha, beta = pair
    (alpha.tree / ".drcm").rename(alpha.folder / "elsewhere")
    done = alpha.sync("testfs")
    assert done.returncode != 0
    assert "marker" in done.stderr
    assert files(beta) == {"first": "one", "sub/deep": "two"}


def test_too_many_deletions_wait_and_changes_go(world: World, pair: tuple[Node, Node]) -> None:
    """Over max_delete nothing is deleted, exit 4; new files arrive; --override=delete lets it through."""
    alpha, beta = pair
    world.write_config("max_delete = 2\nmax_delete_percent = 1\nmax_shrink_percent = 100\n")
    for number in range(5):
        (alpha.tree / f"many{number}").write_text("x")
    good(alpha)
    for number in range(5):
        (alpha.tree / f"many{number}").unlink()
    (alpha.tree / "fresh").write_text("y")
    done = alpha.sync("testfs")
    assert done.returncode == errors.EXIT_DELETE_GUARD
    assert "--override=delete" in done.stderr
    there = files(beta)
    assert {f"many{number}" for number in range(5)} <= set(there)
    assert there["fresh"] == "y"
    good(alpha, "--override=delete")
    assert files(beta) == files(alpha)


def test_a_stale_writer_writes_not_one_byte(pair: tuple[Node, Node]) -> None:
    """After beta was promoted, alpha's run ends with 6 and beta's tree is as it was."""
    alpha, beta = pair
    tree = record_of(beta)
    save(beta, transitions.start(transitions.promote(tree, tree.newest, "2" * 16, primary="alpha")))
    (beta.tree / "work").write_text("of beta")
    (alpha.tree / "first").write_text("stale")
    (alpha.tree / "sub" / "deep").unlink()
    before, record = files(beta), record_of(beta)
    done = alpha.sync("testfs")
    assert done.returncode == errors.EXIT_WRONG_ROLE, done.stdout + done.stderr
    assert files(beta) == before
    assert record_of(beta) == record
    assert not list((beta.tree / ".drcm").rglob("*-2-*"))


def test_the_first_pass_onto_a_returned_primary_keeps_what_it_replaces(pair: tuple[Node, Node]) -> None:
    """Failback: alpha's unsent changes land in its .drcm/conflicts, listed, and both trees are equal."""
    alpha, beta = pair
    tree = record_of(beta)
    (alpha.tree / "first").write_text("unsent change")
    (alpha.tree / "unsent new").write_text("only here")
    save(beta, transitions.start(transitions.promote(tree, tree.newest, "2" * 16, primary="alpha")))
    (beta.tree / "work").write_text("of beta")
    target = report(beta)
    assert (target["exit_code"], target["verdict"]) == (0, "ahead"), target
    assert files(alpha) == files(beta) == {"first": "one", "sub/deep": "two", "work": "of beta"}
    kept = {Path(name).name: Path(str(alpha.tree) + name.removeprefix(alpha.root)) for name in target["kept"]}
    assert kept["first"].read_text() == "unsent change"
    assert kept["unsent new"].read_text() == "only here"
    assert all(".drcm/conflicts/" in name for name in target["kept"])


def test_diverged_is_left_alone(pair: tuple[Node, Node]) -> None:
    """Both went on alone: exit 5, no byte either way."""
    alpha, beta = pair
    tree = record_of(beta)
    save(beta, transitions.start(transitions.promote(tree, tree.newest, "2" * 16, "alone")))
    save(alpha, transitions.go_alone(record_of(alpha), "3" * 16))
    (alpha.tree / "first").write_text("alpha's hour")
    before = files(beta)
    for node in pair:
        done = node.sync("testfs")
        assert done.returncode == errors.EXIT_DIVERGED, done.stdout + done.stderr
        assert "DIVERGED" in done.stderr
    assert files(beta) == before
    assert files(alpha)["first"] == "alpha's hour"


def test_a_rolled_back_writer_is_diverged(pair: tuple[Node, Node]) -> None:
    """HISTORIES R13: a writer restored from yesterday does not remember the backup's run."""
    alpha, beta = pair
    yesterday = record_of(alpha)
    (alpha.tree / "first").write_text("today")
    good(alpha)
    save(alpha, replace(yesterday, serial=record_of(alpha).serial))
    (alpha.tree / "first").write_text("one")
    assert alpha.sync("testfs").returncode == errors.EXIT_DIVERGED
    assert files(beta)["first"] == "today"


def test_a_locked_receiver_says_who_holds_it(pair: tuple[Node, Node]) -> None:
    """While the backup's lock is held the run ends with 75, and the next one goes through."""
    alpha, beta = pair
    (alpha.tree / "first").write_text("later")
    with records.lock(beta.state / "sets", "testfs", "a promotion"):
        done = alpha.sync("testfs")
    assert done.returncode == errors.EXIT_LOCKED
    assert "a promotion" in done.stderr
    good(alpha)
    assert files(beta)["first"] == "later"


def test_init_where_the_set_is_known_already(pair: tuple[Node, Node]) -> None:
    """HISTORIES R21: a set begins once; a node that lost its record does not begin it again."""
    alpha = pair[0]
    (alpha.state / "sets" / "testfs.json").unlink()
    (alpha.tree / ".drcm" / "set.json").unlink()
    done = alpha.sync("testfs", "--init")
    assert done.returncode == errors.EXIT_WRONG_ROLE
    assert "beta knows it" in done.stderr


def test_a_backup_with_files_needs_adopt(world: World) -> None:
    """Without --adopt it is not joined; with it, what the first pass replaces is kept."""
    alpha, beta = world.nodes.values()
    (alpha.tree / "both").write_text("alpha's")
    (beta.tree / "both").write_text("beta's")
    (beta.tree / "mine").write_text("beta's own")
    done = alpha.sync("testfs", "--init")
    assert done.returncode != 0
    assert "--adopt" in done.stdout
    good(alpha, "--init", "--adopt")
    target = report(alpha)
    assert target["exit_code"] == 0, target
    texts = {Path(str(beta.tree) + name.removeprefix(beta.root)).read_text() for name in target["kept"]}
    assert {"beta's", "beta's own"} == texts
    assert files(beta) == {"both": "alpha's"}


# -- SSH -------------------------------------------------------------------------------------------


def test_ssh_faults_are_told_apart(world: World, pair: tuple[Node, Node]) -> None:
    """Unknown key, changed key, refused key, nobody there: each its own words and a cure."""
    alpha, beta = pair
    known = world.folder / "auth" / "known_hosts"
    whole = known.read_text()
    (alpha.tree / "first").write_text("never sent")
    cases = []
    known.write_text("")
    cases.append((alpha.sync("testfs"), "is not in", errors.EXIT_NO_PERMISSION))
    known.write_text(whole.replace(beta.host_key, alpha.host_key))
    cases.append((alpha.sync("testfs"), "shows another host key", errors.EXIT_NO_PERMISSION))
    known.write_text(whole)
    (beta.folder / "authorized_keys").write_text("")
    cases.append((alpha.sync("testfs"), "refuses the key", errors.EXIT_NO_PERMISSION))
    beta.authorize("/bin/echo hello")
    cases.append((alpha.sync("testfs"), "no JSON", errors.EXIT_PROTOCOL))
    beta.stop_sshd()
    cases.append((alpha.sync("testfs"), "no connection to beta", errors.EXIT_UNAVAILABLE))
    for done, words, code in cases:
        assert done.returncode == code, done.stderr
        assert words in done.stderr
    assert files(beta)["first"] == "one"


def test_one_dead_target_does_not_stop_the_other(tmp_path: Path) -> None:
    """Three nodes, one down: the other gets everything, the exit code tells of the dead one."""
    world = World(tmp_path, ("alpha", "beta", "gamma"), quorum="none")
    try:
        alpha, beta, gamma = world.nodes.values()
        (alpha.tree / "first").write_text("one")
        good(alpha, "--init")
        good(alpha)
        beta.stop_sshd()
        (alpha.tree / "first").write_text("two")
        done = alpha.sync("testfs")
        assert done.returncode == errors.EXIT_UNAVAILABLE
        assert (files(beta)["first"], files(gamma)["first"]) == ("one", "two")
    finally:
        world.stop()
