"""The sender's command line, and what rsync prints."""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drcm.replication import rsync
from drcm.replication.plan import plan_of
from drcm.replication.rsync import Change, Item, Lines, Report, Transfer


def transfer(**more: object) -> Transfer:
    base = {"source": "/testfs", "target": "/testfs", "address": "10.0.0.2", "user": "root"}
    return Transfer(**{**base, "shell": ("ssh", "-p", "22"), "remote": ("drcm-gate", "x"), **more})  # type: ignore[arg-type]


def test_a_mirror_keeps_the_measured_start_line() -> None:
    """Each option of the start line is there, and the two that lose data when changed are exact."""
    argv = rsync.sender_argv(transfer(deletes=True, backup_dir=".drcm/trash/1-1-1"))
    expected = (
        "rsync -aHAXS --numeric-ids --modify-window=-1 --delay-updates --partial-dir=.drcm-partial "
        "--temp-dir=.drcm/tmp --mkpath --timeout=60 -8 --info=progress2,stats2,name0 --outbuf=L --backup "
        "--backup-dir=.drcm/trash/1-1-1 --delete-delay --exclude=/.drcm/ --exclude=.drcm-partial"
    )
    assert set(expected.split()) | {"--out-format=%i %l %n"} <= set(argv)
    assert argv[-2:] == ["/testfs/", "root@10.0.0.2:/testfs/"]


def test_a_copy_never_deletes() -> None:
    """Without `deletes` no option of the line deletes, even with a seat belt given."""
    argv = rsync.sender_argv(transfer(max_delete=10))
    assert not [word for word in argv if "delete" in word]


def test_optional_words_appear_only_where_asked() -> None:
    """Dry run, bandwidth, fsync, the seat belt and the user's patterns, in an order that keeps ours first."""
    plain = set(rsync.sender_argv(transfer()))
    extra = {
        "deletes": True,
        "max_delete": 7,
        "bwlimit": "5m",
        "fsync": True,
        "dry_run": True,
        "exclude": ("*.o",),
    }
    argv = rsync.sender_argv(transfer(**extra))
    assert {"--max-delete=7", "--bwlimit=5m", "--fsync", "--dry-run", "--exclude=*.o"} <= set(argv) - plain
    assert argv.index("--exclude=/.drcm/") < argv.index("--exclude=*.o")


def test_an_ipv6_address_and_a_key_path_with_a_blank() -> None:
    """Brackets for the address; rsync splits -e at blanks, so a word with one is quoted."""
    argv = rsync.sender_argv(transfer(address="fd00::2", shell=("ssh", "-i", "/my keys/id")))
    assert argv[-1] == "root@[fd00::2]:/testfs/"
    assert argv[argv.index("-e") + 1] == "ssh -i '/my keys/id'"


@pytest.mark.parametrize(
    ("line", "item"),
    [
        (b"<f+++++++++ 3000000 sub/big", Item(Change.CREATED, "f", 3000000, "sub/big")),
        (b"<f.st...... 12 a", Item(Change.CHANGED, "f", 12, "a")),
        (b".f...p..... 12 a", Item(Change.METADATA, "f", 12, "a")),
        (b"cd+++++++++ 4096 sub/", Item(Change.CREATED, "d", 0, "sub")),
        (b"hf+++++++++ 3 a", Item(Change.CREATED, "f", 3, "a", linked=True)),
        (b"cL+++++++++ 1 link", Item(Change.CREATED, "L", 0, "link")),
        (b"*deleting   0 gone dir/y", Item(Change.DELETED, "f", 0, "gone dir/y")),
        (b"*deleting   0 gonedir/", Item(Change.DELETED, "d", 0, "gonedir")),
        (rb"<f+++++++++ 1 a\#012b", Item(Change.CREATED, "f", 1, "a\nb")),
        (rb"<f+++++++++ 1 a\b", Item(Change.CREATED, "f", 1, "a\\b")),
        (b"<f+++++++++ 1 \xff", Item(Change.CREATED, "f", 1, "\udcff")),
        (b"<f+++++++++ 1  12 x", Item(Change.CREATED, "f", 1, " 12 x")),
    ],
)
def test_itemised_lines(line: bytes, item: Item) -> None:
    """Kind, size and name, with odd bytes as os.fsdecode gives them."""
    assert rsync.parse_item(line) == item


def test_a_line_that_is_no_item() -> None:
    """Statistics and empty words are passed over."""
    assert rsync.parse_item(b"Number of files: 6 (reg: 3)") is None
    assert rsync.parse_item(b"") is None


def test_progress_with_and_without_counts() -> None:
    """progress2 tells bytes, percent, rate and time left; files come only after a file is through."""
    seen = rsync.parse_progress(b"      3,000,003  99%  953.67MB/s    0:01:02 (xfr#3, to-chk=1/6)")
    assert seen == rsync.Position(3000003, 99, 953.67e6, 62, 3, 1, 6)
    assert rsync.parse_progress(b"              2   0%    0.00kB/s    0:00:00") == rsync.Position(
        2, 0, 0.0, 0
    )
    assert rsync.parse_progress(b"<f+++++++++ 1 100%") is None


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_lines_do_not_depend_on_how_the_stream_is_cut(data: bytes, cuts: list[int]) -> None:
    """Any cutting of the stream gives the same lines, and nothing but line ends is lost."""
    lines = Lines()
    at = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    pieces = [data[a:b] for a, b in itertools.pairwise(at)]
    got = [line for piece in pieces for line in lines.feed(piece)] + lines.end()
    assert got == [line for line in data.replace(b"\r", b"\n").split(b"\n") if line]


@given(st.binary(max_size=100))
def test_any_line_is_parsed_without_an_error(line: bytes) -> None:
    """rsync's output never raises here, whatever a file is called."""
    Report().take(line)


def test_a_real_rsync_is_understood(tmp_path: Path) -> None:
    """Names with line feeds, backslashes and raw bytes, deletions and totals, from rsync itself."""
    source, target = tmp_path / "s", tmp_path / "t"
    (source / "sub").mkdir(parents=True)
    target.mkdir()
    names = [
        b"plain",
        b"line\nfeed",
        b"back\\slash",
        b"back\\#101",
        b"\xff\xfe",
        "ü".encode(),
        b"sub/[x] :y:",
    ]
    for name in names:
        Path(os.fsdecode(os.fsencode(source) + b"/" + name)).write_text("12345")
    (target / "gone").write_text("x")
    options = [*rsync.FIDELITY, *rsync.REPORTING, "--delete-delay"]
    done = subprocess.run(["rsync", *options, f"{source}/", f"{target}/"], capture_output=True, check=True,
                          env={**os.environ, "LC_ALL": "C.UTF-8"})  # fmt: skip
    report, lines = Report(), Lines()
    for line in [*lines.feed(done.stdout), *lines.end()]:
        report.take(line)
    plan = plan_of(report.items)
    assert {name for name in plan.created if name != "sub"} == {os.fsdecode(name) for name in names}
    assert plan.deleted == ("gone",)
    assert plan.size == 5 * len(names)
    assert report.totals.transferred == len(names)
    assert (report.totals.deleted, report.totals.created) == (1, len(names) + 1)


def test_which_rsync() -> None:
    """Versions before 3.2.4 are refused, before 3.5.0 warned of; capabilities are read."""
    able = "rsync  version 3.5.0  protocol version 32\nCapabilities:\n    symlinks, ACLs, xattrs, iconv\n"
    program = rsync.parse_version(able)
    assert program == rsync.Program((3, 5, 0), True, True)
    assert not program.refused
    assert not program.warning
    old = rsync.parse_version("rsync  version v3.2.3  protocol version 31\n    no ACLs, no xattrs\n")
    assert old == rsync.Program((3, 2, 3), False, False)
    assert "3.2.4" in old.refused
    middle = rsync.parse_version("rsync  version 3.2.7  protocol version 31")
    assert middle is not None
    assert not middle.refused
    assert "3.5.0" in middle.warning
    assert rsync.parse_version("bash: rsync: command not found") is None
