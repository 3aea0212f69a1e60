"""Text to sections: comments, headings, rows, and what is told of lines that are none of these."""

from __future__ import annotations

import pytest

from drcm.config.faults import MOST_FAULTS, Faults, TooManyFaultsError
from drcm.config.lines import Section, read_sections, without_comment

ROWS = {"CM_SERVICES"}


def read(text: str) -> tuple[list[Section], list[str]]:
    faults = Faults("F")
    sections = read_sections(text, ROWS, faults)
    return sections, [str(fault) for fault in faults.found]


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("udpport = 1 # the port", "udpport = 1"),
        ("# all of it", ""),
        (r"exclude = \#*\#  # emacs", "exclude = #*#"),
        ("hostname = # uname -n", "hostname ="),
        (r"a = \\# b", r"a = \# b"),
        ("   ", ""),
        ("a = b#c", "a = b"),
    ],
)
def test_comments(line: str, left: str) -> None:
    r"""# begins a comment also in mid-line; \# is a literal #."""
    assert without_comment(line) == left


def test_sections_with_line_numbers() -> None:
    """Headings may hold blanks, repeat, and be in any case; every entry knows its line."""
    text = "\ufeff# head\r\n[ CM_SERVER ]\r\nUdpPort = 5;\r\n\r\n"
    text += "[cm_services]\na, b=c, d # x\n[CM_SERVER]\nx=y=z\n"
    sections, faults = read(text)
    assert faults == []
    assert [(s.name, s.line) for s in sections] == [("CM_SERVER", 2), ("CM_SERVICES", 5), ("CM_SERVER", 7)]
    first, rows, last = ([(e.line, e.key, e.value) for e in s.entries] for s in sections)
    assert first == [(3, "udpport", "5;")]
    assert rows == [(6, "", "a, b=c, d")]
    assert last == [(8, "x", "y=z")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("udpport = 1\n", "F:1: ERROR - 'udpport = 1' stands before any [SECTION]"),
        ("[CM_NODE]\nnodename\n", "F:2: ERROR - 'nodename': expected 'key = value'"),
        ("[CM_NODE]\n= 5\n", "F:2: ERROR - '= 5': expected 'key = value'"),
        ("[CM_NODE\n", "F:1: ERROR - '[CM_NODE': expected a heading alone on its line"),
        ("[CM_NODE] x = 1\n", "F:1: ERROR - '[CM_NODE] x = 1': expected a heading alone"),
        ("[]\n", "F:1: ERROR - '[]': expected a heading"),
        ("[CM_NODE]\na = \x1b[2J\n", "F:2: ERROR - a control character (U+001B)"),
        ("[CM_NODE]\na\rb = c\n", "F:2: ERROR - a control character (U+000D)"),
        ("[CM_NODE]\n" + "x" * 500 + "\n", "F:2: ERROR - '" + "x" * 57 + "...': expected 'key = value'"),
    ],
)
def test_a_line_that_is_nothing(text: str, told: str) -> None:
    """A line that is no heading, setting or row is told at its place, shortened and printable."""
    _, faults = read(text)
    assert len(faults) == 1
    assert faults[0].startswith(told)


def test_keys_below_a_broken_heading_do_not_slip_into_the_section_above() -> None:
    """A mistyped heading must not make one node of two."""
    sections, _ = read("[CM_NODE]\nnodename = a\n[CM_NODE\nnodename = b\n")
    assert [len(section.entries) for section in sections] == [1, 1]


def test_faults_are_bounded() -> None:
    """A file of nothing but faults is given up after so many."""
    with pytest.raises(TooManyFaultsError):
        read("[A]\n" + "x\n" * (MOST_FAULTS + 1))
