"""The receiver's disk is full: refused before the run, or found in the middle of it; then it goes on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import Node, World, good, record_of

from drcm import errors

MIB = 1 << 20


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    """beta's directory is a small file system of its own."""
    world = World(tmp_path)
    try:
        alpha, beta = world.nodes.values()
        beta.run("mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=200", "drcm-test", beta.root, check=True)
        (alpha.tree / "first").write_text("one")
        good(alpha, "--init")
        good(alpha)
        yield alpha, beta
    finally:
        world.stop()


def tree(beta: Node) -> Path:
    """beta's directory as its own mount namespace has it."""
    assert beta.holder is not None
    return Path(f"/proc/{beta.holder.pid}/root{beta.root}")


def test_refused_before_the_run(pair: tuple[Node, Node]) -> None:
    """Too many bytes, or too many files: what was expected, what is free, the override; nothing is begun."""
    alpha, beta = pair
    before = record_of(beta)
    (alpha.tree / "big").write_bytes(os.urandom(9 * MIB))
    done = alpha.sync("testfs")
    assert done.returncode == errors.EXIT_NO_INPUT
    assert "expected room for" in done.stderr
    assert "--override=room" in done.stderr
    (alpha.tree / "big").unlink()
    for number in range(300):
        (alpha.tree / f"f{number}").touch()
    done = alpha.sync("testfs")
    assert done.returncode == errors.EXIT_NO_INPUT
    assert "inodes are free" in done.stderr
    assert record_of(beta) == before
    assert sorted(os.listdir(tree(beta))) == [".drcm", "first"]


def test_found_in_the_middle(pair: tuple[Node, Node]) -> None:
    """Exit 74; no half of a file under its name, the old versions stand, the run is not committed; once there
    is room it is completed under its own id."""
    alpha, beta = pair
    (alpha.tree / "first").write_text("two")
    (alpha.tree / "big").write_bytes(os.urandom(9 * MIB))
    done = alpha.sync("testfs", "--override=room")
    assert done.returncode == errors.EXIT_IO, done.stderr
    assert "no space left" in done.stderr
    assert not (tree(beta) / "big").exists()
    applying = record_of(beta).applying
    assert applying is not None
    beta.run("mount", "-o", "remount,size=40m", beta.root, check=True)
    good(alpha)
    assert (tree(beta) / "big").read_bytes() == (alpha.tree / "big").read_bytes()
    assert (tree(beta) / "first").read_text() == "two"
    assert record_of(beta).pos == applying
    assert record_of(beta).applying is None


def test_what_was_held_back_and_is_gone_at_the_source_leaves_nothing(pair: tuple[Node, Node]) -> None:
    """rsync keeps whole files of a cut run in .drcm-partial, and a folder that has one is never deleted."""
    alpha, beta = pair
    folder = alpha.tree / "deep" / "folder"
    folder.mkdir(parents=True)
    (folder / "small").write_text("held back")
    (alpha.tree / "later").mkdir()  # rsync sends a folder's own files before those of folders in it
    (alpha.tree / "later" / "large").write_bytes(os.urandom(9 * MIB))
    assert alpha.sync("testfs", "--override=room").returncode == errors.EXIT_IO
    assert list(tree(beta).rglob(".drcm-partial/small"))
    shutil.rmtree(alpha.tree / "deep")
    shutil.rmtree(alpha.tree / "later")
    (alpha.tree / "first").write_text("three")
    good(alpha)
    assert not list(tree(beta).rglob(".drcm-partial"))
    good(alpha)
    assert sorted(os.listdir(tree(beta))) == [".drcm", "first"]
    assert (tree(beta) / "first").read_text() == "three"
