"""One seeded life of a cluster: random faults, then healing; safety at every event, progress at the end."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from drcm.cluster import events as ev
from drcm.cluster.engine import Engine
from drcm.cluster.messages import Head, SetView
from drcm.cluster.spec import Group, Spec
from drcm.config.model import Quorum
from tests.simulation.faults import Faults
from tests.simulation.promises import Promises
from tests.simulation.world import START, World

NAMES = ("a", "b", "c", "d", "e", "f", "g")
DRIFT = 0.003  # of each clock, at most: what the arithmetic allows for (ARCHITECTURE.md)
CHAOS_SECONDS = 24.0
HEALING_SECONDS = 120.0
STEADY = 4.0  # seconds that all is well before a life is over
SET_NODES = 3  # so many nodes have a copy of the set
FIRST = Head(1, "00", "a", started=True)

# Clusters to live through: number of nodes and who rules. Three nodes most often: nothing else breaks faster.
KINDS = (
    *[(3, Quorum.MAJORITY)] * 8, *[(4, Quorum.MAJORITY)] * 2, *[(5, Quorum.MAJORITY)] * 4,
    (6, Quorum.MAJORITY), (7, Quorum.MAJORITY), *[(2, Quorum.TWO_NODE)] * 3, (3, Quorum.NONE),
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """One state of cm.cfg: what operators change in it."""

    members: tuple[str, ...]
    dead_seconds: float = 2.0
    version: int = 1


@dataclass
class Life:
    """What a seed stands for. `violation` is the first broken promise, "" where there was none."""

    seed: int
    engine_class: type[Engine] = Engine
    violation: str = ""
    world: World = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        size, self.quorum = self.random.choice(KINDS)
        self.names = NAMES[:size]
        has_witness = size > 2 and self.random.random() < 0.7
        self.holders = self.names[:-1] if has_witness else self.names
        self.pings = self.quorum is Quorum.TWO_NODE and self.random.random() < 0.6
        self.last_man_standing = self.majority and size > 3 and self.random.random() < 0.5
        self.interval = self.random.choice((0.1, 0.2, 0.2, 0.2))
        self.config = Config(
            self.names, 1.4 if self.last_man_standing else 2.0
        )  # a death counts after 5 T_dead
        self.world = World({name: self.spec(name) for name in self.names}, self.seed)
        self.world.engine_class = self.engine_class
        self.promises = Promises(self.world, self.majority)
        self.faults = Faults(self)
        self._set_up()
        stays_dead = self.majority and self.random.random() < 0.3
        self.lost = self.random.choice(self.names) if stays_dead else ""  # does not come back when all heals

    @property
    def majority(self) -> bool:
        """Else two holders are possible, and said to be (rule 9)."""
        return self.quorum is Quorum.MAJORITY

    @property
    def exclusive(self) -> bool:
        """Two never hold: a majority rules, or one gateway can be reached from one side of a cut only."""
        return self.majority or self.pings

    def run(self) -> str:
        """Live it; the violation, or "" where every promise was kept."""
        world = self.world
        for name in self.names:
            world.at(START + self.random.uniform(0, 1.0), lambda n=name: world.power_on(n))  # type: ignore[misc]
        world.run(6.0)
        world.run(self.faults.plots.play())
        end = world.now + CHAOS_SECONDS
        while world.now < end and not self._broken():
            self.faults.strike()
            world.run(self.random.expovariate(1 / 0.7))
        self._heal()
        self._recover(world.now + HEALING_SECONDS)
        return self._broken()

    def _broken(self) -> str:
        self.violation = self.violation or (self.promises.broken if self.exclusive else "")
        return self.violation

    # --- the cluster ----------------------------------------------------------------------------

    def groups(self, members: tuple[str, ...]) -> tuple[Group, ...]:
        """An address of each of the first three nodes, and a set with what moves with it."""
        holders = tuple(name for name in self.holders if name in members)
        groups = []
        for index, home in enumerate(holders[:3]):
            order = (*holders[index:], *holders[:index])
            groups.append(Group(f"{home}/ip:{home}", home, order, (f"ip:{home}",)))
        candidates = tuple(name for name in self.holders[:SET_NODES] if name in members)
        if candidates:
            together = ("set:data", "ip:data", "service:data", "cron:data")
            groups.append(Group("a/set:data", candidates[0], candidates, together))
        return tuple(groups)

    def spec(self, name: str) -> Spec:
        config = self.config
        spec = Spec(
            name, config.members, self.groups(config.members), self.quorum, self.interval,
            config.dead_seconds, boot_wait=6.0, pings=self.pings, digest=str(config.version),
            members=config.members, last_man_standing=self.last_man_standing,
        )  # fmt: skip
        return spec

    def _set_up(self) -> None:
        world = self.world
        world.start_seconds, world.stop_seconds = (0.005, 0.3), (0.001, 0.4)
        world.delay = (0.0002, self.random.choice((0.002, 0.05, 0.3)))
        world.loss = self.random.choice((0.0, 0.0, 0.1, 0.4)) if self.majority else 0.0
        world.duplicates = self.random.choice((0.0, 0.1, 0.5))
        world.stragglers = self.random.choice((0.0, 0.0, 0.1, 0.3)) if self.majority else 0.0
        self.promises.begin_set("data", FIRST)
        for name, machine in world.machines.items():
            machine.rate = 1 + self.random.uniform(-DRIFT, DRIFT)
            machine.offset = self.random.uniform(0, 1e5)
            machine.heads["data"] = FIRST
            if name in self.holders[:SET_NODES]:
                machine.views["data"] = SetView(1, "00", "1-aa", writer=name == "a", sole=False)

    # --- the end --------------------------------------------------------------------------------

    def _heal(self) -> None:
        world = self.world
        world.say("network", "EVERYTHING HEALS")
        self.faults.over = True
        world.heal()
        world.loss = world.stragglers = 0.0
        world.delay = (0.0002, 0.002)
        self.config = Config(self.names, version=self.config.version + 1)
        for name, machine in world.machines.items():
            machine.refuses.clear()
            machine.sticks.clear()
            world.lose_tree(name, "data", lost=False)
            if machine.host_paused or machine.daemon_paused:
                world.resume(name)
            self.faults.reload(name)
            if self.faults.sick:  # what failed often is declined for long, unless who mended it says so
                world.tell(name, ev.Cleanup())
            if name == self.lost:
                world.power_cut(name)
            elif not machine.powered:
                world.power_on(name)
            elif machine.engine is None or machine.left or machine.engine.leaving_since is not None:
                if machine.engine is not None:
                    world.kill_daemon(name)
                world.restart_daemon(name)

    def _recover(self, end: float) -> None:
        """After healing everything runs exactly once, at home, and stays there."""
        good_since = self.world.now
        while self.world.now < end and not self._broken():
            self.faults.bring_home()
            self.world.run(1.0)
            if self._missing():
                good_since = self.world.now
            elif self.world.now - good_since >= STEADY:
                return
        self.violation = self._broken() or f"{self.world.now - START:.3f} after healing {self._missing()}"

    def _missing(self) -> str:
        views = [machine.views["data"] for machine in self.world.machines.values() if machine.views]
        diverged = any("DIVERGED" in view.problem for view in views)
        fewest = 0 if diverged and self.quorum is Quorum.NONE else 1
        for group in self.groups(self.names):
            for member in group.members:
                holders = self.world.holders(group.key, member)
                if self.lost and group.sets and not holders:
                    continue  # only the lost node has the newest copy: the others wait for it
                if group.home == self.lost and len(holders) == 1:
                    continue
                if holders != [group.home] and not (group.sets and diverged and fewest <= len(holders) <= 1):
                    return f"{group.key} {member} runs on {holders or 'no node'}"
        return self._wrong_roll() if self.majority else ""

    def _wrong_roll(self) -> str:
        """Everybody votes again, but for whom the operator's last_man_standing may leave out."""
        for name, machine in self.world.machines.items():
            if machine.engine is not None:
                absent = set(self.names) - set(machine.engine.spec.voters) - {self.lost}
                if absent:
                    return f"{', '.join(sorted(absent))} does not vote in the eyes of {name}"
        return ""
