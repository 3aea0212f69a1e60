"""The table of DESIGN.md section 6, row by row, and what it promises over whole histories."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from set_histories import World, at, generation, record, writing

from drcm.replication.generation import Generation, Given, Position, Record, from_json, replace, to_json
from drcm.replication.verdict import VerdictKind, judge

G5 = generation(5)
G6 = generation(6, "B", at("g5", "40-aa"))
G6A = generation(6, "A", at("g5", "40-aa"), id="g6a", why="alone")


def told(writer: Record, tree: Record | None) -> tuple[int, VerdictKind]:
    found = judge(writer, tree)
    assert found.reason
    return found.row, found.kind


def test_row_1_no_marker() -> None:
    """A root without record and marker is refused."""
    assert told(writing(G5), None) == (1, VerdictKind.REFUSE)


@pytest.mark.parametrize(
    "tree",
    [
        record("B", G5, pos=at("g5", "40-aa"), roots=()),
        replace(record("B", G5, pos=at("g5", "40-aa")), set_uuid="another"),
        replace(record("B", G5, pos=at("g5", "40-aa")), name="another"),
        replace(record("B", G5, pos=at("g5", "40-aa")), roots=record("A").roots),
        record("A", G5, pos=at("g5", "40-aa")),
    ],
)
def test_row_1_foreign(tree: Record) -> None:
    """Another set's tree, one without roots, a copied root and the writer's own are refused."""
    assert told(writing(G5), tree) == (1, VerdictKind.REFUSE)


def test_row_2_joining() -> None:
    """A tree that never was complete joins, in the middle of its first run too."""
    assert told(writing(G5), record("B")) == (2, VerdictKind.JOINING)
    assert told(writing(G5), record("B", G5, applying=at("g5", "40-aa"))) == (2, VerdictKind.JOINING)


def test_adopted_tree_is_ahead() -> None:
    """A tree that was adopted with its own files keeps all that the first pass replaces."""
    assert told(writing(G5), record("B", beyond=True)) == (5, VerdictKind.AHEAD)


@pytest.mark.parametrize("run", ["1400-bb", "40-bb", "41-aa"])
def test_row_3_rolled_back(run: str) -> None:
    """A run of the newest generation that the writer doesn't remember means a restored disk (R13)."""
    tree = record("B", G5, pos=at("g5", run))
    assert told(writing(G5), tree) == (3, VerdictKind.DIVERGED)


def test_row_3_half_applied() -> None:
    """A half-applied run that the writer doesn't remember means the same."""
    tree = record("B", G5, pos=at("g5", "40-aa"), applying=at("g5", "1401-cc"))
    assert told(writing(G5), tree) == (3, VerdictKind.DIVERGED)


def test_row_4_behind() -> None:
    """A tree on the writer's history, at or before the fork, is behind."""
    begun = writing(G5, given={"B": Given("41-bb", "40-aa")})
    assert told(begun, record("B", G5, pos=at("g5", "40-aa"))) == (4, VerdictKind.BEHIND)
    assert told(begun, record("B", G5, pos=at("g5", "40-aa"), applying=at("g5", "41-bb")))[0] == 4
    assert told(begun, record("B", G5, pos=at("g5", "41-bb"))) == (4, VerdictKind.BEHIND)
    newer = writing(G6, G5, run="")
    assert told(newer, record("A", G5, pos=at("g5", "40-aa"))) == (4, VerdictKind.BEHIND)
    assert told(newer, record("C", G5, pos=at("g5", "39-aa"))) == (4, VerdictKind.BEHIND)


@pytest.mark.parametrize(
    "tree",
    [
        record("C", G5, pos=at("g5", "41-aa")),
        record("C", G5, pos=at("g5", "40-bb")),
        record("A", G5, pos=at("g5", "40-aa"), beyond=True),
        record("C", G5, pos=at("g5", "40-aa"), applying=at("g5", "41-aa")),
        record("C", G5, pos=at("g5", "40-aa"), applying=at("elsewhere", "1-aa")),
    ],
)
def test_row_5_ahead(tree: Record) -> None:
    """Past the fork, in another's run, or with work that was never sent: ahead."""
    assert told(writing(G6, G5, run=""), tree) == (5, VerdictKind.AHEAD)


def test_row_5_skipped_generation() -> None:
    """A generation that served and never sent a run, and was skipped, is ahead when it returns."""
    seventh = generation(7, "C", at("g5", "40-aa"))
    tree = record("B", G6, G5, pos=at("g6"), beyond=True)
    assert told(writing(seventh, G6, G5, run=""), tree) == (5, VerdictKind.AHEAD)


def test_row_5_accept_loss() -> None:
    """What is past an older copy that a person promoted is ahead, though an earlier fork was later."""
    seventh = generation(7, "C", at("g5", "30-aa"))
    tree = record("D", G5, pos=at("g5", "40-aa"))
    assert told(writing(seventh, G6, G5, run=""), tree) == (5, VerdictKind.AHEAD)


def test_row_5_merged() -> None:
    """A person's decision makes the loser ahead."""
    seventh = generation(7, "A", at("g6a"), why="resolve", merged=("g6",))
    tree = record("B", G6, G5, pos=at("g6", "3-aa"), beyond=True)
    assert told(writing(seventh, G6A, G5, run=""), tree) == (5, VerdictKind.AHEAD)


@pytest.mark.parametrize("run", ["3-aa", "39-bb", "40-aa", "41-aa", ""])
def test_row_5_before_a_decision(run: str) -> None:
    """What a tree got before a person resolved a divergence is ahead, whatever its run."""
    decided = generation(6, "A", at("g5", "40-aa"), why="resolve")
    tree = record("B", G5, pos=at("g5", run))
    assert told(writing(decided, G5, run=""), tree) == (5, VerdictKind.AHEAD)
    following = generation(7, "A", at("g6", "1-aa"))
    assert told(writing(following, decided, G5, run=""), tree) == (5, VerdictKind.AHEAD)
    assert told(writing(following, decided, G5, run=""), record("B", decided, pos=at("g6", "1-aa")))[0] == 4


def test_row_6_own_generation_in_vain() -> None:
    """A generation that never started counts as its origin, through several of them."""
    vain = replace(G6, started=False)
    again = generation(7, "B", at("g6"), started=False)
    assert told(writing(G5), record("B", vain, G5, pos=at("g6"))) == (4, VerdictKind.BEHIND)
    assert told(writing(G6A, G5, run=""), record("B", again, vain, G5, pos=at("g7"))) == (
        4,
        VerdictKind.BEHIND,
    )


def test_row_7_stale() -> None:
    """A tree whose node knows a later generation refuses the writer, whatever the tree is (R7, R9)."""
    for tree in (
        record("B", G6, G5, pos=at("g6", "2-aa"), beyond=True),
        record("C", G6, G5, pos=at("g6", "2-aa")),
        record("C", G6, G5, pos=at("g5", "40-aa")),
        record("C", replace(G6, started=False), G5, pos=at("g5", "40-aa")),
        record("C", G6, G5),
    ):
        assert told(writing(G5), tree) == (7, VerdictKind.STALE_WRITER)


def test_row_7_not_the_writer() -> None:
    """Who is no writer by its own record may write nothing, in doubt or after giving it away."""
    heard = record("A", G6, G5, pos=at("g5", "40-aa"))
    doubted = replace(writing(G5), doubt="restored")
    for writer in (heard, doubted, record("A")):
        assert told(writer, record("B", G5, pos=at("g5", "40-aa"))) == (7, VerdictKind.STALE_WRITER)


def test_row_8_diverged() -> None:
    """Both sides of a partition served: a person decides."""
    tree = record("B", G6, G5, pos=at("g6"), beyond=True)
    assert told(writing(G6A, G5, run=""), tree) == (8, VerdictKind.DIVERGED)


def test_row_8_another_history_heard() -> None:
    """A tree whose node knows another history of the same number belongs to neither yet."""
    tree = record("C", G6, G5, pos=at("g5", "40-aa"))
    assert told(writing(G6A, G5, run=""), tree) == (8, VerdictKind.DIVERGED)


def test_row_9_equal() -> None:
    """After a hand-over, before the taker starts, both trees are the same."""
    given_back = generation(6, "A", at("g5", "40-aa"), started=False, why="handover")
    taker = record("A", given_back, G5, pos=at("g6"))
    assert told(taker, record("B", given_back, G5, pos=at("g5", "40-aa"))) == (9, VerdictKind.EQUAL)
    worked = record("B", given_back, G5, pos=at("g5", "40-aa"), beyond=True)
    assert told(taker, worked) == (5, VerdictKind.AHEAD)
    started = replace(taker, chain=(replace(given_back, started=True), G5), beyond=True)
    assert told(started, record("B", given_back, G5, pos=at("g5", "40-aa"))) == (4, VerdictKind.BEHIND)


IDS = st.sampled_from(["g1", "g2", "g3", "g4"])
RUNS = st.builds(
    lambda number, tag: f"{number}-{tag}" if number else "", st.integers(0, 4), st.sampled_from("ab")
)
POSITIONS = st.none() | st.builds(Position, IDS, RUNS)
NAMES = st.sampled_from("AB")
CHAINS = st.lists(
    st.builds(
        Generation,
        st.integers(1, 6),
        IDS,
        NAMES,
        st.just("promote"),
        POSITIONS,
        st.booleans(),
        st.lists(IDS, max_size=2).map(tuple),
    ),
    max_size=4,
).map(tuple)


def records(name: str) -> st.SearchStrategy[Record]:
    return st.builds(
        lambda chain, pos, applying, beyond, peers: record(
            name, *chain, pos=pos, applying=applying, beyond=beyond, given=peers
        ),
        CHAINS,
        POSITIONS,
        POSITIONS,
        st.booleans(),
        st.dictionaries(NAMES, st.builds(Given, RUNS, RUNS), max_size=2),
    )


@settings(max_examples=500, deadline=None)
@given(records("A"), st.none() | records("B"))
def test_total(writer: Record, tree: Record | None) -> None:
    """Any two records, sensible or not, get a verdict of the table, and work never sent is never lost."""
    found = judge(writer, tree)
    assert 1 <= found.row <= 9
    assert found.reason
    if tree is not None and tree.beyond:
        assert found.kind not in (VerdictKind.BEHIND, VerdictKind.EQUAL, VerdictKind.JOINING)
    if found.may_write:
        assert writer.is_writer


NODES = st.sampled_from("ABC")
HEARD = st.sets(NODES)


class Partitions(RuleBasedStateMachine):
    """Three nodes that act as they like, split or not, two of them as writer at once too."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World.begun()

    @rule(name=NODES)
    def work(self, name: str) -> None:
        self.world.work(name)

    @rule(writer=NODES, peer=NODES, commit=st.booleans(), answered=st.booleans())
    def push(self, writer: str, peer: str, commit: bool, answered: bool) -> None:
        """`World.push` asserts that a tree with foreign work is never behind or equal."""
        self.world.push(writer, peer, commit=commit, answered=answered)

    @rule(name=NODES, heard=HEARD, start=st.booleans())
    def promote(self, name: str, heard: set[str], start: bool) -> None:
        if self.world.promote(name, heard) and start:
            self.world.start(name)

    @rule(name=NODES)
    def start(self, name: str) -> None:
        self.world.start(name)

    @rule(name=NODES, other=NODES)
    def hear(self, name: str, other: str) -> None:
        self.world.hear(name, other)

    @rule(giver=NODES, taker=NODES, adopted=st.booleans())
    def hand_over(self, giver: str, taker: str, adopted: bool) -> None:
        self.world.hand_over(giver, taker, adopted=adopted)

    @rule(name=NODES)
    def go_alone(self, name: str) -> None:
        node = self.world.nodes[name]
        if node.record.is_writer and node.record.head.started:
            from drcm.replication.transitions import go_alone

            node.record = go_alone(node.record, self.world.new_id())

    @invariant()
    def sound(self) -> None:
        """Numbers fall along each chain, positions name what is known, and JSON keeps it all."""
        for node in self.world.nodes.values():
            found = node.record
            numbers = [one.n for one in found.chain]
            assert numbers == sorted(set(numbers), reverse=True)
            assert found.pos is None or found.knows(found.pos.id)
            assert from_json(json.loads(json.dumps(to_json(found)))) == found


class Majority(RuleBasedStateMachine):
    """Three nodes of which every voter hears each head at once, as a majority's memory makes it (R11)."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World.begun()

    def everybody_hears(self, name: str) -> None:
        for other in self.world.nodes:
            self.world.hear(other, name)

    def writer(self) -> str:
        newest = max(
            (one.record.head for one in self.world.nodes.values() if one.record.chain), key=lambda g: g.n
        )
        return newest.writer

    @rule(times=st.integers(1, 3))
    def work(self, times: int) -> None:
        for _ in range(times):
            self.world.work(self.writer())

    @rule(peer=NODES, commit=st.booleans(), answered=st.booleans())
    def push(self, peer: str, commit: bool, answered: bool) -> None:
        self.world.push(self.writer(), peer, commit=commit, answered=answered)

    @rule(name=NODES, start=st.booleans())
    def promote(self, name: str, start: bool) -> None:
        if self.world.promote(name, set("ABC")):
            self.everybody_hears(name)
            if start:
                self.world.start(name)

    @rule(taker=NODES, adopted=st.booleans())
    def hand_over(self, taker: str, adopted: bool) -> None:
        giver = self.writer()
        if self.world.hand_over(giver, taker, adopted=adopted):
            self.everybody_hears(giver)
            self.world.start(taker)

    @invariant()
    def one_history(self) -> None:
        """No tree is ever diverged, and none refuses the writer that the majority knows."""
        writer = self.writer()
        if not self.world.nodes[writer].record.is_writer:
            return
        for name in self.world.nodes:
            if name != writer:
                found = self.world.verdict(writer, name)
                assert found.may_write, found.reason


TestPartitions = Partitions.TestCase
TestPartitions.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestMajority = Majority.TestCase
TestMajority.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
