"""This node's part in changes of the roll of voters: wishes, accepts, proposes, adopts. Pure.

Only where a majority rules: with two voters, or with `quorum = none`, the roll is what cm.cfg says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drcm.cluster import actions as ac
from drcm.cluster import events as ev
from drcm.cluster import roll as rolls
from drcm.cluster.holding import Holding
from drcm.cluster.messages import Beat, HoldState, Proposal, Roll
from drcm.cluster.spec import Group
from drcm.config.model import Quorum

if TYPE_CHECKING:
    from drcm.cluster.engine import Engine


class Electorate:
    """The roll as this node has it durably, and what it has accepted for the next one."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.roll = Roll(engine.spec.epoch, engine.spec.voters)
        self.accepted: Proposal | None = None
        self.proposal: Proposal | None = None  # of this node, while it holds the roll's group
        self._storing: ac.StoreRoll | None = None
        self._durable = False  # nothing was stored yet: this is the first start with a majority
        self._dead_since: dict[str, float] = {}
        self._settled_at = engine.ledger.last_until()  # nothing rests on a word of a former roll any more

    @property
    def rules(self) -> bool:
        return self.engine.spec.quorum is Quorum.MAJORITY

    def stored(self, event: ev.RollStored) -> None:
        """The roll and what was accepted are durable here."""
        self._storing = None
        self._durable = True
        if not self.rules:
            return
        if event.roll.epoch >= self.roll.epoch:
            changed = event.roll != self.roll
            if changed:
                self._settled_at = self.engine.ledger.last_until()
            self.roll, self.accepted = event.roll, event.accepted
            if changed:
                text = f"epoch {self.roll.epoch}: {', '.join(self.roll.voters)}"
                self.engine.emit(ac.Note("roll of voters", text, "warning"))
            self.engine.enroll(self.roll)

    def hear(self, beat: Beat, now: float) -> None:
        """Adopt a newer roll; accept what the node that has this voter's word proposes."""
        if not self.rules:
            return
        if (beat.epoch > self.roll.epoch and beat.voters) or self._began_apart(beat, now):
            self._store(Roll(beat.epoch, beat.voters), None)
        elif beat.proposal is not None and self._listens_to(beat, now):
            self._accept(beat.proposal, now)

    def _began_apart(self, beat: Beat, now: float) -> bool:
        """At its first start this node read another file than the sender: a majority shows which one rules.

        Only at epoch 1, which cm.cfg made and no vote; and never away from a roll that rules itself. Where
        neither does, the longer one wins, if this node makes its majority.
        """
        if not self.roll.epoch == beat.epoch == 1 or self._is_same(beat) or self.accepted is not None:
            return False
        theirs, mine, me = beat.voters, self.roll.voters, self.engine.spec.me
        beats = [*self.engine.membership.beats(now), beat]
        joins = (len(theirs), theirs) > (len(mine), mine)
        shown = rolls.is_shown(Roll(1, theirs), beats, me if joins else "")
        return shown and not rolls.is_shown(self.roll, beats, me)

    def _listens_to(self, beat: Beat, now: float) -> bool:
        """This voter has given the roll's group to the sender, in the same epoch."""
        given = self.engine.ledger.holder(rolls.ROLL, now) == beat.sender
        return given and self.engine.spec.me in self.roll.voters and self._is_same(beat)

    def go_round(self, now: float) -> None:
        """Claim the roll's group where a change is due, and see the change through."""
        if not self.rules:
            return
        if not self._durable:
            self._store(self.roll, None)
        self._note_deaths(now)
        holding = self.engine.care.holdings.get(rolls.ROLL)
        if holding is None:
            self.proposal = None
            self._maybe_claim(now)
        elif holding.state is HoldState.RUNNING:
            self._preside(holding, now)
        elif holding.is_going_down:
            self.proposal = None

    def _note_deaths(self, now: float) -> None:
        membership = self.engine.membership
        dead = {name for name in membership.peers if membership.confirmed_dead(name, now)}
        for name in dead:
            self._dead_since.setdefault(name, now)
        for name in [name for name in self._dead_since if name not in dead]:
            del self._dead_since[name]

    def _wish(self, now: float) -> rolls.Wish | None:
        spec = self.engine.spec
        heard = {spec.me, *(beat.sender for beat in self.engine.membership.beats(now))}
        long = rolls.DEAD_FOR * spec.dead_seconds
        gone = {name for name, since in self._dead_since.items() if now - since > long}
        return rolls.wish(self.roll, spec.members or spec.voters, heard, gone, spec.last_man_standing)

    def _maybe_claim(self, now: float) -> None:
        """The first voter that is heard sees to changes, when the others are settled."""
        engine = self.engine
        me, heard = engine.spec.me, {beat.sender for beat in engine.membership.beats(now)}
        first = next((name for name in self.roll.voters if name == me or name in heard), "")
        wanted = self._wish(now) if first == me else None
        busy = self._storing is not None or engine.leaving_since is not None
        if wanted is None or busy or now < engine.ledger.silent_until:
            return
        if engine.situation().known_holder(self._group(), now):
            return
        engine.care.claim_roll(self._group(), wanted.reason, now)

    def _preside(self, holding: Holding, now: float) -> None:
        """This node holds the roll's group: nobody else proposes."""
        if self.proposal is not None and self.proposal.roll.epoch <= self.roll.epoch:
            self.proposal = None  # heard to be decided: its own copy of the last word was late
            holding.begin_stop(now, "the roll was changed")
            return
        beats = self.engine.membership.voter_beats(now)
        granting = [b for b in beats if b.grants.get(rolls.ROLL) == self.engine.spec.me and self._is_same(b)]
        if self.proposal is None and len(granting) + 1 >= self.engine.spec.majority:
            self.proposal = rolls.next_proposal(self.roll, self.accepted, granting, self._wish(now))
            if self.proposal is None:
                holding.begin_stop(now, "the roll is as it should be")
                return
        if self.proposal is not None and self.accepted != self.proposal:
            self._accept(self.proposal, now)
        same = [beat for beat in beats if self._is_same(beat)]
        me, free = self.engine.spec.me, self._storing is None
        if self.proposal and free and rolls.is_decided(self.roll, self.proposal, self.accepted, same, me):
            self._store(self.proposal.roll, None)
            self.proposal = None
            holding.begin_stop(now, "the roll was changed")

    def _is_same(self, beat: Beat) -> bool:
        return (beat.epoch, beat.voters) == (self.roll.epoch, self.roll.voters)

    def _accept(self, proposal: Proposal, now: float) -> None:
        """Not while a lease may rest on words of the roll before this one.

        Majorities of rolls that are two changes apart may have no voter in common.
        """
        if now >= self._settled_at and rolls.may_accept(self.roll, self.accepted, proposal):
            self._store(self.roll, proposal)

    def _store(self, roll: Roll, accepted: Proposal | None) -> None:
        wanted = ac.StoreRoll(roll, accepted)
        if self._storing is None:  # one after the other; what is due still is heard again with the next beat
            self._storing = wanted
            self.engine.emit(wanted)

    def _group(self) -> Group:
        me = self.engine.spec.me
        return Group(rolls.ROLL, me, self.roll.voters, ())
