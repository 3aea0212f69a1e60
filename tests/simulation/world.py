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
from dataclasses import replace

from drcm.cluster import actions as ac
from drcm.cluster import events as ev
from drcm.cluster.engine import Beginning, Engine
from drcm.cluster.messages import Head
from drcm.cluster.spec import Spec
from tests.simulation.effects import START, Effects
from tests.simulation.machine import NEVER, Machine

RECORDED = 2000  # datagrams
PING_INTERVAL = 0.35  # seconds: T_lease / 4, as the daemon does
STRAGGLE = 1.5  # seconds that a straggler comes late, at most

__all__ = ["START", "World"]


class World(Effects):
    """Machines, links between them, and a queue of what happens when."""

    def __init__(self, specs: dict[str, Spec], seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.now = START
        self.machines = {name: Machine(spec) for name, spec in specs.items()}
        self.cuts: set[tuple[str, str]] = set()  # (from, to)
        self.no_gateway: set[str] = set()  # whose pings are not answered
        self.loss = 0.0
        self.duplicates = 0.0
        self.stragglers = 0.0  # share of datagrams that come late
        self.delay = (0.0002, 0.001)
        self.start_seconds = (0.01, 0.01)
        self.stop_seconds = (0.001, 0.001)
        self.pass_seconds = 0.5
        self.log: list[str] = []
        self.recorded: deque[tuple[float, str, ev.Event]] = deque(maxlen=RECORDED)  # by who listens in
        self.problems: list[tuple[float, str, ac.Problem]] = []
        self.engine_class: type[Engine] = Engine
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.watch: Callable[[World], None] = lambda world: None  # after every event
        self.witness: Callable[[str, ac.Action], None] = lambda name, action: None  # before every action
        self.made: Callable[[str, Head, bool], None] = lambda name, head, lossy: (
            None
        )  # a generation, by --accept-loss?
        self.stored: Callable[[str, Head], None] = lambda name, head: None  # durable on that node

    # --- time ---------------------------------------------------------------------------------

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (when, next(self._order), what))

    def run(self, seconds: float) -> None:
        end, queue = self.now + seconds, self._queue
        while queue and queue[0][0] <= end:
            self.now, _, what = heapq.heappop(queue)
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
        if self.machines[name].spec.pings:
            self._ping(name, self.machines[name].power_count)

    def power_cut(self, name: str) -> None:
        machine = self.machines[name]
        machine.lost |= machine.words()
        machine.engine, machine.grants, machine.lease = None, None, ac.Lease(0.0, 0.0)
        machine.running.clear()
        machine.boot_count += 1
        machine.power_count += 1
        machine.powered = machine.daemon_paused = machine.host_paused = False
        self.say(name, "POWER CUT")

    def kill_daemon(self, name: str) -> None:
        machine = self.machines[name]
        if machine.engine is not None:
            machine.grants = machine.memory()
        machine.engine = None
        machine.boot_count += 1
        machine.daemon_paused = False
        self.say(name, "daemon killed")

    def restart_daemon(self, name: str) -> None:
        machine = self.machines[name]
        if machine.engine is not None:  # it has left
            machine.grants = machine.memory()
        begin = machine.grants or Beginning(machine_booted=True)
        if begin.lease_until <= machine.clock(self.now):
            begin = replace(begin, resumes=b"", adopt=())
        machine.running = {
            held for held in machine.running if held[0] in begin.adopt
        }  # first of all (rule 4)
        self._boot(name, begin)

    def _boot(self, name: str, begin: Beginning) -> None:
        machine = self.machines[name]
        machine.boot_count += 1
        machine.taken.clear()
        machine.left = machine.daemon_paused = False
        machine.started, machine.alarm = self.now, NEVER
        boot = self.random.randbytes(16)
        machine.engine = self.engine_class(machine.spec, boot, machine.clock(self.now), begin)
        self.say(name, f"starts {'after a boot' if begin.machine_booted else 'again'}")
        durable: list[ev.Event] = [ev.HeadStored(key, head) for key, head in machine.heads.items()]
        durable += [ev.SetLooked(key, view) for key, view in machine.views.items()]
        if machine.roll is not None:
            durable.append(ev.RollStored(machine.roll.roll, machine.roll.accepted))
        if machine.patience:
            durable.append(ev.PatienceStored(machine.patience))
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

    def pause(self, name: str) -> None:
        """The whole machine stands still: keeper and resources too."""
        machine = self.machines[name]
        machine.host_paused, machine.paused_at = True, self.now
        self.say(name, "PAUSED")

    def pause_daemon(self, name: str) -> None:
        """The daemon alone hangs; what it started, and the keeper, go on."""
        self.machines[name].daemon_paused = True
        self.say(name, "daemon hangs")

    def resume(self, name: str) -> None:
        machine = self.machines[name]
        if machine.host_paused:
            machine.slept += self.now - machine.paused_at
        machine.host_paused = machine.daemon_paused = False
        self.say(name, "RESUMED")
        self._keep(name)
        self.tell(name, ev.Tick())

    # --- the keeper -----------------------------------------------------------------------------

    def _new_lease(self, name: str, lease: ac.Lease) -> None:
        machine = self.machines[name]
        if lease == machine.lease:
            return
        machine.lease, power = lease, machine.power_count
        for deadline in (lease.addresses, lease.rest):
            if deadline > 0:
                due = max(self.now, machine.world_time(deadline))
                self.at(due + 0.0001, lambda: self._keep(name) if machine.power_count == power else None)

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
        gone = {(group, m) for group, m in machine.running if which(m) and m not in machine.sticks}
        told = sorted(member for _, member in gone if not member.startswith("set:"))
        if told:
            self.say(name, f"keeper releases {', '.join(told)}")
        machine.running -= gone
        machine.taken |= {(group, m) for group, m in gone if m.startswith("ip:")}
        machine.stuck |= {(group, m) for group, m in machine.running if which(m) and m in machine.sticks}

    # --- network ------------------------------------------------------------------------------

    def cut(self, a: str, b: str) -> None:
        self.cuts |= {(a, b), (b, a)}

    def heal(self) -> None:
        self.cuts.clear()
        self.no_gateway.clear()

    def _deliver(self, sender: str, to: str, event: ev.Event) -> None:
        self.recorded.append((self.now, to, event))
        copies = 1 + (self.random.random() < self.duplicates)
        for _ in range(copies):
            if (sender, to) not in self.cuts and self.random.random() >= self.loss:
                late = self.random.uniform(0.0, STRAGGLE) if self._straggles() else 0.0
                self.at(self.now + self.random.uniform(*self.delay) + late, lambda: self.tell(to, event))

    def _straggles(self) -> bool:
        return self.stragglers > 0 and self.random.random() < self.stragglers

    def replay(self, name: str) -> None:
        """What was recorded before `name` started, sent again; the transport knows only its own boot's."""
        old = [event for at, to, event in self.recorded if to == name and at < self.machines[name].started]
        for event in old[-100:]:
            self.tell(name, event)

    def _ping(self, name: str, power: int) -> None:
        machine = self.machines[name]
        if machine.power_count != power:
            return
        if name not in self.no_gateway:
            self.tell(name, ev.Pinged(machine.clock(self.now)))
        self.at(self.now + PING_INTERVAL, lambda: self._ping(name, power))

    # --- questions ----------------------------------------------------------------------------

    def holders(self, group: str, member: str) -> list[str]:
        """Who serves it: what stands still serves nobody."""
        return [
            name for name, m in self.machines.items() if (group, member) in m.running and not m.host_paused
        ]
