"""What is done about a member that failed, or that can't be stopped (DESIGN.md rules 3 and 10). Pure.

A failed member is restarted where it is, a few times; then its group moves, with a last pass where it
has sets; where nobody can take it, it stops, and somebody is told once. What can't be stopped blocks its
group: nobody starts it until it is down, its node was fenced, or a person says that it is down.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from drcm.cluster import actions as ac
from drcm.cluster import events as ev
from drcm.cluster.holding import Holding
from drcm.cluster.messages import GroupKey, HoldState
from drcm.cluster.moving import Moving
from drcm.cluster.placement import declined
from drcm.cluster.spec import Group, MemberKey, Restarts
from drcm.cluster.upkeep import LONGEST_WAIT, Count, Upkeep

if TYPE_CHECKING:
    from drcm.cluster.engine import Engine

STUCK_RETRY = 10.0  # seconds between attempts to stop what would not stop


@dataclass(slots=True)
class Refusal:
    """This node does not take a group until `until`; `served`: another node has run it since."""

    reason: str
    until: float
    served: bool = False


class Mending:
    """The failures of one node's groups."""

    def __init__(self, engine: Engine, moving: Moving, upkeep: Upkeep) -> None:
        self.engine, self.moving, self.upkeep = engine, moving, upkeep
        self.refusals: dict[GroupKey, Refusal] = {}
        self._cleared: set[GroupKey] = set()  # what this node said of it is over: another runs it

    # --- a member failed ------------------------------------------------------------------------

    def start_failed(self, holding: Holding, event: ev.MemberStarted, now: float) -> None:
        """What has never run here moves at once: another node may be quicker than a second attempt."""
        why = f"{event.member} did not start: {event.error}"
        if holding.ran:
            self.failed(holding, event.member, why, now, event.futile)
        else:
            self.give_up(holding, why, now)

    def failed(self, holding: Holding, member: MemberKey, why: str, now: float, futile: bool = False) -> None:
        """Restart it here, a few times; not where that is no use."""
        if holding.handover is not None:
            holding.broken[member] = why  # it goes anyway; if it stays after all, this is taken up again
            return
        if member in holding.bouncing or member not in holding.started:
            return
        key, restarts = holding.group.key, self._restarts(member)
        wait = None if futile else self.upkeep.failed(key, member, restarts, now)
        if wait is None:
            self._move(holding, member, why, now)
        else:
            count = self.upkeep.count(key, member, restarts, now)
            times = f"{count.count} of {count.limit}" if count else "once"
            self._restart(holding, member, f"{why}; restarting it here (failed {times})", wait, now)

    def _restart(self, holding: Holding, member: MemberKey, text: str, wait: float, now: float) -> None:
        later = f" in {wait:.0f} s" if wait else ""
        self.engine.emit(ac.Note(holding.group.key, text + later, "warning"))
        holding.restart(member, now + wait, now)

    def _move(self, holding: Holding, member: MemberKey, why: str, now: float) -> None:
        """It failed too often where it is, or can't run here."""
        group = holding.group
        if self.upkeep.stays_until(group.key, self.engine.spec.flap_limit, now):
            text = f"{why}; it moved too often to move again: restarting it here"
            self._restart(holding, member, text, LONGEST_WAIT, now)
            return
        taker = next((n for n, refusal in self.moving.refusals(group, now).items() if not refusal), "")
        if not taker or member.startswith("set:") or not self._is_writer(holding):
            self.give_up(holding, why, now)
        elif self.moving.may_try(group.key, now):
            holding.broken[member] = why
            holding.enter(HoldState.RUNNING, now)
            self.engine.emit(ac.Problem(f"resource-failed:{group.key}", f"{why}; it moves to {taker}"))
            self.moving.begin(holding, taker, why, now, decline=why)
        else:
            self._restart(holding, member, f"{why}; it can't be handed over yet", 0.0, now)

    def holds_up(self, holding: Holding, now: float) -> bool:
        """Has the start of what comes next to wait: for its next attempt, or for a set's tree?"""
        if self.misses_tree(holding, now):
            self.engine.care.say(holding.group.key, "waiting: the tree of a set is not there")
            return True
        rests = not holding.pending and not holding.bouncing and holding.next_to_start() is not None
        return rests and now < holding.start_after

    def misses_tree(self, holding: Holding, now: float) -> bool:
        """Is the tree of a set that is written here gone: not mounted, another disk (HISTORIES R22)?

        No program is started then, for it would write beside the tree; after T_dead the set has failed, and
        nothing that is done here mends that: who can take it does so at once.
        """
        views = self.engine.views
        written = [name for name in self._written(holding) if f"set:{name}" in holding.started]
        missing = next((n for n in written if views[n].treeless), "") if holding.programs_next else ""
        holding.treeless_since = min(holding.treeless_since, now) if missing else inf
        if missing and now - holding.treeless_since > self.engine.spec.dead_seconds:
            holding.treeless_since = inf
            taken = not all(self.moving.refusals(holding.group, now).values())
            self.failed(holding, f"set:{missing}", views[missing].problem, now, futile=taken)
        return bool(missing)

    def take_up_again(self, holding: Holding, now: float) -> None:
        """It stays here after all, and something in it had failed meanwhile."""
        member, why = holding.broken.popitem()
        self.failed(holding, member, why, now)

    def give_up(self, holding: Holding, why: str, now: float) -> None:
        """It can't run here: stop all of the group, and let another node have it."""
        group = holding.group
        self.engine.emit(ac.Note(group.key, why, "error"))
        refusals = self.moving.refusals(group, now)
        if all(refusals.values()):
            others = "; ".join(f"{n}: {r}" for n, r in refusals.items() if n != self.engine.spec.me)
            text = (
                f"{group.key} RUNS NOWHERE: {self.engine.spec.me}: {why}; {others or 'it has no backup'}. "
                f"Mend it, then: drcm-server --client --command='cleanup {_first_resource(group)}'"
            )
            self.engine.emit(ac.Problem(f"stopped:{group.key}", text))
        else:
            self.engine.emit(ac.Problem(f"resource-failed:{group.key}", why))
        holding.begin_stop(now, why, decline=why)

    def _is_writer(self, holding: Holding) -> bool:
        """A living writer gives its sets away by a hand-over, so that nothing is left behind."""
        written = self._written(holding)
        return bool(written) and all(f"set:{name}" in holding.started for name in written)

    def _written(self, holding: Holding) -> list[str]:
        """Its sets of which this node's record is the writer's."""
        views = self.engine.views
        return [name for name in holding.group.sets if name in views and views[name].writer]

    def _restarts(self, member: MemberKey) -> Restarts:
        return self.engine.spec.restarts.get(member, Restarts())

    def count(self, group: Group, member: MemberKey, now: float) -> Count | None:
        """The failures of a member that still count."""
        return self.upkeep.count(group.key, member, self._restarts(member), now)

    # --- what is not taken here any more --------------------------------------------------------

    def refuse(self, holding: Holding, now: float) -> None:
        """It was stopped because it failed here: declined for a while, longer each time."""
        until = now + self.upkeep.decline_for(holding.group.key, now)
        self.refusals[holding.group.key] = Refusal(holding.decline, until)

    def refuses(self, group: Group, now: float) -> bool:
        """Not what another node has run since, and no longer can: then a new attempt is better than none."""
        refusal = self.refusals.get(group.key)
        if refusal is None:
            return False
        failed = any(declined(beat, group.key) for beat in self.engine.membership.beats(now))
        if refusal.served and not failed and not self.engine.situation().known_holder(group, now):
            del self.refusals[group.key]
        return group.key in self.refusals

    def seen_elsewhere(self, group: Group, now: float) -> None:
        """Who has it, and whether it runs there: then a refusal here has served its purpose."""
        claimants = self.engine.membership.claimants(group.key, now)
        holders = [beat for beat in claimants if beat.claims[group.key] is not HoldState.CLAIMING]
        if len(holders) == 1:  # the last words of one that died lie beside those of who took over
            self.upkeep.held_by(group.key, holders[0].sender, group.home, now)
        for beat in holders:
            if beat.claims[group.key] is HoldState.RUNNING:
                self._runs_on(group.key, beat.sender)

    def _runs_on(self, key: GroupKey, node: str) -> None:
        """What this node, or its former daemon, had told of it is over (DESIGN.md section 7)."""
        if key in self.refusals:
            self.refusals[key].served = True
        if key not in self._cleared:
            self._cleared.add(key)
            for kind in ("stopped", "failed-over"):
                self.engine.emit(ac.Problem(f"{kind}:{key}", f"{key} runs on {node}", over=True))

    def taken(self, key: GroupKey) -> None:
        """This node has it now: what it tells of it from here on is new."""
        self._cleared.discard(key)

    def declines(self, now: float) -> dict[GroupKey, str]:
        for key in [key for key, refusal in self.refusals.items() if refusal.until <= now]:
            del self.refusals[key]
        return {key: refusal.reason for key, refusal in self.refusals.items()}

    def cleanup(self, member: MemberKey, now: float) -> None:
        """An operator has mended it: no failure and no move counts any more. "" = everything.

        Nobody claims it before all have heard of that: else the first who does takes it, because the home
        still declines.
        """
        for group in self.engine.spec.groups:
            if member in ("", *group.members):
                self.upkeep.forget(group.key)
                self.refusals.pop(group.key, None)
                self.moving.forget(group.key)
                self.engine.care.vacancies.hold_back(group.key, now)
                holding = self.engine.care.holdings.get(group.key)
                if holding is not None:
                    holding.start_after = now
                over = f"{group.key}: cleaned up by hand"
                self.engine.emit(ac.Problem(f"resource-failed:{group.key}", over, over=True))
                self.engine.emit(ac.Note(group.key, "cleanup: failures, moves and refusals are forgotten"))

    # --- what can't be stopped ------------------------------------------------------------------

    def blocked(self, holding: Holding, now: float) -> None:
        key = holding.group.key
        what = "; ".join(f"{member}: {error}" for member, error in holding.errors.items())
        first = next(iter(holding.errors))
        holding.enter(HoldState.BLOCKED, now)
        self.engine.care.reasons[key] = f"BLOCKED: {what}"
        self.engine.emit(ac.Note(key, f"BLOCKED, nobody may start it: {what}", "error"))
        cure = (
            f"It is tried again every {STUCK_RETRY:.0f} s, and started nowhere else. End it by hand, then: "
            f"drcm-server --client --command='confirm-stopped {first}'"
        )
        self.engine.emit(ac.Problem(f"blocked:{key}", f"could not be stopped: {what}. {cure}"))

    def retry_stop(self, holding: Holding, now: float) -> None:
        if now - holding.since >= STUCK_RETRY:
            holding.errors.clear()
            holding.enter(HoldState.BLOCKED, now)

    def confirm_stopped(self, member: MemberKey) -> None:
        """A person has seen that it is down."""
        for key, holding in self.engine.care.holdings.items():
            if holding.state is HoldState.BLOCKED and holding.is_stopped(member):
                self.engine.emit(ac.Note(key, f"{member}: confirmed by hand to be stopped", "warning"))


def _first_resource(group: Group) -> MemberKey:
    return next((m for m in group.members if not m.startswith("set:")), group.members[0])
