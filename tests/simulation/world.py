"""A seeded world for engines: clocks that drift, a network that can be cut, resources that do as told.

Every engine runs against a `Machine`; nothing here sleeps, so hours pass in seconds. Times without a
word are world time; `Machine.clock` is what that machine's CLOCK_BOOTTIME says.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from drcm.cluster import events as ev
from drcm.cluster.engine import Beginning, Engine
from drcm.cluster.messages import Head, HoldState, SetView
from drcm.cluster.spec import Spec

START = 1000.0
NEVER = float("inf")
RECORDED = 2000  # datagrams


@dataclass
class Machine:
    """One node: its engine while it runs, what runs on it, and what survives a power cut."""

    spec: Spec
    rate: float = 1.0  # of its clock
    offset: float = 0.0
    engine: Engine | None = None
    boot_count: int = 0
    daemon_paused: bool = False
    host_paused: bool = False
    running: set[tuple[str, str]] = field(default_factory=set)  # (group, member)
    heads: dict[str, Head] = field(default_factory=dict)  # durable
    views: dict[str, SetView] = field(default_factory=dict)  # durable
    grants: Beginning | None = None  # /run/drcm/grants: survives the daemon, not the machine
    lease: ev.Lease = field(default_factory=lambda: ev.Lease(0.0, 0.0))  # /run/drcm/lease
    roll: ev.StoreRoll | None = None  # durable
    refuses: set[str] = field(default_factory=set)  # members that do not start
    left: bool = False
    powered: bool = False
    alarm: float = NEVER  # when the next tick comes
    started: float = 0.0

    def clock(self, now: float) -> float:
        return self.offset + now * self.rate

    def world_time(self, clock: float) -> float:
        return (clock - self.offset) / self.rate

    @property
    def listens(self) -> bool:
        return self.engine is not None and not (self.daemon_paused or self.host_paused or self.left)


class World:
    """Machines, links between them, and a queue of what happens when."""

    def __init__(self, specs: dict[str, Spec], seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.now = START
        self.machines = {name: Machine(spec) for name, spec in specs.items()}
        self.cuts: set[tuple[str, str]] = set()  # (from, to)
        self.loss = 0.0
        self.duplicates = 0.0
        self.delay = (0.0002, 0.001)
        self.start_seconds = (0.01, 0.01)
        self.stop_seconds = (0.001, 0.001)
        self.pass_seconds = 0.5
        self.log: list[str] = []
        self.recorded: deque[tuple[float, str, ev.Event]] = deque(
            maxlen=RECORDED
        )  # by who listens on the wire
        self.problems: list[tuple[float, str, ev.Problem]] = []
        self.engine_class: type[Engine] = Engine
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
        self.machines[name].powered = True
        self._boot(name, Beginning(machine_booted=True))

    def power_cut(self, name: str) -> None:
        machine = self.machines[name]
        machine.engine, machine.grants, machine.lease = None, None, ev.Lease(0.0, 0.0)
        machine.running.clear()
        machine.boot_count += 1
        machine.powered = machine.daemon_paused = machine.host_paused = False
        self.say(name, "POWER CUT")

    def kill_daemon(self, name: str) -> None:
        machine = self.machines[name]
        if machine.engine is not None:
            machine.grants = self._memory_of(machine.engine)
        machine.engine = None
        self.machines[name].boot_count += 1
        self.machines[name].daemon_paused = False
        self.say(name, "daemon killed")

    def restart_daemon(self, name: str) -> None:
        machine = self.machines[name]
        begin = machine.grants or Beginning(machine_booted=True)
        if begin.lease_until <= machine.clock(self.now):
            machine.running.clear()  # the first act of a start (rule 4)
            begin = replace(begin, resumes=b"", adopt=())
        self._boot(name, begin)

    def _boot(self, name: str, begin: Beginning) -> None:
        machine = self.machines[name]
        machine.boot_count += 1
        machine.left = machine.daemon_paused = False
        machine.started = self.now
        boot = self.random.randbytes(16)
        machine.engine = self.engine_class(machine.spec, boot, machine.clock(self.now), begin)
        self.say(name, f"starts {'after a boot' if begin.machine_booted else 'again'}")
        durable: list[ev.Event] = [ev.HeadStored(key, head) for key, head in machine.heads.items()]
        durable += [ev.SetLooked(key, view) for key, view in machine.views.items()]
        if machine.roll is not None:
            durable.append(ev.RollStored(machine.roll.roll, machine.roll.accepted))
        for action in machine.engine.recall(durable, machine.clock(self.now)):
            self._perform(name, action)
        self.tell(name, ev.Tick())

    def tell(self, name: str, event: ev.Event) -> None:
        machine = self.machines[name]
        engine = machine.engine
        if engine is None or not machine.listens:
            return
        for action in engine.handle(event, machine.clock(self.now)):
            self._perform(name, action)
        self._arm(name)

    def _arm(self, name: str) -> None:
        """See that a tick comes at the engine's deadline; one that comes earlier arms the next."""
        machine = self.machines[name]
        assert machine.engine is not None
        due = max(machine.world_time(machine.engine.deadline), self.now + 0.0005)
        if due < machine.alarm:
            machine.alarm = due
            self.at(due, lambda: self._tick(name, due))

    def _tick(self, name: str, due: float) -> None:
        machine = self.machines[name]
        if machine.alarm != due:
            return  # an earlier one took its place
        machine.alarm = NEVER
        if machine.engine is None or not machine.listens:
            return
        if machine.world_time(machine.engine.deadline) > self.now + 0.0005:
            self._arm(name)
        else:
            self.tell(name, ev.Tick())

    @staticmethod
    def _memory_of(engine: Engine) -> Beginning:
        """What grants_file.py writes."""
        alive = (HoldState.STARTING, HoldState.RUNNING)
        held = {key: h for key, h in engine.care.holdings.items() if h.state in alive and not h.handover}
        until = min((h.lease_until for h in held.values()), default=0.0)
        words, silent_until = engine.ledger.export(), engine.ledger.silent_until
        return Beginning(False, engine.boot, until, tuple(held), words, silent_until)

    def pause(self, name: str) -> None:
        """The whole machine stands still: keeper and resources too."""
        self.machines[name].host_paused = True
        self.say(name, "PAUSED")

    def pause_daemon(self, name: str) -> None:
        """The daemon alone hangs; what it started, and the keeper, go on."""
        self.machines[name].daemon_paused = True
        self.say(name, "daemon hangs")

    def resume(self, name: str) -> None:
        machine = self.machines[name]
        machine.host_paused = machine.daemon_paused = False
        self.say(name, "RESUMED")
        self._keep(name)
        self.tell(name, ev.Tick())

    # --- the keeper -----------------------------------------------------------------------------

    def _new_lease(self, name: str, lease: ev.Lease) -> None:
        machine = self.machines[name]
        machine.lease = lease
        boot = machine.boot_count
        for deadline in (lease.addresses, lease.rest):
            if deadline > 0:
                due = max(self.now, machine.world_time(deadline))
                self.at(due + 0.0001, lambda: self._keep(name) if machine.boot_count >= boot else None)

    def _keep(self, name: str) -> None:
        """What keeper.py does when a deadline has passed and the daemon has not moved it."""
        machine = self.machines[name]
        clock, lease = machine.clock(self.now), machine.lease
        if machine.host_paused or not machine.powered or lease.addresses == 0.0:
            return
        if clock >= lease.addresses:
            self._take_away(name, lambda member: member.startswith("ip:"))
        if clock >= lease.rest:
            self._take_away(name, lambda member: True)

    def _take_away(self, name: str, which: Callable[[str], bool]) -> None:
        machine = self.machines[name]
        gone = {(group, member) for group, member in machine.running if which(member)}
        if gone:
            self.say(name, f"keeper releases {', '.join(sorted(member for _, member in gone))}")
            machine.running -= gone

    # --- network ------------------------------------------------------------------------------

    def cut(self, a: str, b: str) -> None:
        self.cuts |= {(a, b), (b, a)}

    def heal(self) -> None:
        self.cuts.clear()

    def _deliver(self, sender: str, to: str, event: ev.Event) -> None:
        self.recorded.append((self.now, to, event))
        copies = 1 + (self.random.random() < self.duplicates)
        for _ in range(copies):
            if (sender, to) not in self.cuts and self.random.random() >= self.loss:
                self.at(self.now + self.random.uniform(*self.delay), lambda: self.tell(to, event))

    def replay(self, name: str) -> None:
        """What was recorded before `name` started, sent again; the transport knows only its own boot's."""
        old = [event for at, to, event in self.recorded if to == name and at < self.machines[name].started]
        for event in old[-100:]:
            self.tell(name, event)

    # --- actions ------------------------------------------------------------------------------

    def say(self, name: str, text: str) -> None:
        self.log.append(f"{self.now - START:8.3f} {name:8} {text}")

    def _later(
        self,
        name: str,
        seconds: float,
        event: ev.Event | Callable[[], ev.Event],
        effect: Callable[[], None] = lambda: None,
    ) -> None:
        """`effect` on the machine and `event` to its engine, unless it was cut off or restarted meanwhile."""
        boot = self.machines[name].boot_count

        def happen() -> None:
            machine = self.machines[name]
            if machine.boot_count != boot:
                return
            if machine.host_paused:
                self.at(self.now + 0.1, happen)
                return
            effect()
            answer()

        def answer() -> None:
            machine = self.machines[name]
            if machine.boot_count == boot and (machine.daemon_paused or machine.host_paused):
                self.at(self.now + 0.1, answer)
            elif machine.boot_count == boot:
                self.tell(name, event() if callable(event) else event)

        self.at(self.now + seconds, happen)

    def _perform(self, name: str, action: ev.Action) -> None:
        machine = self.machines[name]
        match action:
            case ev.SendBeat(beat):
                for peer in machine.spec.peers:
                    self._deliver(name, peer, ev.BeatHeard(beat))
            case ev.Lease():
                self._new_lease(name, action)
            case ev.StartMember(group, member, op):
                self.say(name, f"start {group} {member}")
                self._start(name, action)
            case ev.StopMember():
                self._stop(name, action)
            case ev.StoreHead(set_name, head):
                self._store(name, set_name, head)
            case ev.StoreRoll(roll, accepted):
                self._later(name, 0.01, ev.RollStored(roll, accepted), lambda: self._keep_roll(name, action))
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
            case ev.Intend(group, _, _, op) | ev.Prepare(group, _, _, op) | ev.DropIntent(group, _, op):
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
                machine.lease = ev.Lease(0.0, 0.0)
            case _:
                pass

    def _start(self, name: str, action: ev.StartMember) -> None:
        machine, member = self.machines[name], action.member
        refused = member in machine.refuses
        if not refused and not member.startswith("set:"):
            machine.running.add((action.group, member))
        if member.startswith("set:") and member[4:] in machine.heads:
            head = replace(machine.heads[member[4:]], started=True)
            self._store(name, member[4:], head)
        error = "it does not want to" if refused else ""
        seconds = self.random.uniform(*self.start_seconds)
        self._later(name, seconds, ev.MemberStarted(action.group, member, action.op, error))

    def _stop(self, name: str, action: ev.StopMember) -> None:
        machine = self.machines[name]
        self.say(name, f"stop {action.group} {action.member}{' at once' if action.urgent else ''}")
        key = (action.group, action.member)
        address = action.member.startswith("ip:")
        seconds = 0.001 if address else self.random.uniform(*self.stop_seconds)
        if address:
            machine.running.discard(key)
        done = ev.MemberStopped(action.group, action.member, action.op)
        self._later(name, seconds, done, lambda: machine.running.discard(key))

    def _store(self, name: str, set_name: str, head: Head) -> None:
        def effect() -> None:
            known = self.machines[name].heads.get(set_name)
            if known is None or (head.n, head.started) > (known.n, known.started) or head.id == known.id:
                self.machines[name].heads[set_name] = head

        self._later(name, 0.005, ev.HeadStored(set_name, head), effect)

    def _keep_roll(self, name: str, action: ev.StoreRoll) -> None:
        self.machines[name].roll = action

    def _open(self, name: str, action: ev.OpenSet) -> None:
        machine, known = self.machines[name], action.known
        assert known is not None, "an unbegun set is never opened"
        view = machine.views[action.name]
        if known.writer == name and view.pos_id in (known.id, known.origin_id):
            head = known
            machine.views[action.name] = replace(view, pos_n=known.n, pos_id=known.id, writer=True)
        else:
            head = self._new_generation(name, action.name, name, "promote")
        machine.heads[action.name] = head
        self._later(name, 0.02, ev.SetOpened(action.group, action.name, action.op, head))
        self._later(name, 0.02, ev.SetLooked(action.name, machine.views[action.name]))

    def _new_generation(self, name: str, set_name: str, writer: str, why: str) -> Head:
        machine = self.machines[name]
        view = machine.views[set_name]
        known = machine.heads[set_name]
        if machine.engine is not None:
            known = machine.engine.situation().newest_head(set_name, machine.clock(self.now)) or known
        new_id = self.new_generation_id(known.n + 1)
        head = Head(known.n + 1, new_id, writer, view.pos_id, view.pos_run, started=why == "alone")
        machine.heads[set_name] = head
        if writer == name:
            mine = SetView(head.n, head.id, "", writer=True, sole=True)
        else:
            mine = replace(view, writer=False, sole=False)
        machine.views[set_name] = mine
        origin = f"{head.origin_id} run {head.origin_run or 'none'}"
        self.say(name, f"{set_name}: generation {new_id} ({why}), from {origin}, writer {writer}")
        self._later(name, 0.005, ev.SetLooked(set_name, mine))
        self._later(name, 0.005, ev.HeadStored(set_name, head))
        return head

    def new_generation_id(self, number: int) -> str:
        return self.random.randbytes(8).hex()

    def _pass(self, name: str, action: ev.Pass) -> None:
        """A run from the writer: the taker's copy becomes what the writer's is."""
        machine, taker = self.machines[name], self.machines[action.to]
        boot = taker.boot_count

        def broken() -> bool:
            """Now; or the taker went away, perhaps came back, while it ran."""
            return (name, action.to) in self.cuts or taker.engine is None or taker.boot_count != boot

        def effect() -> None:
            nonlocal error
            view = machine.views[action.name]
            error = "no route" if broken() else self.gate(taker, action.name, view)
            if error:
                return
            run = f"{int(view.pos_run.partition('-')[0] or 0) + 1}-{self.random.randbytes(2).hex()}"
            machine.views[action.name] = replace(view, pos_run=run, sole=False)
            taker.views[action.name] = SetView(view.pos_n, view.pos_id, run, writer=False, sole=False)
            self.tell(action.to, ev.SetLooked(action.name, taker.views[action.name]))
            self.tell(name, ev.SetLooked(action.name, machine.views[action.name]))

        def done() -> ev.Event:
            return ev.StepDone(action.group, action.op, error, self.pass_seconds)

        error = ""
        self._later(name, self.pass_seconds, done, effect)

    def gate(self, taker: Machine, set_name: str, view: SetView) -> str:
        """Row 7 of the table: a tree that knows a newer generation takes nothing of an older."""
        known = taker.heads.get(set_name)
        stale = known is not None and known.n > view.pos_n
        return f"refused: generation {known.n} is known there" if stale and known else ""

    # --- questions ----------------------------------------------------------------------------

    def holders(self, group: str, member: str) -> list[str]:
        """Who serves it: what stands still serves nobody."""
        return [
            name for name, m in self.machines.items() if (group, member) in m.running and not m.host_paused
        ]
