"""One seeded life of a cluster: random faults, then healing; safety at every event, progress at the end."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from drcm.cluster import events as ev
from drcm.cluster.engine import Engine
from drcm.cluster.messages import Head, SetView
from drcm.cluster.spec import Group, Spec
from drcm.config.model import Quorum
from tests.simulation.world import START, World

NAMES = ("a", "b", "c", "d", "e", "f", "g")
DRIFT = 0.003  # of each clock, at most: what the arithmetic allows for (ARCHITECTURE.md)
CHAOS_SECONDS = 40.0
HEALING_SECONDS = 90.0


@dataclass
class Life:
    """What a seed stands for. `violation` is the first broken promise, "" where there was none."""

    seed: int
    engine_class: type[Engine] = Engine
    violation: str = ""
    world: World = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.names = NAMES[: self.random.choice((2, 3, 3, 3, 4, 5, 5, 7))]
        self.groups = self._groups()
        self.world = World({name: self._spec(name) for name in self.names}, self.seed)
        self.world.engine_class = self.engine_class
        self.world.watch = self._check
        self._set_up()
        stays_dead = self.strict and self.random.random() < 0.3
        self.lost = self.random.choice(self.names) if stays_dead else ""  # does not come back when all heals

    @property
    def strict(self) -> bool:
        """With two voters and no witness two holders are possible, and said to be (rule 9)."""
        return len(self.names) > 2

    def run(self) -> str:
        """Live it; the violation, or "" where every promise was kept."""
        world = self.world
        try:
            for name in self.names:
                world.at(START + self.random.uniform(0, 1.0), lambda n=name: world.power_on(n))  # type: ignore[misc]
            world.run(8.0)
            end = world.now + CHAOS_SECONDS
            while world.now < end and not self.violation:
                self.random.choice(self._faults())()
                world.run(self.random.expovariate(1 / 0.8))
            self._heal()
            self._recover(world.now + HEALING_SECONDS)
        except AssertionError as error:
            self._blame(str(error))
        return self.violation

    # --- the cluster ----------------------------------------------------------------------------

    def _groups(self) -> tuple[Group, ...]:
        groups = []
        holders = self.names[:-1] if len(self.names) % 2 and len(self.names) > 2 else self.names
        for index, home in enumerate(holders):
            order = (*holders[index:], *holders[:index])
            groups.append(Group(f"{home}/ip:{home}", home, order, (f"ip:{home}",)))
        home = holders[0]
        key = f"{home}/set:data"
        groups.append(Group(key, home, tuple(holders), ("set:data", "ip:data", "service:data", "cron:data")))
        return tuple(groups)

    def _spec(self, name: str) -> Spec:
        quorum = Quorum.TWO_NODE if len(self.names) == 2 else Quorum.MAJORITY
        return Spec(name, self.names, self.groups, quorum, 0.1, 2.0, boot_wait=6.0, digest="same")

    def _set_up(self) -> None:
        world, members = self.world, self.groups[-1].candidates
        world.start_seconds, world.stop_seconds = (0.005, 0.3), (0.001, 0.4)
        world.delay = (0.0002, self.random.choice((0.002, 0.05, 0.3)))
        world.loss = self.random.choice((0.0, 0.0, 0.1, 0.4))
        world.duplicates = self.random.choice((0.0, 0.1))
        head = Head(1, "00", self.groups[-1].home, started=True)
        for name, machine in world.machines.items():
            machine.rate = 1 + self.random.uniform(-DRIFT, DRIFT)
            machine.offset = self.random.uniform(0, 1e5)
            machine.heads["data"] = head
            if name in members:
                writer = name == self.groups[-1].home
                machine.views["data"] = SetView(1, "00", "1-aa", writer=writer, sole=False)

    # --- faults ---------------------------------------------------------------------------------

    def _faults(self) -> list[Callable[[], None]]:
        return [
            self._cut_pair, self._cut_pair, self._cut_one_way, self._isolate, self._mend, self._mend,
            self._power_cut, self._power_on, self._power_on, self._kill_daemon, self._restart, self._restart,
            self._pause, self._pause_daemon, self._resume, self._resume, self._leave, self._refuse,
            self._replay, self._blink, self._blink,
        ]  # fmt: skip

    def _one(self, wanted: Callable[[str], bool]) -> str:
        return self.random.choice([name for name in self.names if wanted(name)] or [""])

    def _up(self, name: str) -> bool:
        return self.world.machines[name].listens

    def _cut_pair(self) -> None:
        a, b = self.random.sample(self.names, 2)
        self.world.cut(a, b)
        self.world.say("network", f"{a} and {b} are cut")

    def _cut_one_way(self) -> None:
        a, b = self.random.sample(self.names, 2)
        self.world.cuts.add((a, b))
        self.world.say("network", f"{a} no longer reaches {b}")

    def _isolate(self) -> None:
        name = self.random.choice(self.names)
        for other in self.names:
            if other != name:
                self.world.cut(name, other)
        self.world.say("network", f"{name} is cut off")

    def _mend(self) -> None:
        self.world.heal()
        self.world.say("network", "healed")

    def _power_cut(self) -> None:
        name = self._one(lambda n: self.world.machines[n].powered)
        if name:
            self.world.power_cut(name)

    def _power_on(self) -> None:
        name = self._one(lambda n: not self.world.machines[n].powered)
        if name:
            self.world.power_on(name)

    def _kill_daemon(self) -> None:
        name = self._one(self._up)
        if name:
            self.world.kill_daemon(name)

    def _restart(self) -> None:
        name = self._one(self._is_daemonless)
        if name:
            self.world.restart_daemon(name)

    def _is_daemonless(self, name: str) -> bool:
        machine = self.world.machines[name]
        return machine.powered and not machine.host_paused and (machine.engine is None or machine.left)

    def _pause(self) -> None:
        name = self._one(self._up)
        if name:
            self.world.pause(name)

    def _pause_daemon(self) -> None:
        name = self._one(self._up)
        if name:
            self.world.pause_daemon(name)

    def _resume(self) -> None:
        name = self._one(lambda n: self.world.machines[n].host_paused or self.world.machines[n].daemon_paused)
        if name:
            self.world.resume(name)

    def _leave(self) -> None:
        name = self._one(self._up)
        if name and self.random.random() < 0.3:
            self.world.tell(name, ev.Leave())

    def _blink(self) -> None:
        """A voter is gone for a moment, and has lost somebody when it is back (HISTORIES E4)."""
        name = self._one(self._up)
        if not name:
            return
        machine_too = self.random.random() < 0.5
        (self.world.power_cut if machine_too else self.world.kill_daemon)(name)
        other = self.random.choice([one for one in self.names if one != name])
        self.world.cut(name, other)
        self.world.say("network", f"{name} and {other} are cut")
        boot = self.world.machines[name].boot_count

        def back() -> None:
            if self.world.machines[name].boot_count == boot:
                (self.world.power_on if machine_too else self.world.restart_daemon)(name)

        self.world.at(self.world.now + self.random.uniform(0.1, 0.6), back)

    def _replay(self) -> None:
        name = self._one(self._up)
        if name:
            self.world.say("attacker", f"replays to {name} what was sent before its start")
            self.world.replay(name)

    def _refuse(self) -> None:
        name = self.random.choice(self.names)
        machine = self.world.machines[name]
        members = [member for group in self.groups for member in group.members if member[:3] != "set"]
        machine.refuses = set() if machine.refuses else {self.random.choice(members)}

    def _heal(self) -> None:
        world = self.world
        world.say("network", "EVERYTHING HEALS")
        world.heal()
        world.loss, world.delay = 0.0, (0.0002, 0.002)
        for name, machine in world.machines.items():
            machine.refuses.clear()
            if machine.host_paused or machine.daemon_paused:
                world.resume(name)
            if name == self.lost:
                world.power_cut(name)
            elif not machine.powered:
                world.power_on(name)
            elif machine.engine is None or machine.left or machine.engine.leaving_since is not None:
                if machine.engine is not None:
                    world.kill_daemon(name)
                world.restart_daemon(name)

    # --- promises -------------------------------------------------------------------------------

    def _blame(self, text: str) -> None:
        self.violation = self.violation or f"{self.world.now - START:.3f} {text}"

    def _check(self, world: World) -> None:
        if self.violation or not self.strict:
            return
        seen: dict[tuple[str, str], str] = {}
        for name, machine in world.machines.items():
            if machine.host_paused:
                continue
            for running in machine.running:
                other = seen.setdefault(running, name)
                if other != name:
                    self._blame(f"{' '.join(running)} runs on {other} and {name}")

    def _recover(self, end: float) -> None:
        """After healing everything runs exactly once, at home, and stays there."""
        while self._missing() and self.world.now < end and not self.violation:
            self.world.run(2.0)
        self.world.run(3.0)
        missing = self._missing()
        if missing and not self.violation:
            self._blame(f"after healing {missing}")

    def _missing(self) -> str:
        views = [machine.views["data"] for machine in self.world.machines.values() if machine.views]
        diverged = any("DIVERGED" in view.problem for view in views)
        for group in self.groups:
            for member in group.members:
                if member.startswith("set:"):
                    continue
                holders = self.world.holders(group.key, member)
                if self.lost and group.sets and not holders:
                    continue  # only the lost node has the newest copy: the others wait for it
                if group.home == self.lost and len(holders) == 1:
                    continue
                if holders != [group.home] and not (group.sets and diverged and len(holders) == 1):
                    return f"{group.key} {member} runs on {holders or 'no node'}"
        return ""
