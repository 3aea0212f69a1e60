"""What the end of an rsync means."""

from __future__ import annotations

import pytest

from drcm import errors
from drcm.replication.outcome import Kind, judge


@pytest.mark.parametrize(
    ("code", "kind"),
    [(0, Kind.GOOD), (24, Kind.VANISHED), (23, Kind.PARTIAL), (25, Kind.GUARD)]
    + [(code, Kind.RETRY) for code in (10, 12, 20, 30, 35, 255, -15, -9, 99)]
    + [(code, Kind.CONFIG) for code in (1, 2, 3, 4, 5, 13, 14, 22, 126, 127)],
)
def test_the_policy(code: int, kind: Kind) -> None:
    """Each exit code has one class (TRAPS.md)."""
    assert judge(code, "").kind is kind


def test_only_good_is_a_whole_tree() -> None:
    """Vanished files are a reason to look again, not a whole tree."""
    assert judge(0, "").good
    assert not any(judge(code, "").good for code in (1, 12, 23, 24, 25, 255))


def test_a_discarded_file_is_a_failure_though_rsync_says_zero() -> None:
    """HISTORIES R1: `discarding completed file` with exit 0 names the file and is no success."""
    ended = judge(0, "Unable to create partial-dir for sub/b -- discarding completed file.\n")
    assert ended.kind is Kind.PARTIAL
    assert ended.exit_code == errors.EXIT_FAILED
    assert ended.failed == ("sub/b",)
    assert "sub/b" in ended.reason


def test_failed_paths_are_named() -> None:
    """23 names what did not arrive, each once, and not what merely vanished."""
    stderr = (
        'rsync: [sender] send_files failed to open "/t/deny": Permission denied (13)\n'
        'rsync: [sender] send_files failed to open "/t/deny": Permission denied (13)\n'
        'file has vanished: "/t/gone"\n'
        'rsync: [receiver] mkstemp "/t/.x.abc" failed: Permission denied (13)\n'
        "rsync error: some files/attrs were not transferred (see previous errors) (code 23) at main.c(1394)\n"
    )
    ended = judge(23, stderr)
    assert ended.failed == ("/t/deny", "/t/.x.abc")
    assert "/t/deny" in ended.reason


@pytest.mark.parametrize("words", ["No space left on device (28)", "Disk quota exceeded (122)"])
def test_a_full_disk(words: str) -> None:
    """11 with ENOSPC is about room, whatever else it says; so is 23 or 12."""
    stderr = f'rsync: [receiver] write failed on "/t/big": {words}\n'
    for code in (11, 23, 12):
        ended = judge(code, stderr)
        assert (ended.kind, ended.exit_code) == (Kind.NO_SPACE, errors.EXIT_IO)


def test_a_refusal_of_the_gate_goes_before_all() -> None:
    """What rsync makes of the gate's refusal (12) is not the news; the gate's words and code are."""
    stderr = (
        "drcm-gate: refused (6): testfs: a newer generation is known here\n"
        "rsync: connection unexpectedly closed (0 bytes received so far) [sender]\n"
        "rsync error: error in rsync protocol data stream (code 12) at io.c(232) [sender=3.5.0]\n"
    )
    ended = judge(12, stderr)
    assert (ended.kind, ended.exit_code, ended.rsync_rc) == (Kind.REFUSED, errors.EXIT_WRONG_ROLE, 12)
    assert ended.reason == "testfs: a newer generation is known here"


def test_a_symlink_of_somebody_else() -> None:
    """rsync 3.5.0 refuses paths through foreign symlinks with 3; the words say so."""
    ended = judge(3, "rsync: [Receiver] change_dir: Too many levels of symbolic links (40)\n")
    assert "symlink" in ended.reason


def test_rsync_codes_never_become_ours() -> None:
    """Every rsync code maps to one of drcm's documented exit codes."""
    ours = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert {judge(code, "").exit_code for code in range(-20, 256)} <= ours
