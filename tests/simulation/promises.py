"""What must never happen in a cluster whose majority rules, seen by somebody who sees every machine at once.

`Promises` watches a world: every action before it is carried out, and what runs after every event. The
first promise that is broken is kept in `broken`, with who backed whom at that moment.
"""

from __future__ import annotations

from drcm.cluster import actions as ac
from drcm.cluster.messages import Beat, GroupKey, Head, HoldState
from tests.simulation.effects import START
from tests.simulation.machine import Machine
from tests.simulation.world import World

HELD = (HoldState.STARTING, HoldState.RUNNING, HoldState.STOPPING, HoldState.BLOCKED)


class Promises:
    """One holder, one writer, and no start without the exclusive words of a majority."""

    def __init__(self, world: World, majority: bool) -> None:
        self.world = world
        self.majority = majority  # else two holders are only looked for
        self.broken = ""
        self._rolls: dict[int, tuple[str, ...]] = {}  # by epoch
        self._started: dict[str, dict[int, str]] = {}  # set -> number -> the generation that started
        self._origin: dict[str, str] = {}  # generation -> the one that its tree came from
        self._bases: dict[str, list[str]] = {}  # generation -> those one of which it must not leave out
        self._lossy: dict[
            str, int
        ] = {}  # generations that an operator made with --accept-loss, their numbers
        self._noted: dict[str, set[str]] = {}  # generation -> who has it durably that it had started
        world.witness = self._before
        world.watch = self._after
        world.made = self._made
        world.stored = self._stored

    def blame(self, text: str) -> None:
        self.broken = self.broken or f"{self.world.now - START:.3f} {text}"

    # --- before an action -----------------------------------------------------------------------

    def _before(self, name: str, action: ac.Action) -> None:
        if not self.majority or self.broken:
            return
        match action:
            case ac.StoreRoll(roll) if roll.epoch > 1:  # the first is what cm.cfg said at the first start
                known = self._rolls.setdefault(roll.epoch, roll.voters)
                if set(known) != set(roll.voters):
                    self.blame(f"{name}: epoch {roll.epoch} has two rolls, {known} and {roll.voters}")
            case ac.StartMember():
                self._starts(name, action)
            case ac.OpenSet():
                self._opens(name, action)
            case ac.Give(group, set_name, to):
                self._gives(name, group, f"{set_name} to {to}")
            case ac.SendBeat(beat):
                self._says(name, beat)

    def _starts(self, name: str, start: ac.StartMember) -> None:
        what = f"{name} starts {start.member} of {start.group}"
        if not self._is_backed(name, start.group):
            self.blame(f"{what} without a majority: {self._words(start.group)}")
        for other, machine in self.world.machines.items():
            if other != name and self._holds_lease(machine, start.group):
                self.blame(f"{what} while the lease of {other} is open: {self._words(start.group)}")
        kind, _, set_name = start.member.partition(":")
        if kind == "set" and set_name in self.world.machines[name].heads:
            self._generation_starts(name, set_name, self.world.machines[name].heads[set_name])

    def _is_backed(self, name: str, key: GroupKey) -> bool:
        """By a majority of its roll, or of the one before it: a lease outlives a change of the roll."""
        engine = self.world.machines[name].engine
        assert engine is not None
        now = engine.spec.voters
        first = tuple(self.world.machines)
        rolls = [now, self._rolls.get(engine.spec.epoch - 1, first)]
        return any(2 * sum(self._backs(v, name, key) for v in roll) > len(roll) for roll in rolls)

    def _backs(self, voter: str, name: str, key: GroupKey) -> bool:
        """Its word is that node's; or was, and a power cut took it, so that it is silent for as long."""
        machine = self.world.machines[voter]
        now = machine.clock(self.world.now)
        holder, until = machine.words().get(key, ("", 0.0))
        if until > now:
            return holder == name
        holder, until = machine.lost.get(key, ("", 0.0))
        return holder == name and until > now

    def _holds_lease(self, machine: Machine, key: GroupKey) -> bool:
        now = machine.clock(self.world.now)
        if machine.engine is None:
            return machine.lease.addresses > now and any(group == key for group, _ in machine.running)
        holding = machine.engine.care.holdings.get(key)
        return holding is not None and holding.state in HELD and holding.lease_until > now

    def _words(self, key: GroupKey) -> str:
        """Who backs whom, voter by voter."""
        told = []
        for name, machine in self.world.machines.items():
            holder, until = machine.words().get(key, ("nobody", 0.0))
            left = until - machine.clock(self.world.now)
            told.append(f"{name} gives it to {holder}" + (f" for {left:.2f} s" if left > 0 else ", over"))
        return "; ".join(told)

    def _gives(self, name: str, key: GroupKey, what: str) -> None:
        """What could still write after the last pass is stopped (DESIGN.md 6, hand-over steps 2 to 4)."""
        for held, member in self.world.machines[name].running:
            if held == key and not member.startswith("set:"):
                self.blame(f"{name} gives {what} while {member} runs")

    def _says(self, name: str, beat: Beat) -> None:
        for key, member in self.world.machines[name].running:
            if key in beat.released:
                self.blame(f"{name} says that {key} is released while {member} runs")

    # --- sets -------------------------------------------------------------------------------------

    def begin_set(self, set_name: str, first: Head) -> None:
        self._started[set_name] = {first.n: first.id}
        self._noted[first.id] = set(self.world.machines)

    def _made(self, set_name: str, head: Head, lossy: bool) -> None:
        """A node made this generation. It has to stand on what a majority has noted as started by now.

        Or on what an operator went back to since: who takes up that order leaves out what he left out.
        """
        self._origin[head.id] = head.origin_id
        settled = max(number for number, one in self._started[set_name].items() if self._is_settled(one))
        since = [self._origin[one] for one, number in self._lossy.items() if number > settled]
        self._bases[head.id] = [self._started[set_name][settled], *since]
        if lossy:
            self._lossy[head.id] = head.n

    def _stored(self, name: str, head: Head) -> None:
        if head.started:
            self._noted.setdefault(head.id, set()).add(name)

    def _opens(self, name: str, action: ac.OpenSet) -> None:
        """A generation that was given to this node begins exactly where its copy ends."""
        known, view = action.known, self.world.machines[name].views.get(action.name)
        if known is None or view is None or known.writer != name or known.started or action.accept_loss:
            return
        if view.pos_id == known.origin_id and view.pos_run != known.origin_run:
            self.blame(f"{name} becomes writer of {known.id}, which begins at run {known.origin_run}, "
                       f"on a copy of run {view.pos_run}")  # fmt: skip

    def _generation_starts(self, name: str, set_name: str, head: Head) -> None:
        started = self._started[set_name]
        newest, what = max(started), f"{name} starts generation {head.n}, {head.id}"
        if started.get(head.n, head.id) != head.id:
            self.blame(f"{what}, which had started as {started[head.n]}")
        elif head.n < newest:
            self.blame(f"{what}, though {newest} had started")
        elif head.n > newest and not any(self._stands_on(head.id, base) for base in self._bases[head.id]):
            self.blame(f"{what}, which does not stand on {self._bases[head.id][0]}: that one is lost")
        started[head.n] = head.id

    def _is_settled(self, generation: str) -> bool:
        """A majority has noted its start. Else its writer lost them all within a lease of starting it, and
        what it wrote in that time is on its own tree alone, as with any writer that dies between two runs.
        """
        return 2 * len(self._noted.get(generation, ())) > len(self.world.machines)

    def _stands_on(self, generation: str, base: str) -> bool:
        while generation and generation != base and generation not in self._lossy:
            generation = self._origin.get(generation, "")
        return bool(generation)

    # --- after an event -------------------------------------------------------------------------------

    def _after(self, world: World) -> None:
        if self.broken:
            return
        seen: dict[tuple[str, str], str] = {}
        for name, machine in world.machines.items():
            if machine.host_paused:
                continue  # what stands still serves nobody, and is released first when it goes on
            for running in machine.running:
                other = seen.setdefault(running, name)
                if other != name and not self._is_stuck(other, running) and not self._is_stuck(name, running):
                    key, member = running
                    self.blame(f"{key} {member} runs on {other} and {name}: {self._words(key)}")

    def _is_stuck(self, name: str, running: tuple[str, str]) -> bool:
        """KILL did not end it, or could not; its node could tell nobody, and no fence is modelled here."""
        machine = self.world.machines[name]
        return running[1] in machine.sticks or running in machine.stuck
