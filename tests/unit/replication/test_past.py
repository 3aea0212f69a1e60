"""In which order a set's runs are told."""

from __future__ import annotations

from drcm.replication.past import PastRun, _newest_first


def run(when: str, generation: int, number: str, source: str = "a") -> PastRun:
    return PastRun(f"{when}-01-01T00:00:00Z", source, "b", generation, number, "good")


def test_the_newest_is_first_whatever_the_clocks_said() -> None:
    """By generation, within one as the history noted it; a run that failed before it had one stays where it
    was, and what only its trash tells of is beside those of its generation."""
    told = [run("1999", 4, "1-aa"), run("2040", 0, ""), run("2039", 2, "9-aa"), run("2026", 2, "8-aa")]
    found = [run("2038", 3, "2-bb", "b"), run("1970", 3, "10-bb", "b"), run("2050", 1, "1-cc", "b")]
    shown = [(one.generation, one.run) for one in _newest_first(told, found)]
    assert shown == [
        (4, "1-aa"), (3, "10-bb"), (3, "2-bb"), (0, ""), (2, "9-aa"), (2, "8-aa"), (1, "1-cc"),
    ]  # fmt: skip
