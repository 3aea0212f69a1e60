"""What is tried again, how often, after which pause."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drcm.errors import EXIT_DIVERGED, EXIT_FAILED, EXIT_LOCKED, EXIT_UNAVAILABLE
from drcm.replication.again import (
    LONGEST_PAUSE,
    PATHS_MAX,
    TRIES,
    also,
    paths_again,
    patterns,
    pause,
    run_again,
)
from drcm.replication.outcome import Kind, Outcome, judge


def ended(kind: Kind, *failed: str, undeleted: bool = False) -> Outcome:
    return Outcome(kind, "", EXIT_FAILED, 0, failed, undeleted)


@pytest.mark.parametrize(
    ("code", "tries"),
    [(0, 0), (24, 1), (23, 1), (11, 1), *((code, 2) for code in (10, 12, 20, 30, 35, 255, -9)),
     *((code, 0) for code in (1, 2, 3, 4, 5, 13, 14, 22, 25, 126, 127))],
)  # fmt: skip
def test_the_policy(code: int, tries: int) -> None:
    """TRAPS.md as a table: exit code of rsync -> how often it is tried again."""
    assert TRIES.get(judge(code, "").kind, 0) == tries


@given(st.integers(1, 50), st.floats(0, 1))
def test_pauses(attempt: int, chance: float) -> None:
    """Each pause is up to twice as long as the one before, spread over half of it, and bounded."""
    assert 0.5 <= pause(attempt, 0.0) <= pause(attempt, chance) <= pause(attempt, 1.0) <= LONGEST_PAUSE
    assert pause(attempt + 1, chance) >= pause(attempt, chance)


@pytest.mark.parametrize("kind", list(Kind))
def test_only_a_broken_line_is_the_whole_run_again(kind: Kind) -> None:
    """Twice, then it is told; the next run that is due goes on with it."""
    one = ended(kind)
    assert [run_again(one, EXIT_UNAVAILABLE, attempt) for attempt in (1, 2, 3)] == [
        kind is Kind.RETRY, kind is Kind.RETRY, False
    ]  # fmt: skip


def test_a_lock_of_the_broken_attempt() -> None:
    """The gate of an attempt that broke may hold the lock a moment longer; a first refusal stands."""
    assert not run_again(None, EXIT_LOCKED, 1)
    assert run_again(None, EXIT_LOCKED, 2)
    assert not run_again(None, EXIT_LOCKED, 3)
    assert not run_again(None, EXIT_DIVERGED, 2)


@pytest.mark.parametrize(
    ("outcome", "names"),
    [
        (ended(Kind.GOOD), None),
        (ended(Kind.RETRY, "/t/x"), None),
        (ended(Kind.PARTIAL), None),
        (ended(Kind.PARTIAL, "/t/d/x", "y"), ("d/x", "y")),
        (ended(Kind.VANISHED, "/t/x"), ("x",)),
        (ended(Kind.VANISHED), ()),
        (ended(Kind.PARTIAL, "/t/x", undeleted=True), ()),
        (ended(Kind.PARTIAL, "/elsewhere"), ()),
        (ended(Kind.PARTIAL, "/t"), ()),
        (ended(Kind.PARTIAL, "/t/.drcm/tmp/.x.AbCdEf"), ()),
        (ended(Kind.PARTIAL, "/t/a\\#012b"), ()),
        (ended(Kind.VANISHED, *(f"/t/{n}" for n in range(PATHS_MAX + 1))), ()),
        (ended(Kind.VANISHED, *(f"/t/{n}{'x' * 200}" for n in range(PATHS_MAX))), ()),
    ],
)
def test_which_paths(outcome: Outcome, names: tuple[str, ...] | None) -> None:
    """Just those; all of it where they can't be told, are too many, or deletions were left out."""
    assert paths_again(outcome, "/t") == names


def test_names_from_rsync() -> None:
    """A vanished file is named by rsync, and so is a source that could not be read."""
    gone = judge(24, 'file has vanished: "/t/a b"\nrsync warning: some files vanished ... (code 24)\n')
    assert gone.failed == ("/t/a b",)
    assert judge(23, "IO error encountered -- skipping file deletion\n").undeleted


def test_real_rsync_sends_just_those(tmp_path: Path) -> None:
    """Wildcards in names are names; folders come with them; nothing else is sent, nothing deleted."""
    source, target = tmp_path / "s", tmp_path / "t"
    (source / "d[1]" / "deep").mkdir(parents=True)
    target.mkdir()
    for name in ("a*", "ab", "d[1]/deep/x", "d[1]/y", "plain", "dir"):
        if name == "dir":
            (source / name).mkdir()
            (source / name / "in").write_text("in")
        else:
            (source / name).write_text(name)
    (target / "old").write_text("old")
    words = [f"--include={pattern}" for pattern in patterns(["a*", "d[1]/deep/x", "dir", "gone"])]
    subprocess.run(["rsync", "-a", *words, "--exclude=*", f"{source}/", f"{target}/"], check=True)
    found = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    assert found == ["a*", "d[1]/deep/x", "dir/in", "old"]


def test_names_more_are_asked_for_with_the_others() -> None:
    """Of all of it nothing more has to be asked for; what can't be asked for makes it all."""
    assert also(None, (), "/root") is None
    assert also((), ("a",), "/root") == ()
    assert also(None, ("a", "b/c"), "/root") == ("a", "b/c")
    assert also(("x",), ("a",), "/root") == ("x", "a")
    assert also(("x",), ("odd\nname",), "/root") == ()
