"""The campaign of faults: some rounds of it, and the planted bugs that it must catch."""

from __future__ import annotations

import re

import pytest

from tests.lab import campaign_heal
from tests.lab.campaign import play
from tests.lab.campaign_plants import PLANTS, SEED, faults_of

pytestmark = pytest.mark.lab

ROUNDS, FIRST = 10, 1000  # two clusters: of two nodes, and with a witness and a clock that steps
QUICK = ("trash_off", "gate_off")  # the others: make campaign ROUNDS=1 SEED=0 PLANT=...


@pytest.mark.timeout(2400)
def test_ten_rounds_lose_nothing() -> None:
    """A client works, power, links, processes, clocks and disks fail at random moments: every version that
    drcm promised to keep is kept, all copies agree in the end, and nobody but the client wrote."""
    results = list(play(range(FIRST, FIRST + ROUNDS)))
    for result in results:
        assert not result.findings, f"{result.tell()}\n{result.verdict}"
        assert result.operations > 10, f"nobody worked: {result.tell()}"
    assert len(results) == ROUNDS
    assert sum(result.versions for result in results) > 1000, "hardly anything was looked for"
    assert sum(result.runs for result in results) > ROUNDS, "hardly anything was replicated"


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug that is planted in the nodes is found, and named, in the round that brings it to light."""
    monkeypatch.setattr(campaign_heal, "AGREE_SECONDS", 40.0)  # copies that a bug keeps apart never agree
    (result,) = play([SEED], name, [faults_of(name)])
    assert re.search(PLANTS[name].finds, "\n".join(result.findings)), f"{result.tell()}\n{result.verdict}"
