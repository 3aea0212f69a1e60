"""Planted bugs: each breaks one rule of the engine. The simulation must catch every one.

A mutant is a context manager that patches the engine's parts while lives are lived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from drcm.cluster import care, engine, holding, lease, lookout, membership, placement
from drcm.cluster.events import Lease
from drcm.cluster.lease import NEVER, Permit, Word
from drcm.cluster.messages import Beat, GroupKey

Mutant = Callable[[], Any]


@contextmanager
def patched(owner: Any, name: str, value: Any) -> Iterator[None]:
    former = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, former)


def voter_grants_twice() -> Any:
    """A word is given to whoever asks last."""

    def hear(self: lease.Ledger, beat: Beat, heard_at: float, now: float) -> None:
        for key in beat.released:
            self.release(key, beat.sender)
        for key in beat.claims:
            if now >= self.silent_until:
                self.words[key] = Word(beat.sender, heard_at + beat.dead_seconds)

    return patched(lease.Ledger, "hear", hear)


def word_ends_with_the_lease() -> Any:
    """A word does not outlive the permits that are built on it."""
    return patched(lease, "WORD_MARGIN", 0.3)


def forgets_on_restart() -> Any:
    """A restarted daemon has lost its ledger, and calls dead at once whom it has not heard yet.

    Either alone does no harm: who has just started calls nobody dead for a T_dead, by when every word
    that was forgotten has ended.
    """
    stack = ExitStack()
    stack.enter_context(patched(lease.Ledger, "restore", lambda self, words: None))
    stack.enter_context(patched(membership.Membership, "_patience", lambda self: 0.0))
    return stack


def booted_machine_grants_at_once() -> Any:
    """A machine that boots gives its word at once, and calls dead at once whom it has not heard yet."""
    former = engine.Engine.__init__

    def init(self: engine.Engine, *arguments: Any) -> None:
        former(self, *arguments)
        self.ledger.silent_until = NEVER

    stack = ExitStack()
    stack.enter_context(patched(engine.Engine, "__init__", init))
    stack.enter_context(patched(membership.Membership, "_patience", lambda self: 0.0))
    return stack


def lease_counted_from_the_arrival() -> Any:
    """The lease counts from when the echo came, not from when the beat was sent."""
    former = membership.Membership.hear

    def hear(self: membership.Membership, beat: Beat, now: float) -> Any:
        peer = former(self, beat, now)
        if peer is not None:
            peer.echoed_sent = now
        return peer

    return patched(membership.Membership, "hear", hear)


def echo_without_boot() -> Any:
    """An echo of a former boot proves something."""

    def echoed(self: membership.Membership, beat: Beat, now: float) -> float | None:
        echo = beat.echo.get(self.spec.me)
        return None if echo is None else self._sent.get(echo.beat, now)

    return patched(membership.Membership, "_echoed", echoed)


def old_beats_count() -> Any:
    """The state of an older beat replaces that of a newer one."""
    return patched(membership, "_is_newer", lambda newest, beat: True)


def lease_is_not_kept_outside() -> Any:
    """No deadline is published: a daemon that hangs keeps what it holds."""
    return patched(care.Care, "lease", lambda self, now: Lease(0.0, 0.0))


def minority_suffices() -> Any:
    """One voter less than a majority is enough."""
    return patched(engine.Spec, "majority", property(lambda self: len(self.voters) // 2))


def own_word_is_enough() -> Any:
    """A node that hears nobody goes on."""
    former = lease.Court._no_majority

    def alone(self: lease.Court, key: GroupKey, claim_number: int, count: int, now: float) -> Permit:
        if not self.membership.heard(now):
            return Permit(now + self.spec.lease_seconds)
        return former(self, key, claim_number, count, now)

    return patched(lease.Court, "_no_majority", alone)


def releases_before_it_stopped() -> Any:
    """`released` is said when stopping begins."""
    former = holding.Holding.begin_stop

    def begin_stop(self: holding.Holding, now: float, reason: str, **more: Any) -> None:
        former(self, now, reason, **more)
        self.started.clear()

    return patched(holding.Holding, "begin_stop", begin_stop)


def stall_is_not_noticed() -> Any:
    """A node that stood still goes on as if nothing had been; a permit it had is still believed."""

    def permit(self: Any, held: holding.Holding, now: float) -> Permit:
        held.lease_until = now + self.engine.spec.lease_seconds
        return Permit(held.lease_until)

    former = care.Care._permit

    def first_real(self: Any, held: holding.Holding, now: float) -> Permit:
        return permit(self, held, now) if held.state.value == "running" else former(self, held, now)

    return patched(care.Care, "_permit", first_real)


def claim_is_never_withdrawn() -> Any:
    """A claim without a majority waits for ever, and its voter's word with it."""
    return patched(care.Care, "_maybe_withdraw", lambda self, held, permit, now: None)


def dead_nodes_are_waited_for() -> Any:
    """Who comes first is waited for, dead or not."""
    return patched(placement.Situation, "_is_out", lambda self, name, group, now: False)


def failback_never_comes() -> Any:
    """What moved away never goes home."""
    from drcm.cluster.moving import Moving

    return patched(Moving, "_home_not_ready", lambda self, group, now: "never")


def never_leaves() -> Any:
    """A leaving node never says that it is gone: the operator's stop hangs."""
    return patched(lookout.Lookout, "_leave", lambda self, now: None)


UNSAFE: tuple[Mutant, ...] = (
    voter_grants_twice, word_ends_with_the_lease, booted_machine_grants_at_once,
    lease_counted_from_the_arrival, echo_without_boot, lease_is_not_kept_outside,
    minority_suffices, own_word_is_enough, releases_before_it_stopped, stall_is_not_noticed,
)  # fmt: skip
STUCK: tuple[Mutant, ...] = (claim_is_never_withdrawn, dead_nodes_are_waited_for, failback_never_comes)
# Not caught within 300 lives yet: the faults that would show them are too rare in chaos.py.
RARE: tuple[Mutant, ...] = (forgets_on_restart, old_beats_count)
