"""A simulated world whose every event becomes a line that a person can read."""

from __future__ import annotations

from collections import Counter

from drcm.cluster import actions as ac
from drcm.cluster import events as ev
from drcm.cluster.messages import HoldState
from drcm.cluster.spec import Spec
from tests.simulation.world import START, World


class Stage(World):
    """`transcript` is the story so far. Set generations are called g1, g2, and g2' where there are two."""

    def __init__(self, specs: dict[str, Spec], seed: int = 0) -> None:
        super().__init__(specs, seed)
        self.transcript: list[str] = []
        self.lan_cuts: set[frozenset[str]] = set()  # pairs that don't reach each other's addresses
        self.releases_to_lose: Counter[str] = Counter()  # by sender: so many beats that say released
        self._generations: Counter[int] = Counter()
        self._alerts: dict[str, dict[str, str]] = {name: {} for name in specs}  # open, by node
        self._probing: set[tuple[str, str]] = set()
        self.unfenceable: set[str] = set()

    def say(self, name: str, text: str) -> None:
        super().say(name, text)
        self.transcript.append(f"{self.now - START:8.3f} {name}  {text}")

    def new_generation_id(self, number: int) -> str:
        self._generations[number] += 1
        return f"g{number}{chr(39) * (self._generations[number] - 1)}"

    def sync(self, writer: str, set_name: str, to: str) -> None:
        """A scheduled run: no step of any hand-over."""
        group = next(g.key for g in self.machines[writer].spec.groups if set_name in g.sets)
        self.say(writer, f"{set_name}: scheduled run to {to}")
        self._pass(writer, ac.Pass(group, set_name, to, op=-1, last=False))
        self.run(self.pass_seconds + 0.01)

    def holders(self, group: str, member: str) -> list[str]:
        """For a set, which leaves no trace on the machine: whose engine runs its group."""
        if not member.startswith("set:"):
            return super().holders(group, member)
        return [name for name, m in self.machines.items() if m.engine and self._runs(name, group)]

    def _runs(self, name: str, group: str) -> bool:
        engine = self.machines[name].engine
        holding = engine.care.holdings.get(group) if engine is not None else None
        return holding is not None and holding.state is HoldState.RUNNING

    # --- actions that the world itself keeps quiet about -----------------------------------------

    def _perform(self, name: str, action: ac.Action) -> None:
        match action:
            case ac.SendBeat(beat) if beat.released and self.releases_to_lose[name] > 0:
                self.releases_to_lose[name] -= 1
                self.say(name, f"(its beat that {', '.join(beat.released)} is released gets lost)")
                return
            case ac.OpenSet(_, set_name, _, known):
                newest = known.id if known else "none"
                self.say(name, f"{set_name}: becoming writer; newest known is {newest}")
            case ac.Pass(_, set_name, to, _, last):
                self.say(name, f"{set_name}: {'last' if last else 'bulk'} pass to {to}")
            case ac.Intend(_, set_name, to):
                self.say(name, f"{set_name}: intent to give it to {to}")
            case ac.Prepare(_, set_name, to):
                self.say(name, f"{set_name}: last pass to {to} stands ready")
            case ac.DropIntent(_, set_name):
                self.say(name, f"{set_name}: intent dropped")
            case ac.MarkDiverged(set_name, why):
                self.say(name, f"{set_name}: this copy is marked: {why}")
            case ac.Announce(group):
                self.say(name, f"{group}: announcing its addresses")
            case ac.StoreHead(set_name, head):
                self._tell_of_head(name, set_name, head.id)
            case ac.Fence(node, op):
                self._fence(name, node, op)
            case ac.Problem():
                self._alert(name, action)
        super()._perform(name, action)

    def _tell_of_head(self, name: str, set_name: str, new_id: str) -> None:
        known = self.machines[name].heads.get(set_name)
        if known is None or known.id != new_id:
            self.say(name, f"{set_name}: takes note of generation {new_id}")

    def _answers(self, name: str, probe: ac.ProbeAddresses) -> bool:
        """That an address answers is told once."""
        there = super()._answers(name, probe)
        if there and (name, probe.node) not in self._probing:
            self._probing.add((name, probe.node))
            self.say(name, f"{probe.node} is silent, but an address of it answers")
        return there

    def _on_one_lan(self, a: str, b: str) -> bool:
        return frozenset((a, b)) not in self.lan_cuts

    def _fence(self, name: str, node: str, op: int) -> None:
        """The fence command takes half a second; the node is without power a little before it says so."""
        self.say(name, f"runs the fence command of {node}")
        if node in self.unfenceable:
            self._later(name, 0.5, ev.Fenced(node, op, "exit code 1: no route to its power switch"))
        else:
            self._later(name, 0.5, ev.Fenced(node, op), lambda: self.power_cut(node))

    def _alert(self, name: str, problem: ac.Problem) -> None:
        """As the daemon does: each key is raised once, and resolved where this node had raised it."""
        raised = self._alerts[name]
        if problem.over and raised.pop(problem.key, None) is not None:
            self.say(name, f"ALERT over {problem.key}: {problem.text}")
        elif not problem.over and problem.key not in raised:
            raised[problem.key] = problem.text
            self.say(name, f"ALERT {problem.key}: {problem.text}")
