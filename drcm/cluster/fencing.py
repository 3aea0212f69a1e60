"""Who must be cut off before what it held may start elsewhere (DESIGN.md rules 3 and 5). Pure.

With a fence command of the silent node its success comes before the start: the node that claims runs it,
once it has the grants. So it is for a living node that can't stop what it should let go (`blocked`).
Without a fence command nothing of this happens: leases alone tell when another node may start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drcm.cluster import actions as ac
from drcm.cluster import events as ev
from drcm.cluster.messages import GroupKey, HoldState
from drcm.cluster.placement import declined
from drcm.cluster.spec import Group

if TYPE_CHECKING:
    from drcm.cluster.engine import Engine

FIRST_RETRY = 2.0  # seconds after a failed attempt, doubled each time
LONGEST_RETRY = 60.0
BLOCKED_PATIENCE = 12.0  # seconds for a blocked node to stop it after all: one attempt of its own, and some


class Fencing:
    """The fence commands that this node has run, or wants to run."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._down: dict[str, float] = {}  # fenced, and not heard since then
        self._running: dict[str, int] = {}  # node -> operation
        self._failures: dict[str, tuple[int, float]] = {}  # how many in a row, no attempt before
        self._blocked: dict[tuple[str, GroupKey], float] = {}  # since when

    def comes_first(self, group: Group, now: float) -> str:
        """What holds the start of `group` back; empty where nobody need be fenced for it.

        Not for the roll of voters: nothing runs in it.
        """
        if not group.members:
            return ""
        victim = next((name for name in group.candidates if self._may_hold(name, group, now)), "")
        if not victim:
            return ""
        self._fence(victim, f"it may still run {group.key}", now)
        return f"claimed: {victim} must be fenced first"

    def go_round(self, now: float) -> None:
        """Who is heard again is not down; who has been blocked for too long is fenced."""
        heard = {beat.sender: beat for beat in self.engine.membership.beats(now)}
        for name in [n for n, since in self._down.items() if self._heard_since(n, since)]:
            del self._down[name]
        blocked = {
            (name, group.key): group
            for name, beat in heard.items()
            for group in self.engine.spec.groups
            if beat.claims.get(group.key) is HoldState.BLOCKED and name in self.engine.spec.fenced
        }
        self._blocked = {what: self._blocked.get(what, now) for what in blocked}
        for (name, key), group in blocked.items():
            late = now - self._blocked[name, key] > BLOCKED_PATIENCE
            if late and self._is_next(group, name, now):
                self._fence(name, f"it can't stop {key}", now)

    def fenced(self, event: ev.Fenced, now: float) -> None:
        """A fence command ended."""
        node = event.node
        if self._running.get(node) != event.op:
            return
        del self._running[node]
        key = f"fence-failed:{node}"
        if event.error:
            failures = self._failures.get(node, (0, 0.0))[0] + 1
            wait = min(LONGEST_RETRY, FIRST_RETRY * 2 ** (failures - 1))
            self._failures[node] = (failures, now + wait)
            text = f"{node} could not be fenced: {event.error}. Nothing that it may run is started elsewhere"
            self.engine.emit(ac.Note(node, f"{text}; again in {wait:.0f} s", "error"), ac.Problem(key, text))
            return
        self._failures.pop(node, None)
        self._down[node] = now
        text = f"{node} was fenced by {self.engine.spec.me}"
        self.engine.emit(ac.Note(node, text, "warning"), ac.Problem(f"fenced:{node}", text))
        self.engine.emit(ac.Problem(key, text, over=True))

    def _heard_since(self, name: str, moment: float) -> bool:
        peer = self.engine.membership.peers.get(name)
        return peer is None or (peer.heard_at is not None and peer.heard_at > moment)

    def _may_hold(self, name: str, group: Group, now: float) -> bool:
        """A silent node that held the group when last heard, or that was never heard by this daemon."""
        membership = self.engine.membership
        if name == self.engine.spec.me or name not in self.engine.spec.fenced or name in self._down:
            return False
        if membership.is_heard(name, now) or membership.is_gone(name, now):
            return False
        beat = membership.peers[name].beat
        return beat is None or (group.key in beat.claims and group.key not in beat.released)

    def _is_next(self, group: Group, blocked: str, now: float) -> bool:
        """One node fences, and only one that has a majority behind it."""
        me, engine = self.engine.spec.me, self.engine
        if engine.court().hopeless(now) or engine.leaving_since is not None:
            return False
        able = (n for n in group.candidates if n != blocked and self._could_take(n, group, now))
        return next(able, "") == me

    def _could_take(self, name: str, group: Group, now: float) -> bool:
        engine = self.engine
        if name == engine.spec.me:
            return group.key not in engine.care.declines(now)
        beat = engine.membership.peers[name].beat
        heard = engine.membership.is_heard(name, now)
        return heard and beat is not None and not declined(beat, group.key) and not beat.leaving

    def _fence(self, name: str, why: str, now: float) -> None:
        if name in self._running or name in self._down or now < self._failures.get(name, (0, 0.0))[1]:
            return
        self._running[name] = op = self.engine.new_op()
        self.engine.emit(ac.Note(name, f"fencing it: {why}", "warning"), ac.Fence(name, op))
