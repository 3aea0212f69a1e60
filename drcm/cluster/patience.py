"""How long a voter says nothing after its machine has booted: it has forgotten the words that it gave. Pure.

As long as the longest T_dead for which it gave any, which may not be its own: while cm.cfg is being edited
node by node, claims carry another. So a word is given only for a T_dead that is durable here already.
"""

from __future__ import annotations

from drcm.cluster.lease import Ledger

LONGEST = 600.0  # seconds; a claim that says more is a bug of its node, and gets no word
KEPT = 3.0  # x the longest T_dead, for which nobody has needed it, before a shorter one is noted


class Patience:
    """The T_dead that words are given for, as it is durable here."""

    def __init__(self, ledger: Ledger, started: float, booted: bool) -> None:
        self._ledger, self._started, self._booted = ledger, started, booted
        self._durable = 0.0
        self._storing: float | None = None
        self._needed_at = started

    def stored(self, seconds: float) -> None:
        """It is durable; where this engine did not ask for it, the machine's boot before this one did."""
        if self._storing is None and self._booted:
            self._ledger.silent_until = max(self._ledger.silent_until, self._started + seconds)
        self._durable, self._storing = seconds, None

    def covers(self, dead_seconds: float) -> bool:
        """A word may be given for a claim that says so."""
        return dead_seconds <= self._durable

    def to_store(self, needed: float, now: float) -> float | None:
        """What is to be made durable now. `needed`: the longest T_dead of this node and of who is heard."""
        needed = min(needed, LONGEST)
        if needed >= self._durable:
            self._needed_at = now
        shorter = needed < self._durable and now - self._needed_at > KEPT * self._durable
        if self._storing is not None or not (needed > self._durable or shorter):
            return None
        self._durable, self._storing = min(self._durable, needed), needed
        return needed
