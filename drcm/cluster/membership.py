"""Who is heard and who is dead (DESIGN.md rule 1). Pure.

A peer is *heard* only by a beat that echoes one that this node sent, in this boot, less than T_dead
ago. So replays, former boots and one-way links count for nothing, without any challenge
(HISTORIES W3, W4, E13).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from drcm.cluster.messages import Beat, BootId, Echo, GroupKey
from drcm.cluster.spec import Spec

REPLACED_BOOTS_KEPT = 16  # of two clones one stays mute (HISTORIES W4)
ECHO_LATE = 0.3  # of T_dead: from here on beats go out more often (HISTORIES E14)


@dataclass(frozen=True, slots=True)
class Sending:
    """A beat of mine on its way: when it went, and the lease by the T_dead that it said.

    Voters keep their word by what the claim said: a T_dead raised since by a reload must not stretch it.
    """

    at: float
    lease_seconds: float


@dataclass(slots=True)
class Peer:
    """All that is known of one other voter. Times are CLOCK_BOOTTIME of this node."""

    name: str
    boot: BootId | None = None  # the boot that proved itself last
    newest: Echo | None = None  # the newest beat received, proven or not: what is echoed
    beat: Beat | None = None  # the newest proven beat: its state counts
    heard_at: float | None = None
    heard_since: float | None = None  # heard without a gap since then
    echoed_sent: float | None = None  # when the newest beat of mine that it echoed was sent
    echoed_lease: float = 0.0  # seconds of lease that may be counted from then
    answered_at: float | None = None  # when one of its addresses answered a probe
    replaced: deque[BootId] = field(default_factory=lambda: deque(maxlen=REPLACED_BOOTS_KEPT))


class Present:
    """Who is heard at one moment, and what they claim."""

    __slots__ = ("at", "beats", "claims", "peers", "voter_beats")

    def __init__(self, at: float, peers: list[Peer], voters: tuple[str, ...]) -> None:
        self.at, self.peers = at, peers
        self.beats = [peer.beat for peer in peers if peer.beat is not None]
        self.voter_beats = [beat for beat in self.beats if beat.sender in voters]
        self.claims: dict[GroupKey, list[Beat]] = {}
        for beat in self.beats:
            for key in beat.claims:
                self.claims.setdefault(key, []).append(beat)


class Membership:
    """The peers of this node, by what was heard of them."""

    def __init__(self, spec: Spec, boot: BootId, now: float, machine_booted: bool) -> None:
        self.spec = spec
        self.boot = boot
        self.started = now
        self.machine_booted = machine_booted
        self.peers = {name: Peer(name) for name in spec.peers}
        self.number = 0
        self._sent: dict[int, Sending] = {}
        self._present: Present | None = None

    def reconfigure(self, spec: Spec) -> None:
        """Go on with another list of voters; who stays is not forgotten."""
        self.spec, self._present = spec, None
        self.peers = {name: self.peers.get(name) or Peer(name) for name in spec.peers}

    def new_number(self, now: float) -> int:
        """The number of the beat that is sent now."""
        self.number += 1
        self._sent[self.number] = Sending(now, self.spec.lease_seconds)
        for old in list(self._sent):  # oldest first; what is too old proves nothing
            if now - self._sent[old].at <= self.spec.dead_seconds:
                break
            del self._sent[old]
        return self.number

    def hear(self, beat: Beat, now: float) -> Peer | None:
        """Take in a beat. The peer, where the beat is its newest and proves that it hears this node."""
        peer = self.peers.get(beat.sender)
        if peer is None or beat.boot in peer.replaced:
            return None
        sent = self._echoed(beat, now)
        if beat.boot != peer.boot and sent is not None:
            self._replace_boot(peer, beat.boot)
        if peer.boot not in (None, beat.boot) or not _is_newer(peer.newest, beat):
            return None
        peer.newest = Echo(beat.boot, beat.number)
        if sent is None:
            return None
        if peer.heard_at is None or now - peer.heard_at > self.spec.dead_seconds:
            peer.heard_since = now
        peer.beat, peer.heard_at, peer.answered_at = beat, now, None
        peer.echoed_sent, peer.echoed_lease = sent.at, sent.lease_seconds
        self._present = None
        return peer

    def is_known(self, beat: Beat) -> bool:
        """It adds nothing to what is echoed: an old, foreign or replaced one."""
        peer = self.peers.get(beat.sender)
        return peer is None or peer.newest is None or peer.newest != Echo(beat.boot, beat.number)

    def was_rolled_back(self, beat: Beat) -> bool:
        """The peer echoes a beat of this boot that was never sent: this is a restored or cloned machine."""
        echo = beat.echo.get(self.spec.me)
        return echo is not None and echo.boot == self.boot and echo.beat > self.number

    def echoes(self) -> dict[str, Echo]:
        return {peer.name: peer.newest for peer in self.peers.values() if peer.newest is not None}

    def is_heard(self, name: str, now: float) -> bool:
        peer = self.peers[name]
        return peer.heard_at is not None and now - peer.heard_at <= self.spec.dead_seconds

    def heard(self, now: float) -> list[Peer]:
        return self._look(now).peers

    def beats(self, now: float) -> list[Beat]:
        """The newest proven beat of every peer that is heard."""
        return self._look(now).beats

    def voter_beats(self, now: float) -> list[Beat]:
        """Of those on the roll only."""
        return self._look(now).voter_beats

    def claimants(self, key: GroupKey, now: float) -> list[Beat]:
        """The beats of those that claim it."""
        return self._look(now).claims.get(key, [])

    def _look(self, now: float) -> Present:
        """One look at who is there serves a whole pass: every group asks for it, many times."""
        if self._present is None or self._present.at != now:
            heard = [peer for peer in self.peers.values() if self.is_heard(peer.name, now)]
            self._present = Present(now, heard, self.spec.voters)
        return self._present

    def is_dead(self, name: str, now: float) -> bool:
        """In this node's own opinion. A node that was never heard is given time to boot (HISTORIES E15)."""
        peer = self.peers[name]
        if peer.heard_at is not None:
            return now - peer.heard_at > self.spec.dead_seconds
        return now - self.started > self._patience() or self._elders_call_dead(name, now)

    def unheard(self, now: float) -> tuple[str, ...]:
        return tuple(name for name in self.peers if self.is_dead(name, now))

    def confirmed_dead(self, name: str, now: float) -> bool:
        """Dead in the opinion of as many voters as the quorum asks for."""
        if not self.is_dead(name, now):
            return False
        if self.spec.quorum.value in ("two_node", "none"):
            return True
        agreeing = (self.spec.me in self.spec.voters) + sum(name in b.unheard for b in self.voter_beats(now))
        return agreeing >= self.spec.majority

    def is_gone(self, name: str, now: float) -> bool:
        """It said that it leaves, and that it holds nothing."""
        beat = self.peers[name].beat
        return beat is not None and beat.leaving and not beat.claims and self.peers[name].boot == beat.boot

    def is_letting_go(self, name: str, key: GroupKey) -> bool:
        """It leaves, and holds nothing of `key` any more: nobody need wait for it."""
        beat = self.peers[name].beat
        return beat is not None and beat.leaving and key not in beat.claims

    def next_death(self, now: float) -> float | None:
        """When the next peer that is heard now will be dead, if nothing more comes of it."""
        ends = [p.heard_at + self.spec.dead_seconds for p in self.heard(now) if p.heard_at is not None]
        return min(ends, default=None)

    def is_echo_late(self, now: float) -> bool:
        """Somebody who is not dead yet has not echoed for a while: beat more often."""
        late = ECHO_LATE * self.spec.dead_seconds
        return any(p.echoed_sent is not None and now - p.echoed_sent > late for p in self.heard(now))

    def _echoed(self, beat: Beat, now: float) -> Sending | None:
        """The beat of mine that this one echoes; None where it proves nothing."""
        echo = beat.echo.get(self.spec.me)
        if echo is None or echo.boot != self.boot:
            return None
        sent = self._sent.get(echo.beat)
        return sent if sent is not None and now - sent.at <= self.spec.dead_seconds else None

    def _replace_boot(self, peer: Peer, boot: BootId) -> None:
        if peer.boot is not None:
            peer.replaced.append(peer.boot)
        peer.boot, peer.newest, peer.beat = boot, None, None
        self._present = None

    def _patience(self) -> float:
        return self.spec.boot_wait if self.machine_booted else self.spec.dead_seconds

    def _elders_call_dead(self, name: str, now: float) -> bool:
        """A voter that has been up for longer than this one says so."""
        age = now - self.started
        if age <= self.spec.dead_seconds:
            return False
        return any(name in beat.unheard and beat.uptime > age for beat in self.beats(now))


def _is_newer(newest: Echo | None, beat: Beat) -> bool:
    return newest is None or newest.boot != beat.boot or beat.number > newest.beat
