"""What this node does with every group on each pass: claim, start, keep, hand over, stop. Pure.

The engine owns one `Care`; it holds the state of the groups and emits the engine's actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from drcm.cluster import events as ev
from drcm.cluster.handover import Handover, Step, backoff
from drcm.cluster.holding import Holding
from drcm.cluster.lease import Permit
from drcm.cluster.messages import Beat, GroupKey, Head, HoldState
from drcm.cluster.placement import diverged, keeps_in_conflict
from drcm.cluster.spec import Group
from drcm.config.model import Quorum

if TYPE_CHECKING:
    from drcm.cluster.engine import Engine

DECLINED_FOR = 60.0  # seconds after a failed start before this node tries again
STUCK_RETRY = 10.0  # seconds between attempts to stop what would not stop
AGREEMENT_WAIT = 10.0  # seconds for a majority to have a new generation
WITHDRAWN_FOR = 5  # intervals before a group is claimed again
LEAVE_LINGER = 5  # intervals: a leaving node still grants what it released


@dataclass(frozen=True, slots=True)
class Refusal:
    """This node does not take a group until `until`."""

    reason: str
    until: float


class Care:
    """The groups of one node."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.holdings: dict[GroupKey, Holding] = {}
        self.reasons: dict[GroupKey, str] = {}  # the newest decision on each group, in an operator's words
        self._unfit: dict[GroupKey, str] = {}
        self._failed: dict[GroupKey, Refusal] = {}
        self._orphaned: dict[GroupKey, float] = {}
        self._withdrawn: dict[GroupKey, float] = {}  # no new claim before
        self._handover_failures: dict[GroupKey, tuple[int, float]] = {}  # how many, not before
        self._contested: dict[GroupKey, str] = {}
        self._alone_asked: set[str] = set()
        self._dead: set[str] = set()
        self._nothing_held_since: float | None = None

    def adopt(self, keys: tuple[GroupKey, ...], lease_until: float, now: float) -> None:
        """Go on with what a former daemon on this kernel held under a lease that has not ended."""
        for key in keys:
            group = self.engine.group(key)
            if group is not None and lease_until > now:
                holding = self._claim(group, "this daemon was restarted and goes on", now)
                holding.lease_until = lease_until
                holding.enter(HoldState.STARTING, now)

    # --- answers to actions -------------------------------------------------------------------

    def set_opened(self, event: ev.SetOpened) -> None:
        if event.group in self.holdings:
            self.holdings[event.group].set_opened(event)

    def member_started(self, event: ev.MemberStarted, now: float) -> None:
        holding = self.holdings.get(event.group)
        if holding is not None and holding.member_started(event) and event.error:
            self._give_up(holding, f"{event.member} did not start: {event.error}", now)

    def member_stopped(self, event: ev.MemberStopped, now: float) -> None:
        holding = self.holdings.get(event.group)
        if holding is not None and holding.member_stopped(event) and event.error:
            text = f"{event.member} did not stop: {event.error}"
            self.engine.emit(ev.Note(event.group, text, "error"))

    def member_failed(self, event: ev.MemberFailed, now: float) -> None:
        holding = self.holdings.get(event.group)
        if holding is not None and holding.state in (HoldState.STARTING, HoldState.RUNNING):
            self._give_up(holding, f"{event.member} failed: {event.reason}", now)

    def step_done(self, event: ev.StepDone, now: float) -> None:
        holding = self.holdings.get(event.group)
        if holding is None or holding.handover is None:
            return
        if holding.handover.step_done(event, now) and event.error:
            self.engine.emit(ev.Note(event.group, f"hand-over: {event.error}", "warning"))

    # --- one pass -----------------------------------------------------------------------------

    def go_round(self, now: float) -> None:
        for holding in list(self.holdings.values()):
            self._drive(holding, now)
        for group in self.engine.spec.groups:
            if group.key not in self.holdings:
                self._consider(group, now)
        self._watch_nodes(now)
        self._leave(now)

    def declines(self, now: float) -> dict[GroupKey, str]:
        for key in [key for key, refusal in self._failed.items() if refusal.until <= now]:
            del self._failed[key]
        return {**self._unfit, **{key: refusal.reason for key, refusal in self._failed.items()}}

    def lease(self, now: float) -> ev.Lease:
        """How long all that is held here may be held; the keeper enforces it from outside (rule 3)."""
        spec = self.engine.spec
        held = [h for h in self.holdings.values() if h.state is not HoldState.CLAIMING]
        if not held:
            return ev.Lease(0.0, 0.0)
        alive = [h for h in held if h.lease_until > now]
        until = min((h.lease_until for h in alive), default=min(h.since for h in held))
        rest = until - spec.lease_seconds + spec.dead_seconds - 2 * spec.interval
        return ev.Lease(until, rest, tuple(h.group.key for h in alive if not h.urgent))

    def wakeups(self, now: float) -> list[float]:
        ends = [h.lease_until for h in self.holdings.values() if h.lease_until > now]
        return ends + [refusal.until for refusal in self._failed.values()]

    def lose_everything(self, why: str, now: float) -> None:
        for holding in self.holdings.values():
            self._lose(holding, why, now)

    # --- a group that this node does not hold -------------------------------------------------

    def _consider(self, group: Group, now: float) -> None:
        engine = self.engine
        situation = engine.situation()
        if situation.known_holder(group, now) or now < engine.ledger.silent_until:
            self._orphaned.pop(group.key, None)
        else:
            self._orphaned.setdefault(group.key, now)
        verdict = situation.judge(group, now - self._orphaned.get(group.key, now), now)
        self._unfit.pop(group.key, None)
        if verdict.decline:
            self._unfit[group.key] = verdict.decline
        self._say(group.key, verdict.reason)
        if engine.leaving_since is not None or now < engine.ledger.silent_until:
            return
        if group.key in self._failed or now < self._withdrawn.get(group.key, now):
            return
        if verdict.claim and not self._address_answers(group, now):
            self._drive(self._claim(group, verdict.reason, now), now)

    def _address_answers(self, group: Group, now: float) -> bool:
        """The machine of a silent node still answers on its addresses: it is alive (HISTORIES E16)."""
        peers, dead = self.engine.membership.peers, self.engine.spec.dead_seconds
        for peer in peers.values():
            if (
                peer.name in group.candidates
                and peer.answered_at is not None
                and now - peer.answered_at < dead
            ):
                self._say(group.key, f"{peer.name} is not heard, but its addresses answer: no takeover")
                return True
        return False

    def _claim(self, group: Group, reason: str, now: float) -> Holding:
        number = self.engine.membership.number + 1  # the beat that this pass will send
        holding = Holding(group, HoldState.CLAIMING, now, number, reason)
        self.holdings[group.key] = holding
        self.engine.released.pop(group.key, None)
        self._orphaned.pop(group.key, None)
        self.engine.emit(ev.Note(group.key, f"claiming: {reason}"))
        return holding

    # --- a group that it holds ----------------------------------------------------------------

    def _drive(self, holding: Holding, now: float) -> None:
        permit = self._permit(holding, now)
        if holding.state in (HoldState.STOPPING, HoldState.BLOCKED):
            self._drive_down(holding, permit, now)
        elif not permit.allows(now) and holding.state is HoldState.CLAIMING:
            self._maybe_withdraw(holding, permit, now)
        elif not permit.allows(now):
            self._lose(holding, permit.reason, now)
            self._drive_down(holding, permit, now)
        else:
            self._drive_up(holding, now)
            if holding.state is HoldState.STOPPING and holding.handover is None:
                self._drive_down(holding, permit, now)

    def _permit(self, holding: Holding, now: float) -> Permit:
        engine, key = self.engine, holding.group.key
        engine.ledger.take(key, engine.spec.dead_seconds, now)
        incumbent = holding.state is not HoldState.CLAIMING
        wins = self._wins_conflict(holding, now)
        permit = engine.court().permit(key, holding.claim_number, now, incumbent, wins)
        if not permit.allows(now) and not permit.refused and holding.lease_until > now:
            return Permit(holding.lease_until)  # what was granted before still runs
        holding.lease_until = permit.until
        return permit

    def _wins_conflict(self, holding: Holding, now: float) -> bool:
        """Another node claims it too: does this one keep it? (after a partition of two)"""
        mine, group = self.engine.beat, holding.group
        others = [beat for beat in self.engine.membership.beats(now) if group.key in beat.claims]
        if mine is None or not others:
            self._conflict_over(group, now)
            return False
        if not all(keeps_in_conflict(mine, other, group) for other in others):
            return False
        if holding.state is HoldState.RUNNING and group.key not in self._contested:
            self._contested[group.key] = others[0].sender
            self.engine.emit(
                ev.Note(group.key, f"{others[0].sender} holds it too; this node keeps it", "error")
            )
            self._report_divergence(group, others)
        return True

    def _report_divergence(self, group: Group, others: list[Beat]) -> None:
        for name in group.sets:
            node = diverged(self.engine.heads, others, name)
            if node:
                text = f"{name} diverged: {self.engine.spec.me} and {node} both wrote it; no sync either way"
                self.engine.emit(ev.Problem(f"set-diverged:{name}", text))

    def _conflict_over(self, group: Group, now: float) -> None:
        if self._contested.pop(group.key, None) is not None:
            self.engine.emit(ev.Announce(group.key))

    def _maybe_withdraw(self, holding: Holding, permit: Permit, now: float) -> None:
        """Without a majority within T_lease a claim is withdrawn; so is one that is refused."""
        self._say(holding.group.key, f"claimed: {permit.reason}")
        if permit.refused or now - holding.since > self.engine.spec.lease_seconds:
            self._withdrawn[holding.group.key] = now + WITHDRAWN_FOR * self.engine.spec.interval
            self._finish(holding, now, f"claim withdrawn: {permit.reason}")

    def _lose(self, holding: Holding, why: str, now: float) -> None:
        if holding.state is HoldState.CLAIMING:
            return
        if holding.state in (HoldState.STOPPING, HoldState.BLOCKED):
            holding.hurry()
            return
        self.engine.emit(ev.Note(holding.group.key, f"releasing at once: {why}", "error"))
        holding.begin_stop(now, why, urgent=True)

    def _give_up(self, holding: Holding, why: str, now: float) -> None:
        """It can't run here: stop the rest of the group, and let another node have it."""
        self.engine.emit(ev.Note(holding.group.key, why, "error"))
        self.engine.emit(ev.Problem(f"resource-failed:{holding.group.key}", why))
        holding.begin_stop(now, why, decline=why)

    def _drive_up(self, holding: Holding, now: float) -> None:
        if holding.state is HoldState.CLAIMING:
            holding.enter(HoldState.STARTING, now)
        if holding.state is HoldState.STARTING:
            self._drive_start(holding, now)
        if holding.state is HoldState.RUNNING:
            self._drive_running(holding, now)

    def _drive_start(self, holding: Holding, now: float) -> None:
        engine = self.engine

        def agreed(name: str, head: Head) -> bool:
            return engine.agreed(name, head, now)

        def known(name: str) -> Head | None:
            return engine.situation().newest_head(name, now)

        engine.emit(*holding.start_next(engine.new_op, known, agreed))
        if holding.next_to_start() is None:
            self._now_running(holding, now)
        elif not holding.pending and now - holding.since > AGREEMENT_WAIT:
            self._give_up(holding, "no majority has the new generation durably", now)

    def _now_running(self, holding: Holding, now: float) -> None:
        group, me = holding.group, self.engine.spec.me
        holding.enter(HoldState.RUNNING, now)
        self._say(group.key, f"running: {holding.reason}")
        self.engine.emit(ev.Note(group.key, f"running: {holding.reason}"))
        self.engine.emit(ev.Problem(f"resource-failed:{group.key}", f"{group.key} runs on {me}", over=True))
        if me != group.home:
            text = f"{group.key} runs on {me} in place of {group.home}: {holding.reason}"
            self.engine.emit(ev.Problem(f"failed-over:{group.key}", text))

    def _drive_running(self, holding: Holding, now: float) -> None:
        self._go_alone(holding, now)
        if holding.handover is None:
            self._maybe_hand_over(holding, now)
        if holding.handover is not None:
            self._drive_handover(holding, holding.handover, now)

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
                engine.emit(ev.GoAlone(name))

    # --- handing over -------------------------------------------------------------------------

    def _maybe_hand_over(self, holding: Holding, now: float) -> None:
        group, engine = holding.group, self.engine
        _, not_before = self._handover_failures.get(group.key, (0, 0.0))
        if engine.leaving_since is not None:
            self._hand_over_leaving(holding, now)
        elif engine.spec.failback and group.home != engine.spec.me and now >= not_before:
            waiting = self._home_not_ready(group, now)
            self._say(group.key, f"running: {holding.reason}; {waiting or 'going home'}")
            if not waiting:
                self._begin_handover(holding, group.home, "its home is back", now)

    def _home_not_ready(self, group: Group, now: float) -> str:
        """Why the group can't go home yet; empty where it can."""
        engine, home = self.engine, group.home
        if home not in engine.membership.peers or not engine.membership.is_heard(home, now):
            return f"{home} is not heard"
        peer = engine.membership.peers[home]
        settled = engine.spec.dead_seconds + 2 * engine.spec.interval
        if peer.beat is None or peer.beat.leaving or now - (peer.heard_since or now) < settled:
            return f"{home} has been back for less than {settled:.1f} s"
        if peer.beat.digest != engine.spec.digest:
            return f"{home} has another cm.cfg: nothing moves between unequal configs"
        if group.key in peer.beat.declines:
            return f"{home} declines: {peer.beat.declines[group.key]}"
        return ""

    def _hand_over_leaving(self, holding: Holding, now: float) -> None:
        """A leaving node hands its sets over; what has none it just stops and releases."""
        takers = [name for name in holding.group.candidates if self._can_take(name, holding.group, now)]
        if takers and holding.group.sets:
            self._begin_handover(holding, takers[0], f"{self.engine.spec.me} is leaving", now)
        else:
            holding.begin_stop(now, "leaving")

    def _can_take(self, name: str, group: Group, now: float) -> bool:
        engine = self.engine
        if name == engine.spec.me or not engine.membership.is_heard(name, now):
            return False
        beat = engine.membership.peers[name].beat
        if beat is None or beat.leaving or group.key in beat.declines or beat.digest != engine.spec.digest:
            return False
        return all(s in beat.sets and not beat.sets[s].problem for s in group.sets)

    def _begin_handover(self, holding: Holding, to: str, why: str, now: float) -> None:
        leaving = self.engine.leaving_since is not None
        holding.handover = Handover(holding.group, to, why, now, leaving)
        if not holding.group.sets:
            holding.handover.enter(Step.STOPPING, now)
        self.engine.emit(ev.Note(holding.group.key, f"handing over to {to}: {why}"))

    def _drive_handover(self, holding: Holding, handover: Handover, now: float) -> None:
        engine = self.engine
        self._maybe_drop(holding, handover, now)
        engine.emit(*handover.next_action(engine.new_op))
        if handover.step is Step.STOPPING:
            holding.enter(HoldState.STOPPING, now)
            self._drive_down(holding, None, now)
        elif handover.step is Step.AGREEING:
            if all(engine.agreed(name, head, now) for name, head in handover.given.items()):
                holding.begin_stop(now, f"handed over to {handover.to}", to=handover.to)
                self._drive_down(holding, None, now)
        elif handover.dropped:
            self._handover_failed(holding, handover, now)

    def _maybe_drop(self, holding: Holding, handover: Handover, now: float) -> None:
        engine = self.engine
        if not handover.can_be_dropped:
            return
        late = handover.overdue(now)
        if not engine.membership.is_heard(handover.to, now):
            late = f"{handover.to} is not heard any more"
        left = engine.leaving_since
        if left is not None and now - left > engine.spec.leave_sync:
            late = f"leave_sync ({engine.spec.leave_sync:.0f} s) is over"
        if late:
            engine.emit(ev.Note(holding.group.key, f"hand-over given up: {late}", "warning"))
            handover.fail(late, now)

    def _handover_failed(self, holding: Holding, handover: Handover, now: float) -> None:
        key = holding.group.key
        failures = self._handover_failures.get(key, (0, 0.0))[0] + 1
        self._handover_failures[key] = (failures, now + backoff(failures))
        holding.handover = None
        if self.engine.leaving_since is not None:
            text = (
                f"{key} was not handed over ({handover.error}): its newest changes may be on this node alone"
            )
            self.engine.emit(ev.Problem(f"unsent:{key}", text))
            holding.begin_stop(now, "leaving without a hand-over")
        else:
            holding.enter(HoldState.STARTING, now)

    # --- going down ---------------------------------------------------------------------------

    def _drive_down(self, holding: Holding, permit: Permit | None, now: float) -> None:
        if permit is not None and not permit.allows(now) and not holding.urgent:
            holding.hurry()
        if holding.state is HoldState.BLOCKED:
            self._retry_stop(holding, now)
        handover = holding.handover
        keep_sets = handover is not None and not holding.urgent
        self.engine.emit(*holding.stop_next(self.engine.new_op, keep_sets))
        if handover is not None and keep_sets and not holding.pending:
            self._handover_stopped(holding, handover, now)
        elif holding.is_down:
            self._finish(holding, now, f"released: {holding.stop_reason}")
        elif holding.is_stuck and holding.state is not HoldState.BLOCKED:
            self._blocked(holding, now)

    def _handover_stopped(self, holding: Holding, handover: Handover, now: float) -> None:
        """Only the sets are left: nothing writes any more."""
        if handover.step is Step.STOPPING and holding.errors:
            handover.fail(f"could not be stopped: {', '.join(holding.errors)}", now)
            holding.errors.clear()
        elif handover.step is Step.STOPPING and holding.group.sets:
            handover.enter(Step.LAST, now)
        elif handover.step is Step.STOPPING:
            holding.begin_stop(now, f"handed over to {handover.to}", to=handover.to)
            self._finish(holding, now, f"released: {holding.stop_reason}")
            return
        self._drive_handover_stopped(holding, handover, now)

    def _drive_handover_stopped(self, holding: Holding, handover: Handover, now: float) -> None:
        if handover.step is not Step.STOPPING:
            self._drive_handover(holding, handover, now)

    def _blocked(self, holding: Holding, now: float) -> None:
        key = holding.group.key
        what = "; ".join(f"{member}: {error}" for member, error in holding.errors.items())
        holding.enter(HoldState.BLOCKED, now)
        self._say(key, f"BLOCKED: {what}")
        self.engine.emit(ev.Note(key, f"BLOCKED, nobody may start it: {what}", "error"))
        self.engine.emit(ev.Problem(f"resource-failed:{key}", f"could not be stopped: {what}"))

    def _retry_stop(self, holding: Holding, now: float) -> None:
        if now - holding.since >= STUCK_RETRY:
            holding.errors.clear()
            holding.enter(HoldState.BLOCKED, now)

    def _finish(self, holding: Holding, now: float, text: str) -> None:
        """Nothing of it runs here: the others may have it."""
        key = holding.group.key
        del self.holdings[key]
        self._contested.pop(key, None)
        self.engine.release(key, holding.release_to, now)
        if holding.decline:
            self._failed[key] = Refusal(holding.decline, now + DECLINED_FOR)
        self.engine.emit(ev.Note(key, text), ev.Problem(f"failed-over:{key}", text, over=True))

    # --- nodes, leaving, words ----------------------------------------------------------------

    def _watch_nodes(self, now: float) -> None:
        dead = set(self.engine.membership.unheard(now))
        speaks = next((v for v in self.engine.spec.voters if v not in dead), "") == self.engine.spec.me
        for name in sorted(dead - self._dead):
            self.engine.emit(ev.Note(name, f"{name} is not heard: dead", "warning"))
            if speaks:
                self.engine.emit(ev.Problem(f"node-dead:{name}", f"{name} does not answer"))
        for name in sorted(self._dead - dead):
            self.engine.emit(ev.Note(name, f"{name} is heard again"))
            self.engine.emit(ev.Problem(f"node-dead:{name}", f"{name} answers again", over=True))
        self._dead = dead
        self._probe_silent(now)

    def _probe_silent(self, now: float) -> None:
        """From half of T_dead on, does a silent peer's machine still answer? (two_node, HISTORIES E16)"""
        spec, membership = self.engine.spec, self.engine.membership
        if spec.quorum is not Quorum.TWO_NODE:
            return
        peer = membership.peers[spec.peers[0]]
        if peer.heard_at is None or peer.beat is None or now - peer.heard_at < spec.dead_seconds / 2:
            return
        keys = tuple(key for key in peer.beat.claims if key not in self.holdings)
        if keys:
            self.engine.emit(ev.ProbeAddresses(peer.name, keys))

    def _leave(self, now: float) -> None:
        """When nothing is held any more, stay for a few beats to grant what was released, then go."""
        engine = self.engine
        if engine.leaving_since is None or self.holdings:
            self._nothing_held_since = None
            return
        self._nothing_held_since = self._nothing_held_since or now
        if now - self._nothing_held_since >= LEAVE_LINGER * engine.spec.interval:
            engine.emit(ev.Left())

    def _say(self, key: GroupKey, reason: str) -> None:
        self.reasons[key] = reason
