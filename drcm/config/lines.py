r"""cm.cfg as text: headings, `key = value` lines and CSV rows, each with its line number. Pure.

`#` starts a comment, also in mid-line; `\#` is a literal `#`. What a key means is schema.py's.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass, field

from drcm.config.faults import Faults

COMMENT = re.compile(r"(?<!\\)#.*")
HEADING = re.compile(r"\[([^\[\]]*)\]")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
SHOWN = 60  # characters of a faulty value that a message repeats


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a section: `key = value`, or a CSV row (then `key` is empty and `value` is the row)."""

    line: int
    key: str
    value: str


@dataclass(slots=True)
class Section:
    """A heading and what stands below it. Names are in upper case."""

    name: str
    line: int
    entries: list[Entry] = field(default_factory=list)


def shown(value: str) -> str:
    """`value` short enough for a message, and printable."""
    short = value if len(value) <= SHOWN else value[: SHOWN - 3] + "..."
    return CONTROL.sub("?", short)


def without_comment(line: str) -> str:
    r"""The line up to its comment, stripped, with `\#` made `#`."""
    return COMMENT.sub("", line).replace("\\#", "#").strip()


def read_sections(text: str, row_sections: Container[str], faults: Faults) -> list[Section]:
    """The sections of `text` in its order. `row_sections` hold CSV rows, all others keys."""
    sections: list[Section] = []
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = without_comment(raw.removesuffix("\r"))
        if not line:
            continue
        if odd := CONTROL.search(line):
            faults.error(number, f"a control character (U+{ord(odd[0]):04X}): expected text; delete it")
        elif line.startswith("["):
            _heading(line, number, sections, faults)
        elif not sections:
            faults.error(number, f"'{shown(line)}' stands before any [SECTION]; put [CM_SERVER] above it")
        elif sections[-1].name in row_sections:
            sections[-1].entries.append(Entry(number, "", line))
        else:
            _setting(line, number, sections[-1], faults)
    return sections


def _heading(line: str, number: int, sections: list[Section], faults: Faults) -> None:
    match = HEADING.fullmatch(line)
    name = "".join(match[1].split()).upper() if match else ""
    if not name:
        faults.error(number, f"'{shown(line)}': expected a heading alone on its line, as in [CM_NODE]")
    # What follows a broken heading must not count as part of the section above it.
    sections.append(Section(name, number))


def _setting(line: str, number: int, section: Section, faults: Faults) -> None:
    key, equals, value = line.partition("=")
    if equals and key.strip():
        section.entries.append(Entry(number, key.strip().lower(), value.strip()))
    else:
        faults.error(number, f"'{shown(line)}': expected 'key = value'; write it so, or put # before it")
