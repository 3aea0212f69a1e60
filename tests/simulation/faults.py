"""What can go wrong: single faults, histories that broke other designs, and blows at the worst moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from drcm.cluster import actions as ac
from drcm.cluster import events as ev
from drcm.cluster.messages import HoldState
from tests.simulation.machine import Machine
from tests.simulation.plots import Plots

if TYPE_CHECKING:
    from tests.simulation.chaos import Life

# After one of these something has just begun that a crash or a cut must not break.
DELICATE = (ac.StartMember, ac.OpenSet, ac.StoreRoll, ac.Give, ac.Pass, ac.StoreHead, ac.Left)
USUAL = ("_mend", "_mend", "_power_on", "_power_on", "_restart", "_restart", "_resume", "_resume")
FAULTS = (
    "_cut_pair", "_cut_one_way", "isolate", "_power_cut", "_kill_daemon", "_pause", "_pause_daemon",
    "_leave", "_replay", "blink", "blink", "_refuse", "_stick", "_fail", "_reload", "_dismiss",
    "_accept_loss", "_move", "_slow_disk", "_lose_tree",
)  # fmt: skip
MAJORITY_ONLY = {"_dismiss", "_reload"}
ORDER_AGAIN = 6.0  # seconds between two orders of the same person, at least
SICK = {"_refuse", "_fail", "_stick", "_lose_tree"}  # they end in declines of a minute: not in every life


class Faults:
    """The faults of one life. Each life knows some of them only, so that lives differ."""

    def __init__(self, life: Life) -> None:
        self.life, self.world, self.random, self.names = life, life.world, life.random, life.names
        self.over = False
        self._ordered_at = 0.0
        self._moved: set[str] = set()  # groups that an operator moved: only an order brings them home
        self.sick = sick = self.random.random() < 0.2
        known = [
            f for f in FAULTS if self.random.random() < 0.6 and (life.majority or f not in MAJORITY_ONLY)
        ]
        chosen = [f for f in known if sick or f not in SICK]
        self._faults: list[Callable[[], None]] = [getattr(self, name) for name in (*USUAL, *chosen)]
        self.plots = Plots(self)
        self._faults += [plot for plot in self.plots.at_random() if self.random.random() < 0.6]
        self._malice = self.random.choice((0.0, 0.02, 0.1))  # share of delicate moments that are struck
        if self._malice or life.last_man_standing:
            witness = self.world.witness
            self.world.witness = lambda name, action: (witness(name, action), self._moment(name, action))[0]

    def strike(self) -> None:
        self.random.choice(self._faults)()

    # --- choosing -----------------------------------------------------------------------------------

    def _one(self, wanted: Callable[[Machine], bool]) -> str:
        return self.random.choice([name for name, m in self.world.machines.items() if wanted(m)] or [""])

    def listening(self) -> str:
        return self._one(lambda machine: machine.listens)

    def other(self, *names: str) -> str:
        return self.random.choice([name for name in self.names if name not in names])

    def soon(self, seconds: float, what: Callable[[], None]) -> None:
        self.world.at(self.world.now + seconds, lambda: None if self.over else what())

    # --- the network --------------------------------------------------------------------------------

    def cut(self, *pairs: tuple[str, str]) -> None:
        """Where ping_hosts arbitrate, one node at most reaches them while the two don't reach each other."""
        self.world.cuts |= set(pairs)
        if self.life.pings and not self.world.no_gateway:
            self.world.no_gateway.add(self.random.choice(self.names))

    def _cut_pair(self) -> None:
        self.part(*self.random.sample(self.names, 2))

    def part(self, a: str, b: str) -> None:
        self.cut((a, b), (b, a))
        self.world.say("network", f"{a} and {b} are cut")

    def _cut_one_way(self) -> None:
        a, b = self.random.sample(self.names, 2)
        self.cut((a, b))
        self.world.say("network", f"{a} no longer reaches {b}")

    def isolate(self, name: str = "") -> None:
        name = name or self.random.choice(self.names)
        others = [other for other in self.names if other != name]
        self.cut(*((name, other) for other in others), *((other, name) for other in others))
        self.world.say("network", f"{name} is cut off")

    def _mend(self) -> None:
        self.world.heal()
        self.world.say("network", "healed")

    def _replay(self) -> None:
        name = self.listening()
        if name:
            self.world.say("attacker", f"replays to {name} what was sent before its start")
            self.world.replay(name)

    # --- machines and daemons -----------------------------------------------------------------------

    def _power_cut(self) -> None:
        name = self._one(lambda machine: machine.powered)
        if name:
            self.world.power_cut(name)

    def _power_on(self) -> None:
        name = self._one(lambda machine: not machine.powered)
        if name:
            self.world.power_on(name)

    def _slow_disk(self) -> None:
        self.slow_disk(self.random.choice(self.names), self.random.uniform(0.5, 5.0))

    def slow_disk(self, name: str, seconds: float) -> None:
        """What a daemon writes is durable soon, and told seconds later."""
        machine = self.world.machines[name]
        machine.disk_seconds = seconds
        self.world.say(name, f"its disk takes {seconds:.1f} s")
        self.world.at(self.world.now + seconds, lambda: setattr(machine, "disk_seconds", 0.0))

    def _lose_tree(self) -> None:
        """The root of the set is not mounted any more, for a while (HISTORIES R22)."""
        name = self._one(lambda machine: "data" in machine.views)
        if name:
            self.world.lose_tree(name, "data")
            self.soon(self.random.uniform(0.3, 20.0), lambda: self.world.lose_tree(name, "data", lost=False))

    def _kill_daemon(self) -> None:
        name = self.listening()
        if name:
            self.world.kill_daemon(name)

    def _restart(self) -> None:
        name = self._one(self._is_daemonless)
        if name:
            self.world.restart_daemon(name)

    @staticmethod
    def _is_daemonless(machine: Machine) -> bool:
        return machine.powered and not machine.host_paused and (machine.engine is None or machine.left)

    def _pause(self) -> None:
        name = self.listening()
        if name:
            self.world.pause(name)

    def _pause_daemon(self) -> None:
        name = self.listening()
        if name:
            self.world.pause_daemon(name)

    def _resume(self) -> None:
        name = self._one(lambda machine: machine.host_paused or machine.daemon_paused)
        if name:
            self.world.resume(name)

    def blink(self, name: str = "", other: str = "") -> None:
        """A voter is gone for a moment, and has lost somebody when it is back (HISTORIES E4)."""
        name = name or self.listening()
        if not name:
            return
        machine_too = self.random.random() < 0.5
        (self.world.power_cut if machine_too else self.world.kill_daemon)(name)
        other = other or self.other(name)
        self.part(name, other)
        boot = self.world.machines[name].boot_count

        def back() -> None:
            if self.world.machines[name].boot_count == boot:
                (self.world.power_on if machine_too else self.world.restart_daemon)(name)

        self.soon(self.random.uniform(0.05, 0.6), back)

    # --- resources ----------------------------------------------------------------------------------

    def _members(self) -> list[str]:
        groups = self.life.groups(self.names)
        return [m for group in groups for m in group.members if not m.startswith("set:")]

    def _refuse(self) -> None:
        machine = self.world.machines[self.random.choice(self.names)]
        machine.refuses = set() if machine.refuses else {self.random.choice(self._members())}

    def _stick(self) -> None:
        """What is no address may outlive KILL for a while (D state, a hung mount)."""
        machine = self.world.machines[self.random.choice(self.names)]
        member = self.random.choice(("service:data", "cron:data"))
        machine.sticks.add(member)
        self.soon(self.random.uniform(1.0, 6.0), lambda: machine.sticks.discard(member))

    def _fail(self) -> None:
        name = self._one(lambda machine: machine.listens and bool(machine.running))
        if name:
            key, member = self.random.choice(sorted(self.world.machines[name].running))
            self.world.say(name, f"{member} fails its check")
            self.world.tell(name, ev.MemberFailed(key, member, "it failed its check"))

    # --- operators ----------------------------------------------------------------------------------

    def _leave(self) -> None:
        name = self.listening()
        if name:
            self.world.say("operator", f"stops {name}")
            self.world.tell(name, ev.Leave())

    def _move(self) -> None:
        held = [(n, key) for n, m in self.world.machines.items() if m.listens for key, _ in m.running]
        if held:
            name, key = self.random.choice(sorted(held))
            group = next((group for group in self.life.groups(self.names) if group.key == key), None)
            if group is not None:
                self._moved.add(key)
                self._order(name, key, self.random.choice(group.candidates))

    def _order(self, name: str, key: str, to: str) -> None:
        self.world.say("operator", f"moves {key} from {name} to {to}")
        self.world.tell(name, ev.Move(key, to))

    def bring_home(self) -> None:
        """After healing: what was moved by hand comes home by hand, with patience."""
        if self.world.now < self._ordered_at + ORDER_AGAIN:
            return
        self._ordered_at = self.world.now
        for key in sorted(self._moved):
            home = key.partition("/")[0]
            for name, machine in self.world.machines.items():
                if home not in (name, self.life.lost) and self._is_settled(machine, key):
                    self._order(name, key, home)

    @staticmethod
    def _is_settled(machine: Machine, key: str) -> bool:
        holding = machine.engine.care.holdings.get(key) if machine.engine is not None else None
        return holding is not None and holding.state is HoldState.RUNNING and holding.handover is None

    def _accept_loss(self) -> None:
        name = self.random.choice(self.life.holders[:3])
        if self.random.random() < 0.3:
            self.world.tell(name, ev.AcceptLoss("data"))

    def _reload(self) -> None:
        """cm.cfg is edited on one node after the other; T_dead may be another."""
        self.edit(self.random.choice((1.4, 2.0, 4.0)))
        self._spread()

    def edit(self, dead_seconds: float) -> None:
        config = self.life.config
        self.life.config = replace(config, dead_seconds=dead_seconds, version=config.version + 1)

    def _dismiss(self) -> None:
        """A node is taken out of cm.cfg, or taken in again; it may be back with the old file (E6)."""
        config = self.life.config
        away = [name for name in self.names if name not in config.members]
        if away:
            members = tuple(n for n in self.names if n in config.members or n == away[0])
        elif len(config.members) > 3:
            gone = self.other("a")
            members = tuple(name for name in config.members if name != gone)
        else:
            return
        self.life.config = replace(config, members=members, version=config.version + 1)
        self._spread()

    def _spread(self) -> None:
        """By hand or all at once; sometimes a node is lost just when it has read it."""
        self.world.say("operator", f"cm.cfg is now {self.life.config}")
        longest = self.random.choice((0.05, 2.0))
        for name in self.names:
            if self.random.random() < 0.9:
                self.soon(self.random.uniform(0.0, longest), lambda n=name: self.reload(n))  # type: ignore[misc]
        if self.random.random() < 0.5:
            name = self.random.choice(self.names)
            self.soon(longest + self.random.uniform(0.0, 0.15), lambda: self.isolate(name))

    def reload(self, name: str) -> None:
        """The node has the newest cm.cfg, and reads it where its daemon runs; who is no member has none."""
        if name in self.life.config.members:
            machine = self.world.machines[name]
            machine.spec = self.life.spec(name)
            self.world.tell(name, ev.Reconfigured(machine.spec))

    # --- blows at the worst moment ------------------------------------------------------------------

    def _moment(self, name: str, action: ac.Action) -> None:
        if self.over:
            return
        if isinstance(action, ac.StoreRoll) and action.roll.epoch > 1:
            if self.random.random() < 0.3:
                self.soon(self.random.uniform(0.0, 0.012), lambda: self.plots.split(name))
        elif isinstance(action, DELICATE) and self.random.random() < self._malice:
            self.soon(self.random.uniform(0.0, 0.012), lambda: self._hit(name))

    def _hit(self, name: str) -> None:
        if not self.world.machines[name].listens:
            return
        blow = self.random.choice(("power", "daemon", "host", "cut", "cut"))
        if blow == "power":
            self.world.power_cut(name)
        elif blow == "daemon":
            self.world.kill_daemon(name)
        elif blow == "host":
            self.world.pause(name)
        else:
            self.isolate(name)
