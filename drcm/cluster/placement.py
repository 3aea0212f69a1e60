"""Who should hold a group that nobody holds (DESIGN.md rules 5 and 9). Pure.

These are opinions: they say when to try. Whether a node may is for the grants (lease.py).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field

from drcm.cluster.lease import Ledger
from drcm.cluster.membership import Membership
from drcm.cluster.messages import Beat, GroupKey, Head, HoldState, SetView
from drcm.cluster.spec import Group, Spec
from drcm.config.model import Quorum

AWAY = "an operator moved it to "  # so the home declines what it gave away: only that it is brought home
IN_DOUBT = "in doubt"  # so begins what only a person resolves; the rest a pass mends


@dataclass(frozen=True, slots=True)
class Verdict:
    """Claim it, or not and why; `decline` tells the others not to wait for this node."""

    claim: bool
    reason: str
    decline: str = ""
    waits: bool = False  # only for those who come first to claim it


@dataclass(frozen=True, slots=True)
class Situation:
    """All that placement looks at: one frozen picture."""

    spec: Spec
    membership: Membership
    ledger: Ledger
    heads: Mapping[str, Head]  # what this voter has durably
    views: Mapping[str, SetView]  # this node's own copies
    resumed: bool  # this daemon goes on from a former one: nothing can have happened meanwhile
    accepted: Container[str] = ()  # sets for which a person said --promote --accept-loss
    released: Mapping[GroupKey, str] = field(default_factory=dict)  # by this node, for whom

    def judge(self, group: Group, waited: float, now: float) -> Verdict:
        """Should this node claim `group`, for which it has `waited` so many seconds?"""
        if self.spec.me not in group.candidates:
            return Verdict(False, "this node is not among its candidates")
        holder = self.known_holder(group, now)
        if holder:
            return Verdict(False, f"{holder} holds it")
        unfit = self.unfit(group, now)
        if unfit:
            return Verdict(False, unfit, decline=unfit)
        return self._turn(group, waited, now)

    def known_holder(self, group: Group, now: float) -> str:
        """A node that says it holds the group, or that this voter still keeps its word to."""
        claimants = self.membership.claimants(group.key, now)
        if claimants:
            return claimants[0].sender
        promised = self.ledger.holder(group.key, now)
        return promised if promised and promised != self.spec.me else ""

    def blocked_on(self, group: Group, now: float) -> str:
        """A node that says it can't stop the group: nobody may start it (rule 3)."""
        claimants = self.membership.claimants(group.key, now)
        return next((beat.sender for beat in claimants if beat.claims[group.key] is HoldState.BLOCKED), "")

    def runner(self, group: Group, now: float) -> str:
        """Another node on which it runs, all of it."""
        claimants = self.membership.claimants(group.key, now)
        return next((beat.sender for beat in claimants if beat.claims[group.key] is HoldState.RUNNING), "")

    def unfit(self, group: Group, now: float) -> str:
        """Why this node can't take the group's sets; empty where it can."""
        for name in group.sets:
            why = self._unfit_for(name, group, now)
            if why:
                return f"{name}: {why}"
        return ""

    def newest_head(self, name: str, now: float) -> Head | None:
        """The newest generation of a set that any voter heard knows; its own where two have one number.

        None that was made in ignorance of one that had started: no voter that knows of that one takes it.
        """
        known = self._known_heads(name, now)
        started = max((head for head in known if head.started), key=lambda head: head.n, default=None)
        return max(
            (head for head in known if not is_vain(head, started)),
            key=lambda head: (head.n, head.started),
            default=None,
        )

    def newest_number(self, now: float) -> Callable[[str], int]:
        """Of a set: the number that a new generation has to exceed."""
        return lambda name: max((head.n for head in self._known_heads(name, now)), default=0)

    def _known_heads(self, name: str, now: float) -> list[Head]:
        own = [self.heads[name]] if name in self.heads else []
        return own + [beat.heads[name] for beat in self.membership.beats(now) if name in beat.heads]

    def order(self, group: Group, now: float) -> list[str]:
        """The candidates, first choice first: for whom it was released, the newest copy, config order."""
        offered = {beat.released.get(group.key) for beat in self.membership.beats(now)}
        offered.add(self.released.get(group.key))

        def rank(name: str) -> tuple[bool, int, int, int]:
            n, run = self._copy_of(name, group, now)
            return (name not in offered, -n, -run, group.candidates.index(name))

        return sorted(group.candidates, key=rank)

    def _turn(self, group: Group, waited: float, now: float) -> Verdict:
        waiting_for = []
        for name in self.order(group, now):
            if name == self.spec.me:
                break
            if not self._is_out(name, group, now):
                waiting_for.append(name)
        unsure = [name for name in waiting_for if not self.membership.is_heard(name, now)]
        if unsure:
            return Verdict(False, f"{unsure[0]} comes first and may only be late")
        unknown = self._may_still_speak(group, now)
        if unknown:
            return Verdict(False, f"{unknown} was not heard yet and may hold it")
        for name in waiting_for:
            if self._is_young(name):
                return Verdict(False, f"{name} comes first and has only just started")
        patience = 2 * len(waiting_for) * self.spec.interval
        if waited < patience:
            why = f"{waiting_for[0]} comes first and has {patience:.1f} s to claim it"
            return Verdict(False, why, waits=True)
        alone = "; quorum = none: no other node is asked" if self.spec.quorum is Quorum.NONE else ""
        return Verdict(True, self._why_others_are_out(group, now) + alone)

    def _is_young(self, name: str) -> bool:
        """It still listens before it claims (rules 2 and 4), or has only just begun to."""
        beat = self.membership.peers[name].beat
        return beat is not None and beat.uptime < self.spec.dead_seconds + 2 * self.spec.interval

    def _may_still_speak(self, group: Group, now: float) -> str:
        """A candidate that was not heard since this node's start, and that is given time to."""
        for name in group.candidates:
            if name == self.spec.me or self.membership.peers[name].heard_at is not None:
                continue
            if not self.membership.confirmed_dead(name, now):
                return name
        return ""

    def _is_out(self, name: str, group: Group, now: float) -> bool:
        """Nobody need wait for `name`: it is dead, has left, or declines."""
        if self.membership.confirmed_dead(name, now) or self.membership.is_letting_go(name, group.key):
            return True
        beat = self.membership.peers[name].beat
        return beat is not None and self.membership.is_heard(name, now) and bool(declined(beat, group.key))

    def _why_others_are_out(self, group: Group, now: float) -> str:
        order = self.order(group, now)
        before = order[: order.index(self.spec.me)]
        if self.spec.me != group.home and group.home not in before:
            before.insert(0, group.home)
        words = [self._standing(name, group, now) for name in before]
        if words:
            return ", ".join(words)
        return "this is its home" if self.spec.me == group.home else f"{self.spec.me} comes first"

    def _standing(self, name: str, group: Group, now: float) -> str:
        if self.membership.confirmed_dead(name, now):
            return f"{name} is dead"
        if self.membership.is_letting_go(name, group.key):
            return f"{name} is leaving"
        beat = self.membership.peers[name].beat
        why = beat.declines.get(group.key, "") if beat else ""
        if why.startswith(AWAY):
            return why
        if why:
            return f"{name} declines ({why})"
        older = self._copy_of(name, group, now) < self._copy_of(self.spec.me, group, now)
        return f"{name} has an older copy" if older else f"{name} did not claim it"

    def _copy_of(self, name: str, group: Group, now: float) -> tuple[int, int]:
        """(generation number, run) of the node's copy of the group's first set; (0, 0) without sets."""
        if not group.sets:
            return 0, 0
        view = self._views_of(name, now).get(group.sets[0])
        return (view.pos_n, _run_number(view.pos_run)) if view and not view.problem else (0, 0)

    def _views_of(self, name: str, now: float) -> Mapping[str, SetView]:
        if name == self.spec.me:
            return self.views
        beat = self.membership.peers[name].beat
        return beat.sets if beat is not None and self.membership.is_heard(name, now) else {}

    def _unfit_for(self, name: str, group: Group, now: float) -> str:
        newest, view = self.newest_head(name, now), self.views.get(name)
        if newest is None:
            begun = f"not begun: drcm-sync {name} --init, on {group.home}"
            return "" if self.spec.me == group.home else begun
        if view is None:
            return "no record of it here yet"
        accepted = name in self.accepted
        if view.problem and not (accepted and view.problem.startswith(IN_DOUBT)):
            return view.problem
        if accepted:
            return ""
        if not stands_on(view, newest):
            return (
                f"this copy is behind a whole generation: it holds generation {view.pos_n}, "
                f"the newest known is {newest.n} of {newest.writer}"
            )
        known = view.sole or self._knows_its_peers(now) or self._may_still_speak(group, now)
        return "" if known else self._waiting(name, view, group)

    def _knows_its_peers(self, now: float) -> bool:
        """Could another node have gone on with the set without this one hearing of it?

        Not where grants take a majority (it would know, HISTORIES R11), where a peer was heard since
        this node's start, or where the daemon only restarted (HISTORIES R12).
        """
        if self.spec.quorum is Quorum.MAJORITY or self.resumed or not self.spec.peers:
            return True
        return any(peer.heard_at is not None for peer in self.membership.peers.values())

    def _waiting(self, name: str, view: SetView, group: Group) -> str:
        others = ", ".join(node for node in group.candidates if node != self.spec.me)
        return (
            f"WAITING: this node has generation {view.pos_n}, run {view.pos_run or 'none'}; "
            f"{others} had it too and may have gone on without us; not heard since boot. "
            f"Start {others}. If it is gone for good: "
            f"drcm-sync {name} --promote --accept-loss"
        )


def declined(beat: Beat, key: GroupKey) -> str:
    """Why the node does not take the group at all; "" where it would, if nobody held it or it were given."""
    why = beat.declines.get(key, "")
    return "" if why.startswith(AWAY) else why


def stands_on(view: SetView, head: Head) -> bool:
    """The copy is in generation `head`, or exactly where that one begins, as long as it has not started.

    Once it has, its writer may have gone on for days without this copy (HISTORIES R11).
    """
    if view.pos_id == head.id:
        return True
    return not head.started and (view.pos_id, view.pos_run) == (head.origin_id, head.origin_run)


def keeps_in_conflict(mine: Beat, other: Beat, group: Group) -> bool:
    """Both nodes hold the group (after a partition of two). Does `mine` keep it?

    What is further on keeps before what only claims; the records of sets are compared before anything
    else (HISTORIES E17); for what has no set, and for sets that diverged, the earlier candidate keeps.
    """
    holding = (HoldState.STARTING, HoldState.RUNNING, HoldState.STOPPING, HoldState.BLOCKED)
    i_hold, they_hold = (beat.claims.get(group.key) in holding for beat in (mine, other))
    if i_hold != they_hold:
        return i_hold
    for name in group.sets:
        a, b = mine.heads.get(name), other.heads.get(name)
        if a is not None and b is not None and a.id != b.id and (_is_child(a, b) or _is_child(b, a)):
            return _is_child(a, b)
    return _rank(mine.sender, group) < _rank(other.sender, group)


def diverged(mine: Mapping[str, Head], others: Iterable[Beat], name: str) -> str:
    """The node whose newest generation of `name` is neither this voter's nor its child or parent."""
    own = mine.get(name)
    for beat in others:
        theirs = beat.heads.get(name)
        if own is None or theirs is None or own.id == theirs.id:
            continue
        if own.n == theirs.n and own.started and theirs.started:
            return beat.sender
    return ""


def is_vain(head: Head, known: Head | None) -> bool:
    """It begins before `known`, which has started and its maker did not know, and no person wanted that."""
    beaten = known is not None and known.started and head.origin_n < known.n
    return beaten and not head.started and not head.decided


def _is_child(child: Head, parent: Head) -> bool:
    return child.n > parent.n and child.origin_id == parent.id


def _rank(name: str, group: Group) -> int:
    return group.candidates.index(name) if name in group.candidates else len(group.candidates)


def _run_number(run: str) -> int:
    return int(run.partition("-")[0] or 0)
