"""Grants and leases (DESIGN.md rules 2, 3 and 9): who may hold a group, and until when. Pure.

A voter gives each group to one node at a time and keeps its word for as long as the claim's own
T_dead says. A holder counts only words that answer beats **sent** less than T_lease ago. As every
word outlives every lease that is built on it, no two nodes hold (the proof is in ARCHITECTURE.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from drcm.cluster.membership import Membership, Peer
from drcm.cluster.messages import Beat, Echo, GroupKey
from drcm.cluster.spec import Spec
from drcm.config.model import Quorum

WORD_MARGIN = 1.01  # a word outlives the holder's own count of T_dead by the drift of two clocks
NEVER = float("-inf")
LAPSED = "its lease ran out before it was renewed: the keeper has released it"
CUT_OFF = "no ping_hosts answers: this node may be the one that is cut off"


@dataclass(slots=True)
class Word:
    """This voter's word: `holder` has the group until `until`, and nobody else meanwhile."""

    holder: str
    until: float
    by: Echo | None = field(default=None, compare=False)  # the beat that gave or renewed it last


@dataclass(slots=True)
class Ledger:
    """The words this voter has given. After a machine boot it gives none before `silent_until`."""

    me: str
    silent_until: float = NEVER
    words: dict[GroupKey, Word] = field(default_factory=dict)

    def hear(self, beat: Beat, heard_at: float, now: float) -> None:
        """Give, renew and take back words by what a beat, heard at `heard_at`, claims and releases."""
        for key in beat.released:
            self.release(key, beat.sender)
        by = Echo(beat.boot, beat.number)
        for key in beat.claims:
            self._give(key, beat.sender, heard_at + beat.dead_seconds * WORD_MARGIN, now, by)

    def take(self, key: GroupKey, dead_seconds: float, now: float) -> None:
        """This voter's word for its own claim, where it is free."""
        self._give(key, self.me, now + dead_seconds * WORD_MARGIN, now)

    def _give(self, key: GroupKey, to: str, until: float, now: float, by: Echo | None = None) -> None:
        """A word is never shortened: a lease may have been built on what it said before."""
        former = self.holder(key, now)
        if now >= self.silent_until and former in (None, to):
            kept = self.words[key].until if former is not None else until
            self.words[key] = Word(to, max(until, kept), by)

    def release(self, key: GroupKey, holder: str) -> None:
        word = self.words.get(key)
        if word is not None and word.holder == holder:
            del self.words[key]

    def holder(self, key: GroupKey, now: float) -> str | None:
        """Whose the word for `key` is, where it is still in force."""
        word = self.words.get(key)
        return word.holder if word is not None and word.until > now else None

    def last_until(self) -> float:
        """When the last of the words that are given now has run out, renewed or not."""
        return max((word.until for word in self.words.values()), default=NEVER)

    def grants(self, now: float) -> dict[GroupKey, str]:
        if now < self.silent_until:
            return {}
        return {key: word.holder for key, word in self.words.items() if word.until > now}

    def said(self, echoes: Mapping[str, Echo], now: float) -> dict[GroupKey, str]:
        """The words that this voter's beat says, beside `echoes`: those which what it echoes has renewed.

        A beat that proves nothing is echoed too, but renews no word. Said beside it, a word with a moment to
        live would be counted for a whole lease from that beat's sending.
        """
        given = self.grants(now)
        return {k: to for k, to in given.items() if to == self.me or self.words[k].by == echoes.get(to)}

    def export(self) -> dict[str, Any]:
        """For /run/drcm/grants: a daemon that restarts on this kernel goes on from it (HISTORIES E3)."""
        return {key: [word.holder, word.until] for key, word in self.words.items()}

    def restore(self, words: dict[str, Any]) -> None:
        self.words = {key: Word(holder, until) for key, (holder, until) in words.items()}


@dataclass(frozen=True, slots=True)
class Permit:
    """Until when a group may be held, and why not longer or not at all."""

    until: float
    reason: str = ""
    refused: bool = False  # enough voters gave it to another: release at once, whatever the clock says

    def allows(self, now: float) -> bool:
        return self.until > now and not self.refused


@dataclass(frozen=True, slots=True)
class Court:
    """Everything a permit is judged by."""

    spec: Spec
    membership: Membership
    ledger: Ledger
    pinged_sent: float | None  # when the last ping that was answered was sent
    in_sight_since: float = NEVER  # pings are answered without a gap since then

    def permit(
        self, key: GroupKey, claim_number: int, now: float, incumbent: bool, wins: bool = False
    ) -> Permit:
        """May this node hold `key`, which it has claimed since beat `claim_number`?

        `wins`: another node claims it too, and of the two it is that one which must give way.
        """
        if self.spec.quorum is Quorum.NONE:
            return self._permit_without_quorum(key, claim_number, now, wins)
        ends = sorted(self._granted_until(key, claim_number, now), reverse=True)
        until = ends[self.spec.majority - 1] if len(ends) >= self.spec.majority else NEVER
        if self.spec.quorum is Quorum.TWO_NODE and (incumbent or until <= now):
            alone = self._permit_alone(key, claim_number, now, incumbent, wins)
            return Permit(until) if until > max(now, alone.until) and not alone.refused else alone
        fresh = sum(end > now for end in ends)
        return Permit(until) if until > now else self._no_majority(key, claim_number, fresh, now)

    def _granted_until(self, key: GroupKey, claim_number: int, now: float) -> list[float]:
        """For each voter on the roll: until when its answers let this node hold `key`."""
        own = self.ledger.grants(now).get(key) == self.spec.me and self.spec.me in self.spec.voters
        peers = [peer for name, peer in self.membership.peers.items() if name in self.spec.voters]
        mine = now + self.spec.lease_seconds if own else NEVER
        return [mine, *(self._answered_until(peer, key, claim_number) for peer in peers)]

    def _answered_until(self, peer: Peer, key: GroupKey, claim_number: int) -> float:
        beat, me = peer.beat, self.spec.me
        if beat is None or peer.echoed_sent is None or not self.spec.has_roll_of(beat):
            return NEVER
        granted = beat.grants.get(key) == me and beat.echo[me].beat >= claim_number
        return peer.echoed_sent + peer.echoed_lease if granted else NEVER

    def _no_majority(self, key: GroupKey, claim_number: int, count: int, now: float) -> Permit:
        others = sorted({owner for owner in self._given_to_others(key, claim_number, now).values()})
        lost = len(self.spec.voters) - len(self._given_to_others(key, claim_number, now)) < self.spec.majority
        given = f"; given to {', '.join(others)}" if others else ""
        granted = f"granted by {count} of {len(self.spec.voters)} voters, {self.spec.majority} are needed"
        return Permit(NEVER, granted + given, refused=lost)

    def _given_to_others(self, key: GroupKey, claim_number: int, now: float) -> dict[str, str]:
        """Voters that have heard this node's claim, and whose newest word gives `key` to another node."""
        me, beats = self.spec.me, self.membership.voter_beats(now)
        answers = [beat for beat in beats if beat.echo[me].beat >= claim_number]
        given = {beat.sender: beat.grants[key] for beat in answers if key in beat.grants}
        own = self.ledger.holder(key, now)
        if own is not None and me in self.spec.voters:
            given[self.spec.me] = own
        return {voter: owner for voter, owner in given.items() if owner != self.spec.me}

    def _permit_alone(
        self, key: GroupKey, claim_number: int, now: float, incumbent: bool, wins: bool
    ) -> Permit:
        """Two voters, one of them silent (rule 9)."""
        if self.ledger.grants(now).get(key) != self.spec.me:
            return Permit(NEVER, "this node's own word is not free yet")
        peer = self.spec.peers[0]
        others = self._given_to_others(key, claim_number, now)
        if others and not wins:
            return Permit(NEVER, f"{peer} keeps it", refused=True)
        if self._sight_ends(now) <= now:
            return Permit(NEVER, CUT_OFF)
        if self.membership.is_gone(peer, now):  # it may be started again behind a cut: pings count here too
            return Permit(self._sight_ends(now), f"{peer} has left")
        blind = "" if incumbent else self.hopeless(now)  # it was claimed before the pings were lost
        if blind:
            return Permit(NEVER, blind)
        if incumbent or self.membership.is_dead(peer, now):
            return Permit(self._sight_ends(now), f"alone: {peer} is not heard")
        return Permit(NEVER, f"waiting for {peer} to grant it")

    def _permit_without_quorum(self, key: GroupKey, claim_number: int, now: float, wins: bool) -> Permit:
        """1.41's way: a node acts on its own opinion; two may (quorum = none)."""
        others = {} if wins else self._given_to_others(key, claim_number, now)
        if others or self.ledger.holder(key, now) != self.spec.me:
            return Permit(NEVER, f"held by {', '.join(sorted(set(others.values())))}", refused=bool(others))
        return Permit(now + self.spec.lease_seconds)

    def hopeless(self, now: float) -> str:
        """Why no claim could be granted now, whatever it is for; empty where one may be."""
        me, voters = self.spec.me, self.spec.voters
        there = (me in voters) + len(self.membership.voter_beats(now))
        if self.spec.quorum is Quorum.MAJORITY and there < self.spec.majority:
            return f"only {there} of {len(voters)} voters are there, {self.spec.majority} are needed"
        if self.spec.quorum is not Quorum.TWO_NODE or self.membership.beats(now):
            return ""
        if self._sight_ends(now) <= now:
            return CUT_OFF
        dead = self.spec.dead_seconds  # the peer's beats may come back a little later than the pings
        young = self.spec.pings and now - self.in_sight_since < dead
        return f"ping_hosts are back for less than {dead:.1f} s: the peer may be late" if young else ""

    def _sight_ends(self, now: float) -> float:
        """Until when this node may act alone: T_lease after it sent the last ping that was answered."""
        if not self.spec.pings:
            return now + self.spec.lease_seconds
        return NEVER if self.pinged_sent is None else self.pinged_sent + self.spec.lease_seconds
