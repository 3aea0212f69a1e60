"""Plots against the engine: histories that broke other designs, brought about on purpose (HISTORIES E*).

By chance alone such a row of events is rare; here the moments are chosen, and only then left to chance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from drcm.cluster import actions as ac
from drcm.cluster import events as ev

if TYPE_CHECKING:
    from tests.simulation.faults import Faults

PLAY_SECONDS = 15.0  # in which nothing else happens
GHOST_BEATS = 200  # of a former boot, sent again


class Plots:
    """The plots that one life may see: one of them in peace, some more at random."""

    def __init__(self, faults: Faults) -> None:
        self.faults, self.life, self.world = faults, faults.life, faults.world
        self.random, self.names = faults.random, faults.names

    def at_random(self) -> list[Callable[[], None]]:
        """Those that may strike in the middle of everything else."""
        return [self.betray, self.lose_two, self.abandon] if self.life.majority else []

    def play(self) -> float:
        """Begin one; seconds that it takes, 0.0 where this life has none."""
        if not self.life.majority or self.random.random() < 0.4:
            return 0.0
        plots = [self.betray, self.abandon, self.abandon, self.orphan, self.ghost, self.jam]
        if self.life.last_man_standing and len(self.names) > 4:
            plots += [self.split_the_shrunken] * 5
        self.random.choice(plots)()
        return PLAY_SECONDS

    # --- choosing -----------------------------------------------------------------------------------

    def _holder(self, key: str = "") -> str:
        machines = self.world.machines.items()
        held = [n for n, m in machines if m.listens and any(k.endswith(key) for k, _ in m.running)]
        return self.random.choice(held or [""])

    def _candidate(self, holder: str) -> str:
        """Who could take over from the holder: no witness, where there is a choice."""
        others = [name for name in self.life.holders if name != holder]
        return self.random.choice(others or [name for name in self.names if name != holder])

    # --- plots --------------------------------------------------------------------------------------

    def betray(self) -> None:
        """The holder is lost to a candidate; the voter between restarts and has lost it, too (E4, E5)."""
        holder = self._holder()
        if not holder:
            return
        self._edit(holder, self.random.choice((0.0, 4.0)))
        candidate = self._candidate(holder)
        voter = self.faults.other(holder, candidate)
        self.faults.part(holder, candidate)
        self.faults.soon(self.life.config.dead_seconds + 0.3, lambda: self._betrayed(holder, voter))

    def _betrayed(self, holder: str, voter: str) -> None:
        if self.world.machines[voter].listens:
            self.faults.blink(voter, holder)

    def abandon(self) -> None:
        """The holder is lost to a candidate, then to all; its T_dead may be another (E1, E2, E5)."""
        holder = self._holder()
        if not holder:
            return
        first, then = self.random.choice(((4.0, 1.4), (1.4, 4.0), (4.0, 0.0), (0.0, 4.0), (0.0, 0.0)))
        self._edit(holder, first)
        self.faults.part(holder, self._candidate(holder))
        wait = self.life.config.dead_seconds + self.random.uniform(0.3, 1.0)
        self.faults.soon(wait + self.random.uniform(-0.4, 0.1), lambda: self._edit(holder, then))
        self.faults.soon(wait, lambda: self._alone(holder))

    def _edit(self, holder: str, dead_seconds: float) -> None:
        """The holder's cm.cfg has another T_dead than the others' for a moment."""
        if dead_seconds:
            self.faults.edit(dead_seconds)
            self.faults.reload(holder)

    def _alone(self, holder: str) -> None:
        """Nobody hears it any more; it may hear them."""
        if self.random.random() < 0.5:
            self.faults.isolate(holder)
            return
        self.faults.cut(*((holder, other) for other in self.names if other != holder))
        self.world.say("network", f"{holder} no longer reaches anybody")

    def orphan(self) -> None:
        """The writer dies; who is promoted is cut off just then, and the former writer is back (R11). A slow
        disk may tell of the new generation only when the former writer has gone on."""
        writer = self._holder("set:data")
        if not writer:
            return
        self.world.power_cut(writer)

        def strike(name: str) -> None:
            if self.random.random() < 0.5:
                self.faults.slow_disk(name, self.random.uniform(6.0, 14.0))
                self.faults.soon(self.random.uniform(6.0, 12.0), self.world.heal)
            self.faults.soon(self.random.uniform(0.0, 0.03), lambda: self.faults.isolate(name))
            self.faults.soon(self.random.uniform(1.0, 3.0), lambda: self._back(writer))

        self._once(lambda action: isinstance(action, ac.OpenSet), strike)

    def ghost(self) -> None:
        """The holder is back, alone, and hears again what was said to it before it died (replays)."""
        holder = self._holder()
        if not holder:
            return
        said = [event for at, to, event in self.world.recorded if to == holder][-GHOST_BEATS:]
        self.world.power_cut(holder)
        self.faults.isolate(holder)
        self.faults.soon(4.0, lambda: self._back(holder))
        for number, event in enumerate(said):
            self.faults.soon(5.0 + number * 0.05, lambda e=event: self.world.tell(holder, e))  # type: ignore[misc]

    def jam(self) -> None:
        """Something of the set can't be stopped while its holder is cut off, stopped or told to move it."""
        holder = self._holder("set:data")
        if not holder:
            return
        machine = self.world.machines[holder]
        machine.sticks.add("service:data")
        self.world.say(holder, "service:data will not stop")
        self.faults.soon(self.random.uniform(2.0, 9.0), lambda: machine.sticks.discard("service:data"))
        blow = self.random.choice((ev.Leave(), ev.Move("a/set:data", self._candidate(holder)), None))
        if blow is None:
            self.faults.isolate(holder)
        else:
            self.world.tell(holder, blow)

    def split_the_shrunken(self) -> None:
        """Two are dead for long; when the roll shrinks, two are cut off and the dead are back (E6)."""
        self.lose_two(for_long=True)

        def strike(name: str) -> None:
            self.faults.soon(self.random.uniform(0.0, 0.009), lambda: self.split(name))

        self._once(lambda action: isinstance(action, ac.StoreRoll) and action.roll.epoch > 1, strike)

    def _once(self, awaited: Callable[[ac.Action], bool], strike: Callable[[str], None]) -> None:
        """Strike where the first node does what is awaited, at the moment when it does."""
        witness, waits = self.world.witness, [True]

        def watch(name: str, action: ac.Action) -> None:
            witness(name, action)
            if waits and awaited(action) and not self.faults.over:
                waits.clear()
                strike(name)

        self.world.witness = watch

    def lose_two(self, for_long: bool = False) -> None:
        """Two die at once, and are back when the others have got used to it (last_man_standing)."""
        if len(self.names) < 5:
            return
        gone = [name for name in self.random.sample(self.names, 2) if self.world.machines[name].powered]
        for name in gone:
            self.world.power_cut(name)
            seconds = 60.0 if for_long else self.random.uniform(8.0, 16.0)
            self.faults.soon(seconds, lambda n=name: self._back(n))  # type: ignore[misc]

    def split(self, name: str) -> None:
        """The roll is changing: two on one side, all others, back from the dead, on the other (E6)."""
        alive = [other for other in self.names if other != name and self.world.machines[other].listens]
        pair = (name, self.random.choice(alive or [self.faults.other(name)]))
        rest = [other for other in self.names if other not in pair]
        self.faults.cut(*((a, b) for a in pair for b in rest), *((b, a) for a in pair for b in rest))
        self.world.say("network", f"{' and '.join(pair)} are cut off from the others")
        for other in rest:
            self._back(other)

    def _back(self, name: str) -> None:
        if not self.world.machines[name].powered:
            self.world.power_on(name)
