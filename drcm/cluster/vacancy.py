"""A group that this node does not hold: is it free, may this node claim it, and why not. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drcm.cluster import actions as ac
from drcm.cluster.messages import GroupKey
from drcm.cluster.placement import Situation
from drcm.cluster.spec import Group

if TYPE_CHECKING:
    from drcm.cluster.care import Care

ANSWER_FRESH = 4  # intervals: so long an answer to a probe shows that the machine lives
HELD_BACK_FOR = 5  # intervals before a group is claimed (again)


class Vacancies:
    """What one node thinks of the groups that it does not hold, and since when."""

    def __init__(self, care: Care) -> None:
        self.care, self.engine = care, care.engine
        self.unfit: dict[GroupKey, str] = {}  # why this node can't take it
        self.untaken: dict[GroupKey, str] = {}  # why it is not taken, where nobody has had it for T_dead
        self._orphaned: dict[GroupKey, float] = {}
        self._waiting: dict[GroupKey, float] = {}  # since when only patience is missing
        self._held_back: dict[GroupKey, float] = {}  # no new claim before

    def consider(self, group: Group, situation: Situation, now: float) -> str:
        """Why this node claims it now; empty where it does not."""
        engine = self.engine
        holder = situation.known_holder(group, now)
        if holder:
            self._leave_to(holder, group, situation, now)
            return ""
        if now < engine.ledger.silent_until:
            self._orphaned.pop(group.key, None)
            self.untaken.pop(group.key, None)
        else:
            self._orphaned.setdefault(group.key, now)
        verdict = situation.judge(group, now - self._waiting.get(group.key, now), now)
        in_use = self._in_use_by(group, now)
        free = not in_use and now >= engine.ledger.silent_until and self.may_claim(group.key, now)
        if free and (verdict.claim or verdict.waits):
            self._waiting.setdefault(group.key, now)
        else:
            self._waiting.pop(group.key, None)
        self._note(group.key, verdict.decline, now)
        self.care.say(group.key, verdict.reason)
        if engine.leaving_since is not None or now < engine.ledger.silent_until:
            return ""
        if self.care.mending.refuses(group, now) or not self.may_claim(group.key, now):
            return ""
        possible = engine.spec.me in group.candidates and not verdict.decline
        hopeless = engine.court().hopeless(now) if possible and group.key in self._orphaned else ""
        if hopeless:
            self.care.say(group.key, hopeless)
            self._tell(group.key, hopeless, now)
        elif verdict.claim and in_use:
            self.care.say(group.key, f"{in_use} is not heard, but its addresses answer: no takeover")
            self._tell(group.key, f"{in_use} is not heard, but its addresses answer: it lives", now)
        elif verdict.claim:
            return verdict.reason
        return ""

    def _leave_to(self, holder: str, group: Group, situation: Situation, now: float) -> None:
        """Another node has it, and nothing is to be decided."""
        if runner := situation.runner(group, now):
            self.care.moving.runs_on(group.key, runner, now)
        self.care.mending.seen_elsewhere(group, now)
        for table in (self.unfit, self.untaken, self._orphaned, self._waiting):
            table.pop(group.key, None)
        self.care.say(group.key, f"{holder} holds it")

    def _note(self, key: GroupKey, why: str, now: float) -> None:
        """Nobody holds it, and this node can't: told once, when it has been so for T_dead."""
        self.unfit.pop(key, None)
        if why:
            self.unfit[key] = why
            self._tell(key, why, now)

    def _tell(self, key: GroupKey, why: str, now: float) -> None:
        """Once, when nobody has held it for T_dead."""
        lasting = now - self._orphaned.get(key, now) > self.engine.spec.dead_seconds
        if lasting and why != self.untaken.get(key):
            self.untaken[key] = why
            self.engine.emit(ac.Note(key, f"not taken: {why}", "warning"))

    def _in_use_by(self, group: Group, now: float) -> str:
        """The silent node whose machine still answers on its addresses: it is alive (HISTORIES E16).

        The patience of those who come later begins when it no longer does: nobody can claim before.
        """
        fresh = ANSWER_FRESH * self.engine.spec.interval
        for peer in self.engine.membership.peers.values():
            if peer.name in group.candidates and peer.answered_at and now - peer.answered_at < fresh:
                return peer.name
        return ""

    # --- what becomes of it ---------------------------------------------------------------------

    def may_claim(self, key: GroupKey, now: float) -> bool:
        """Long enough after a claim that was withdrawn, and after a cleanup."""
        return now >= self._held_back.get(key, now)

    def hold_back(self, key: GroupKey, now: float) -> None:
        self._held_back[key] = now + HELD_BACK_FOR * self.engine.spec.interval

    def taken(self, key: GroupKey) -> None:
        """This node claims it."""
        for table in (self._waiting, self._orphaned, self.untaken):
            table.pop(key, None)

    def forget_unknown(self, known: set[GroupKey]) -> None:
        """cm.cfg no longer has them."""
        for table in (self.unfit, self.untaken, self._orphaned, self._waiting, self._held_back):
            for key in [key for key in table if key not in known]:
                del table[key]
