"""The campaign of faults: some rounds of it, and the planted bugs that it must catch."""

from __future__ import annotations

import re

import pytest

from tests.lab.campaign import Order, Result, orders_of, play_side_by_side
from tests.lab.campaign_plants import PLANTS, SEED, faults_of

pytestmark = pytest.mark.lab

ROUNDS, FIRST = 10, 1000  # two clusters: of two nodes, and with a witness and a clock that steps
PATIENCE = 20.0  # seconds: copies that a bug keeps apart never agree


@pytest.fixture(scope="module")
def results() -> dict[str, list[Result]]:
    """The rounds, and by its name what came of each plant: all of it at once, for labs mostly wait."""
    rounds = orders_of(range(FIRST, FIRST + ROUNDS))
    plants = [Order((SEED,), name, (faults_of(name),), PATIENCE) for name in PLANTS]
    told: dict[str, list[Result]] = {}
    for result in play_side_by_side([*rounds, *plants]):
        told.setdefault(result.plant, []).append(result)
    return told


@pytest.mark.timeout(2400)
def test_ten_rounds_lose_nothing(results: dict[str, list[Result]]) -> None:
    """A client works, power, links, processes, clocks and disks fail at random moments: every version that
    drcm promised to keep is kept, all copies agree in the end, and nobody but the client wrote."""
    rounds = results[""]
    for result in rounds:
        assert not result.findings, f"{result.tell()}\n{result.verdict}"
        assert result.operations > 10, f"nobody worked: {result.tell()}"
    assert len(rounds) == ROUNDS
    assert sum(result.versions for result in rounds) > 1000, "hardly anything was looked for"
    assert sum(result.runs for result in rounds) > ROUNDS, "hardly anything was replicated"


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_bug_is_caught(name: str, results: dict[str, list[Result]]) -> None:
    """A bug that is planted in the nodes is found, and named, in the round that brings it to light."""
    (result,) = results[name]
    assert re.search(PLANTS[name].finds, "\n".join(result.findings)), f"{result.tell()}\n{result.verdict}"
