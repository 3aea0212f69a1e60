"""When a voter goes over to another roll, and when it accepts a change of its own."""

from __future__ import annotations

from typing import Any

import pytest
from one_node import Node
from small_cluster import DEAD, KEY

from drcm.cluster import actions as ac
from drcm.cluster import events as ev
from drcm.cluster.messages import HoldState, Proposal, Roll
from drcm.cluster.roll import ROLL

OURS, THEIRS = ("a", "b", "c"), ("a", "b", "c", "d")


def stored(node: Node) -> list[tuple[int, tuple[str, ...]]]:
    """What the node is about to make durable; it is at once."""
    found = node.saw(ac.StoreRoll)
    for action in found:
        node.feed(ev.RollStored(action.roll, action.accepted))
    return [(action.roll.epoch, action.roll.voters) for action in found if action.accepted is None]


def beginner(**changes: Any) -> Node:
    """At its first start, with a, b and c in its cm.cfg as voters."""
    node = Node("abc", members=THEIRS, **changes)
    node.feed(ev.PatienceStored(DEAD))
    assert stored(node) == [(1, OURS)]
    return node


def test_at_epoch_1_a_roll_that_rules_is_taken() -> None:
    """The others' first starts read a longer list, and a majority of it goes by it."""
    node = beginner()
    node.hear("b", epoch=1, voters=THEIRS)
    assert stored(node) == []  # b and this node would be two of four
    node.hear("c", epoch=1, voters=THEIRS)
    assert stored(node) == [(1, THEIRS)]
    assert node.engine.spec.voters == THEIRS


def test_no_roll_that_rules_is_left() -> None:
    """This node's own has a majority: it stays, whatever the others go by."""
    node = beginner()
    node.hear("b", epoch=1, voters=OURS)
    node.hear("c", epoch=1, voters=THEIRS)
    assert stored(node) == []


def test_of_two_that_do_not_rule_the_longer_wins() -> None:
    """Else two would go over to each other's for ever."""
    node = Node("abcd", members=THEIRS)
    assert stored(node) == [(1, THEIRS)]
    node.hear("b", epoch=1, voters=OURS)
    assert stored(node) == []


def change(node: Node) -> list[Proposal]:
    """b, which has the roll's word, proposes to drop c; what this node accepts."""
    spec = node.engine.spec
    said = {"epoch": spec.epoch, "voters": spec.voters, "claims": {ROLL: HoldState.RUNNING}}
    node.hear("b", **said)  # first it is given the word
    node.hear("b", **said, proposal=Proposal(1, Roll(spec.epoch + 1, ("a", "b"))))
    accepted = [action.accepted for action in node.saw(ac.StoreRoll) if action.accepted]
    for one in accepted:
        node.feed(ev.RollStored(node.engine.electorate.roll, one))
    return accepted


@pytest.mark.parametrize("words", [True, False])
def test_a_second_change_waits_for_the_words_of_the_roll_before(words: bool) -> None:
    """Majorities two changes apart may not meet: no lease may rest on the older one by then."""
    node = beginner()
    if words:
        node.live(DEAD + 0.5, lambda: node.hear("c", epoch=1, voters=OURS, claims={KEY: HoldState.RUNNING}))
    node.feed(ev.RollStored(Roll(2, OURS), None))
    node.live(0.1)
    assert bool(change(node)) is not words
    node.live(DEAD + 0.2, lambda: node.hear("c", epoch=2, voters=OURS))
    assert change(node) or not words


def test_who_hears_that_its_change_was_decided_goes_on_to_the_next() -> None:
    """The last word came late to the node that proposed: it must not hold the roll's group for ever."""
    node = Node("abc", members=("a", "b", "c", "d", "e"))
    node.feed(ev.PatienceStored(DEAD))
    stored(node)
    before: dict[str, Any] = {"epoch": 1, "voters": OURS, "grants": {ROLL: "a"}}
    node.live(DEAD + 1.0, lambda: node.hear_all("bcde", **before))
    assert node.engine.electorate.proposal == Proposal(1, Roll(2, THEIRS))
    after: dict[str, Any] = {"epoch": 2, "voters": THEIRS, "grants": {ROLL: "a"}}
    for action in node.saw(ac.StoreRoll):
        node.feed(ev.RollStored(action.roll, action.accepted))
    node.hear_all("bcde", **after)
    assert (2, THEIRS) in stored(node)

    def others() -> None:
        node.hear_all("bcde", **after)
        stored(node)

    node.live(2 * DEAD, others)
    assert node.engine.electorate.proposal == Proposal(1, Roll(3, (*THEIRS, "e")))
