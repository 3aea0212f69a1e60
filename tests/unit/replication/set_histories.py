"""Records for the tests of replication: short words, and a small world that acts by the real transitions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from drcm.errors import RoleError
from drcm.replication import transitions
from drcm.replication.generation import Generation, Given, Position, Record, Root
from drcm.replication.verdict import Verdict, VerdictKind, judge

SET_UUID = "5e7" * 8


def generation(n: int, writer: str = "A", origin: Position | None = None, **more: object) -> Generation:
    """Generation n with the id "g<n>", begun and started unless said otherwise."""
    values: dict[str, object] = {"id": f"g{n}", "why": "promote", "started": True, **more}
    return Generation(n=n, writer=writer, origin=origin, **values)  # type: ignore[arg-type]


def at(generation_id: str, run: str = "") -> Position:
    return Position(generation_id, run)


def record(node: str, *chain: Generation, pos: Position | None = None, **more: object) -> Record:
    """A record of the set "testfs" on `node`, with one root of its own."""
    values: dict[str, object] = {"roots": (Root("/testfs", "mirror", f"root-{node}", 1),), **more}
    return Record("testfs", SET_UUID, node, chain, pos=pos, **values)  # type: ignore[arg-type]


def writing(*chain: Generation, run: str = "40-aa", given: dict[str, Given] | None = None) -> Record:
    """The record of a writer at work: its head is chain[0]."""
    head = chain[0]
    peers = given if given is not None else {"B": Given(run, run)}
    return record(head.writer, *chain, pos=at(head.id, run), beyond=True, given=peers)


@dataclass
class Node:
    """A node's record, and its tree as the set of changes that it holds."""

    record: Record
    tree: frozenset[int] = frozenset()


@dataclass
class World:
    """Nodes that act on one set; `push` checks the promise that nothing is lost."""

    nodes: dict[str, Node] = field(default_factory=dict)
    count: int = 0

    @classmethod
    def begun(cls, names: str = "ABC") -> World:
        world = cls()
        for name in names:
            world.nodes[name] = Node(replace(record(name), chain=()))
        first = world.nodes[names[0]]
        first.record = transitions.initial("testfs", SET_UUID, names[0], first.record.roots, world.new_id())
        world.work(names[0])
        return world

    def new_id(self) -> str:
        self.count += 1
        return f"{self.count:016x}"

    def work(self, name: str) -> None:
        """The services of a node change its tree: only a started writer's run."""
        node = self.nodes[name]
        if node.record.is_writer and node.record.head.started:
            self.count += 1
            node.tree |= {self.count}

    def verdict(self, writer: str, tree: str) -> Verdict:
        return judge(self.nodes[writer].record, self.nodes[tree].record)

    def push(self, writer: str, target: str, *, commit: bool = True, answered: bool = True) -> VerdictKind:
        """A run, which may be cut in the middle, or whose answer may be lost."""
        source, receiver = self.nodes[writer], self.nodes[target]
        found = self.verdict(writer, target)
        if not found.may_write or not source.record.head.started:
            return found.kind
        run = transitions.run_for(source.record, target, f"{self.count:08x}")
        source.record = transitions.begin_run(source.record, target, run)
        foreign = receiver.tree - source.tree
        if found.kind in (VerdictKind.BEHIND, VerdictKind.EQUAL):
            assert not foreign, f"{found.reason}: {foreign} would be lost"
        receiver.record = transitions.receive_begin(receiver.record, source.record, run, found)
        if not commit:  # half of what is new has come, half of what is foreign is gone
            half = {change for change in receiver.tree ^ source.tree if change % 2}
            receiver.tree = frozenset(receiver.tree ^ half)
            return found.kind
        receiver.record = transitions.receive_commit(receiver.record, run)
        receiver.tree = source.tree
        if answered:
            source.record = transitions.complete_run(source.record, target, run)
        return found.kind

    def promote(self, name: str, heard: set[str], accept_loss: bool = False) -> bool:
        """By the newest head among the nodes heard and its own; False where it is not eligible."""
        node = self.nodes[name]
        heads = [self.nodes[one].record.newest for one in sorted(heard | {name}, key=lambda one: one != name)]
        known = max((one for one in heads if one is not None), key=lambda one: one.n, default=None)
        try:
            node.record = transitions.promote(
                node.record, known, self.new_id(), primary="A", accept_loss=accept_loss
            )
        except RoleError:
            return False
        return True

    def start(self, name: str) -> None:
        node = self.nodes[name]
        if node.record.is_writer:
            node.record = transitions.start(node.record)

    def hear(self, name: str, other: str) -> None:
        head = self.nodes[other].record.newest
        if head is not None and self.nodes[name].record.chain:
            self.nodes[name].record = transitions.hear(self.nodes[name].record, head)

    def hand_over(self, giver: str, taker: str, *, adopted: bool = True) -> bool:
        """Steps 1 to 6: with the services stopped, a last pass, then the gift."""
        node = self.nodes[giver]
        if giver == taker or not node.record.is_writer or not node.record.head.started:
            return False
        node.record = transitions.intend(node.record, taker)
        self.push(giver, taker)
        given = node.record.given.get(taker)
        if given is None or given.begun != given.complete or self.nodes[taker].tree != node.tree:
            node.record = transitions.drop_intent(node.record)
            return False
        node.record = transitions.give(node.record, taker, self.new_id())
        if adopted:
            self.nodes[taker].record = transitions.adopt(self.nodes[taker].record, node.record.head)
        return True
