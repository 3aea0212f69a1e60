"""What an alert says, and that it can't say anything to a mail server but itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drcm.alerts.alert import BODY_LENGTH, Kind, Severity, alert, custom, one_line, plain_text
from drcm.alerts.message import SMS_LENGTH, Origin, span, text_of
from drcm.alerts.policy import Problem, Rules, Send, Word
from drcm.errors import DrcmError

ORIGIN = Origin("NFS-CLUSTER1", "cmnode1")


def send(word: Word, key: str = "node-dead:cmnode2", **fields: object) -> Send:
    problem = Problem(key, "Node cmnode2 is DOWN", "Not heard for 2.0 s.", since="2026-11-22 19:50:29 UTC")
    return Send(0, word, problem, float(str(fields.get("lasted", 0))), bool(fields.get("flaps")))


def test_a_subject_looks_like_those_of_1_41() -> None:
    """Mail filters for [!ACTION!] go on working."""
    text = text_of(send(Word.OPEN), Rules(), ORIGIN)
    assert text.subject == "[!ACTION!] Node cmnode2 is DOWN"
    assert "Not heard for 2.0 s." in text.body
    assert "NFS-CLUSTER1, node cmnode1, node-dead:cmnode2" in text.body
    assert "reminded every 4 h" in text.body


def test_the_end_is_told_by_its_own_prefix_and_duration() -> None:
    """A resolved problem is seen in the subject, with how long it was."""
    text = text_of(send(Word.RESOLVED, lasted=5400), Rules(), ORIGIN)
    assert text.subject == "[RESOLVED] Node cmnode2 is DOWN (lasted 1.5 h)"
    assert text.short == "OK NFS-CLUSTER1/cmnode1: Node cmnode2 is DOWN (lasted 1.5 h)"


def test_a_reminder_and_a_flapping_problem_say_so() -> None:
    """An operator knows why there is a second mail, and why there will be no third."""
    text = text_of(send(Word.REMINDER, lasted=14400, flaps=True), Rules(), ORIGIN)
    assert text.subject.endswith("(still, for 4 h)")
    assert "It comes and goes" in text.body


def test_a_prefix_that_a_script_brings_is_not_doubled() -> None:
    """The guide's own example passes "[!ACTION!] ..." as its subject."""
    assert custom("[!ACTION!] Cluster Alert Test Message").subject == "Cluster Alert Test Message"


@pytest.mark.parametrize("key", ["", "node-dead", "node-dead:", "No Kind:x", "node-dead:a\nb", ":x"])
def test_a_key_is_kind_and_object(key: str) -> None:
    """Anything else is refused with what was expected."""
    with pytest.raises(DrcmError, match="KIND:OBJECT"):
        alert(key, "subject")


def test_a_kind_of_another_version_is_told_as_a_warning() -> None:
    """Better an odd alert than none."""
    assert alert("brand-new:x", "s").severity is Severity.WARNING


def test_every_kind_has_a_severity() -> None:
    """No kind of problem lacks one."""
    assert {alert(f"{kind}:x", "s").severity for kind in Kind} <= set(Severity)


@given(st.text(st.characters(exclude_categories=[]), max_size=300))
def test_a_subject_is_one_line_that_a_header_can_carry(text: str) -> None:
    """Newlines, control characters and lone surrogates never reach a header."""
    line = one_line(text)
    assert not set(line) & {chr(c) for c in (*range(32), *range(127, 160), 0x2028, 0x2029)}
    assert len(line.splitlines()) <= 1
    line.encode("utf-8")


@given(st.text(st.characters(exclude_categories=[]), max_size=300))
def test_a_body_holds_text_only(text: str) -> None:
    """A terminal escape in a log that is mailed does nothing to the reader's terminal."""
    body = plain_text(text)
    assert not set(body) & ({chr(c) for c in range(32)} - {"\n", "\t"})
    body.encode("utf-8")


def test_a_long_body_is_cut_and_says_so() -> None:
    """A piped log of a gigabyte is a mail of 20 kB."""
    assert plain_text("x" * (BODY_LENGTH + 5)).endswith("[cut here]")


@given(st.text(max_size=500))
def test_a_short_message_fits_one_sms(subject: str) -> None:
    """ASCII, one line, at most 140 characters."""
    problem = Problem("custom:x", one_line(subject))
    short = text_of(Send(0, Word.OPEN, problem, 0.0, False), Rules(), ORIGIN).short
    assert short.isascii()
    assert len(short) <= SMS_LENGTH
    assert "\n" not in short


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (5400, "1.5 h"), (90000, "25 h"), (259200, "3 days")],
)
def test_a_span_reads_as_people_say_it(seconds: float, words: str) -> None:
    """The largest unit that leaves a number."""
    assert span(seconds) == words
