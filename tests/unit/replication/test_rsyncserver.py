"""Which receiving rsync the gate starts, and with what of its own."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drcm.replication.rsyncserver import Imposed, OptionsError, parse, plan_argv, receive_argv

REAL = (
    "rsync --server -blHogDtpAXrSe.iLsfxCIvu --log-format=%i --timeout=60 --backup-dir .drcm/trash/1-1-1 "
    "--delete-delay -@-1 --partial-dir .drcm-partial --delay-updates --numeric-ids --temp-dir .drcm/tmp "
    "--info=NAME0,STATS2 --mkpath . /testfs/"
)
IMPOSED = Imposed("/testfs/.drcm/trash/1-1-1", "/testfs/.drcm/trash/1-1-1.list", "/testfs/.drcm/tmp")


def test_the_real_sender_is_understood() -> None:
    """What rsync 3.5.0 sends for our command line, measured."""
    asked = parse(shlex.split(REAL))
    assert asked.path == "/testfs"
    assert asked.deletes
    assert not asked.dry_run
    assert asked.letters == "-lHogDtpAXrSe.iLsfxCIvu"


def test_the_gate_imposes_its_own_paths() -> None:
    """Backup, temporary folder and log are the gate's, and nothing of the sender's is left."""
    argv = receive_argv(
        parse(shlex.split(REAL.replace(".drcm/trash/1-1-1", "/etc").replace(".drcm/tmp", "/"))), IMPOSED
    )
    line = " ".join(argv)
    assert line.count("--backup-dir") == line.count("--temp-dir") == line.count("--log-file=") == 1
    assert {"--backup", "--backup-dir=/testfs/.drcm/trash/1-1-1", "--temp-dir=/testfs/.drcm/tmp"} <= set(argv)
    assert "/etc" not in line
    assert "--mkpath" not in line
    assert argv[-2:] == [".", "/testfs/"]


def test_a_plan_names_nothing_to_write_to() -> None:
    """A dry run is one, and knows no backup, log or temporary folder."""
    asked = parse(shlex.split(REAL.replace("-blHog", "-bnlHog")))
    assert asked.dry_run
    argv = plan_argv(asked)
    assert "n" in argv[2].partition("e.")[0]
    assert not [word for word in argv if "backup" in word or "temp" in word or "log-file" in word]


@pytest.mark.parametrize(
    "line",
    [
        REAL.replace("--server", "--server --sender"),
        REAL.replace("--server", "--daemon"),
        REAL.replace("rsync ", "/bin/sh ", 1),
        REAL.replace("rsync ", "./rsync ", 1),
        REAL.replace("--numeric-ids", "--log-file=/etc/passwd"),
        REAL.replace("--numeric-ids", "--log-file-format=%n"),
        REAL.replace("--numeric-ids", "--files-from=/etc/shadow"),
        REAL.replace("--numeric-ids", "--remove-source-files"),
        REAL.replace("--numeric-ids", "--delete"),
        REAL.replace("--numeric-ids", "--delete-excluded"),
        REAL.replace("--numeric-ids", "--inplace"),
        REAL.replace("--numeric-ids", "--link-dest=/"),
        REAL.replace("--numeric-ids", "--write-batch=/x"),
        REAL.replace("--numeric-ids", "--only-write-batch=/x"),
        REAL.replace("--numeric-ids", "--insecure-links"),
        REAL.replace("--numeric-ids", "--config=/x"),
        REAL.replace("--numeric-ids", "--timeout=60;id"),
        REAL.replace("--partial-dir .drcm-partial", "--partial-dir .drcm/partial"),
        REAL.replace("--partial-dir .drcm-partial", "--partial-dir /tmp"),
        REAL.replace("-blHogDtpAXrSe.iLsfxCIvu", "-blHogDtpAXrSLKe.iLsfxCIvu"),
        REAL.replace("-blHogDtpAXrSe.iLsfxCIvu", "-e.iLsfxCIvu/../"),
        REAL.replace(" . /testfs/", " . /testfs/../etc/"),
        REAL.replace(" . /testfs/", " . testfs/"),
        REAL.replace(" . /testfs/", " . /testfs/ /etc/"),
        REAL.replace(" . /testfs/", " /testfs/"),
        REAL + " --delete",
        "rsync",
        "",
        "rsync --server",
    ],
)
def test_everything_else_is_refused(line: str) -> None:
    """Sender mode, other programs, other paths, and every option that is not on the list."""
    with pytest.raises(OptionsError):
        parse(shlex.split(line))


WORDS = st.sampled_from([*shlex.split(REAL)[3:-2], "--log-file=/x", "--backup-dir=/x", "--timeout=\u0663"])


@given(st.lists(WORDS | st.text(max_size=20), max_size=12))
def test_any_words_are_refused_or_understood(words: list[str]) -> None:
    """No words raise anything but a refusal, and no word of a stranger gets through."""
    try:
        asked = parse(["rsync", "--server", "-lre.i", *words, ".", "/testfs"])
    except OptionsError:
        return
    argv = receive_argv(asked, IMPOSED)
    known = ("--timeout=", "--bwlimit=", "--max-delete=", "--info=", "--log-format=%i")
    exact = {"--delete-delay", "--delay-updates", "--numeric-ids", "--fsync", "-@-1", "--modify-window=-1",
             "--partial-dir", ".drcm-partial"}  # fmt: skip
    given = argv[3 : argv.index("--backup")]
    assert all(word in exact or word.startswith(known) for word in given)
