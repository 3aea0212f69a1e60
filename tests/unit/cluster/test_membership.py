"""Who is heard and who is dead: only by beats that echo one of ours, and only by the newest of them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_cluster import DEAD, beat_of, boot_of, hear, spec_of

from drcm.cluster.membership import Membership
from drcm.cluster.messages import Beat, Echo
from drcm.config.model import Quorum

BOOT = boot_of("a")


def listening(voters: str = "abc", *, booted: bool = False, **changes: object) -> Membership:
    """Node a, started at 100.0, which sent its beat 1 then."""
    membership = Membership(spec_of("a", voters, **changes), BOOT, 100.0, booted)
    membership.new_number(100.0)
    return membership


def answer(number: int, echoed: Echo | None, **fields: object) -> Beat:
    return beat_of("b", number, echo={"a": echoed} if echoed else {}, **fields)


@pytest.mark.parametrize(
    ("echoed", "now", "heard"),
    [
        (Echo(BOOT, 1), 100.1, True),
        (Echo(BOOT, 1), 100.0 + DEAD, True),
        (Echo(BOOT, 1), 100.01 + DEAD, False),  # answers a beat that is too old: a replay, a slow link
        (Echo(BOOT, 2), 100.1, False),  # never sent
        (Echo(boot_of("a", 0), 1), 100.1, False),  # of the boot before
        (None, 100.1, False),  # a one-way link: it does not hear us
    ],
)
def test_only_an_echo_of_ours_is_heard(echoed: Echo | None, now: float, heard: bool) -> None:
    """A peer is heard by a beat that echoes one sent in this boot less than T_dead ago."""
    membership = listening()
    assert (membership.hear(answer(1, echoed), now) is not None) == heard
    assert membership.is_heard("b", now) == heard
    assert bool(membership.beats(now)) == heard
    assert membership.echoes()["b"] == Echo(boot_of("b"), 1)  # it is echoed all the same: so both find in


def test_strangers_are_not_heard() -> None:
    """Who is no voter of cm.cfg, and this node itself, are not taken in."""
    membership = listening()
    for name in ("x", "a"):
        assert membership.hear(beat_of(name, 1, echo={"a": Echo(BOOT, 1)}), 100.0) is None
        assert membership.is_known(beat_of(name, 1))


ARRIVALS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 6), st.sampled_from([0, 1, 2, 9])), max_size=40
)


@given(ARRIVALS)
def test_arrivals_in_any_order(arrivals: list[tuple[int, int, int]]) -> None:
    """Late, doubled, foreign: only newer, proven beats count, and a replaced boot never again."""
    membership = listening()
    membership.new_number(100.0)
    taken: list[tuple[int, int]] = []
    for boot, number, echoed in arrivals:
        beat = answer(number, Echo(BOOT, echoed) if echoed else None, boot=boot_of("b", boot))
        if membership.hear(beat, 100.1) is not None:
            assert echoed in (1, 2)
            taken.append((boot, number))
            assert membership.peers["b"].beat == beat
    for (boot, number), (next_boot, next_number) in pairwise(taken):
        assert next_boot != boot or next_number > number
    order = [boot for i, (boot, _) in enumerate(taken) if i == 0 or taken[i - 1][0] != boot]
    assert len(order) == len(set(order)), "a replaced boot came back"


def test_an_unproven_boot_replaces_nothing() -> None:
    """HISTORIES W3: recorded beats of a former boot can't make the living one mute."""
    membership = listening()
    assert hear(membership, "b", 5, 100.1, boot=boot_of("b", 2))
    assert membership.hear(answer(9, None, boot=boot_of("b", 1)), 100.2) is None
    assert membership.echoes()["b"] == Echo(boot_of("b", 2), 5)
    assert hear(membership, "b", 6, 100.3, boot=boot_of("b", 2))


def test_a_new_boot_begins_anew() -> None:
    """Its state does not count before it has proven itself, and then only its own."""
    membership = listening()
    assert hear(membership, "b", 50, 100.1, claims={"k": "running"})
    assert hear(membership, "b", 1, 100.2, boot=boot_of("b", 2))
    assert membership.peers["b"].beat == answer(1, Echo(BOOT, 1), boot=boot_of("b", 2))


def test_dead_after_a_silence_of_t_dead() -> None:
    """Heard until then, dead after it; `next_death` says when to look."""
    membership = listening()
    hear(membership, "b", 1, 101.0)
    assert membership.next_death(101.5) == 101.0 + DEAD
    assert (membership.is_heard("b", 103.0), membership.is_dead("b", 103.0)) == (True, False)
    assert (membership.is_heard("b", 103.01), membership.is_dead("b", 103.01)) == (False, True)
    assert membership.next_death(103.01) is None


def test_heard_since_begins_after_each_gap() -> None:
    """How long a peer has been back is counted from its first beat after a silence."""
    membership = listening()
    for number, when in enumerate((101.0, 102.5, 106.0, 107.0), start=1):
        membership.new_number(when)
        assert hear(membership, "b", number, when)
        assert membership.peers["b"].heard_since == (101.0 if when < 106 else 106.0)


@pytest.mark.parametrize(("booted", "patience"), [(True, 60.0), (False, DEAD)])
def test_who_was_never_heard_gets_time(booted: bool, patience: float) -> None:
    """HISTORIES E15: boot_wait after a boot of this machine, T_dead after a start of the daemon."""
    membership = listening(booted=booted)
    assert not membership.is_dead("b", 100.0 + patience)
    assert membership.is_dead("b", 100.1 + patience)


@pytest.mark.parametrize(("uptime", "dead"), [(1000.0, True), (1.0, False)])
def test_an_elder_may_call_it_dead_earlier(uptime: float, dead: bool) -> None:
    """A voter that has been up for longer than this one knows better; a younger one does not."""
    membership = listening(booted=True)
    membership.new_number(105.0)
    hear(membership, "c", 1, 105.0, unheard=("b",), uptime=uptime)
    assert membership.is_dead("b", 105.1) is dead


@pytest.mark.parametrize(
    ("voters", "quorum", "agreeing", "confirmed"),
    [
        ("ab", Quorum.TWO_NODE, "", True),
        ("abc", Quorum.MAJORITY, "", False),
        ("abc", Quorum.MAJORITY, "c", True),
        ("abcde", Quorum.MAJORITY, "c", False),
        ("abcde", Quorum.MAJORITY, "cd", True),
        ("abc", Quorum.NONE, "", True),
    ],
)
def test_confirmed_dead(voters: str, quorum: Quorum, agreeing: str, confirmed: bool) -> None:
    """As many voters as the quorum asks for must not hear it."""
    membership = listening(voters, quorum=quorum)
    now = 100.1 + DEAD
    membership.new_number(now)
    for name in voters[2:]:
        hear(membership, name, 1, now, unheard=("b",) if name in agreeing else ())
    assert membership.confirmed_dead("b", now) is confirmed
    assert not any(membership.confirmed_dead(name, now) for name in voters[2:])


def test_gone_is_leaving_with_nothing_claimed() -> None:
    """Who leaves but still stops something has not left; its next boot has not either."""
    membership = listening()
    hear(membership, "b", 1, 100.1, leaving=True, claims={"k": "stopping"})
    assert not membership.is_gone("b", 100.1)
    hear(membership, "b", 2, 100.2, leaving=True)
    assert membership.is_gone("b", 100.2)
    hear(membership, "b", 1, 100.3, boot=boot_of("b", 2))
    assert not membership.is_gone("b", 100.3)


def test_rolled_back() -> None:
    """Rule 4: an echo of this boot's beat that was never sent means that this machine was restored."""
    membership = listening()
    assert not membership.was_rolled_back(answer(1, Echo(BOOT, 1)))
    assert membership.was_rolled_back(answer(1, Echo(BOOT, 2)))
    assert not membership.was_rolled_back(answer(1, Echo(boot_of("a", 7), 99)))


def test_a_late_echo_quickens_the_beats() -> None:
    """HISTORIES E14: from 0.3 T_dead without an echo on, but not for who is dead."""
    membership = listening()
    hear(membership, "b", 1, 100.1)
    assert not membership.is_echo_late(100.6)
    assert membership.is_echo_late(100.7)
    assert not membership.is_echo_late(102.2)


def test_reconfigure_keeps_who_stays() -> None:
    """Who stays in cm.cfg is not forgotten, who goes is; who comes was never heard."""
    membership = listening("abc")
    hear(membership, "b", 1, 100.1)
    membership.reconfigure(spec_of("a", "abd"))
    assert membership.is_heard("b", 100.2)
    assert list(membership.peers) == ["b", "d"]
    assert membership.hear(beat_of("c", 1, echo={"a": Echo(BOOT, 1)}), 100.2) is None
