"""When a watched set is due: soon after a change, and never so often that runs fill all the time. Pure."""

from __future__ import annotations

from dataclasses import dataclass

SETTLE = 0.2  # seconds after the first change: what changes together goes together
SHARE = 0.1  # of the time may be runs, where changes never end: each keeps the old version of a busy file
BURST = 3.0  # seconds of runs that may follow each other without a rest, after a quiet time
RETRY = 10.0  # seconds after a run that failed
FULL = 60.0  # seconds: a run at least so often: a change that nobody told must not stay unseen


@dataclass(slots=True)
class Pace:
    """Of one set. All times are CLOCK_BOOTTIME."""

    dirty: float | None = None  # since when something is known to differ
    begun: float | None = None  # of the run that is under way
    targets: tuple[str, ...] = ()  # of the newest run
    good: float | None = None  # when the newest run began, where it was good
    spent: float = 0.0  # seconds of runs, at `ended`; SHARE of each second is forgiven
    ended: float = 0.0
    not_before: float = 0.0

    def change(self, now: float) -> None:
        self.dirty = now if self.dirty is None else self.dirty

    def begin(self, targets: tuple[str, ...], now: float) -> None:
        """What changes from now on may be missed by this run."""
        self.dirty, self.begun, self.targets = None, now, targets

    def end(self, good: bool, now: float) -> None:
        begun = now if self.begun is None else self.begun
        self.begun, self.good = None, begun if good else None
        self.spent = max(0.0, self.spent - SHARE * (now - self.ended)) + now - begun
        self.ended = now
        rest = max(0.0, self.spent - BURST) / SHARE
        self.not_before = now + (rest if good else max(rest, RETRY))
        if not good:
            self.change(begun)

    def due(self) -> float | None:
        """When to run it; None while nothing changed, or while a run is under way."""
        if self.dirty is None or self.begun is not None:
            return None
        return max(self.dirty + SETTLE, self.not_before)

    def suffices(self, targets: tuple[str, ...], now: float) -> bool:
        """Nothing asks for a run to `targets`: one is under way, or was good not long ago and all is told."""
        if self.begun is not None:
            return True
        young = self.good is not None and now - self.good < FULL
        return young and self.dirty is None and targets == self.targets
