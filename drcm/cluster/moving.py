"""Handing a running group to another living node: coming home, leaving (DESIGN.md rules 7, 8). Pure."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TYPE_CHECKING

from drcm.cluster import actions as ac
from drcm.cluster import events as ev
from drcm.cluster.handover import Handover, Step, backoff
from drcm.cluster.holding import Holding
from drcm.cluster.journey import Journey
from drcm.cluster.messages import GroupKey, HoldState
from drcm.cluster.placement import AWAY, IN_DOUBT, declined
from drcm.cluster.spec import Group
from drcm.cluster.upkeep import Upkeep

if TYPE_CHECKING:
    from drcm.cluster.engine import Engine


class Moving:
    """The hand-overs of one node. `stop(holding, now)` carries on with stopping."""

    def __init__(self, engine: Engine, stop: Callable[[Holding, float], None], upkeep: Upkeep) -> None:
        self.engine = engine
        self._upkeep = upkeep
        self._flapping: set[GroupKey] = set()
        self._stop = stop
        self._failures: dict[GroupKey, tuple[int, float]] = {}  # how many in a row, no attempt before
        self._ordered: dict[GroupKey, str] = {}  # by an operator, not yet begun: to whom
        self._away: dict[GroupKey, str] = {}  # given away by an operator's order: to whom
        self.journeys: dict[GroupKey, Journey] = {}  # the newest of each group

    def order(self, event: ev.Move) -> None:
        """An operator wants it elsewhere; begun on this very pass."""
        self._ordered[event.group] = event.to

    def declines(self, held: Container[GroupKey]) -> dict[GroupKey, str]:
        """What this node does not want brought home: an operator has moved it away."""
        brings = "drcm-sync --failback brings it home"
        return {key: f"{AWAY}{to}: {brings}" for key, to in self._away.items() if key not in held}

    def runs_on(self, key: GroupKey, node: str, now: float) -> None:
        """Another node runs it: what failed before is forgotten; so is an order to move it elsewhere."""
        self._failures.pop(key, None)
        if key in self.journeys:
            self.journeys[key].arrive(node, now)
        if self._away.get(key, node) != node:
            del self._away[key]

    def released(self, key: GroupKey, to: str, text: str, now: float) -> None:
        """Nothing of it is left here; given to nobody, a move that was under way has failed."""
        if not to:
            self._fell_through(key, text, now)
        self.calm(key, text)

    def forget(self, key: GroupKey) -> None:
        """An operator's cleanup: no attempt has failed."""
        self._failures.pop(key, None)

    def returned(self, key: GroupKey, now: float) -> None:
        """This node claims it: nothing of an operator's move is left."""
        if key in self.journeys:
            self._fell_through(
                key, f"{self.journeys[key].to} did not start it; this node takes it again", now
            )

    def _fell_through(self, key: GroupKey, error: str, now: float) -> None:
        """It did not get where it was to go: an operator's order means nothing any more."""
        self._away.pop(key, None)
        if key in self.journeys:
            self.journeys[key].fail(error, now)

    def consider(self, holding: Holding, now: float) -> None:
        group, engine = holding.group, self.engine
        _, not_before = self._failures.get(group.key, (0, 0.0))
        ordered = self._ordered.pop(group.key, "")
        if engine.leaving_since is not None:
            self._hand_over_leaving(holding, now)
        elif ordered:
            self.begin(holding, ordered, "an operator moves it", now)
            if group.home == engine.spec.me and engine.spec.failback:
                self._away[group.key] = ordered
        elif engine.spec.failback and group.home != engine.spec.me and now >= not_before:
            waiting = self._flaps(group, now) or self._home_not_ready(group, now)
            holding.outlook = waiting or "going home"
            if not waiting:
                self.begin(holding, group.home, "its home is back", now)

    def _flaps(self, group: Group, now: float) -> str:
        """Why it stays where it is: it moved too often. Told once, and when that is over."""
        until = self._upkeep.stays_until(group.key, self.engine.spec.flap_limit, now)
        if until <= now:
            self.calm(group.key, f"{group.key} may move again")
            return ""
        if group.key not in self._flapping:
            self._flapping.add(group.key)
            times = len(self._upkeep.moves(group.key, now))
            text = (
                f"{group.key} went to a backup {times} times within an hour: it stays on "
                f"{self.engine.spec.me} for {(until - now) / 60:.0f} min, or until its 'cleanup'"
            )
            self.engine.emit(ac.Note(group.key, text, "error"), ac.Problem(f"flapping:{group.key}", text))
        return f"moved too often: stays for {(until - now) / 60:.0f} min"

    def calm(self, key: GroupKey, text: str) -> None:
        """It does not flap, or is no longer this node's."""
        if key in self._flapping:
            self._flapping.discard(key)
            self.engine.emit(ac.Problem(f"flapping:{key}", text, over=True))

    def may_try(self, key: GroupKey, now: float) -> bool:
        """Long enough since the last attempt that failed."""
        return now >= self._failures.get(key, (0, 0.0))[1]

    def refusals(self, group: Group, now: float) -> dict[str, str]:
        """Why each candidate can't be given the group now; empty where it can."""
        return {name: self.cannot_take(name, group, now) for name in group.candidates}

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
        doubts = (peer.beat.sets[name].problem for name in group.sets if name in peer.beat.sets)
        return next((f"{home}: {doubt}" for doubt in doubts if doubt.startswith(IN_DOUBT)), "")

    def _hand_over_leaving(self, holding: Holding, now: float) -> None:
        """A leaving node hands its sets over; what has none it just stops and releases."""
        group, keep = holding.group, self.engine.spec.keeps
        refusals = self.refusals(group, now)
        takers = [name for name, why in refusals.items() if not why]
        if takers and group.sets:
            self.begin(holding, takers[0], f"{self.engine.spec.me} is leaving", now)
            return
        if group.sets and any(name in self.engine.heads for name in group.sets):
            others = [f"{name}: {why}" for name, why in refusals.items() if name != self.engine.spec.me]
            text = f"{group.key} was not handed over: {'; '.join(others) or 'it has no backup'}"
            self.engine.emit(ac.Note(group.key, text, "warning"), ac.Problem(f"unsent:{group.key}", text))
        holding.begin_stop(now, "leaving", keep=keep)

    def cannot_take(self, name: str, group: Group, now: float) -> str:
        """Why a node can't be given the group now; empty where it can."""
        engine = self.engine
        if name == engine.spec.me:
            return "it is this node"
        if name not in engine.membership.peers:
            return "no longer in cm.cfg"
        beat = engine.membership.peers[name].beat
        if beat is None or not engine.membership.is_heard(name, now):
            return "not heard"
        if beat.leaving:
            return "leaves too"
        if group.sets and beat.digest != engine.spec.digest:
            return "has another cm.cfg"
        problems = [beat.sets[s].problem if s in beat.sets else f"has no {s}" for s in group.sets]
        return next(filter(None, [declined(beat, group.key), *problems]), "")

    def begin(self, holding: Holding, to: str, why: str, now: float, decline: str = "") -> None:
        """`decline`: it goes because it failed here; no more than one bulk pass then."""
        leaving = self.engine.leaving_since is not None or bool(decline)
        failures = self._failures.get(holding.group.key, (0, 0.0))[0] + 1  # until the taker runs it
        self._failures[holding.group.key] = (failures, now + backoff(failures))
        holding.handover = Handover(holding.group, to, why, now, leaving, decline=decline)
        self.journeys[holding.group.key] = Journey(holding.group.key, to, why, now)
        if not holding.group.sets:
            holding.handover.enter(Step.STOPPING, now)
        self.engine.emit(ac.Note(holding.group.key, f"handing over to {to}: {why}"))

    def drive(self, holding: Holding, handover: Handover, now: float) -> None:
        engine = self.engine
        self._drop_if_hopeless(holding, handover, now)
        self.journeys[holding.group.key].follow(handover, now)
        engine.emit(*handover.next_action(engine.new_op, engine.situation().newest_number(now)))
        if handover.step is Step.STOPPING:
            holding.enter(HoldState.STOPPING, now)
            self._stop(holding, now)
        elif handover.step is Step.AGREEING:
            if all(engine.agreed(name, head, now) for name, head in handover.given.items()):
                self.journeys[holding.group.key].given(now)
                holding.begin_stop(
                    now, f"handed over to {handover.to}", to=handover.to, decline=handover.decline
                )
                self._stop(holding, now)
        elif handover.dropped:
            self._failed(holding, handover, now)

    def _drop_if_hopeless(self, holding: Holding, handover: Handover, now: float) -> None:
        engine = self.engine
        if not handover.can_be_dropped:
            return
        late = handover.overdue(now)
        members = engine.membership  # cm.cfg may have lost the taker meanwhile
        if handover.to not in members.peers or not members.is_heard(handover.to, now):
            late = f"{handover.to} is not heard any more"
        left = engine.leaving_since
        if left is not None and now - left > engine.spec.leave_sync:
            late = f"leave_sync ({engine.spec.leave_sync:.0f} s) is over"
        if late:
            engine.emit(ac.Note(holding.group.key, f"hand-over given up: {late}", "warning"))
            handover.fail(late, now)

    def _failed(self, holding: Holding, handover: Handover, now: float) -> None:
        key = holding.group.key
        holding.handover = None
        self._fell_through(key, handover.error, now)
        if self.engine.leaving_since is not None:
            text = (
                f"{key} was not handed over ({handover.error}): its newest changes may be on this node alone"
            )
            self.engine.emit(ac.Problem(f"unsent:{key}", text))
            holding.begin_stop(now, "leaving without a hand-over", keep=self.engine.spec.keeps)
        else:
            holding.enter(HoldState.STARTING, now)

    def writers_stopped(self, holding: Holding, handover: Handover, now: float) -> None:
        """Only the sets are left: nothing writes any more."""
        if handover.step is Step.STOPPING and holding.errors:
            handover.fail(f"could not be stopped: {', '.join(holding.errors)}", now)
            holding.errors.clear()
        elif handover.step is Step.STOPPING and holding.group.sets:
            handover.enter(Step.LAST, now)
        elif handover.step is Step.STOPPING:
            self.journeys[holding.group.key].given(now)
            holding.begin_stop(now, f"handed over to {handover.to}", to=handover.to, decline=handover.decline)
            self._stop(holding, now)
            return
        self.drive(holding, handover, now)
