"""One group that this node claims, and how it is started and stopped (DESIGN.md rules 3, 6, 8). Pure.

    claiming -> starting -> running -> stopping -> (released)
                   |           |          |
                   +-----------+----------+--> blocked: what could not be stopped

Members start one after another in the order of their kinds, sets first, and stop backwards; when the
lease is over everything is stopped at once.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from math import inf

from drcm.cluster.actions import Action, OpenSet, StartMember, StopMember
from drcm.cluster.events import MemberStarted, MemberStopped, SetOpened
from drcm.cluster.handover import Handover
from drcm.cluster.messages import Head, HoldState
from drcm.cluster.spec import Group, MemberKey
from drcm.config.binding import START_ORDER
from drcm.config.model import Kind

ORDER_WAIT = 10.0  # seconds for which groups on one node wait for each other's kinds
PROGRAMS = ("service", "application", "cron")
Ops = Callable[[], int]  # a new operation number


@dataclass(slots=True)
class Holding:
    """This node's hold on `group`. `since` is when `state` was reached."""

    group: Group
    state: HoldState
    since: float
    claim_number: int  # the first beat that carried the claim
    reason: str
    started: list[MemberKey] = field(default_factory=list)
    pending: dict[MemberKey, int] = field(default_factory=dict)  # operation under way, by its number
    opened: dict[str, Head] = field(default_factory=dict)  # sets whose record is durable here
    errors: dict[MemberKey, str] = field(default_factory=dict)  # what could not be stopped
    release_to: str = ""
    decline: str = ""  # what the others are told after it was stopped
    urgent: bool = False
    stop_reason: str = ""
    outlook: str = ""  # what is to come: why it stays, or where it goes
    handover: Handover | None = None
    lease_until: float = 0.0
    adopted: bool = False  # a former daemon's: what is not started yet may run all the same
    handed: bool = False  # its former holder has said that it let go
    ran: bool = False  # it was all up once
    bouncing: list[MemberKey] = field(default_factory=list)  # yet to be stopped for a restart, in this order
    start_after: float = 0.0  # nothing is started before
    broken: dict[MemberKey, str] = field(default_factory=dict)  # failed while it was being handed over
    treeless_since: float = inf  # when a tree of its sets was first seen not to be there

    def enter(self, state: HoldState, now: float) -> None:
        self.state, self.since = state, now

    @property
    def maybe_up(self) -> list[MemberKey]:
        """What is just starting may come up yet; of what a former daemon held, anything may run."""
        begun = (*self.started, *self.pending)
        return list(dict.fromkeys((*self.group.members, *begun) if self.adopted else begun))

    # --- starting -----------------------------------------------------------------------------

    def start_next(
        self,
        ops: Ops,
        known: Callable[[str], Head | None],
        agreed: Callable[[str, Head], bool],
        accepted: Container[str] = (),
        now: float = inf,
        above: Callable[[str], int] = lambda name: 0,
    ) -> list[Action]:
        """The next step of starting; empty while one is under way or a majority has yet to agree."""
        if self.pending:
            return []
        if self.bouncing:
            return [self._stop_member(self.bouncing.pop(0), ops, urgent=False)]
        if now < self.start_after:
            return []
        member = self.next_to_start()
        while member is not None and _is_unbegun_set(member, known):
            self.started.append(member)
            member = self.next_to_start()
        if member is None:
            return []
        kind, _, name = member.partition(":")
        if kind == "set" and name not in self.opened:
            self.pending[member] = op = ops()
            return [OpenSet(self.group.key, name, op, known(name), name in accepted, above(name))]
        if kind == "set" and not agreed(name, self.opened[name]):
            return []
        self.pending[member] = op = ops()
        return [StartMember(self.group.key, member, op, self.handed)]

    def next_to_start(self) -> MemberKey | None:
        return next((m for m in self.group.members if m not in self.started), None)

    @property
    def is_up(self) -> bool:
        return self.next_to_start() is None and not self.pending and not self.bouncing

    @property
    def programs_next(self) -> bool:
        """Nothing is under way, and programs run or are what starts next: sets' trees must be there."""
        member = self.next_to_start()
        started = member is None or member.partition(":")[0] in PROGRAMS
        return started and not self.pending and not self.bouncing

    @property
    def is_treeless(self) -> bool:
        return self.treeless_since < inf

    @property
    def waits_for_agreement(self) -> bool:
        """A set's record is durable here; a majority has yet to say that it knows."""
        member = self.next_to_start()
        return member is not None and not self.pending and member.removeprefix("set:") in self.opened

    def waits_for_kinds(self, here: Iterable[Holding], state: HoldState, now: float) -> bool:
        """Does another group on this node, starting or stopping (`state`) too, come first by its kind?

        Rule 6 between groups that nothing binds: only for ORDER_WAIT, as an address must not wait for the
        mount of a dead server. Sets are in no order with other groups' members.
        """
        mine = self._place(state)
        if mine is None or self.urgent or self.handover or now - self.since > ORDER_WAIT:
            return False
        before = (HoldState.CLAIMING, state) if state is HoldState.STARTING else (state,)
        others = (other._place(state) for other in here if other.state in before)
        return any(place is not None and place < mine for place in others)

    def waits_for_stop(self, here: Iterable[Holding]) -> bool:
        """What starts next is still being stopped under the key that cm.cfg had for it until now."""
        member = self.next_to_start()
        return any(
            member in other.started and (other.is_going_down or member not in other.group.members)
            for other in here
            if other is not self
        )

    def _place(self, state: HoldState) -> int | None:
        """By its kind, the place of what starts (or stops) next, lowest first."""
        starting = state is HoldState.STARTING
        member = self.next_to_start() if starting else next(iter(self.started[::-1]), None)
        if member is None or member.startswith("set:"):
            return None
        place = START_ORDER[Kind(member.partition(":")[0])]
        return place if starting else -place

    def set_opened(self, event: SetOpened) -> bool:
        """A set's record is durable; True where the operation was still wanted."""
        member = f"set:{event.name}"
        if self.pending.get(member) != event.op:
            return False
        del self.pending[member]
        self.opened[event.name] = event.head
        return True

    def member_started(self, event: MemberStarted) -> bool:
        """True where the operation was still wanted."""
        if self.pending.get(event.member) != event.op:
            return False
        del self.pending[event.member]
        self.started.append(event.member)  # after an error too: half of it may be up, so it must be stopped
        return True

    # --- restarting in its place ----------------------------------------------------------------

    def restart(self, member: MemberKey, not_before: float, now: float) -> None:
        """Stop `member` and what needs it, and start them again, but not before `not_before`."""
        down = {member, *self._needing(member)}
        self.bouncing = [m for m in reversed(self.group.members) if m in down and m in self.started]
        self.opened = {name: head for name, head in self.opened.items() if f"set:{name}" not in down}
        self.start_after = not_before
        self.enter(HoldState.STARTING, now)

    def _needing(self, member: MemberKey) -> set[MemberKey]:
        """What can't go on without it: by `depends`; programs work on file systems and in sets' trees."""
        found: set[MemberKey] = set()
        if member.startswith(("filesystem:", "set:")):
            after = self.group.members[self.group.members.index(member) + 1 :]
            found = {m for m in after if m.partition(":")[0] in PROGRAMS}
        todo = [member, *found]
        while todo:
            need = todo.pop()
            more = {m for m, needed in self.group.needs if needed == need} - found
            found |= more
            todo += more
        return found - {member}

    # --- stopping -----------------------------------------------------------------------------

    def begin_stop(
        self,
        now: float,
        reason: str,
        *,
        to: str = "",
        decline: str = "",
        urgent: bool = False,
        keep: frozenset[str] = frozenset(),
    ) -> None:
        """From here on it only goes down, but for kinds in `keep`. What was being started is stopped too."""
        order = {member: place for place, member in enumerate(self.group.members)}
        up = {member for member in self.maybe_up if member.partition(":")[0] not in keep}
        self.started = sorted(up, key=lambda member: order.get(member, len(order)))
        self.pending.clear()
        self.bouncing.clear()
        self.stop_reason, self.release_to, self.decline = reason, to, decline
        self.urgent, self.handover = urgent, None
        self.enter(HoldState.STOPPING, now)

    def regroup(self, group: Group, ops: Ops, now: float) -> list[Action]:
        """cm.cfg changed: what is no longer in the group is stopped, what is new in it is started."""
        gone = [m for m in self.maybe_up if m not in group.members]
        self.bouncing = [m for m in self.bouncing if m in group.members]
        self.started += [m for m in gone if m not in self.started]
        self.group = group
        actions: list[Action] = [self._stop_member(member, ops, urgent=False) for member in gone]
        if self.state is HoldState.RUNNING and self.handover is None:
            self.enter(HoldState.STARTING, now)
        return actions

    @property
    def is_going_down(self) -> bool:
        return self.state in (HoldState.STOPPING, HoldState.BLOCKED)

    def hurry(self) -> None:
        """The lease ended while it was being stopped: all the rest at once."""
        self.urgent = True
        self.pending.clear()

    def stop_next(self, ops: Ops, keep_sets: bool = False) -> list[Action]:
        """The next step of stopping: the last member, or with `urgent` all of them."""
        if self.pending:
            return []
        left = [m for m in self.started if m not in self.errors and not (keep_sets and m.startswith("set:"))]
        chosen = left[::-1] if self.urgent else left[-1:]
        return [self._stop_member(member, ops, self.urgent) for member in chosen]

    def _stop_member(self, member: MemberKey, ops: Ops, urgent: bool) -> StopMember:
        self.pending[member] = op = ops()
        return StopMember(self.group.key, member, op, urgent)

    def is_stopped(self, member: MemberKey) -> bool:
        """A person says that what could not be stopped is down, or is just tried once more. True where it was
        one of those."""
        if member not in self.started:
            return False
        self.errors.pop(member, None)
        self.pending.pop(member, None)
        self.started.remove(member)
        return True

    def member_stopped(self, event: MemberStopped) -> bool:
        """True where the operation was still wanted."""
        if self.pending.get(event.member) != event.op:
            return False
        del self.pending[event.member]
        if event.error:
            self.errors[event.member] = event.error
        else:
            self.started.remove(event.member)
        return True

    @property
    def is_down(self) -> bool:
        return not self.started and not self.pending

    @property
    def is_stuck(self) -> bool:
        """Everything was tried; something could not be stopped."""
        return not self.pending and bool(self.errors) and len(self.errors) == len(self.started)


def _is_unbegun_set(member: MemberKey, known: Callable[[str], Head | None]) -> bool:
    """A set that was never begun anywhere (`drcm-sync NAME --init`) has no writer to become."""
    kind, _, name = member.partition(":")
    return kind == "set" and known(name) is None
