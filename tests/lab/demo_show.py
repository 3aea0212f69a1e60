"""What the demo prints: acts, timed sentences, what commands said, a table. Plain where piped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from drcm.clock import now
from drcm.console import clean, console, table

Rows = Sequence[tuple[str, str]]


class Show:
    """Standard output. Times are seconds since the demo began."""

    def __init__(self) -> None:
        self._screen = console()
        self._began = now()
        self._acts = 0

    def title(self, text: str) -> None:
        self._print(text, "bold")

    def act(self, text: str) -> None:
        """The next part of the story."""
        self._acts += 1
        self._print("")
        self._print(f"{self._acts}. {text}", "bold cyan")

    def say(self, text: str, style: str = "") -> None:
        """What happens now."""
        self._print(f"{now() - self._began:6.1f} s  {text}", style)

    def checked(self, text: str) -> None:
        """What was compared and found right."""
        self.say(f"checked: {text}", "green")

    def output(self, prompt: str, lines: Sequence[str]) -> None:
        """What a command printed, as it looks at a prompt."""
        self._print(f"          {prompt}", "bold")
        for line in lines:
            self._print(f"          {line}" if line else "", cut=True)

    @contextlib.contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Say what is waited for: a spinner on a terminal, nothing elsewhere."""
        if not self._screen.is_terminal:
            yield
            return
        with self._screen.status(text):
            yield

    def table(self, title: str, columns: Sequence[str], rows: Rows) -> None:
        self._print("")
        table(self._screen, title, columns, rows)

    def plain(self, text: str, style: str = "") -> None:
        self._print(text, style)

    def _print(self, text: str, style: str = "", cut: bool = False) -> None:
        """`cut`: a line too long for the terminal is cut there, as a table's would look torn if wrapped."""
        if cut and self._screen.is_terminal:
            self._screen.print(clean(text), style=style or None, no_wrap=True, overflow="ellipsis")
        else:
            self._screen.print(clean(text), style=style or None, soft_wrap=True)  # the terminal wraps it
        self._screen.file.flush()
