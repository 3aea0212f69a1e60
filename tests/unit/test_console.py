"""drcm/console.py: names can't break a terminal, pipes get plain text, errors become exit codes."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import TextIO

import pytest

from drcm import console
from drcm.errors import EXIT_CONFIG, EXIT_DIVERGED, EXIT_IO, ConfigError, DivergedError, DrcmError

UTF8 = {"LANG": "C.UTF-8", "TERM": "xterm"}
HOSTILE = "[bold]a[/x]:warning:\x1b[31m\nb\udcff\u202ec"
HOSTILE_SHOWN = r"[bold]a[/x]:warning:\x1b[31m\nb\xff\u202ec"


class Terminal(io.StringIO):
    """A stream that says it is a terminal, in an encoding of its own."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]  # StringIO's is None
        return self._encoding

    def isatty(self) -> bool:
        return True


@pytest.fixture
def tty() -> Iterator[TextIO]:
    """A real pseudo-terminal, open for writing."""
    leader, follower = pty.openpty()
    with closing(os.fdopen(leader, "rb", buffering=0)), os.fdopen(follower, "w", encoding="utf-8") as stream:
        yield stream


def shown(stream: TextIO, environ: dict[str, str], *rows: tuple[str, ...]) -> str:
    """A two-column table of `rows` as it arrives at `stream`."""
    console.table(console.console(stream=stream, environ=environ), "Sets", ("name", "state"), rows)
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_a_hostile_name_is_shown_as_it_is(stream: io.StringIO) -> None:
    """Markup, emoji codes, ESC, newlines, raw bytes and bidi marks in a name are text, visibly."""
    out = shown(stream, {**UTF8, "NO_COLOR": "1"}, (HOSTILE, "x"))
    assert HOSTILE_SHOWN in out
    assert "\x1b" not in out


@pytest.mark.parametrize("name", ["plain", "día ö 日本", "a\\b", ""])
def test_an_ordinary_name_is_left_alone(name: str) -> None:
    """Printable text of any language stays as it is."""
    assert console.clean(name) == name


def test_piped_tables_are_plain_lines() -> None:
    """Off a terminal a table has no boxes, no colour, and never cuts or wraps a long name."""
    long = "/a" * 200
    lines = shown(io.StringIO(), UTF8, (long, "UP"), ("b", "DOWN")).splitlines()
    assert lines == ["Sets", f"{'name':400}  state", f"{long}  UP", f"{'b':400}  DOWN"]


def on_a_terminal(width: int, columns: tuple[str, ...], row: tuple[str, ...]) -> list[str]:
    """A table of one row as a terminal of `width` characters shows it, without empty lines."""
    stream = Terminal()
    screen = console.console(stream=stream, environ={**UTF8, "NO_COLOR": "1", "COLUMNS": str(width)})
    screen.width = width
    console.table(screen, "", columns, (row,))
    return [line.rstrip() for line in stream.getvalue().splitlines() if line.strip()]


def test_on_a_wide_terminal_only_a_long_column_is_broken() -> None:
    """A date, a name, a number stay on one line; a sentence takes as many as it needs."""
    told = on_a_terminal(50, ("when", "why"), ("2026-11-26 20:10:11", "word " * 20))
    assert [line for line in told if "2026-11-26 20:10:11   word word" in line]
    assert len(told) > 4
    assert max(map(len, told)) <= 50


def test_on_a_narrow_terminal_a_row_takes_several_lines() -> None:
    """Where not even the short columns fit side by side, the rest stands below, indented, in columns too."""
    columns = ("when", "from", "created", "outcome", "kept")
    row = ("2026-11-26 20:10:11", "cmnode1", "3", "good", "5 files")
    told = on_a_terminal(46, columns, row)
    assert told == [
        "when                 from     created  outcome",
        "    kept",
        "2026-11-26 20:10:11  cmnode1  3        good",
        "    5 files",
    ]


def test_a_long_table_says_how_much_it_left_out() -> None:
    """Rows past the limit are counted, not printed."""
    stream = io.StringIO()
    screen = console.console(stream=stream, environ=UTF8)
    console.table(screen, "", ("n",), ((str(n),) for n in range(1000)), limit=3)
    assert stream.getvalue().splitlines() == ["n", "0", "1", "2", "... and 997 more"]


@pytest.mark.parametrize(
    ("environ", "terminal", "colored"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"CLICOLOR_FORCE": "1"}, False, True),
        ({"CLICOLOR_FORCE": "0"}, False, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colour_follows_the_usual_variables(environ: dict[str, str], terminal: bool, colored: bool) -> None:
    """NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE and TERM=dumb mean what they mean elsewhere."""
    stream = Terminal() if terminal else io.StringIO()
    assert ("\x1b[" in shown(stream, {**UTF8, **environ}, ("a", "UP"))) is colored


@pytest.mark.parametrize(
    ("environ", "encoding", "ascii_only"),
    [
        ({"LANG": "C.UTF-8"}, "utf-8", False),
        ({"LANG": "C.UTF-8", "LC_ALL": "C"}, "utf-8", True),
        ({"LANG": "C.UTF-8"}, "iso8859-1", True),
        ({}, "utf-8", True),
    ],
)
def test_boxes_are_ascii_where_the_locale_is(
    environ: dict[str, str], encoding: str, ascii_only: bool
) -> None:
    """Line-drawing characters are used only where both the stream and the locale are UTF-8."""
    out = shown(Terminal(encoding), {"TERM": "xterm", "NO_COLOR": "1", **environ}, ("a", "UP"))
    assert out.isascii() is ascii_only


def test_the_width_off_a_terminal_is_fixed() -> None:
    """A pipe counts with 120 columns, or with COLUMNS where it is a number."""
    widths = [
        console.console(stream=io.StringIO(), environ={**UTF8, "COLUMNS": columns}).width
        for columns in ("", "77", "wide", "0")
    ]
    assert widths == [120, 77, 120, 120]


def test_a_name_that_the_encoding_lacks_is_escaped() -> None:
    """A stream that can't show a character gets an escape; it is no traceback."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    console.console(stream=stream, environ=UTF8).print("día")
    stream.flush()
    assert raw.getvalue() == b"d\\xeda\n"


def test_a_terminal_gets_a_bar(tty: TextIO) -> None:
    """On a terminal progress is drawn in place, and the transfer's numbers are in it."""
    screen = console.console(stream=tty, environ=UTF8)
    with screen.capture() as drawn, console.progress("[testfs]", screen) as bar:
        bar.update(console.Step(files=12, bytes=3_400_000, percent=50, rate=1.2e6, eta=61))
    assert "[testfs]" in drawn.get()
    assert "50 %, 12 files, 3.4 MB, 1.2 MB/s, 1:01 left" in drawn.get()


def test_a_pipe_gets_a_line_now_and_then() -> None:
    """Off a terminal there is one plain line at most every few seconds."""
    moments = iter([0.0, 1.0, 4.9, 5.0, 6.0, 10.5])
    stream = io.StringIO()
    screen = console.console(stream=stream, environ=UTF8)
    with console.Progress("testfs", screen, clock=lambda: next(moments)) as bar:
        for percent in (1, 2, 3, 4, 5):
            bar.update(console.Step(files=percent, bytes=812, percent=percent))
    assert stream.getvalue().splitlines() == [
        "testfs: 3 %, 3 files, 812 B",
        "testfs: 5 %, 5 files, 812 B",
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (5e15, "5000.0 TB")],
)
def test_sizes_are_for_people(count: float, text: str) -> None:
    """A size has one unit and one decimal."""
    assert console.size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(7.9, "0:07"), (750, "12:30"), (11109, "3:05:09")])
def test_durations_are_for_people(seconds: float, text: str) -> None:
    """A duration reads as a clock."""
    assert console.duration(seconds) == text


def test_an_error_names_program_fault_and_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error is `PROGRAM: what`, its cure indented, every line clean; the code is the error's."""
    monkeypatch.setattr(sys, "argv", ["/usr/bin/drcm-sync", "testfs"])
    stream = io.StringIO()
    code = console.report_error(
        DivergedError("testfs: DIVERGED\x1b[2J", "see both trees\nthen choose"), stream
    )
    assert code == EXIT_DIVERGED
    assert stream.getvalue() == ("drcm-sync: testfs: DIVERGED\\x1b[2J\n  see both trees\n  then choose\n")


def test_every_fault_of_a_file_stays_a_line_of_its_own() -> None:
    """Several faults keep their FILE:LINE: form, so that grep and editors find them."""
    stream = io.StringIO()
    code = console.report_error(ConfigError("2 faults\ncm.cfg:3: ERROR - a\ncm.cfg:9: ERROR - b"), stream)
    assert code == EXIT_CONFIG
    assert stream.getvalue().splitlines()[1:] == ["cm.cfg:3: ERROR - a", "cm.cfg:9: ERROR - b"]


def test_a_command_turns_an_error_into_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    """A DrcmError ends a command with its exit code and no traceback."""

    def main() -> int:
        raise DrcmError("no such set")

    assert console.run_command(main) == 1
    assert capsys.readouterr().err.endswith(": no such set\n")


def test_interrupt_ends_with_130() -> None:
    """^C is no traceback; the exit code is that of a shell."""

    def main() -> int:
        raise KeyboardInterrupt

    assert console.run_command(main) == 130


def command(body: str) -> list[str]:
    """A Python program whose `main` is `body`, run by run_command."""
    text = f"import sys\nfrom drcm.console import console, run_command\ndef main():\n{body}\n    return 0\n"
    return [sys.executable, "-c", text + "sys.exit(run_command(main))"]


@pytest.mark.parametrize(
    "body", ["    for n in range(10**6): print(n)", "    for n in range(10**6): console().print(str(n))"]
)
def test_a_reader_that_leaves_is_no_error(body: str) -> None:
    """`drcm-report | head -1` ends in silence, printed by print or by rich."""
    child = subprocess.Popen(command(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"0\n"
    child.stdout.close()
    assert child.stderr is not None
    with child.stderr:
        assert child.stderr.read() == b""
    assert child.wait(timeout=30) == console.EXIT_BROKEN_PIPE


def test_a_full_disk_behind_the_output_is_said() -> None:
    """An answer that could not be written is an error with its own exit code."""
    with open("/dev/full", "wb") as full:
        child = subprocess.run(command("    print('x')"), stdout=full, stderr=subprocess.PIPE, check=False)
    assert child.returncode == EXIT_IO
    assert b"No space left on device\n" in child.stderr
    assert child.stderr.count(b"\n") == 1


def test_importing_console_does_not_import_rich() -> None:
    """A command that prints nothing rich does not pay for it."""
    code = "import sys, drcm.console; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
