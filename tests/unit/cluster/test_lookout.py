"""What a node notices of the others: deaths, other configs, divergence, silent machines; its own end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from one_node import Node
from small_cluster import DEAD, IP_GROUP, KEY, SET_GROUP

from drcm.cluster import actions as ac
from drcm.cluster import events as ev
from drcm.cluster.adopting import adopt
from drcm.cluster.engine import Beginning
from drcm.cluster.lookout import CONFIG_GRACE, LEAVE_LINGER
from drcm.cluster.messages import Head, HoldState, SetView

HEAD = Head(2, "g2", "a", "g1", "5-aa", started=True)
LATE = Head(3, "g3", "b", "g2", "7-aa", origin_n=2)
RIVAL = Head(2, "g2b", "b", "g1", "5-aa", started=True)

# What a former daemon may have said is over, once, when a node is first heard.
BOTH_HEARD = [("node-dead:b", True), ("node-dead:c", True)]


def test_a_death_is_told_once_and_so_is_the_return() -> None:
    """One alert opens, one closes it; nothing is repeated while it lasts."""
    node = Node()
    node.live(1, lambda: node.hear_all("bc"))
    assert node.problems("node-dead") == BOTH_HEARD
    node.live(3 * DEAD, lambda: node.hear("c"))
    assert node.problems("node-dead") == [("node-dead:b", False)]
    node.live(1, lambda: node.hear_all("bc"))
    assert node.problems("node-dead") == [("node-dead:b", True)]


@pytest.mark.parametrize(("me_is_first", "told"), [(True, 1), (False, 0)])
def test_only_the_first_of_the_living_tells(me_is_first: bool, told: int) -> None:
    """Of three nodes that miss one, one alerts."""
    node = Node("abc" if me_is_first else "cab")
    heard = "b" if me_is_first else "c"
    node.live(1, lambda: node.hear_all("bc"))
    node.live(2 * DEAD, lambda: node.hear(heard))
    assert len([key for key, over in node.problems("node-dead") if not over]) == told


def test_when_the_one_that_tells_dies_the_next_tells_of_all() -> None:
    """Else nobody would ever say that the first one is back."""
    node = Node("cab")
    node.live(1, lambda: node.hear_all("bc"))
    node.live(2 * DEAD, lambda: node.hear("c"))
    assert node.problems("node-dead") == BOTH_HEARD
    node.live(2 * DEAD)
    assert sorted(node.problems("node-dead")) == [("node-dead:b", False), ("node-dead:c", False)]
    node.live(1, lambda: node.hear("b"))
    assert node.problems("node-dead") == [("node-dead:b", True)]


def test_another_config_is_told_after_a_while() -> None:
    """An edit on two nodes takes its time; then somebody is told, and told again when it is over."""
    node = Node("ab")
    node.live(CONFIG_GRACE - 1, lambda: node.hear("b", digest="other"))
    assert node.problems("config-differs") == []
    node.live(2, lambda: node.hear("b", digest="other"))
    assert set(node.problems("config-differs")) == {("config-differs:b", False)}
    node.live(0.3, lambda: node.hear("b"))
    assert node.problems("config-differs") == [("config-differs:b", True)]


def diverged(holds_here: bool) -> Node:
    node = Node("ab", groups=(SET_GROUP,))
    node.feed(ev.HeadStored("data", HEAD))
    node.feed(ev.SetLooked("data", SetView(2, "g2", "7-aa", writer=True, sole=False)))
    if holds_here:
        adopt(node.engine.care, Beginning(lease_until=node.now + 3600, adopt=(SET_GROUP.key,)), node.now)
    return node


@pytest.mark.parametrize(
    ("holds_here", "holds_there", "marked"),
    [(True, False, False), (False, True, True), (False, False, False), (True, True, False)],
)
def test_divergence(holds_here: bool, holds_there: bool, marked: bool) -> None:
    """Told at once; the copy that is not served is marked, after both have said what they hold."""
    node = diverged(holds_here)
    said: dict[str, Any] = {
        "heads": {"data": RIVAL},
        "sets": {"data": SetView(2, "g2b", "7-bb", True, False)},
    }
    said["claims"] = {SET_GROUP.key: HoldState.RUNNING} if holds_there else {}
    said["grants"] = {} if holds_there else {SET_GROUP.key: "a"}
    node.live(0.2, lambda: node.hear("b", **said))
    assert ("set-diverged:data", False) in node.problems("set-diverged")
    assert node.saw(ac.MarkDiverged) == []
    node.live(DEAD + 0.5, lambda: node.hear("b", **said))
    assert len(node.saw(ac.MarkDiverged)) == (1 if marked else 0)
    node.live(1, lambda: node.hear("b", **{**said, "heads": {"data": HEAD}}))
    assert ("set-diverged:data", True) in node.problems("set-diverged")


@pytest.mark.parametrize(
    ("by", "head", "taken"),
    [
        ("b", LATE, False),
        ("b", replace(LATE, started=True), True),
        ("b", replace(LATE, decided=True), True),
        ("c", LATE, True),
        ("c", replace(LATE, writer="c"), True),
    ],
    ids=["in vain", "started", "a person's", "a gift of the holder", "the holder's own"],
)
def test_a_generation_that_comes_late_is_not_taken(by: str, head: Head, taken: bool) -> None:
    """Its maker has lost the lease, this voter's word is c's, who went on without knowing of it."""
    node = Node("abc", groups=(replace(SET_GROUP, candidates=("a", "b", "c")),))
    node.feed(ev.HeadStored("data", HEAD))
    node.feed(ev.PatienceStored(DEAD))
    node.live(3 * DEAD, lambda: node.hear_all("bc"))
    node.hear("c", claims={SET_GROUP.key: HoldState.CLAIMING})
    assert node.engine.ledger.holder(SET_GROUP.key, node.now) == "c"
    node.hear(by, heads={"data": head})
    assert node.saw(ac.StoreHead) == ([ac.StoreHead("data", head)] if taken else [])


@pytest.mark.parametrize(("serves", "marked"), [("b", True), ("a", False)])
def test_a_copy_that_is_served_behind_a_started_generation(serves: str, marked: bool) -> None:
    """In a partition both wrote, one of them more often: no sync either way, the idle copy is marked."""
    node = Node("ab", groups=(SET_GROUP,))
    newest = replace(HEAD, n=3, id="g3", writer="a" if serves == "b" else "b")
    node.feed(ev.HeadStored("data", newest))
    mine = (3, "g3") if serves == "b" else (2, "g2")
    node.feed(ev.SetLooked("data", SetView(*mine, "7-aa", writer=False, sole=False)))
    theirs = SetView(2, "g2", "7-aa", False, False) if serves == "b" else SetView(3, "g3", "", True, False)
    said: dict[str, Any] = {"heads": {"data": newest}, "sets": {"data": theirs}}
    said["claims"] = {SET_GROUP.key: HoldState.RUNNING} if serves == "b" else {}
    said["grants"] = {} if serves == "b" else {SET_GROUP.key: "a"}
    if serves == "a":
        adopt(node.engine.care, Beginning(lease_until=node.now + 3600, adopt=(SET_GROUP.key,)), node.now)
        node.engine.care.holdings[SET_GROUP.key].state = HoldState.RUNNING
    node.live(DEAD + 1.0, lambda: node.hear("b", **said))
    assert ("set-diverged:data", False) in node.problems("set-diverged")
    assert bool(node.saw(ac.MarkDiverged)) is marked


def test_a_silent_machine_is_probed() -> None:
    """HISTORIES E16: from half of T_dead on, once an interval, the addresses that it held."""
    node = Node("ab")
    node.live(1, lambda: node.hear("b", claims={KEY: HoldState.RUNNING}))
    assert node.saw(ac.ProbeAddresses) == []
    node.live(DEAD / 2 + 0.35)
    probes = node.saw(ac.ProbeAddresses)
    assert probes[0] == ac.ProbeAddresses("b", (KEY,))
    assert 2 <= len(probes) <= 5


@pytest.mark.parametrize("candidates", [("b", "a"), ("b", "c")])
def test_with_a_majority_a_candidate_probes(candidates: tuple[str, ...]) -> None:
    """Until somebody else has what it held; a node that may not take it has no need to."""
    node = Node("abc", groups=(replace(IP_GROUP, candidates=candidates),))

    def both() -> None:
        node.hear("b", claims={KEY: HoldState.RUNNING})
        node.hear("c")

    node.live(1, both)
    node.live(DEAD * 0.7, lambda: node.hear("c"))
    probes = {ac.ProbeAddresses("b", (KEY,))}
    assert set(node.saw(ac.ProbeAddresses)) == (probes if "a" in candidates else set())
    node.live(DEAD, lambda: node.hear("c", claims={KEY: HoldState.RUNNING}))
    assert node.saw(ac.ProbeAddresses) == []


def test_leaving_lingers() -> None:
    """With nothing held it still grants what it released for a few beats; then it has left, not before."""
    node = Node("ab")
    node.feed(ev.Leave())
    node.live(LEAVE_LINGER * 0.1 - 0.2)
    assert node.saw(ac.Left) == []
    node.live(0.4)
    assert node.saw(ac.Left)
    assert node.engine.beat is not None
    assert node.engine.beat.leaving


def test_who_holds_does_not_leave() -> None:
    """First everything is stopped."""
    node = Node("ab")
    adopt(node.engine.care, Beginning(lease_until=node.now + 3600, adopt=(KEY,)), node.now)
    holding = node.engine.care.holdings[KEY]
    holding.started = ["ip:web"]
    node.feed(ev.Leave())
    node.live(2)
    assert node.saw(ac.Left) == []
    (stop,) = node.saw(ac.StopMember)
    node.feed(ev.MemberStopped(KEY, "ip:web", stop.op))
    node.live(1)
    assert node.saw(ac.Left)
    assert replace(IP_GROUP).key not in node.engine.care.holdings
