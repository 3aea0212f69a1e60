"""What failed and what moved how often, and what follows from it (DESIGN.md rule 10). Pure.

Counts age out singly: each failure and each move is a moment that is forgotten by itself. All of it is
one node's own memory; a restarted daemon begins anew, an operator's `cleanup` forgets at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from drcm.cluster.messages import GroupKey
from drcm.cluster.spec import MemberKey, Restarts

HOUR = 3600.0  # in which moves are counted
FIRST_WAIT = 2.0  # seconds before the second restart; the first is at once, each further waits twice as long
LONGEST_WAIT = 300.0
DECLINED_FOR = 60.0  # seconds for which a node declines what failed on it, doubled each time in a row
DECLINED_LONGEST = HOUR
CALM = 600.0  # seconds that it must have run here for a failure to be the first again


@dataclass(frozen=True, slots=True)
class Count:
    """Failures of one member that still count: `count` of `limit`; the last is forgotten in `clears_in` s."""

    count: int
    limit: int
    clears_in: float


@dataclass(slots=True)
class Upkeep:
    """The failures and moves that one node remembers."""

    _failures: dict[tuple[GroupKey, MemberKey], list[float]] = field(default_factory=dict)
    _moves: dict[GroupKey, list[float]] = field(default_factory=dict)
    _runner: dict[GroupKey, str] = field(default_factory=dict)
    _running_since: dict[GroupKey, float] = field(default_factory=dict)
    _declines: dict[GroupKey, int] = field(default_factory=dict)  # in a row

    # --- failures -----------------------------------------------------------------------------

    def failed(self, key: GroupKey, member: MemberKey, restarts: Restarts, now: float) -> float | None:
        """Count a failure: seconds to wait before it is restarted where it is; None: it must move."""
        times = self._lately(key, member, restarts, now)
        times.append(now)
        self._failures[key, member] = times[-(restarts.limit + 1) :]
        if len(times) > restarts.limit:
            return None
        return 0.0 if len(times) == 1 else min(LONGEST_WAIT, FIRST_WAIT * 2 ** (len(times) - 2))

    def count(self, key: GroupKey, member: MemberKey, restarts: Restarts, now: float) -> Count | None:
        times = self._lately(key, member, restarts, now)
        return Count(len(times), restarts.limit, times[-1] + restarts.window - now) if times else None

    def decline_for(self, key: GroupKey, now: float) -> float:
        """It failed for good on this node: seconds for which it is not tried here again."""
        if now - self._running_since.get(key, now) >= CALM:
            self._declines.pop(key, None)
        times = self._declines.get(key, 0)
        self._declines[key] = times + 1
        self._running_since.pop(key, None)
        return float(min(DECLINED_LONGEST, DECLINED_FOR * 2 ** min(times, 20)))

    def _lately(self, key: GroupKey, member: MemberKey, restarts: Restarts, now: float) -> list[float]:
        return [t for t in self._failures.get((key, member), ()) if now - t < restarts.window]

    # --- moves --------------------------------------------------------------------------------

    def held_by(self, key: GroupKey, node: str, home: str, now: float) -> None:
        """`node` has it: a move, where another had it before. The way home belongs to the move before it:
        a home that dies twice within an hour and comes back does not flap, one that does so for ever does.
        """
        former = self._runner.get(key)
        self._runner[key] = node
        if former not in (None, node) and node != home:
            self._moves[key] = [*self.moves(key, now), now]

    def running_here(self, key: GroupKey, now: float) -> None:
        self._running_since[key] = now

    def moves(self, key: GroupKey, now: float) -> list[float]:
        """When it moved to a node that is not its home, within the last hour."""
        return [t for t in self._moves.get(key, ()) if now - t < HOUR]

    def stays_until(self, key: GroupKey, flap_limit: int, now: float) -> float:
        """It moved too often: until when it stays where it is; 0.0 where it has not."""
        moves = self.moves(key, now)
        return moves[-flap_limit] + HOUR if len(moves) >= flap_limit else 0.0

    # --- forgetting ---------------------------------------------------------------------------

    def forget(self, key: GroupKey) -> None:
        """An operator's cleanup: nothing of it ever failed or moved."""
        for member in [m for m in self._failures if m[0] == key]:
            del self._failures[member]
        self._moves.pop(key, None)
        self._declines.pop(key, None)

    def forget_unknown(self, known: set[GroupKey]) -> None:
        """cm.cfg no longer has them."""
        for key in {*self._moves, *self._runner, *(k for k, _ in self._failures)} - known:
            self.forget(key)
            self._runner.pop(key, None)
