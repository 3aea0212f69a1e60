"""The engine: events and the time in, actions out; same input, same output (DESIGN.md section 4). Pure.

It does nothing by itself. The daemon performs the actions, feeds back what happened, and calls
`handle` again at `deadline` at the latest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from drcm import __version__
from drcm.cluster import actions as ac
from drcm.cluster import events as ev
from drcm.cluster.adopting import adopt
from drcm.cluster.care import Care
from drcm.cluster.electorate import Electorate
from drcm.cluster.lease import Court, Ledger
from drcm.cluster.membership import Membership
from drcm.cluster.messages import Beat, BootId, GroupKey, Head, Roll, SetView
from drcm.cluster.patience import Patience
from drcm.cluster.placement import Situation, diverged, is_vain
from drcm.cluster.roll import ROLL
from drcm.cluster.spec import Group, MemberKey, Spec
from drcm.config.model import Quorum

RELEASE_SAID_FOR = 3.0  # x T_dead: how long a release stays in the beats


@dataclass(frozen=True, slots=True)
class Beginning:
    """How this daemon starts: after a machine boot, or going on from a daemon that died on this kernel."""

    machine_booted: bool = True
    resumes: BootId = b""  # set only where the former daemon's lease has not ended
    lease_until: float = 0.0
    adopt: tuple[GroupKey, ...] = ()  # groups that the former daemon held
    stopping: tuple[GroupKey, ...] = ()  # groups that it was letting go of: some of it may run still
    members: Mapping[GroupKey, tuple[MemberKey, ...]] = field(default_factory=dict)  # what of these may run
    words: dict[str, Any] = field(default_factory=dict)  # its ledger, as Ledger.export gave it
    silent_until: float = 0.0  # it was to give no word before: its machine had only just booted


class Engine:
    """Everything that one node decides. `deadline` is when it wants to be called again (CLOCK_BOOTTIME)."""

    def __init__(self, spec: Spec, boot: BootId, now: float, begin: Beginning) -> None:
        self.spec = spec
        self._known = known(spec)
        self.boot = boot
        self.begin = begin
        self.membership = Membership(spec, boot, now, begin.machine_booted)
        silent = spec.dead_seconds if begin.machine_booted else 0.0
        self.ledger = Ledger(spec.me, silent_until=max(now + silent, begin.silent_until))
        self.ledger.restore(begin.words)
        self.patience = Patience(self.ledger, now, begin.machine_booted)
        self.heads: dict[str, Head] = {}
        self.views: dict[str, SetView] = {}
        self.pinged_sent: float | None = None
        self.in_sight_since = now  # pings are answered without a gap since then
        self.released: dict[GroupKey, tuple[str, float]] = {}  # for whom, and when it was said first
        self.beat: Beat | None = None  # the newest sent
        self.deadline = now
        self.leaving_since: float | None = None
        self._last = now
        self._last_beat_at = float("-inf")
        self.accepted: set[str] = set()  # sets whose copy here may be promoted although it is not the newest
        self._storing: dict[str, Head] = {}
        self._states: dict[str, tuple[object, ...]] = {}  # what each peer's newest beat says, and mine
        self._nothing_new = False  # the beat just heard only says that its sender lives
        self._out: list[ac.Action] = []
        self._op = 0
        self.electorate = Electorate(self)
        self.care = Care(self)
        adopt(self.care, begin, now)

    def handle(self, event: ev.Event, now: float) -> list[ac.Action]:
        """Take in `event` at `now` (CLOCK_BOOTTIME) and return what to do, in this order."""
        if now - self._last > max(self.spec.lease_seconds, 2 * self.spec.interval):
            self._rejoin(f"this node stood still for {now - self._last:.1f} s", now)
        self._last = now
        HANDLERS[type(event)](self, event, now)
        if not (isinstance(event, ev.BeatHeard) and self._nothing_new and now < self.deadline):
            self._pass(now)
        return self._taken_out()

    def recall(self, events: Iterable[ev.Event], now: float) -> list[ac.Action]:
        """Take in what is durable here, before the first pass: nothing is decided on half of it."""
        for event in events:
            HANDLERS[type(event)](self, event, now)
        return self._taken_out()

    # --- what the parts share -----------------------------------------------------------------

    def emit(self, *actions: ac.Action) -> None:
        self._out.extend(actions)

    def _taken_out(self) -> list[ac.Action]:
        taken, self._out = self._out, []
        return taken

    def new_op(self) -> int:
        self._op += 1
        return self._op

    def court(self) -> Court:
        return Court(self.spec, self.membership, self.ledger, self.pinged_sent, self.in_sight_since)

    def situation(self) -> Situation:
        return Situation(
            self.spec,
            self.membership,
            self.ledger,
            self.heads,
            self.views,
            bool(self.begin.resumes),
            self.accepted,
            {key: to for key, (to, _) in self.released.items()},
        )

    def agreed(self, name: str, head: Head, now: float) -> bool:
        """Do as many voters as the quorum asks for have generation `head` durably? (HISTORIES R11)"""
        if name not in self.heads or self.heads[name].id != head.id:
            return False
        voters = self.membership.voter_beats(now)
        asked = [beat for beat in voters if not self.membership.is_gone(beat.sender, now)]
        having = sum(beat.heads[name].id == head.id for beat in asked if name in beat.heads)
        if self.spec.quorum is Quorum.MAJORITY:
            return having + (self.spec.me in self.spec.voters) >= self.spec.majority
        rivals = sum(beat.sender == diverged(self.heads, [beat], name) for beat in asked)
        return self.spec.quorum is Quorum.NONE or having >= len(asked) - rivals

    def release(self, key: GroupKey, to: str, now: float) -> None:
        """Nothing of `key` runs here any more: say so, and let it go to `to` ("" = whose turn it is)."""
        self.released[key] = (to, now)
        self.ledger.release(key, self.spec.me)
        self._hear_claims(now)

    def enroll(self, roll: Roll) -> None:
        """From now on these vote."""
        self.spec = replace(self.spec, epoch=roll.epoch, voters=roll.voters)
        self.membership.reconfigure(self.spec)

    def group(self, key: GroupKey) -> Group | None:
        return next((g for g in self.spec.groups if g.key == key), None)

    # --- events -------------------------------------------------------------------------------

    def _beat_heard(self, event: ev.BeatHeard, now: float) -> None:
        beat = self._understood(event.beat)
        if self.membership.was_rolled_back(beat):
            self._rejoin(
                f"{beat.sender} echoes a beat that was never sent: a restored or cloned machine", now
            )
            return
        was_heard = beat.sender in self.membership.peers and self.membership.is_heard(beat.sender, now)
        if self.membership.hear(beat, now) is not None:
            self._learn_heads(beat, now)
            self.electorate.hear(beat, now)
            former, state = self._states.get(beat.sender), _state_of(beat)
            self._states[beat.sender] = state
            self._nothing_new = was_heard and state == former and self.care.is_settled
        else:
            self._nothing_new = self.membership.is_known(beat)

    def _understood(self, beat: Beat) -> Beat:
        """Without claims and heads of what this node's cm.cfg does not have.

        Nothing would ever end the word for such a claim; and a member with a bug could fill this node's
        memory, its disk and, by the words given, its own beats. After a reload the next beat says it again.
        """
        keys, sets = self._known
        if beat.claims.keys() <= keys and beat.heads.keys() <= sets:
            return beat
        claims = {key: state for key, state in beat.claims.items() if key in keys}
        return replace(beat, claims=claims, heads={n: h for n, h in beat.heads.items() if n in sets})

    def _learn_heads(self, beat: Beat, now: float) -> None:
        """A voter takes one id a number, and only higher ones (HISTORIES R11).

        One that never started gives way to one that did: the majority took that, so the other never will.
        And no new one is taken that leaves out what has started here (`is_vain`).
        """
        for name, head in beat.heads.items():
            known = self._storing.get(name) or self.heads.get(name)
            newer = known is None or (head.n, head.started) > (known.n, known.started)
            if newer and not is_vain(head, known) and not self._comes_late(name, head, beat.sender, now):
                self._storing[name] = head
                self.emit(ac.StoreHead(name, head))

    def _comes_late(self, name: str, head: Head, sender: str, now: float) -> bool:
        """It was begun under a lease that has ended: this voter's word is another's by now.

        Who has the word began without knowing of it. A majority that took it afterwards would wait for a
        generation that never starts, and leave out what the holder writes (found by the campaign).
        """
        if head.started or head.decided or name not in self.heads or self.spec.quorum is Quorum.NONE:
            return False
        group = self.spec.group_of(name)
        holder = self.ledger.holder(group.key, now) if group else None
        return holder is not None and holder not in (sender, head.writer)

    def _head_stored(self, event: ev.HeadStored, now: float) -> None:
        known = self.heads.get(event.name)
        if known is None or (event.head.n, event.head.started) >= (known.n, known.started):
            self.heads[event.name] = event.head
        if self._storing.get(event.name) == event.head:
            del self._storing[event.name]

    def _head_taken_back(self, event: ev.HeadTakenBack, now: float) -> None:
        known = self.heads.get(event.name)
        if known is not None and known.writer == self.spec.me and not known.started:
            self.heads[event.name] = event.head

    def _set_opened(self, event: ev.SetOpened, now: float) -> None:
        self._head_stored(ev.HeadStored(event.name, event.head), now)
        self.care.set_opened(event)

    def _set_looked(self, event: ev.SetLooked, now: float) -> None:
        self.views[event.name] = event.view

    def _pinged(self, event: ev.Pinged, now: float) -> None:
        if self.pinged_sent is None or event.sent - self.pinged_sent > self.spec.lease_seconds:
            self.in_sight_since = now
        self.pinged_sent = max(event.sent, self.pinged_sent or event.sent)

    def _address_answered(self, event: ev.AddressAnswered, now: float) -> None:
        if event.node in self.membership.peers:
            self.membership.peers[event.node].answered_at = now

    def _accept_loss(self, event: ev.AcceptLoss, now: float) -> None:
        self.accepted.add(event.name)
        self.emit(ac.Note(event.name, "--promote --accept-loss: this copy may be promoted", "warning"))

    def _leave(self, event: ev.Leave, now: float) -> None:
        if self.leaving_since is None:
            self.leaving_since = now
            self.emit(ac.Note(self.spec.me, "leaving: handing over what has a taker, stopping the rest"))

    def _reconfigured(self, event: ev.Reconfigured, now: float) -> None:
        roll = self.electorate.roll
        kept = replace(event.spec, epoch=roll.epoch, voters=roll.voters)
        self.spec = kept if self.electorate.rules else event.spec
        self._known = known(self.spec)
        self.membership.reconfigure(self.spec)
        self.care.reconfigure(now)

    def _rejoin(self, why: str, now: float) -> None:
        """Release everything, take a new boot id, listen for one T_dead (rule 4)."""
        self.emit(ac.Note(self.spec.me, f"{why}: releasing everything, rejoining", "error"))
        self.care.lose_everything(why, now)
        self.boot = hashlib.sha256(self.boot + b"rejoin").digest()[:16]
        self.begin = Beginning(machine_booted=False)
        self.membership = Membership(self.spec, self.boot, now, machine_booted=False)
        self.ledger.silent_until = now + self.spec.dead_seconds

    # --- one pass -----------------------------------------------------------------------------

    def _pass(self, now: float) -> None:
        self._forget_old_releases(now)
        self._hear_claims(now)
        self.care.go_round(now)
        self.electorate.go_round(now)
        self._out.insert(0, self.care.lease(now))  # before any start: the keeper reads it
        beat = self._make_beat(now)
        state = _state_of(beat)
        if state != self._states.get(self.spec.me) or now >= self._last_beat_at + self._beat_interval(now):
            self.beat, self._states[self.spec.me], self._last_beat_at = beat, state, now
            self.membership.new_number(now)  # the one that this beat says
            self.emit(ac.SendBeat(beat))
        self.deadline = self._next_deadline(now)

    def _hear_claims(self, now: float) -> None:
        """Words for what the others claim; on every pass, as a word may just have become free."""
        heard = [peer for peer in self.membership.heard(now) if peer.beat is not None]
        longest = max((peer.beat.dead_seconds for peer in heard if peer.beat), default=0.0)
        to_store = self.patience.to_store(max(longest, self.spec.dead_seconds), now)
        if to_store is not None:
            self.emit(ac.StorePatience(to_store))
        for peer in heard:
            if peer.beat is not None and peer.heard_at is not None and self.spec.has_roll_of(peer.beat):
                covered = self.patience.covers(peer.beat.dead_seconds)
                self.ledger.hear(peer.beat if covered else replace(peer.beat, claims={}), peer.heard_at, now)

    def _forget_old_releases(self, now: float) -> None:
        kept = RELEASE_SAID_FOR * self.spec.dead_seconds
        claimed = {key for beat in self.membership.beats(now) for key in beat.claims}
        for key, (_, said) in list(self.released.items()):
            if now - said > kept or key in claimed or key in self.care.holdings:
                del self.released[key]

    def _make_beat(self, now: float) -> Beat:
        leaving, echoes = self.leaving_since is not None, self.membership.echoes()
        return Beat(
            sender=self.spec.me,
            boot=self.boot,
            number=self.membership.number + 1,
            dead_seconds=self.spec.dead_seconds,
            epoch=self.spec.epoch,
            resumes=self.begin.resumes,
            echo=echoes,
            unheard=self.membership.unheard(now),
            claims={key: holding.state for key, holding in self.care.holdings.items()},
            released={key: to for key, (to, _) in self.released.items()},
            declines=self.care.declines(now),
            grants=self.ledger.said(echoes, now),
            heads=dict(self.heads),
            sets=dict(self.views),
            digest=self.spec.digest,
            version=__version__,
            uptime=now - self.membership.started,
            leaving=leaving,
            voters=self.spec.voters,
            proposal=self.electorate.proposal,
            accepted=self.electorate.accepted,
        )

    def _beat_interval(self, now: float) -> float:
        return self.spec.interval / 4 if self.membership.is_echo_late(now) else self.spec.interval

    def _next_deadline(self, now: float) -> float:
        times = [self._last_beat_at + self._beat_interval(now)]
        death = self.membership.next_death(now)
        if death is not None:
            times.append(death + 0.001)
        times += [word.until for word in self.ledger.words.values() if word.until > now]
        times += self.care.wakeups(now)
        return max(now, min(times))


def known(spec: Spec) -> tuple[set[GroupKey], set[str]]:
    """Every group and every set that there is to speak of."""
    groups = {ROLL, *(group.key for group in spec.groups)}
    return groups, {name for group in spec.groups for name in group.sets}


def _state_of(beat: Beat) -> tuple[object, ...]:
    """What peers act on: a change of it is sent at once."""
    sets = {name: (view.problem, view.writer) for name, view in beat.sets.items()}
    return (
        beat.boot, beat.unheard, beat.claims, beat.released, beat.declines, beat.grants, beat.heads, sets,
        beat.leaving, beat.digest, beat.epoch, beat.voters, beat.proposal, beat.accepted,
    )  # fmt: skip


Handler = Callable[[Engine, Any, float], None]
HANDLERS: dict[type, Handler] = {
    ev.Tick: lambda engine, event, now: None,
    ev.BeatHeard: Engine._beat_heard,
    ev.Pinged: Engine._pinged,
    ev.AddressAnswered: Engine._address_answered,
    ev.MemberStarted: lambda engine, event, now: engine.care.member_started(event, now),
    ev.MemberStopped: lambda engine, event, now: engine.care.member_stopped(event, now),
    ev.MemberFailed: lambda engine, event, now: engine.care.member_failed(event, now),
    ev.SetOpened: Engine._set_opened,
    ev.HeadStored: Engine._head_stored,
    ev.HeadTakenBack: Engine._head_taken_back,
    ev.SetLooked: Engine._set_looked,
    ev.StepDone: lambda engine, event, now: engine.care.step_done(event, now),
    ev.AcceptLoss: Engine._accept_loss,
    ev.ConfirmStopped: lambda engine, event, now: engine.care.mending.confirm_stopped(event.member),
    ev.Cleanup: lambda engine, event, now: engine.care.mending.cleanup(event.member, now),
    ev.Fenced: lambda engine, event, now: engine.care.fencing.fenced(event, now),
    ev.PatienceStored: lambda engine, event, now: engine.patience.stored(event.seconds),
    ev.RollStored: lambda engine, event, now: engine.electorate.stored(event),
    ev.Move: lambda engine, event, now: engine.care.moving.order(event),
    ev.Leave: Engine._leave,
    ev.Reconfigured: Engine._reconfigured,
}
