"""One move of a group from this node to another, as it is told to whoever asked for it. Pure.

Times are seconds of CLOCK_BOOTTIME; what is told counts from the beginning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from drcm.cluster.handover import Handover, Step
from drcm.cluster.messages import GroupKey

SAID = {
    Step.BULK: "bulk pass {passes} to {to}: the services still run here",
    Step.INTEND: "the intent is noted",
    Step.PREPARE: "the last pass connects",
    Step.STOPPING: "the services stop",
    Step.LAST: "last pass, and the proof that nothing is left",
    Step.GIVE: "a new generation is given to {to}",
    Step.AGREEING: "the voters take note of it",
    Step.DROPPING: "given up: {error}; the services start here again",
}


@dataclass(slots=True)
class Journey:
    """`stopped`: when the services began to stop; `arrived`: when `to` said that they run there."""

    group: GroupKey
    to: str
    why: str
    began: float
    steps: list[tuple[float, str]] = field(default_factory=list)
    passes: int = 0
    stopped: float | None = None
    arrived: float | None = None
    error: str = ""
    _seen: tuple[Step, float] | None = None

    def follow(self, handover: Handover, now: float) -> None:
        """Note the step that the hand-over is in, once."""
        if self._seen == (handover.step, handover.step_since):
            return
        self._seen = (handover.step, handover.step_since)
        self.passes += handover.step is Step.BULK
        if handover.step is Step.STOPPING and self.stopped is None:
            self.stopped = now
        words = SAID[handover.step].format(passes=self.passes, to=self.to, error=handover.error)
        self._say(words, now)

    def given(self, now: float) -> None:
        """Nothing of it runs here any more."""
        self._say(f"released to {self.to}: it starts there", now)

    def arrive(self, node: str, now: float) -> None:
        """It runs on `node`, which may be another than it was to go to."""
        if node != self.to:
            self.fail(f"{self.to} did not start it; it runs on {node}", now)
        elif self.is_under_way:
            self.arrived = now
            self._say(f"running on {node}", now)

    def fail(self, error: str, now: float) -> None:
        if self.is_under_way:
            self.error = error
            self._say(f"failed: {error}", now)

    @property
    def is_under_way(self) -> bool:
        return self.arrived is None and not self.error

    def told(self) -> dict[str, Any]:
        """For the control socket; `interruption` in seconds, from the first stop to running there."""
        there = self.arrived is not None and self.stopped is not None
        return {
            "group": self.group,
            "to": self.to,
            "why": self.why,
            "state": "under way" if self.is_under_way else "failed" if self.error else "running",
            "error": self.error,
            "steps": [{"seconds": round(at - self.began, 3), "text": text} for at, text in self.steps],
            "interruption": round((self.arrived or 0) - (self.stopped or 0), 3) if there else None,
        }

    def _say(self, text: str, now: float) -> None:
        self.steps.append((now, text))
