"""What a watcher saw, judged."""

from __future__ import annotations

import pytest

from bench.timeline import departures, double_seconds, parse

A, B, BOTH, NOBODY = ("a",), ("b",), ("a", "b"), ()


@pytest.mark.parametrize(
    ("holders", "count"),
    [([A, A, A], 0), ([A, BOTH, A], 1), ([A, NOBODY, B, NOBODY, A], 1), ([A, B, A, NOBODY], 2), ([B, A], 0)],
)
def test_departures_from_home(holders: list[tuple[str, ...]], count: int) -> None:
    """Each time it was no longer at home alone, whatever came of it, counts once."""
    assert departures([(float(moment), names) for moment, names in enumerate(holders)], "a") == count


def test_double_seconds() -> None:
    """As long as two had it, however often."""
    seen = [(0.0, A), (1.0, BOTH), (1.25, B), (2.0, BOTH), (2.5, BOTH), (3.0, A)]
    assert double_seconds(seen, "a") == pytest.approx(1.25)


def test_watchers_lines() -> None:
    """The line that it is just writing is no line yet."""
    assert parse("1.5 a,b\n2.0 \n3.0 a,") == [(1.5, BOTH), (2.0, NOBODY)]
    assert parse("") == []
