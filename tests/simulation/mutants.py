"""Planted bugs: each breaks one rule. The simulation must catch every one within `CAUGHT_WITHIN` lives.

A mutant is a context manager that patches the engine's parts while lives are lived. Not here, because
they can do no harm in this engine: `absent = released` with whole beats (a node whose newest whole beat
does not claim a group does not hold it; `half_a_beat_counts` plants it with the half beats of HISTORIES
E12), wall-clock steps (nothing that decides reads a wall clock: tests/architecture.py), and words of voters
with another roll (who hears of a newer roll goes by it before it can count them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from drcm.cluster import actions as ac
from drcm.cluster import care, engine, handover, holding, lease, membership, patience, placement, roll
from drcm.cluster import events as ev
from drcm.cluster.handover import Step
from drcm.cluster.lease import NEVER, Permit, Word
from drcm.cluster.messages import Beat, GroupKey, Head
from drcm.cluster.moving import Moving
from tests.simulation import machine
from tests.simulation.world import World

CAUGHT_WITHIN = 300  # seeds
Mutant = Callable[[], Any]


@contextmanager
def patched(owner: Any, name: str, value: Any) -> Iterator[None]:
    former = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, former)


@contextmanager
def together(*mutants: Any) -> Iterator[None]:
    with ExitStack() as stack:
        for mutant in mutants:
            stack.enter_context(mutant)
        yield


# --- voters ---------------------------------------------------------------------------------------


def voter_grants_twice() -> Any:
    """A word is given to whoever asks last."""

    def give(self: lease.Ledger, key: GroupKey, to: str, until: float, now: float, by: Any = None) -> None:
        if now >= self.silent_until:
            self.words[key] = Word(to, until, by)

    return patched(lease.Ledger, "_give", give)


def word_ends_with_the_lease() -> Any:
    """A word outlives nothing: it ends T_lease after the claim was heard."""
    return together(patched(lease, "WORD_MARGIN", 0.7), _nobody_is_waited_for())


def _nobody_is_waited_for() -> Any:
    """Opinions hold back what the words alone would let through: here they say "dead" at half of T_dead."""

    def is_dead(self: membership.Membership, name: str, now: float) -> bool:
        heard_at = self.peers[name].heard_at
        return now - (self.started if heard_at is None else heard_at) > self.spec.dead_seconds / 2

    return patched(membership.Membership, "is_dead", is_dead)


def word_is_shortened() -> Any:
    """A claim that says a shorter T_dead cuts short what was promised before it."""

    def give(self: lease.Ledger, key: GroupKey, to: str, until: float, now: float, by: Any = None) -> None:
        if now >= self.silent_until and self.holder(key, now) in (None, to):
            self.words[key] = Word(to, until, by)

    return patched(lease.Ledger, "_give", give)


def own_dead_seconds_for_others() -> Any:
    """A voter keeps its word by its own T_dead, not by the claim's (HISTORIES E5)."""
    former = engine.Engine._hear_claims

    def hear_claims(self: engine.Engine, now: float) -> None:
        with patched(lease.Ledger, "hear", lambda ledger, beat, at, now: hear(ledger, replace(
            beat, dead_seconds=self.spec.dead_seconds), at, now)):  # fmt: skip
            former(self, now)

    hear = lease.Ledger.hear
    return patched(engine.Engine, "_hear_claims", hear_claims)


def forgets_on_restart() -> Any:
    """A restarted daemon has lost its ledger, and calls dead at once whom it has not heard yet.

    Either alone does no harm: who has just started calls nobody dead for a T_dead, by when every word
    that was forgotten has ended.
    """
    return together(
        patched(lease.Ledger, "restore", lambda self, words: None),
        patched(membership.Membership, "_patience", lambda self: 0.0),
    )


def booted_machine_grants_at_once() -> Any:
    """A machine that boots gives its word at once, and calls dead at once whom it has not heard yet."""
    former = engine.Engine.__init__

    def init(self: engine.Engine, *arguments: Any) -> None:
        former(self, *arguments)
        self.ledger.silent_until = NEVER

    def stored(self: patience.Patience, seconds: float) -> None:
        self._durable, self._storing = seconds, None

    return together(
        patched(engine.Engine, "__init__", init),
        patched(patience.Patience, "stored", stored),
        patched(membership.Membership, "_patience", lambda self: 0.0),
    )


def half_a_beat_counts() -> Any:
    """A part of a beat gets lost, and what is absent counts as released (HISTORIES E12)."""
    hear, deliver = lease.Ledger.hear, World._deliver

    def deaf(self: lease.Ledger, beat: Beat, heard_at: float, now: float) -> None:
        for key, word in list(self.words.items()):
            if word.holder == beat.sender and key not in beat.claims:
                del self.words[key]
        hear(self, beat, heard_at, now)

    def half(self: World, sender: str, to: str, event: ev.Event) -> None:
        if isinstance(event, ev.BeatHeard) and self.random.random() < 0.1:
            claims = list(event.beat.claims.items())
            event = ev.BeatHeard(replace(event.beat, claims=dict(claims[: len(claims) // 2])))
        deliver(self, sender, to, event)

    return together(patched(lease.Ledger, "hear", deaf), patched(World, "_deliver", half))


def minority_suffices() -> Any:
    """One voter less than a majority is enough."""
    return patched(engine.Spec, "majority", property(lambda self: len(self.voters) // 2))


# --- leases ---------------------------------------------------------------------------------------


def lease_counted_from_the_arrival() -> Any:
    """The lease counts from when the echo came, not from when the beat was sent."""
    former = membership.Membership.hear

    def hear(self: membership.Membership, beat: Beat, now: float) -> Any:
        peer = former(self, beat, now)
        if peer is not None:
            peer.echoed_sent = now
        return peer

    return patched(membership.Membership, "hear", hear)


def lease_stretched_by_a_reload() -> Any:
    """A lease is counted by the T_dead of now, not by what the granted beat said."""

    def answered(self: lease.Court, peer: Any, key: GroupKey, claim_number: int) -> float:
        until = former(self, peer, key, claim_number)
        return until if until == NEVER else until - peer.echoed_lease + self.spec.lease_seconds

    former = lease.Court._answered_until
    return patched(lease.Court, "_answered_until", answered)


def clock_stands_still_in_suspend() -> Any:
    """CLOCK_MONOTONIC in place of CLOCK_BOOTTIME: a suspended machine has not noticed (HISTORIES E9)."""

    def clock(self: machine.Machine, now: float) -> float:
        slept = self.slept + (now - self.paused_at if self.host_paused else 0.0)
        return self.offset + (now - slept) * self.rate

    def world_time(self: machine.Machine, clock: float) -> float:
        return (clock - self.offset) / self.rate + self.slept

    return together(
        patched(machine.Machine, "clock", clock), patched(machine.Machine, "world_time", world_time)
    )


def lease_is_not_kept_outside() -> Any:
    """No deadline is published: a daemon that hangs keeps what it holds."""
    return patched(care.Care, "lease", lambda self, now: ac.Lease(0.0, 0.0))


def own_word_is_enough() -> Any:
    """A node that hears nobody goes on."""
    former = lease.Court._no_majority

    def alone(self: lease.Court, key: GroupKey, claim_number: int, count: int, now: float) -> Permit:
        if not self.membership.heard(now):
            return Permit(now + self.spec.lease_seconds)
        return former(self, key, claim_number, count, now)

    return patched(lease.Court, "_no_majority", alone)


def stall_is_not_noticed() -> Any:
    """A node that stood still goes on as if nothing had been; a permit it had is still believed."""

    def permit(self: Any, held: holding.Holding, now: float) -> Permit:
        held.lease_until = now + self.engine.spec.lease_seconds
        return Permit(held.lease_until)

    former = care.Care._permit

    def first_real(self: Any, held: holding.Holding, now: float) -> Permit:
        return permit(self, held, now) if held.state.value == "running" else former(self, held, now)

    return patched(care.Care, "_permit", first_real)


# --- beats ----------------------------------------------------------------------------------------


def echo_without_boot() -> Any:
    """An echo of a former boot proves something."""

    def echoed(self: membership.Membership, beat: Beat, now: float) -> Any:
        echo = beat.echo.get(self.spec.me)
        if echo is None:
            return None
        return self._sent.get(echo.beat, membership.Sending(now, self.spec.lease_seconds))

    return patched(membership.Membership, "_echoed", echoed)


def old_beats_count() -> Any:
    """The state of an older beat replaces that of a newer one."""
    return patched(membership, "_is_newer", lambda newest, beat: True)


# --- releasing ------------------------------------------------------------------------------------


def releases_before_it_stopped() -> Any:
    """`released` is said when stopping begins."""
    former = holding.Holding.begin_stop

    def begin_stop(self: holding.Holding, now: float, reason: str, **more: Any) -> None:
        former(self, now, reason, **more)
        self.started.clear()

    return patched(holding.Holding, "begin_stop", begin_stop)


def blocked_is_released() -> Any:
    """What could not be stopped is forgotten."""
    former = holding.Holding.member_stopped

    def stopped(self: holding.Holding, event: ev.MemberStopped) -> bool:
        return former(self, replace(event, error=""))

    return patched(holding.Holding, "member_stopped", stopped)


# --- sets -----------------------------------------------------------------------------------------


def starts_before_a_majority_has_it() -> Any:
    """A generation starts as soon as it is durable on its own node (HISTORIES R11)."""
    return patched(engine.Engine, "agreed", lambda self, name, head, now: True)


def voter_takes_two_ids_of_one_number() -> Any:
    """The generation that was heard last stands, and what is written may be an older one of that number."""

    def learn(self: engine.Engine, beat: Beat, now: float) -> None:
        for name, head in beat.heads.items():
            known = self.heads.get(name)
            if known is None or head.n > known.n or (head.n == known.n and head.id != known.id):
                self.emit(ac.StoreHead(name, replace(head, started=True)))

    def stored(self: engine.Engine, event: ev.HeadStored, now: float) -> None:
        self.heads[event.name] = event.head

    return together(
        patched(engine.Engine, "_learn_heads", learn),
        patched(engine.Engine, "_head_stored", stored),
        patched(engine, "HANDLERS", {**engine.HANDLERS, ev.HeadStored: stored}),
        patched(engine.Engine, "agreed", lambda self, name, head, now: True),
    )


def promotes_on_its_own_chain() -> Any:
    """A node promotes what it knows itself, not the newest generation that the majority knows."""

    def own(self: placement.Situation, name: str, now: float) -> Head | None:
        view = self.views.get(name)
        return replace(self.heads[name], id=view.pos_id, n=view.pos_n) if view else self.heads.get(name)

    return patched(placement.Situation, "newest_head", own)


def gives_before_the_last_pass() -> Any:
    """The new generation is given before the taker's copy is complete: the taker comes first."""
    order = {**handover.NEXT, Step.PREPARE: Step.GIVE, Step.GIVE: Step.AGREEING}
    return patched(handover, "NEXT", order)


# --- the roll of voters -----------------------------------------------------------------------------


def two_voters_change_at_once() -> Any:
    """All that are long dead are taken off the roll in one step (HISTORIES E6)."""

    def wish(now: roll.Roll, members: Any, heard: set[str], gone: set[str], shrink: bool) -> Any:
        left = tuple(name for name in now.voters if name not in gone)
        if shrink and 2 <= len(left) < len(now.voters):
            return roll.Wish(left, "many are dead")
        return former(now, members, heard, gone, shrink)

    def accept(now: roll.Roll, accepted: Any, proposal: roll.Proposal) -> bool:
        if proposal.roll.epoch != now.epoch + 1:
            return False
        return (
            accepted is None or accepted.roll.epoch < proposal.roll.epoch or accepted.ballot < proposal.ballot
        )

    former = roll.wish
    return together(patched(roll, "wish", wish), patched(roll, "may_accept", accept))


# --- progress -------------------------------------------------------------------------------------


def claim_is_never_withdrawn() -> Any:
    """A claim without a majority waits for ever, and its voter's word with it."""
    return patched(care.Care, "_maybe_withdraw", lambda self, held, permit, now: None)


def dead_nodes_are_waited_for() -> Any:
    """Who comes first is waited for, dead or not."""
    return patched(placement.Situation, "_is_out", lambda self, name, group, now: False)


def failback_never_comes() -> Any:
    """What moved away never goes home."""
    return patched(Moving, "_home_not_ready", lambda self, group, now: "never")


UNSAFE: tuple[Mutant, ...] = (
    voter_grants_twice, word_ends_with_the_lease, word_is_shortened, own_dead_seconds_for_others,
    forgets_on_restart, booted_machine_grants_at_once, half_a_beat_counts, minority_suffices,
    lease_counted_from_the_arrival, lease_stretched_by_a_reload, clock_stands_still_in_suspend,
    lease_is_not_kept_outside, own_word_is_enough, stall_is_not_noticed, echo_without_boot, old_beats_count,
    releases_before_it_stopped, blocked_is_released, starts_before_a_majority_has_it,
    voter_takes_two_ids_of_one_number, promotes_on_its_own_chain, gives_before_the_last_pass,
    two_voters_change_at_once,
)  # fmt: skip
STUCK: tuple[Mutant, ...] = (claim_is_never_withdrawn, dead_nodes_are_waited_for, failback_never_comes)
