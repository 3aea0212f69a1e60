"""Counts of failures and moves: they age out singly, and what follows from them."""

from __future__ import annotations

from drcm.cluster.spec import Restarts
from drcm.cluster.upkeep import CALM, DECLINED_LONGEST, HOUR, LONGEST_WAIT, Count, Upkeep
from drcm.config.model import Server

KEY, DB = "a/service:db", "service:db"
USUAL = Restarts()


def test_restarts_wait_longer_each_time_then_it_moves() -> None:
    """At once, after 2 s, after 4 s; the fourth within the window moves it."""
    upkeep = Upkeep()
    assert [upkeep.failed(KEY, DB, USUAL, t) for t in (0.0, 10.0, 20.0, 30.0)] == [0.0, 2.0, 4.0, None]


def test_a_limit_of_none_moves_at_once() -> None:
    """restart_limit = 0."""
    assert Upkeep().failed(KEY, DB, Restarts(0, 600.0), 5.0) is None


def test_the_longest_wait_is_bounded() -> None:
    """However many restarts are allowed."""
    upkeep, many = Upkeep(), Restarts(1000, 1e9)
    assert max(upkeep.failed(KEY, DB, many, float(t)) or 0.0 for t in range(100)) == LONGEST_WAIT


def test_each_failure_is_forgotten_by_itself() -> None:
    """The count goes down one by one, not at once."""
    upkeep = Upkeep()
    for moment in (0.0, 100.0, 200.0):
        upkeep.failed(KEY, DB, USUAL, moment)
    assert upkeep.count(KEY, DB, USUAL, 300.0) == Count(3, 3, 500.0)
    assert upkeep.count(KEY, DB, USUAL, 650.0) == Count(2, 3, 150.0)
    assert upkeep.count(KEY, DB, USUAL, 750.0) == Count(1, 3, 50.0)
    assert upkeep.count(KEY, DB, USUAL, 800.0) is None


def test_moves_are_counted_between_nodes_and_for_an_hour() -> None:
    """Who has it first is no move; the same node again is none either."""
    upkeep = Upkeep()
    for moment, node in ((0.0, "a"), (1.0, "a"), (10.0, "b"), (20.0, "c"), (30.0, "b")):
        upkeep.held_by(KEY, node, "a", moment)
    assert upkeep.moves(KEY, 40.0) == [10.0, 20.0, 30.0]
    assert upkeep.stays_until(KEY, 4, 40.0) == 0.0
    assert upkeep.stays_until(KEY, 2, 40.0) == 20.0 + HOUR
    assert upkeep.stays_until(KEY, 2, 20.0 + HOUR) == 0.0


def test_a_move_and_the_way_home_count_once() -> None:
    """By flap_limit's default a home may die five times within an hour; a sixth time it stays away."""
    upkeep, limit = Upkeep(), Server().flap_limit
    upkeep.held_by(KEY, "a", "a", 0.0)
    for outage in range(1, limit):
        upkeep.held_by(KEY, "b", "a", outage * 500.0)
        assert upkeep.stays_until(KEY, limit, outage * 500.0) == 0.0
        upkeep.held_by(KEY, "a", "a", outage * 500.0 + 60.0)
    upkeep.held_by(KEY, "b", "a", limit * 500.0)
    assert upkeep.stays_until(KEY, limit, limit * 500.0) == 500.0 + HOUR


def test_refusals_get_longer_until_it_ran_for_a_while() -> None:
    """One minute, two, four, ..., an hour; from the beginning after it was well for some time."""
    upkeep = Upkeep()
    waits = [upkeep.decline_for(KEY, 0.0) for _ in range(9)]
    assert waits == [60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0, DECLINED_LONGEST]
    upkeep.running_here(KEY, 100.0)
    assert upkeep.decline_for(KEY, 100.0 + CALM - 1) == DECLINED_LONGEST
    upkeep.running_here(KEY, 1000.0)
    assert upkeep.decline_for(KEY, 1000.0 + CALM) == 60.0


def test_cleanup_forgets_one_group() -> None:
    """Failures, moves and refusals of it; nothing of another."""
    upkeep = Upkeep()
    for key in (KEY, "a/ip:web"):
        upkeep.failed(key, DB, USUAL, 0.0)
        upkeep.held_by(key, "a", "a", 0.0)
        upkeep.held_by(key, "b", "a", 0.0)
        upkeep.decline_for(key, 0.0)
    upkeep.forget(KEY)
    assert upkeep.count(KEY, DB, USUAL, 1.0) is None
    assert upkeep.moves(KEY, 1.0) == []
    assert upkeep.decline_for(KEY, 1.0) == 60.0
    assert upkeep.count("a/ip:web", DB, USUAL, 1.0) is not None
    upkeep.forget_unknown(set())
    assert upkeep.moves("a/ip:web", 1.0) == []
