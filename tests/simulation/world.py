"""A seeded world for engines: a clock, a network that can be cut, and resources that do as told.

Every engine runs its own actions against `Machine`s; nothing here sleeps, so hours pass in seconds.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from drcm.cluster import events as ev
from drcm.cluster.engine import Beginning, Engine
from drcm.cluster.messages import Head, SetView
from drcm.cluster.spec import Spec


@dataclass
class Machine:
    """One node: its engine while it runs, what runs on it, and what survives a power cut."""

    spec: Spec
    engine: Engine | None = None
    boot_count: int = 0
    paused: bool = False
    running: set[tuple[str, str]] = field(default_factory=set)  # (group, member)
    heads: dict[str, Head] = field(default_factory=dict)  # durable
    views: dict[str, SetView] = field(default_factory=dict)  # durable
    refuses: set[str] = field(default_factory=set)  # members that do not start
    left: bool = False
    timer: int = 0


class World:
    """Machines, links between them, and a queue of what happens when."""

    def __init__(self, specs: dict[str, Spec], seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.now = 1000.0
        self.machines = {name: Machine(spec) for name, spec in specs.items()}
        self.cuts: set[tuple[str, str]] = set()  # (from, to)
        self.loss = 0.0
        self.delay = (0.0002, 0.001)
        self.start_seconds = 0.01
        self.pass_seconds = 0.5
        self.log: list[str] = []
        self.problems: list[tuple[float, str, ev.Problem]] = []
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.watch: Callable[[World], None] = lambda world: None

    # --- time ---------------------------------------------------------------------------------

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (when, next(self._order), what))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            self.now, _, what = heapq.heappop(self._queue)
            what()
            self.watch(self)
        self.now = end

    def run_until(self, condition: Callable[[], bool], limit: float) -> float:
        """Seconds until `condition` held; AssertionError after `limit`, with the last of the log."""
        start = self.now
        while not condition():
            if self.now - start > limit:
                raise AssertionError(f"not within {limit} s\n" + "\n".join(self.log[-40:]))
            self.run(0.01)
        return self.now - start

    # --- machines -----------------------------------------------------------------------------

    def power_on(self, name: str) -> None:
        self._boot(name, Beginning(machine_booted=True))

    def power_cut(self, name: str) -> None:
        machine = self.machines[name]
        machine.engine = None
        machine.running.clear()
        self.say(name, "POWER CUT")

    def kill_daemon(self, name: str) -> None:
        machine = self.machines[name]
        engine = machine.engine
        assert engine is not None
        machine.engine = None
        held = tuple(
            key for key, h in engine.care.holdings.items() if h.state.value in ("starting", "running")
        )
        until = min((engine.care.holdings[key].lease_until for key in held), default=0.0)
        self._remembered = Beginning(False, engine.boot, until, held, engine.ledger.export())
        self.say(name, "daemon killed")

    def restart_daemon(self, name: str) -> None:
        begin = self._remembered
        if begin.lease_until <= self.now:
            self.machines[name].running.clear()
            begin = replace(begin, resumes=b"", adopt=())
        self._boot(name, begin)

    def _boot(self, name: str, begin: Beginning) -> None:
        machine = self.machines[name]
        machine.boot_count += 1
        machine.left = machine.paused = False
        boot = self.random.randbytes(16)
        machine.engine = Engine(machine.spec, boot, self.now, begin)
        self.say(name, f"starts {'after a boot' if begin.machine_booted else 'again'}")
        for set_name, head in machine.heads.items():
            self.tell(name, ev.HeadStored(set_name, head))
        for set_name, view in machine.views.items():
            self.tell(name, ev.SetLooked(set_name, view))
        self.tell(name, ev.Tick())

    def tell(self, name: str, event: ev.Event) -> None:
        machine = self.machines[name]
        engine = machine.engine
        if engine is None or machine.paused or machine.left:
            return
        for action in engine.handle(event, self.now):
            self._perform(name, action)
        machine.timer += 1
        timer, boot = machine.timer, machine.boot_count
        self.at(max(engine.deadline, self.now + 0.0005), lambda: self._tick(name, timer, boot))

    def _tick(self, name: str, timer: int, boot: int) -> None:
        machine = self.machines[name]
        if machine.timer == timer and machine.boot_count == boot:
            self.tell(name, ev.Tick())

    def pause(self, name: str) -> None:
        self.machines[name].paused = True
        self.say(name, "PAUSED")

    def resume(self, name: str) -> None:
        self.machines[name].paused = False
        self.say(name, "RESUMED")
        self.tell(name, ev.Tick())

    # --- network ------------------------------------------------------------------------------

    def cut(self, a: str, b: str) -> None:
        self.cuts |= {(a, b), (b, a)}

    def heal(self) -> None:
        self.cuts.clear()

    def _deliver(self, sender: str, to: str, event: ev.Event) -> None:
        if (sender, to) not in self.cuts and self.random.random() >= self.loss:
            self.at(self.now + self.random.uniform(*self.delay), lambda: self.tell(to, event))

    # --- actions ------------------------------------------------------------------------------

    def say(self, name: str, text: str) -> None:
        self.log.append(f"{self.now - 1000:8.3f} {name:8} {text}")

    def _later(
        self, name: str, seconds: float, event: ev.Event, effect: Callable[[], None] = lambda: None
    ) -> None:
        boot = self.machines[name].boot_count

        def happen() -> None:
            machine = self.machines[name]
            if machine.engine is not None and machine.boot_count == boot:
                effect()
                self.tell(name, event)

        self.at(self.now + seconds, happen)

    def _perform(self, name: str, action: ev.Action) -> None:
        machine = self.machines[name]
        match action:
            case ev.SendBeat(beat):
                for peer in machine.spec.peers:
                    self._deliver(name, peer, ev.BeatHeard(beat))
            case ev.StartMember(group, member, op):
                self.say(name, f"start {group} {member}")
                self._start(name, action)
            case ev.StopMember(group, member, op, urgent):
                self.say(name, f"stop {group} {member}{' at once' if urgent else ''}")
                machine.running.discard((group, member))
                self._later(name, 0.001, ev.MemberStopped(group, member, op))
            case ev.StoreHead(set_name, head):
                self._store(name, set_name, head)
            case ev.OpenSet():
                self._open(name, action)
            case ev.GoAlone(set_name):
                self._new_generation(name, set_name, name, "alone")
            case ev.MarkDiverged(set_name, why):
                view = replace(machine.views[set_name], problem=f"in doubt: {why}", writer=False)
                machine.views[set_name] = view
                self._later(name, 0.005, ev.SetLooked(set_name, view))
            case ev.Pass():
                self._pass(name, action)
            case ev.Intend(group, _, _, op) | ev.DropIntent(group, _, op):
                self._later(name, 0.005, ev.StepDone(group, op))
            case ev.Give(group, set_name, to, op):
                head = self._new_generation(name, set_name, to, "handover")
                self._later(name, 0.005, ev.StepDone(group, op, head=head))
            case ev.Note(subject, text):
                self.say(name, f"{subject}: {text}")
            case ev.Problem():
                self.problems.append((self.now, name, action))
            case ev.Left():
                self.say(name, "left")
                machine.left = True
            case _:
                pass

    def _start(self, name: str, action: ev.StartMember) -> None:
        machine, member = self.machines[name], action.member
        refused = member in machine.refuses
        if not refused:
            machine.running.add((action.group, member))
        if member.startswith("set:"):
            set_name = member[4:]
            if set_name in machine.heads:
                head = replace(machine.heads[set_name], started=True)
                self._store(name, set_name, head)
        error = "it does not want to" if refused else ""
        self._later(name, self.start_seconds, ev.MemberStarted(action.group, member, action.op, error))

    def _store(self, name: str, set_name: str, head: Head) -> None:
        def effect() -> None:
            self.machines[name].heads[set_name] = head

        self._later(name, 0.005, ev.HeadStored(set_name, head), effect)

    def _open(self, name: str, action: ev.OpenSet) -> None:
        machine, known = self.machines[name], action.known
        if known is None:
            head = Head(0, "", name)
        elif known.writer == name:
            head = known
            view = machine.views[action.name]
            machine.views[action.name] = replace(view, pos_n=known.n, pos_id=known.id, writer=True)
        else:
            head = self._new_generation(name, action.name, name, "promote")
        machine.heads[action.name] = head
        self._later(name, 0.02, ev.SetOpened(action.group, action.name, action.op, head))
        if action.name in machine.views:
            self._later(name, 0.02, ev.SetLooked(action.name, machine.views[action.name]))

    def _new_generation(self, name: str, set_name: str, writer: str, why: str) -> Head:
        machine = self.machines[name]
        view = machine.views[set_name]
        known = machine.heads[set_name]
        newest = self.machines[name].engine
        if newest is not None:
            known = newest.situation().newest_head(set_name, self.now) or known
        new_id = self.random.randbytes(8).hex()
        head = Head(known.n + 1, new_id, writer, view.pos_id, view.pos_run, started=why == "alone")
        machine.heads[set_name] = head
        if writer == name:
            mine = SetView(head.n, head.id, "", writer=True, sole=True)
        else:
            mine = replace(view, writer=False, sole=False)
        machine.views[set_name] = mine
        self.say(name, f"{set_name}: generation {head.n} ({why}), writer {writer}")
        self._later(name, 0.005, ev.SetLooked(set_name, mine))
        self._later(name, 0.005, ev.HeadStored(set_name, head))
        return head

    def _pass(self, name: str, action: ev.Pass) -> None:
        """A run from the writer: the taker's copy becomes what the writer's is."""
        machine, taker = self.machines[name], self.machines[action.to]
        cut = (name, action.to) in self.cuts or taker.engine is None
        error = "no route" if cut else ""

        def effect() -> None:
            if cut:
                return
            view = machine.views[action.name]
            run = f"{int(view.pos_run.partition('-')[0] or 0) + 1}-{self.random.randbytes(2).hex()}"
            machine.views[action.name] = replace(view, pos_run=run, sole=False)
            taker.views[action.name] = SetView(view.pos_n, view.pos_id, run, writer=False, sole=False)
            self.tell(action.to, ev.SetLooked(action.name, taker.views[action.name]))
            self.tell(name, ev.SetLooked(action.name, machine.views[action.name]))

        done = ev.StepDone(action.group, action.op, error, self.pass_seconds)
        self._later(name, self.pass_seconds, done, effect)

    # --- questions ----------------------------------------------------------------------------

    def holders(self, group: str, member: str) -> list[str]:
        return [name for name, m in self.machines.items() if (group, member) in m.running]
