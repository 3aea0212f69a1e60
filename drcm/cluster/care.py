"""What this node does with every group on each pass: claim, start, keep, hand over, stop. Pure.

The engine owns one `Care`; it holds the state of the groups and emits the engine's actions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drcm.cluster import actions as ac
from drcm.cluster import events as ev
from drcm.cluster.fencing import Fencing
from drcm.cluster.holding import Holding
from drcm.cluster.lease import LAPSED, NEVER, Permit
from drcm.cluster.lookout import Lookout
from drcm.cluster.mending import Mending
from drcm.cluster.messages import GroupKey, Head, HoldState
from drcm.cluster.moving import Moving
from drcm.cluster.placement import Situation, keeps_in_conflict
from drcm.cluster.spec import Group
from drcm.cluster.upkeep import Upkeep
from drcm.cluster.vacancy import Vacancies
from drcm.config.model import Quorum

if TYPE_CHECKING:
    from drcm.cluster.engine import Engine

AGREEMENT_WAIT = 10.0  # seconds for a majority to have a new generation


class Care:
    """The groups of one node."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.holdings: dict[GroupKey, Holding] = {}
        self.reasons: dict[GroupKey, str] = {}  # the newest decision on each group, in an operator's words
        self._contested: dict[GroupKey, str] = {}
        self._alone_asked: set[str] = set()
        self.upkeep = Upkeep()
        self.moving = Moving(engine, lambda holding, now: self._drive_down(holding, None, now), self.upkeep)
        self.mending = Mending(engine, self.moving, self.upkeep)
        self.fencing = Fencing(engine)
        self.vacancies = Vacancies(self)
        self.lookout = Lookout(engine)

    def reconfigure(self, now: float) -> None:
        """The groups may be others now."""
        for holding in self.holdings.values():
            self.fit(holding, now)
        known = {group.key for group in self.engine.spec.groups}
        self.upkeep.forget_unknown(known)
        self.vacancies.forget_unknown(known)
        for table in (self.reasons, self.mending.refusals):
            for key in [key for key in table if key not in known]:
                table.pop(key)

    def fit(self, holding: Holding, now: float) -> None:
        """Stop what cm.cfg does not have, or no longer."""
        group = self.engine.group(holding.group.key)
        if group is None or self.engine.spec.me not in group.candidates:
            holding.begin_stop(now, "cm.cfg no longer has it here")
        elif group != holding.group:
            self.engine.emit(*holding.regroup(group, self.engine.new_op, now))

    # --- answers to actions -------------------------------------------------------------------

    def set_opened(self, event: ev.SetOpened) -> None:
        if event.group in self.holdings:
            self.holdings[event.group].set_opened(event)

    def member_started(self, event: ev.MemberStarted, now: float) -> None:
        holding = self.holdings.get(event.group)
        if holding is not None and holding.member_started(event) and event.error:
            self.mending.start_failed(holding, event, now)

    def member_stopped(self, event: ev.MemberStopped, now: float) -> None:
        holding = self.holdings.get(event.group)
        if holding is not None and holding.member_stopped(event) and event.error:
            text = f"{event.member} did not stop: {event.error}"
            if holding.state is HoldState.STARTING and event.member in holding.group.members:
                self.mending.give_up(holding, text, now)  # so it can't be started again either
            else:
                self.engine.emit(ac.Note(event.group, text, "error"))

    def member_failed(self, event: ev.MemberFailed, now: float) -> None:
        holding = self.holdings.get(event.group)
        if holding is not None and holding.state in (HoldState.STARTING, HoldState.RUNNING):
            why = f"{event.member} failed: {event.reason}"
            self.mending.failed(holding, event.member, why, now, event.futile)

    def step_done(self, event: ev.StepDone, now: float) -> None:
        holding = self.holdings.get(event.group)
        if holding is None or holding.handover is None:
            return
        if holding.handover.step_done(event, now) and event.error:
            self.engine.emit(ac.Note(event.group, f"hand-over: {event.error}", "warning"))

    # --- one pass -----------------------------------------------------------------------------

    def go_round(self, now: float) -> None:
        for holding in list(self.holdings.values()):
            self._drive(holding, now)
        situation = self.engine.situation()
        for group in self.engine.spec.groups:
            if group.key not in self.holdings:
                self._look_at(group, situation, now)
        self.fencing.go_round(now)
        self.lookout.go_round(now)

    def declines(self, now: float) -> dict[GroupKey, str]:
        return self.moving.declines(self.holdings) | self.vacancies.unfit | self.mending.declines(now)

    def lease(self, now: float) -> ac.Lease:
        """How long all that is held here may be held; the keeper enforces it from outside (rule 3)."""
        spec = self.engine.spec
        held = [h for h in self.holdings.values() if h.state is not HoldState.CLAIMING]
        if not held:
            return ac.Lease(0.0, 0.0)
        alive = [h for h in held if h.lease_until > now and not h.urgent]
        until = min(h.lease_until for h in alive or held)  # what is lost the daemon stops at once itself
        rest = until - spec.lease_seconds + spec.dead_seconds - 2 * spec.interval
        return ac.Lease(until, rest, tuple(h.group.key for h in alive))

    @property
    def is_settled(self) -> bool:
        """Nothing waits for what another node says next."""
        return all(h.state is HoldState.RUNNING and not h.handover for h in self.holdings.values())

    def wakeups(self, now: float) -> list[float]:
        ends = [h.lease_until for h in self.holdings.values() if h.lease_until > now]
        ends += [refusal.until for refusal in self.mending.refusals.values()]
        return ends + [h.start_after for h in self.holdings.values() if h.start_after > now]

    def lose_everything(self, why: str, now: float) -> None:
        for holding in self.holdings.values():
            self._lose(holding, why, now)

    # --- a group that this node does not hold -------------------------------------------------

    def _look_at(self, group: Group, situation: Situation, now: float) -> None:
        reason = self.vacancies.consider(group, situation, now)
        if reason:
            self._begin(group, reason, now)

    def claim_roll(self, group: Group, reason: str, now: float) -> None:
        """The electorate's own group, in which nothing runs."""
        if self.vacancies.may_claim(group.key, now):
            self._begin(group, reason, now)

    def _begin(self, group: Group, reason: str, now: float) -> None:
        self.engine.emit(ac.Note(group.key, f"claiming: {reason}"))
        self._drive(self.claim(group, reason, now), now)

    def claim(self, group: Group, reason: str, now: float) -> Holding:
        holding = Holding(group, HoldState.CLAIMING, now, self.engine.membership.number + 1, reason)
        holding.handed = any(group.key in beat.released for beat in self.engine.membership.beats(now))
        self.holdings[group.key] = holding
        self.engine.released.pop(group.key, None)
        self.vacancies.taken(group.key)
        self.moving.returned(group.key, now)
        self.mending.taken(group.key)
        return holding

    # --- a group that it holds ----------------------------------------------------------------

    def _drive(self, holding: Holding, now: float) -> None:
        permit = self._permit(holding, now)
        if holding.is_going_down:
            self._drive_down(holding, permit, now)
        elif not permit.allows(now) and holding.state is HoldState.CLAIMING:
            self._maybe_withdraw(holding, permit, now)
        elif not permit.allows(now):
            self._lose(holding, permit.reason, now)
            self._drive_down(holding, permit, now)
        else:
            self._drive_up(holding, now)
            if holding.is_going_down and holding.handover is None:
                self._drive_down(holding, permit, now)

    def _permit(self, holding: Holding, now: float) -> Permit:
        engine, key = self.engine, holding.group.key
        engine.ledger.take(key, engine.spec.dead_seconds, now)
        incumbent = holding.state is not HoldState.CLAIMING
        wins = self._wins_conflict(holding, now)
        permit = engine.court().permit(key, holding.claim_number, now, incumbent, wins)
        if not permit.allows(now) and not permit.refused and holding.lease_until > now:
            return Permit(holding.lease_until)  # what was granted before still runs
        if permit.allows(now) and incumbent and not holding.is_going_down and holding.lease_until <= now:
            return Permit(NEVER, LAPSED)
        holding.lease_until = max(holding.lease_until, permit.until)  # once lost: when it ended
        return permit

    def _wins_conflict(self, holding: Holding, now: float) -> bool:
        """Another node claims it too: does this one keep it? (after a partition of two)"""
        mine, group = self.engine.beat, holding.group
        others = self.engine.membership.claimants(group.key, now)
        if mine is None or not others:
            if self._contested.pop(group.key, None) is not None:
                self.engine.emit(ac.Announce(group.key))
            return False
        if not all(keeps_in_conflict(mine, other, group) for other in others):
            return False
        if holding.state is HoldState.RUNNING and group.key not in self._contested:
            self._contested[group.key] = others[0].sender
            self.engine.emit(
                ac.Note(group.key, f"{others[0].sender} holds it too; this node keeps it", "error")
            )
        return True

    def _maybe_withdraw(self, holding: Holding, permit: Permit, now: float) -> None:
        """Without a majority within T_lease a claim is withdrawn; so is one that is refused."""
        self.say(holding.group.key, f"claimed: {permit.reason}")
        if permit.refused or now - holding.since > self.engine.spec.lease_seconds:
            self.vacancies.hold_back(holding.group.key, now)
            self._finish(holding, now, f"claim withdrawn: {permit.reason}")

    def _lose(self, holding: Holding, why: str, now: float) -> None:
        if holding.state is HoldState.CLAIMING:
            return
        if holding.is_going_down:
            holding.stop_reason = holding.stop_reason or why
            holding.hurry()
            return
        self.engine.emit(ac.Note(holding.group.key, f"releasing at once: {why}", "error"))
        holding.begin_stop(now, why, urgent=True)

    def _drive_up(self, holding: Holding, now: float) -> None:
        if holding.state is HoldState.CLAIMING:
            if why := self.engine.situation().unfit(holding.group, now):  # learned since it was claimed
                self._finish(holding, now, f"claim withdrawn: {why}")
                return
            if why := self.fencing.comes_first(holding.group, now):
                self.say(holding.group.key, why)
                return
            holding.enter(HoldState.STARTING, now)
            self.upkeep.held_by(holding.group.key, self.engine.spec.me, holding.group.home, now)
        if holding.state is HoldState.STARTING:
            self._drive_start(holding, now)
        if holding.state is HoldState.RUNNING:
            self._drive_running(holding, now)

    def _drive_start(self, holding: Holding, now: float) -> None:
        engine, situation = self.engine, self.engine.situation()

        def agreed(name: str, head: Head) -> bool:
            return engine.agreed(name, head, now)

        def known(name: str) -> Head | None:
            return situation.newest_head(name, now)

        if blocked := situation.blocked_on(holding.group, now):
            holding.begin_stop(now, f"{blocked} could not stop it")
            return
        here = self.holdings.values()
        if holding.waits_for_kinds(here, HoldState.STARTING, now) or holding.waits_for_stop(here):
            return
        if self.mending.holds_up(holding, now):
            if engine.leaving_since is not None:
                holding.enter(HoldState.RUNNING, now)  # it leaves as it is: that takes no program
            return
        above = situation.newest_number(now)
        engine.emit(*holding.start_next(engine.new_op, known, agreed, engine.accepted, now, above))
        if holding.is_up:
            self._now_running(holding, now)
        elif holding.waits_for_agreement and now - holding.since > AGREEMENT_WAIT:
            self.mending.give_up(holding, "no majority has the new generation durably", now)

    def _now_running(self, holding: Holding, now: float) -> None:
        group, me = holding.group, self.engine.spec.me
        holding.enter(HoldState.RUNNING, now)
        holding.ran = True
        self.upkeep.running_here(group.key, now)
        self.engine.accepted.difference_update(group.sets)
        self.say(group.key, f"running: {holding.reason}")
        self.engine.emit(ac.Note(group.key, f"running: {holding.reason}"))
        self.engine.emit(ac.Problem(f"resource-failed:{group.key}", f"{group.key} runs on {me}", over=True))
        self.engine.emit(ac.Problem(f"stopped:{group.key}", f"{group.key} runs on {me}", over=True))
        if me != group.home:
            text = f"{group.key} runs on {me} in place of {group.home}: {holding.reason}"
            self.engine.emit(ac.Problem(f"failed-over:{group.key}", text))

    def _drive_running(self, holding: Holding, now: float) -> None:
        self._go_alone(holding, now)
        if holding.handover is None and holding.broken:
            self.mending.take_up_again(holding, now)
            return
        stays = holding.handover is None and self.engine.leaving_since is None
        if stays and self.mending.misses_tree(holding, now):
            return
        if holding.handover is None:
            self.moving.consider(holding, now)
        if holding.handover is not None:
            self.moving.drive(holding, holding.handover, now)
        if holding.state is HoldState.RUNNING:
            self.say(
                holding.group.key, "; ".join(filter(None, (f"running: {holding.reason}", holding.outlook)))
            )

    def _go_alone(self, holding: Holding, now: float) -> None:
        """A writer that goes on without its peer says so in a new generation (rule 9)."""
        engine = self.engine
        if engine.spec.quorum is not Quorum.TWO_NODE or holding.handover is not None:
            return
        dead = engine.membership.is_dead(engine.spec.peers[0], now)
        for name in holding.group.sets:
            view = engine.views.get(name)
            if not dead or view is None or view.sole:
                self._alone_asked.discard(name)
            elif view.writer and name not in self._alone_asked:
                self._alone_asked.add(name)
                engine.emit(ac.GoAlone(name, engine.situation().newest_number(now)(name)))

    # --- going down ---------------------------------------------------------------------------

    def _drive_down(self, holding: Holding, permit: Permit | None, now: float) -> None:
        if permit is not None and not permit.allows(now) and not holding.urgent:
            holding.hurry()
        if holding.state is HoldState.BLOCKED:
            self.mending.retry_stop(holding, now)
        handover = holding.handover
        why = f"hand-over to {handover.to}" if handover else holding.stop_reason
        self.say(holding.group.key, f"stopping: {why}")
        if holding.waits_for_kinds(self.holdings.values(), HoldState.STOPPING, now):
            return
        keep_sets = handover is not None and not holding.urgent
        self.engine.emit(*holding.stop_next(self.engine.new_op, keep_sets))
        if handover is not None and keep_sets and not holding.pending:
            self.moving.writers_stopped(holding, handover, now)
        elif holding.is_down:
            self._finish(holding, now, f"released: {holding.stop_reason}")
        elif holding.is_stuck and holding.state is not HoldState.BLOCKED:
            self.mending.blocked(holding, now)

    def _finish(self, holding: Holding, now: float, text: str) -> None:
        """Nothing of it runs here: the others may have it."""
        key = holding.group.key
        del self.holdings[key]
        self._contested.pop(key, None)
        self.engine.release(key, holding.release_to, now)
        self.moving.released(key, holding.release_to, text, now)
        if holding.decline:
            self.mending.refuse(holding, now)
        over = [ac.Problem(f"{kind}:{key}", text, over=True) for kind in ("failed-over", "blocked")]
        self.engine.emit(ac.Note(key, text), *over)

    def say(self, key: GroupKey, reason: str) -> None:
        self.reasons[key] = reason
