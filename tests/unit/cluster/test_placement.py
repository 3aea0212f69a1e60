"""Whose turn it is, and which of two that hold keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_cluster import DEAD, IP_GROUP, KEY, SET_GROUP, beat_of, boot_of, hear, spec_of

from drcm.cluster.lease import Ledger
from drcm.cluster.membership import Membership
from drcm.cluster.messages import Beat, Head, HoldState, SetView
from drcm.cluster.placement import Situation, diverged, keeps_in_conflict, stands_on
from drcm.cluster.spec import Group
from drcm.config.model import Quorum

NOW = 110.0
OLD = 1000.0  # seconds of uptime: it has settled
THREE = Group(KEY, "a", ("a", "b", "c"), ("ip:web",))
HEAD = Head(2, "g2", "a", "g1", "5-aa", started=True)
GIVEN = replace(HEAD, started=False)


def view(pos_n: int = 2, run: str = "7-aa", **fields: Any) -> SetView:
    return SetView(pos_n, f"g{pos_n}", run, writer=False, sole=False, **fields)


def situation(
    me: str, beats: dict[str, dict[str, Any]], *, voters: str = "abc", since: float = 100.0, **fields: Any
) -> Situation:
    """Node `me`, up since 100.0, which has just heard a beat of each node in `beats`."""
    spec = spec_of(me, voters, **fields.pop("spec", {}))
    membership = Membership(spec, boot_of(me), since, machine_booted=False)
    membership.new_number(NOW)
    for name, said in beats.items():
        hear(membership, name, 1, NOW, **{"uptime": OLD, **said})
    values: dict[str, Any] = {"heads": {}, "views": {}, "resumed": False, **fields}
    return Situation(spec, membership, Ledger(me), **values)


@pytest.mark.parametrize(
    ("me", "beats", "orphaned_for", "claims", "reason"),
    [
        ("a", {"b": {}, "c": {}}, 0.0, True, "this is its home"),
        ("b", {"a": {}, "c": {}}, 0.1, False, "a comes first and has 0.2 s"),
        ("b", {"a": {}, "c": {}}, 0.2, True, "a did not claim it"),
        ("c", {"a": {}, "b": {}}, 0.3, False, "0.4 s"),
        ("c", {"a": {}, "b": {}}, 0.4, True, "b did not claim it"),
        ("b", {"a": {"declines": {KEY: "broken"}}, "c": {}}, 0.0, True, "a declines (broken)"),
        ("b", {"a": {"leaving": True}, "c": {}}, 0.0, True, "a is leaving"),
        ("b", {"c": {"unheard": ("a",)}}, 0.0, True, "a is dead"),
        ("b", {"c": {}}, 9.0, False, "a comes first and may only be late"),
        ("b", {"a": {"uptime": 0.5}, "c": {}}, 9.0, False, "a comes first and has only just started"),
        ("b", {"a": {"claims": {KEY: HoldState.CLAIMING}}, "c": {}}, 9.0, False, "a holds it"),
        ("a", {"b": {}}, 9.0, False, "c was not heard yet and may hold it"),
        ("a", {"b": {"unheard": ("c",)}}, 0.0, True, "this is its home"),
        ("b", {"a": {"released": {KEY: "b"}}, "c": {}}, 0.0, True, "a did not claim it"),
    ],
)
def test_whose_turn(me: str, beats: dict[str, Any], orphaned_for: float, claims: bool, reason: str) -> None:
    """The k-th in order waits k x 2 intervals, but not for who is dead, has left or declines."""
    verdict = situation(me, beats).judge(THREE, orphaned_for, NOW)
    assert (verdict.claim, verdict.decline) == (claims, "")
    assert reason in verdict.reason


def test_only_candidates_claim() -> None:
    """A witness holds nothing."""
    verdict = situation("c", {"a": {}, "b": {}}).judge(IP_GROUP, 99.0, NOW)
    assert not verdict.claim
    assert "not among" in verdict.reason


def test_a_word_that_was_given_counts() -> None:
    """The one to whom this voter's word still belongs may hold it, heard or not."""
    here = situation("b", {"c": {"unheard": ("a",)}})
    here.ledger.hear(beat_of("a", claims={KEY: HoldState.RUNNING}), NOW - 1, NOW - 1)
    assert here.judge(THREE, 99.0, NOW).reason == "a holds it"
    here.ledger.words.clear()
    assert here.judge(THREE, 99.0, NOW).claim


@pytest.mark.parametrize(
    ("copies", "released", "order"),
    [
        ({}, {}, ["a", "b", "c"]),
        ({"a": view(1), "b": view(2), "c": view(1)}, {}, ["b", "a", "c"]),
        ({"a": view(2, "9-aa"), "b": view(2, "10-aa"), "c": view(2, "9-bb")}, {}, ["b", "a", "c"]),
        ({"a": view(3, problem="no tree"), "b": view(1), "c": view(2)}, {}, ["c", "b", "a"]),
        ({"a": view(1), "b": view(2)}, {"b": "c"}, ["c", "b", "a"]),
    ],
)
def test_order(copies: dict[str, SetView], released: dict[str, str], order: list[str]) -> None:
    """For whom it was released, then the newest copy (by number, not by letters), then cm.cfg."""
    group = replace(SET_GROUP, candidates=("a", "b", "c"))
    beats = {
        name: {
            "sets": {"data": copies[name]} if name in copies else {},
            "released": {group.key: released[name]} if name in released else {},
        }
        for name in "bc"
    }
    mine = {"data": copies["a"]} if "a" in copies else {}
    assert situation("a", beats, views=mine).order(group, NOW) == order


@pytest.mark.parametrize(
    ("fields", "unfit"),
    [
        ({}, ""),  # nobody has begun it: home may hold what else is in the group
        ({"me": "b"}, "not begun: drcm-sync data --init, on a"),
        ({"heads": {"data": HEAD}}, "no record of it here yet"),
        ({"heads": {"data": HEAD}, "views": {"data": view(problem="no tree")}}, "no tree"),
        ({"heads": {"data": HEAD}, "views": {"data": view()}}, ""),
        ({"heads": {"data": GIVEN}, "views": {"data": view(1, "5-aa")}}, ""),  # where the newest begins
        ({"heads": {"data": HEAD}, "views": {"data": view(1, "5-aa")}}, "behind a whole generation"),
        ({"heads": {"data": HEAD}, "views": {"data": view(1, "4-aa")}}, "behind a whole generation"),
        ({"heads": {"data": HEAD}, "views": {"data": view(1, "4-aa")}, "accepted": {"data"}}, ""),
        ({"heads": {"data": HEAD}, "views": {"data": view(problem="in doubt: x")}, "accepted": {"data"}}, ""),
        ({"heads": {"data": HEAD}, "views": {"data": view(problem="in doubt: x")}}, "in doubt: x"),
        (
            {"heads": {"data": HEAD}, "views": {"data": view(problem="no tree")}, "accepted": {"data"}},
            "no tree",
        ),
        ({"views": {"data": view()}, "beats": {"c": {"heads": {"data": Head(3, "g3", "b")}}}}, "behind"),
    ],
)
def test_fit_for_a_set(fields: dict[str, Any], unfit: str) -> None:
    """Only a copy in the newest generation known, or exactly where that began, is promoted by itself."""
    fields = {"me": "a", "beats": {"c": {}}, **fields}
    here = situation(fields.pop("me"), fields.pop("beats"), **fields)
    found = here.unfit(SET_GROUP, NOW)
    assert unfit in found
    assert bool(unfit) == bool(found)
    assert here.judge(SET_GROUP, 0.0, NOW).decline == found


@pytest.mark.parametrize(
    ("quorum", "sole", "resumed", "heard", "waits"),
    [
        (Quorum.TWO_NODE, False, False, False, True),
        (Quorum.TWO_NODE, True, False, False, False),
        (Quorum.TWO_NODE, False, True, False, False),
        (Quorum.TWO_NODE, False, False, True, False),
        (Quorum.NONE, False, False, False, True),
        (Quorum.MAJORITY, False, False, False, False),
    ],
)
def test_waiting(quorum: Quorum, sole: bool, resumed: bool, heard: bool, waits: bool) -> None:
    """HISTORIES R12: alone after a boot, with a copy that another may have gone on with; it says so."""
    copy = replace(view(), sole=sole)
    here = situation(
        "a", {"b": {}} if heard else {}, voters="ab", spec={"quorum": quorum}, resumed=resumed,
        heads={"data": HEAD}, views={"data": copy},
    )  # fmt: skip
    assert here.unfit(SET_GROUP, NOW).startswith("data: WAITING") is waits


def test_the_newest_head_is_anybodys() -> None:
    """The highest number counts; of two with one number this voter's own."""
    rival = Head(2, "other", "b", started=True)
    here = situation("a", {"b": {"heads": {"data": rival}}, "c": {}}, heads={"data": HEAD})
    assert here.newest_head("data", NOW) == HEAD
    here = situation("a", {"b": {"heads": {"data": replace(rival, n=3)}}, "c": {}}, heads={"data": HEAD})
    assert here.newest_head("data", NOW) == replace(rival, n=3)
    assert here.newest_head("data", NOW + DEAD + 1) == HEAD  # who said so is not heard any more
    assert here.newest_head("none", NOW) is None


def test_stands_on() -> None:
    """In the generation itself, whatever the run, or at the very run where it begins until it starts."""
    assert stands_on(view(2, "1-aa"), HEAD)
    assert stands_on(view(1, "5-aa"), GIVEN)
    assert not stands_on(view(1, "6-aa"), GIVEN)
    assert not stands_on(view(1, "5-aa"), HEAD)  # HISTORIES R11: its writer may have gone on for days


# --- two hold -------------------------------------------------------------------------------------------

STATES = st.sampled_from([None, *HoldState])
HEADS = st.one_of(
    st.none(),
    st.builds(
        Head,
        st.integers(1, 4),
        st.sampled_from(["x", "y", "z"]),
        st.just("a"),
        st.sampled_from(["x", "y", "z"]),
    ),
)


def holder(name: str, state: HoldState | None, heads: list[Head | None], group: Group) -> Beat:
    known = {set_name: head for set_name, head in zip(group.sets, heads, strict=True) if head}
    return beat_of(name, claims={group.key: state} if state else {}, heads=known)


@given(STATES, STATES, st.lists(HEADS, min_size=2, max_size=2), st.lists(HEADS, min_size=2, max_size=2))
def test_exactly_one_keeps(
    mine: HoldState | None, other: HoldState | None, my_heads: list[Head | None], heads: list[Head | None]
) -> None:
    """Each of the two judges for itself, and both come to the same end."""
    group = Group("a/set:one", "a", ("a", "b"), ("set:one", "set:two", "ip:web"))
    a, b = holder("a", mine, my_heads, group), holder("b", other, heads, group)
    assert keeps_in_conflict(a, b, group) != keeps_in_conflict(b, a, group)


@pytest.mark.parametrize(
    ("a", "b", "keeper"),
    [
        (HoldState.RUNNING, HoldState.RUNNING, "a"),
        (HoldState.CLAIMING, HoldState.RUNNING, "b"),
        (HoldState.CLAIMING, HoldState.CLAIMING, "a"),
        (HoldState.STOPPING, HoldState.STARTING, "a"),
    ],
)
def test_who_keeps_without_a_set(a: HoldState, b: HoldState, keeper: str) -> None:
    """What is further on before what only claims; else the earlier candidate."""
    ours, theirs = (beat_of(name, claims={KEY: state}) for name, state in (("a", a), ("b", b)))
    assert keeps_in_conflict(ours, theirs, IP_GROUP) is (keeper == "a")


def test_the_child_generation_keeps() -> None:
    """HISTORIES E17: whose set is further on keeps, also against the home node."""
    claims = {SET_GROUP.key: HoldState.RUNNING}
    home = beat_of("a", claims=claims, heads={"data": Head(1, "g1", "a")})
    backup = beat_of("b", claims=claims, heads={"data": HEAD})
    assert keeps_in_conflict(backup, home, SET_GROUP)
    assert not keeps_in_conflict(home, backup, SET_GROUP)


@pytest.mark.parametrize(
    ("theirs", "other"),
    [
        (HEAD, ""),
        (Head(2, "g2b", "b", "g1", "5-aa", started=True), "b"),
        (Head(2, "g2b", "b", "g1", "5-aa"), ""),  # it started nothing
        (Head(3, "g3", "b", "g2", "7-aa", started=True), ""),
        (Head(1, "g1", "a", started=True), ""),
    ],
)
def test_diverged(theirs: Head, other: str) -> None:
    """Two started generations of one number: both wrote without each other."""
    assert diverged({"data": HEAD}, [beat_of("b", heads={"data": theirs})], "data") == other
    assert diverged({}, [beat_of("b", heads={"data": theirs})], "data") == ""


def test_what_was_made_in_ignorance_of_one_that_started_is_not_the_newest() -> None:
    """Its number is higher, and it will never start; unless a person had it made."""
    vain = Head(3, "vain", "b", origin_n=1)
    for head, newest in (
        (vain, HEAD.id), (replace(vain, origin_n=HEAD.n), "vain"), (replace(vain, decided=True), "vain"),
        (replace(vain, started=True), "vain"),
    ):  # fmt: skip
        here = situation("a", {"b": {"heads": {"data": head}}}, heads={"data": replace(HEAD, started=True)})
        found = here.newest_head("data", NOW)
        assert found is not None
        assert found.id == newest
        assert here.newest_number(NOW)("data") == 3
