"""What a person sees: the one module that imports rich, and the one place where an error becomes text.

rich is imported inside the functions: it costs 70 ms, and most calls print three lines.
Standard output carries the answer, standard error progress and complaints. Piped, both are plain text:
no colour, no boxes, no wrapping.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TextIO

from drcm.clock import Seconds, now
from drcm.errors import EXIT_IO, DrcmError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

PIPED_WIDTH = 120  # columns that rich may count with where there is no terminal
ROWS_SHOWN = 50  # of a table, before "... and N more"
INDENT = 4  # of a row's second line
KEPT_WHOLE = 20  # characters: on a terminal a column of no more is never broken over several lines
PLAIN_PROGRESS_SECONDS = 5.0  # between two lines where there is no terminal
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells say it
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE

# Words that say a state. The word is always there: colour alone says nothing.
STYLES = {
    **dict.fromkeys(("UP", "OK", "RUNNING", "HEALTHY", "writer", "running", "OK-Normal"), "green"),
    **dict.fromkeys(("WARN", "WARNING", "UNKNOWN", "WAITING", "OK-Backup", "waiting"), "yellow"),
    **dict.fromkeys(("DOWN", "CRIT", "ERROR", "FAILED", "DIVERGED", "diverged", "deleted"), "bold red"),
}


# -- streams ---------------------------------------------------------------------------------------


def is_terminal(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a person looks at `stream` on something that knows more than plain lines."""
    return stream.isatty() and environ.get("TERM", "") != "dumb"


def wants_color(terminal: bool, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether to use colour: NO_COLOR says no, FORCE_COLOR and CLICOLOR_FORCE say yes, else the terminal."""
    if environ.get("NO_COLOR"):
        return False
    forced = any(environ.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE"))
    return forced or terminal


def is_utf8(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether line-drawing characters arrive: the stream and the locale must both be UTF-8."""
    named = (environ.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    locale = next((value for value in named if value), "")
    encoding = (getattr(stream, "encoding", "") or "").lower().replace("-", "")
    return encoding == "utf8" and "utf8" in locale.lower().replace("-", "")


def console(
    stderr: bool = False, *, stream: TextIO | None = None, environ: Mapping[str, str] = os.environ
) -> Console:
    """A rich console on standard output (or standard error, or `stream`) that prints text as it is.

    Names must still go through `clean`: rich passes ESC on.
    """
    from rich.console import Console

    target = stream or (sys.stderr if stderr else sys.stdout)
    utf8 = is_utf8(target, environ)

    class PlainConsole(Console):
        @property
        def encoding(self) -> str:
            return "utf-8" if utf8 else "ascii"  # rich draws boxes and bars by this

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # for run_command; rich would exit with 1 from here

    _never_fail_on_a_character(target)
    terminal = is_terminal(target, environ)
    return PlainConsole(
        file=target,
        markup=False,
        emoji=False,
        highlight=False,
        force_terminal=terminal,
        color_system=_color_system(terminal, environ),
        width=None if terminal else _columns(environ),
        soft_wrap=not terminal,
        _environ=environ,
    )


def _color_system(terminal: bool, environ: Mapping[str, str]) -> Literal["auto", "standard"] | None:
    if not wants_color(terminal, environ):
        return None
    return "auto" if terminal else "standard"


def _columns(environ: Mapping[str, str]) -> int:
    given = environ.get("COLUMNS", "")
    return int(given) if given.isascii() and given.isdigit() and int(given) > 0 else PIPED_WIDTH


def _never_fail_on_a_character(stream: TextIO) -> None:
    """A file name that the locale can't show is written as an escape; by default it is a traceback."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


# -- text ------------------------------------------------------------------------------------------


def clean(name: str) -> str:
    r"""`name` with all that a terminal would act on made visible: ESC as `\x1b`, a raw byte as `\xff`.

    Takes names as `os.fsdecode` gives them. Returns one printable line.
    """
    if name.isprintable():
        return name
    return "".join(char if char.isprintable() else _visible(char) for char in name)


def _visible(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def size(count: float) -> str:
    """`count` bytes for people: "812 B", "3.4 MB" (powers of 1000, as rsync's own)."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.95 or unit == "TB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def duration(seconds: Seconds) -> str:
    """`seconds` as a clock shows them: "0:07", "12:30", "3:05:09"."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


# -- tables ----------------------------------------------------------------------------------------


def table(
    screen: Console,
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    limit: int = ROWS_SHOWN,
) -> None:
    """Print `rows` under `columns`, at most `limit` of them, then "... and N more".

    A box on a terminal that is wide enough, one row on several lines where it is not; elsewhere aligned
    columns, two blanks apart, nothing cut. Cells are cleaned here.
    """
    source = iter(rows)
    shown = [tuple(clean(cell) for cell in row) for row in islice(source, limit)]
    more = sum(1 for _ in source)
    widths = [max(map(len, cells)) for cells in zip(columns, *shown, strict=True)]
    if not screen.is_terminal:
        _aligned(screen, title, [tuple(columns), *shown], [widths])
    elif sum(min(width, KEPT_WHOLE) + 3 for width in widths) <= screen.width:
        _boxed(screen, title, columns, shown)
    else:
        _aligned(screen, title, [tuple(columns), *shown], _bands(widths, screen.width))
    if more:
        screen.print(f"... and {more} more")


def _boxed(screen: Console, title: str, columns: Sequence[str], rows: list[tuple[str, ...]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    drawn = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for at, column in enumerate(columns):
        short = all(len(row[at]) <= KEPT_WHOLE for row in rows)
        drawn.add_column(column, overflow="fold", no_wrap=short)
    for row in rows:
        drawn.add_row(*map(_styled, row))
    screen.print(drawn)


def _bands(widths: Sequence[int], most: int) -> list[list[int]]:
    """The columns in groups that fit side by side into `most` characters, all but the first indented."""
    bands: list[list[int]] = [[]]
    for width in widths:
        indented = INDENT if len(bands) > 1 else 0
        if bands[-1] and indented + sum(bands[-1]) + 2 * len(bands[-1]) + width > most:
            bands.append([])
        bands[-1].append(width)
    return bands


def _aligned(
    screen: Console, title: str, lines: Iterable[tuple[str, ...]], bands: Sequence[Sequence[int]]
) -> None:
    """Each line of cells in as many lines of text as there are bands of column widths."""
    if title:
        screen.print(title)
    for line in lines:
        cells = iter(line)
        for number, widths in enumerate(bands):
            padded = [f"{cell:{width}}" for width, cell in zip(widths, cells, strict=False)]
            _print_cells(screen, padded, INDENT if number else 0)


def _print_cells(screen: Console, cells: Iterable[str], indent: int) -> None:
    from rich.text import Text

    text = Text(" " * indent) + Text("  ").join(map(_styled, cells))
    text.rstrip()
    screen.print(text)


def _styled(cell: str) -> Text:
    """`cell` in the colour of the state that it begins with."""
    from rich.text import Text

    words = cell.split(maxsplit=1)
    return Text(cell, style=STYLES.get(words[0], "") if words else "")


# -- progress --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """How far a transfer is. `rate` is in bytes a second, `eta` in seconds; None where unknown."""

    files: int
    bytes: int
    percent: float
    rate: float | None = None
    eta: Seconds | None = None

    def __str__(self) -> str:
        parts = [f"{self.percent:.0f} %", f"{self.files} files", size(self.bytes)]
        if self.rate is not None:
            parts.append(f"{size(self.rate)}/s")
        if self.eta is not None:
            parts.append(f"{duration(self.eta)} left")
        return ", ".join(parts)


class Progress:
    """A bar on a terminal; elsewhere a line every few seconds. Use as `with progress("testfs") as bar:`."""

    def __init__(
        self, title: str, screen: Console, clock: Callable[[], Seconds] = now, every: Seconds = 5.0
    ) -> None:
        self._title = clean(title)
        self._screen = screen
        self._clock = clock
        self._every = every
        self._last = clock()
        self._show: Callable[[Step], None] = self._line
        self._stop: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        if self._screen.is_terminal:
            self._start_bar()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def update(self, step: Step) -> None:
        """Show `step`; may be called as often as rsync speaks."""
        self._show(step)

    def _line(self, step: Step) -> None:
        moment = self._clock()
        if moment - self._last >= self._every:
            self._last = moment
            self._screen.print(f"{self._title}: {step}")

    def _start_bar(self) -> None:
        from rich import progress as bars

        columns = (bars.TextColumn("{task.description}", markup=False), bars.BarColumn())
        step = bars.TextColumn("{task.fields[step]}", markup=False)
        drawn = bars.Progress(*columns, step, console=self._screen, transient=True)
        task = drawn.add_task(self._title, total=100.0, step="")
        self._show = lambda now_at: drawn.update(task, completed=now_at.percent, step=str(now_at))
        self._stop = drawn.stop
        drawn.start()


def progress(title: str, screen: Console | None = None, every: Seconds = PLAIN_PROGRESS_SECONDS) -> Progress:
    """Progress of one transfer, on standard error unless `screen` is given."""
    return Progress(title, screen or console(stderr=True), every=every)


# -- errors and exit codes -------------------------------------------------------------------------


def report_error(error: DrcmError, stream: TextIO | None = None) -> int:
    """Print `PROGRAM: what`, the cure indented below it; return the exit code."""
    target = stream or sys.stderr
    _never_fail_on_a_character(target)
    first, *others = error.what.split("\n")
    cure = error.cure.split("\n") if error.cure else []
    lines = [f"{Path(sys.argv[0]).name}: {first}", *others, *(f"  {line}" for line in cure)]
    for line in lines:
        print(clean(line), file=target)
    return error.exit_code


def run_command(main: Callable[[], int]) -> int:
    """Run a command's `main` and return its exit code; a fault that a person can cure is no traceback.

    DrcmError -> its text and code, ^C -> 130, a reader that went away (`| head`) -> 141 in silence,
    an OSError that nobody caught -> one line and 74.
    """
    try:
        code = main()
        sys.stdout.flush()
        return code
    except DrcmError as error:
        return report_error(error)
    except KeyboardInterrupt:
        print(f"{Path(sys.argv[0]).name}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return EXIT_BROKEN_PIPE
    except OSError as error:  # nobody expected it; with a full disk behind ">" it is the answer itself
        _discard_output()
        return report_error(DrcmError(str(error), "", EXIT_IO))


def _discard_output() -> None:
    """Let Python's own flush at exit go nowhere: it would complain a second time."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
