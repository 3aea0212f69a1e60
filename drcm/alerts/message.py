"""The words of one message: subject and body for a mail, and the short form for a telephone. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from drcm.alerts.alert import ACTION, RESOLVED, is_lasting
from drcm.alerts.policy import Rules, Send, Word

SMS_LENGTH = 140  # characters: a gateway adds sender and subject, and 160 is one SMS


@dataclass(frozen=True, slots=True)
class Origin:
    """Who says it."""

    cluster: str
    node: str


@dataclass(frozen=True, slots=True)
class Text:
    """A message in words. `subject` and `short` are one line each."""

    subject: str
    body: str
    short: str


def text_of(send: Send, rules: Rules, origin: Origin) -> Text:
    """The words of `send`."""
    problem = send.problem
    title = f"{problem.subject}{_after_subject(send)}"
    parts = (
        problem.body.rstrip(),
        _story(send, rules),
        f"{origin.cluster}, node {origin.node}, {problem.key}",
    )
    return Text(
        subject=f"{RESOLVED if send.word is Word.RESOLVED else ACTION} {title}",
        body="\n\n".join(part for part in parts if part) + "\n",
        short=_short(send, title, origin),
    )


def _after_subject(send: Send) -> str:
    if send.word is Word.RESOLVED:
        return f" (lasted {span(send.lasted)})"
    if send.word is Word.REMINDER:
        return f" (still, for {span(send.lasted)})" if is_lasting(send.problem.key) else " (again)"
    return ""


def _story(send: Send, rules: Rules) -> str:
    """Since when, how often, and when the next message may come."""
    problem, lines = send.problem, []
    times = f", {problem.count} times" if problem.count > 1 else ""
    if problem.since:
        lines.append(f"Since {problem.since}{times}.")
    if send.word is Word.RESOLVED:
        lines.append(f"Over{f' at {problem.ended}' if problem.ended else ''}, after {span(send.lasted)}.")
    elif is_lasting(problem.key):
        lines.append(f"While it lasts you are reminded every {span(rules.throttle)}.")
    else:
        lines.append(f"The same subject is not sent again within {span(rules.throttle)}.")
    if send.comes_and_goes:
        lines.append(f"It comes and goes: from now on one message every {span(rules.throttle)} at most.")
    return "\n".join(lines)


def _short(send: Send, title: str, origin: Origin) -> str:
    """ASCII on one line: gateways turn anything else into question marks or a second SMS."""
    word = "OK" if send.word is Word.RESOLVED else "ALERT"
    line = f"{word} {origin.cluster}/{origin.node}: {title}"
    return line.encode("ascii", "replace").decode("ascii")[:SMS_LENGTH]


def span(seconds: float) -> str:
    """`seconds` for people, in the largest unit that leaves a number: "45 s", "12 min", "4 h", "3 days"."""
    for size, unit, enough in ((86400, "days", 2), (3600, "h", 1), (60, "min", 1)):
        if seconds >= size * enough:
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.0f} s"
