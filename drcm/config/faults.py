"""What is wrong with a config file: every fault has its file, line, severity, and the cure in its text."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

MOST_FAULTS = 200  # more than a person reads; a file with so many is not a cm.cfg


class Severity(StrEnum):
    """ERROR: the file can't be used. WARNING: it can, but look. INFO: good to know."""

    ERROR = "ERROR"
    WARNING = "WARNING"
    INFO = "INFO"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to tell: `line` counts from 1."""

    file: str
    line: int
    severity: Severity
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.severity} - {self.text}"


class TooManyFaultsError(Exception):
    """The collector is full: whoever reads the file stops."""


@dataclass(slots=True)
class Faults:
    """Collects the faults of one file."""

    file: str
    found: list[Fault] = field(default_factory=list)

    def error(self, line: int, text: str) -> None:
        self._add(line, Severity.ERROR, text)

    def warning(self, line: int, text: str) -> None:
        self._add(line, Severity.WARNING, text)

    def info(self, line: int, text: str) -> None:
        self._add(line, Severity.INFO, text)

    def _add(self, line: int, severity: Severity, text: str) -> None:
        if len(self.found) >= MOST_FAULTS:
            text = f"more than {MOST_FAULTS} faults: the rest is not read. Is this a cm.cfg?"
            self.found.append(Fault(self.file, max(line, 1), Severity.ERROR, text))
            raise TooManyFaultsError
        self.found.append(Fault(self.file, max(line, 1), severity, text))

    def in_order(self) -> tuple[Fault, ...]:
        """By line; faults of one line in the order in which they were found."""
        return tuple(sorted(self.found, key=lambda fault: fault.line))


def has_errors(faults: tuple[Fault, ...]) -> bool:
    return any(fault.severity is Severity.ERROR for fault in faults)
