"""From an event to a mail: decide under the lock, spool, write the ledger, then send.

At least once. The message is spooled durably before the ledger says that it was told, and leaves the spool
after the server took it: a crash at any point costs at most a second copy with the same Message-ID, never the
first alert. Where the disk is full or read-only, which is worth an alert itself, a second desk with its own
throttle in /run (a tmpfs) takes over.
"""

from __future__ import annotations

import errno
import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from drcm import clock
from drcm.alerts import counted, ledger, spool
from drcm.alerts.alert import Alert, Key
from drcm.alerts.message import Origin, text_of
from drcm.alerts.policy import (
    HOUR,
    Event,
    Occurred,
    Over,
    Problem,
    Rules,
    Send,
    State,
    Word,
    decide,
    next_word_in,
)
from drcm.config.model import Alerts
from drcm.paths import Paths

if TYPE_CHECKING:
    from drcm.alerts.channels import Answer

FLUSH_SECONDS = 60.0
DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an event. `word`: what is said of it now, None = nothing; then `wait` seconds to go."""

    word: Word | None = None
    wait: float = 0.0
    answers: tuple[Answer, ...] = ()
    waiting: int = 0  # messages in the spool
    muted: bool = False  # [CM_ALERTS] names nobody


@dataclass(frozen=True, slots=True)
class OpenProblem:
    """One open problem for a report. `next_seconds`: counted seconds until its throttle ends."""

    key: Key
    severity: str
    subject: str
    since: str
    count: int
    told: bool
    next_seconds: float


@dataclass(frozen=True, slots=True)
class Desk:
    """Where one ledger and its spool lie."""

    folder: Path
    config: Alerts
    origin: Origin

    @property
    def ledger(self) -> Path:
        return self.folder / "alerts.json"

    @property
    def lock(self) -> Path:
        return self.folder / "alerts.lock"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def rules(self) -> Rules:
        return Rules(self.config.throttle_hours * HOUR, mute=not (self.config.email or self.config.sms))


@dataclass(slots=True)
class _Step:
    """What one decision gave."""

    state: State = field(default_factory=State)
    sends: list[Send] = field(default_factory=list)


def raise_alert(paths: Paths, config: Alerts, alert: Alert, origin: Origin | None = None) -> Outcome:
    """Note that the problem is there, and tell if it is time. Blocks for a minute or two at the worst."""
    return _on_a_desk(paths, config, origin, Occurred(alert, _for_people()))


def resolve(paths: Paths, config: Alerts, key: Key, text: str = "", origin: Origin | None = None) -> Outcome:
    """Note that the problem is over. `word` is None where nobody had been told of it."""
    return _on_a_desk(paths, config, origin, Over(key, text, _for_people()))


def flush(paths: Paths, config: Alerts, origin: Origin | None = None) -> Outcome:
    """Send what waits, and what is owed by now. Worth a call a minute."""
    return _on_a_desk(paths, config, origin, None)


def open_problems(paths: Paths, config: Alerts) -> list[OpenProblem]:
    """All open problems, oldest first. Changes nothing."""
    rules = Rules(config.throttle_hours * HOUR)
    return [item for folder in _folders(paths) for item in _open_in(folder / "alerts.json", rules)]


def waiting(paths: Paths) -> int:
    """Messages that could not be sent yet."""
    return sum(len(spool.entries(folder / "spool")) for folder in _folders(paths))


def _folders(paths: Paths) -> tuple[Path, Path]:
    return paths.state, paths.run / "alerts"


def _on_a_desk(paths: Paths, config: Alerts, origin: Origin | None, event: Event) -> Outcome:
    from drcm.alerts.channels import hostname

    main, spare = (Desk(f, config, origin or Origin("drcm", hostname())) for f in _folders(paths))
    try:
        outcome = _handle(main, event)
    except OSError as error:
        if error.errno not in DISK_TROUBLE:
            raise
        return _handle(spare, event)
    if spare.ledger.exists():
        _handle(spare, event if isinstance(event, Over) else None)
    return outcome


def _handle(desk: Desk, event: Event) -> Outcome:
    step = _decide(desk, event)
    answers = () if desk.rules.mute else _send_all(desk, step.state.counted)
    key = event.alert.key if isinstance(event, Occurred) else event.key if event else ""
    word = next((send.word for send in step.sends if send.problem.key == key), None)
    known = step.state.problems.get(key)
    wait = next_word_in(known, step.state.counted, desk.rules) if known else 0.0
    return Outcome(word, wait, answers, len(spool.entries(desk.spool)), desk.rules.mute)


def _decide(desk: Desk, event: Event) -> _Step:
    """Under the lock: what changes; what is to be sent is durable first, then the ledger."""
    with ledger.locked(desk.lock):
        before = ledger.load(desk.ledger, spool.next_serial(desk.spool))
        reading = counted.read()
        passed = counted.elapsed(before.reading, reading)
        state, sends = decide(before.state, event, passed, desk.rules)
        for send in sends:
            spool.put(desk.spool, _entry(desk, send, state.counted))
        ledger.save(desk.ledger, state, reading)
    return _Step(state, sends)


def _entry(desk: Desk, send: Send, moment: float) -> spool.Entry:
    from drcm.alerts.channels import hostname, recipients

    text = text_of(send, desk.rules, desk.origin)
    return spool.Entry(
        serial=send.serial,
        id=f"<drcm.{secrets.token_hex(10)}@{hostname()}>",
        key=send.problem.key,
        subject=text.subject,
        body=text.body,
        short=text.short,
        date=clock.wall().timestamp(),
        spooled=moment,
        pending=recipients(desk.config),
    )


def _send_all(desk: Desk, moment: float) -> tuple[Answer, ...]:
    """One try for everything in the spool, oldest first, until the server can't be reached or time is up."""
    answers: list[Answer] = []
    if not spool.entries(desk.spool):
        return ()
    with ledger.locked(desk.spool / ".lock"):
        deadline = clock.now() + FLUSH_SECONDS
        for entry in spool.entries(desk.spool):
            answers += _try(desk, entry, moment)
            if clock.now() > deadline or (answers and answers[-1].unreachable):
                break
    return tuple(answers)


def _try(desk: Desk, entry: spool.Entry, moment: float) -> list[Answer]:
    from drcm.alerts.channels import Mail, deliver, recipients

    answers = []
    entry = replace(_still_wanted(entry, recipients(desk.config)), tries=entry.tries + 1)
    mail = Mail(entry.id, entry.key, entry.subject, entry.body, entry.short, entry.date)
    for channel, to in entry.pending.items():
        answer = deliver(desk.config, channel, to, mail)
        answers.append(answer)
        trouble = answer.error or "; ".join(f"{address}: {words}" for address, words in answer.refused)
        entry = spool.after_try(entry, channel, answer.sent, trouble)
        if answer.unreachable:
            break
    spool.settle(desk.spool, entry, moment)
    return answers


def _still_wanted(entry: spool.Entry, now_configured: dict[str, tuple[str, ...]]) -> spool.Entry:
    """Without the addresses that cm.cfg no longer names: a mistyped one must not be tried for five days."""
    kept = {
        channel: tuple(address for address in to if address in now_configured.get(channel, ()))
        for channel, to in entry.pending.items()
    }
    return replace(entry, pending={channel: to for channel, to in kept.items() if to})


def _open_in(path: Path, rules: Rules) -> list[OpenProblem]:
    if not path.exists():
        return []
    before = ledger.load(path)
    moment = before.state.counted + counted.elapsed(before.reading, counted.read())
    shown = (problem for problem in before.state.problems.values() if problem.open)
    return [_shown(problem, moment, rules) for problem in sorted(shown, key=lambda item: item.first)]


def _shown(problem: Problem, moment: float, rules: Rules) -> OpenProblem:
    severity = Alert(problem.key, "").severity
    left = next_word_in(problem, moment, rules)
    fields = (problem.subject, problem.since, problem.count, problem.told)
    return OpenProblem(problem.key, severity, *fields, left)


def _for_people() -> str:
    return f"{clock.wall():%Y-%m-%d %H:%M:%S} UTC"
