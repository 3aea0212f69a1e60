"""Moving a group from this living node to another (DESIGN.md section 6, failback and every hand-over). Pure.

The writer gives away; nobody takes from a living writer. Every step before `give` can be undone by
dropping the intent and starting again; after it the new generation stands, whatever happens.

    bulk -> intend -> prepare -> stopping -> last -> give -> agreeing -> (released to the taker)

A group without sets has nothing to copy: it goes from `stopping` straight to the release.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from drcm.cluster.actions import Action, DropIntent, Give, Intend, Pass, Prepare
from drcm.cluster.events import StepDone
from drcm.cluster.messages import Head
from drcm.cluster.spec import Group

QUICK_PASS = 10.0  # seconds: bulk passes go on until one takes less than this
LAST_PASS = 60.0  # seconds: a longer last pass is given up, services come back
FIRST_BACKOFF = 5.0
LONGEST_BACKOFF = 300.0


class Step(StrEnum):
    BULK = "bulk"
    INTEND = "intend"
    PREPARE = "prepare"
    STOPPING = "stopping"
    LAST = "last"
    GIVE = "give"
    AGREEING = "agreeing"
    DROPPING = "dropping"


NEXT = {
    Step.BULK: Step.INTEND,
    Step.INTEND: Step.PREPARE,
    Step.PREPARE: Step.STOPPING,
    Step.LAST: Step.GIVE,
    Step.GIVE: Step.AGREEING,
}


@dataclass(slots=True)
class Handover:
    """One attempt to hand `group` to `to`. The sets of the group take each step one after the other."""

    group: Group
    to: str
    why: str
    since: float
    leaving: bool = False
    step: Step = Step.BULK
    step_since: float = 0.0
    op: int = 0  # 0: nothing under way
    done: list[str] = field(default_factory=list)  # sets that have this step behind them
    slow: bool = False  # a bulk pass took long: another round
    given: dict[str, Head] = field(default_factory=dict)
    error: str = ""
    decline: str = ""  # it goes because it failed here: what the others are told

    def next_action(self, ops: Callable[[], int], newest: Callable[[str], int]) -> list[Action]:
        """What to do now in this step; empty while something is under way or the engine must act.

        `newest`: the highest number of a set's generation that is known anywhere.
        """
        if self.op or self.step in (Step.STOPPING, Step.AGREEING):
            return []
        name = next((s for s in self.group.sets if s not in self.done), None)
        if name is None:
            return []
        self.op = ops()
        return [self._action(name, newest)]

    def step_done(self, event: StepDone, now: float) -> bool:
        """Take in the end of what was under way; True where it was wanted. A failure ends in DROPPING."""
        if event.op != self.op:
            return False
        name = next(s for s in self.group.sets if s not in self.done)
        self.op = 0
        if event.error and self.step is not Step.DROPPING:
            self.fail(event.error, now)
            return True
        self.done.append(name)
        self.slow = self.slow or (self.step is Step.BULK and event.seconds >= QUICK_PASS)
        if event.head is not None:
            self.given[name] = event.head
        if len(self.done) == len(self.group.sets):
            self._step_complete(now)
        return True

    def enter(self, step: Step, now: float) -> None:
        self.step, self.step_since, self.done, self.slow, self.op = step, now, [], False, 0

    def fail(self, error: str, now: float) -> None:
        """Give up this attempt: the intent is dropped, and what was stopped starts again."""
        self.error = error
        self.enter(Step.DROPPING, now)

    def overdue(self, now: float) -> str:
        """Why this attempt has taken too long; empty where it has not."""
        if self.step is Step.LAST and now - self.step_since > LAST_PASS:
            return f"the last pass took longer than {LAST_PASS:.0f} s"
        return ""

    @property
    def can_be_dropped(self) -> bool:
        """Before the new generation is durable here (table, row 4)."""
        return self.step in (Step.BULK, Step.INTEND, Step.PREPARE, Step.STOPPING, Step.LAST)

    @property
    def dropped(self) -> bool:
        return self.step is Step.DROPPING and not self.op and len(self.done) == len(self.group.sets)

    def _step_complete(self, now: float) -> None:
        if self.step is Step.BULK and self.slow and not self.leaving:
            self.enter(Step.BULK, now)
        elif self.step in NEXT:
            self.enter(NEXT[self.step], now)

    def _action(self, name: str, newest: Callable[[str], int]) -> Action:
        key = self.group.key
        match self.step:
            case Step.BULK | Step.LAST:
                return Pass(key, name, self.to, self.op, last=self.step is Step.LAST)
            case Step.PREPARE:
                return Prepare(key, name, self.to, self.op)
            case Step.INTEND:
                return Intend(key, name, self.to, self.op)
            case Step.GIVE:
                return Give(key, name, self.to, self.op, newest(name))
            case _:
                return DropIntent(key, name, self.op)


def backoff(failures: int) -> float:
    """Seconds until the next attempt after so many failures in a row."""
    return float(min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** max(0, failures - 1)))
