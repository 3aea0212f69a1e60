"""When somebody is told: one durable throttle a problem. Pure.

Time here is *counted* seconds: what this node's CLOCK_BOOTTIME went on by, added up over reboots. The time of
day is never read, so a clock stepped by a year neither floods nor mutes; what a machine was switched off
does not count, so a reminder may come late by that much, never early.

* The first occurrence is told at once, a reminder every throttle while it lasts, and once that it is over.
* A problem that comes and goes (OPENINGS_TOLD times within one throttle) is told once a throttle from then
  on; what was owed, "it is open again" or "it is over", comes at its end: the last word is always true.
* The ceiling bounds all messages of an hour. Held back by it are reminders, returns and what scripts send;
  never the first occurrence of one of drcm's own problems (945 mails in five days hid the one that mattered:
  sonichi/sutando#3434). What is held back is owed and comes when there is room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from drcm.alerts.alert import Alert, Key, Kind, is_lasting, kind_of

Seconds = float  # counted ones; not those of drcm.clock

HOUR: Seconds = 3600.0
CEILING = 30  # messages an hour of all keys together
OPENINGS_TOLD = 3  # within one throttle, before a problem counts as one that comes and goes
PROBLEMS_KEPT = 500


class Word(StrEnum):
    """What a message says of its problem."""

    OPEN = "open"
    REMINDER = "reminder"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Rules:
    """What an operator can set. `throttle` is in seconds; `mute`: nobody is configured to be told."""

    throttle: Seconds = 4 * HOUR
    mute: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """What is known of one key. Times are counted seconds, except `since` and `ended`, which people read."""

    key: Key
    subject: str
    body: str = ""
    open: bool = True
    told: bool = False  # the last message about it said that it is open
    first: Seconds = 0.0  # when this episode began
    ended_at: Seconds = 0.0
    last_sent: Seconds | None = None
    count: int = 1  # occurrences in this episode
    openings: tuple[Seconds, ...] = ()  # when it last began, told or not: OPENINGS_TOLD + 1 times at most
    since: str = ""
    ended: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """The whole durable ledger: counted time, problems, when messages of the last hour went out."""

    counted: Seconds = 0.0
    problems: Mapping[Key, Problem] = field(default_factory=dict)
    sent: tuple[Seconds, ...] = ()
    serial: int = 0  # of the next message


@dataclass(frozen=True, slots=True)
class Occurred:
    """The problem is there (again). `at`: the time of day for people."""

    alert: Alert
    at: str = ""


@dataclass(frozen=True, slots=True)
class Over:
    """The problem is gone. `body`: how, for people."""

    key: Key
    body: str = ""
    at: str = ""


Event = Occurred | Over | None  # None: nothing new, what is owed by now?


@dataclass(frozen=True, slots=True)
class Send:
    """One message to be sent. `lasted` is in counted seconds."""

    serial: int
    word: Word
    problem: Problem
    lasted: Seconds
    comes_and_goes: bool


def decide(state: State, event: Event, elapsed: Seconds, rules: Rules) -> tuple[State, list[Send]]:
    """What changes `elapsed` counted seconds after the last decision, and what is to be sent for it."""
    state = replace(state, counted=state.counted + max(0.0, elapsed))
    state = _note(state, event)
    sends: list[Send] = []
    if not rules.mute:
        for key in sorted(state.problems, key=lambda key: state.problems[key].first):
            state, sends = _tell(state, key, event, rules, sends)
    return _forget(state, rules), sends


def _note(state: State, event: Event) -> State:
    """The event in the ledger, before anything is said of it."""
    if isinstance(event, Occurred):
        return _with(state, _opened(state, event))
    if isinstance(event, Over) and (known := state.problems.get(event.key)) and known.open:
        body = event.body or known.body
        return _with(state, replace(known, open=False, ended=event.at, ended_at=state.counted, body=body))
    return state


def _opened(state: State, event: Occurred) -> Problem:
    alert, known = event.alert, state.problems.get(event.alert.key)
    if known is None:
        words = Problem(alert.key, alert.subject, alert.body, since=event.at)
        return replace(words, first=state.counted, openings=(state.counted,))
    words = replace(known, subject=alert.subject, body=alert.body)
    if known.open:
        return replace(words, count=known.count + 1)
    begun = (*known.openings, state.counted)[-OPENINGS_TOLD - 1 :]
    return replace(words, open=True, count=1, first=state.counted, openings=begun, since=event.at, ended="")


def _tell(state: State, key: Key, event: Event, rules: Rules, sends: list[Send]) -> tuple[State, list[Send]]:
    problem = state.problems[key]
    word = owed(problem, isinstance(event, Occurred) and event.alert.key == key, state.counted, rules)
    if word is None or not _has_room(state, problem, word):
        return state, sends
    openings = _recent(problem.openings, state.counted, rules.throttle)
    lasted = (state.counted if problem.open else problem.ended_at) - problem.first
    told = replace(problem, told=problem.open, last_sent=state.counted)
    send = Send(state.serial, word, problem, lasted, len(openings) >= OPENINGS_TOLD)
    sent = (*_recent(state.sent, state.counted, HOUR), state.counted)
    return replace(_with(state, told), sent=sent, serial=state.serial + 1), [*sends, send]


def owed(problem: Problem, occurs_now: bool, counted: Seconds, rules: Rules) -> Word | None:
    """What there is to say of `problem` at `counted`, the ceiling apart; None: nothing."""
    rested = problem.last_sent is None or counted - problem.last_sent >= rules.throttle
    openings = len(_recent(problem.openings, counted, rules.throttle))
    if problem.open and problem.told:
        due = rested and (occurs_now or is_lasting(problem.key))
        return Word.REMINDER if due else None
    if problem.open:
        return Word.OPEN if openings <= OPENINGS_TOLD or rested else None
    return Word.RESOLVED if problem.told and (openings < OPENINGS_TOLD or rested) else None


def next_word_in(problem: Problem, counted: Seconds, rules: Rules) -> Seconds:
    """Seconds until the throttle of `problem` ends; 0 where it was never told of."""
    if problem.last_sent is None:
        return 0.0
    return max(0.0, problem.last_sent + rules.throttle - counted)


def _has_room(state: State, problem: Problem, word: Word) -> bool:
    is_new = word is Word.OPEN and problem.last_sent is None and kind_of(problem.key) != Kind.CUSTOM
    return is_new or len(_recent(state.sent, state.counted, HOUR)) < CEILING


def _forget(state: State, rules: Rules) -> State:
    """Drop what nobody will ask for again: over and told, a throttle ago; and all above PROBLEMS_KEPT."""
    kept = [p for p in state.problems.values() if not _is_stale(p, state.counted, rules.throttle)]
    if len(kept) > PROBLEMS_KEPT:
        kept = sorted(kept, key=lambda p: (is_lasting(p.key) and p.open, p.first))[-PROBLEMS_KEPT:]
    return replace(state, problems={p.key: p for p in kept}, sent=_recent(state.sent, state.counted, HOUR))


def _is_stale(problem: Problem, counted: Seconds, throttle: Seconds) -> bool:
    if problem.last_sent is None:
        return not problem.open  # came and went while it could not be told
    rested = counted - problem.last_sent >= throttle
    return rested and (not problem.told if not problem.open else problem.told and not is_lasting(problem.key))


def _recent(times: Iterable[Seconds], counted: Seconds, window: Seconds) -> tuple[Seconds, ...]:
    return tuple(time for time in times if counted - time < window)


def _with(state: State, problem: Problem) -> State:
    return replace(state, problems={**state.problems, problem.key: problem})
