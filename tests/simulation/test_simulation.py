"""Some lives of each size in every run of the tests; `make sim` lives through ten thousand."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor

import pytest

from tests.simulation import mutants
from tests.simulation.chaos import Life
from tests.simulation.hunt import hunt

SEEDS = 100
BUGS = [*mutants.UNSAFE, *mutants.STUCK]

# The first seed that catches a mutant, so that the usual run need not search. A change of the engine moves
# them: then the search below finds another one, and only costs time.
HINTS = {
    "voter_grants_twice": 1,
    "word_ends_with_the_lease": 95,
    "word_is_shortened": 39,
    "own_dead_seconds_for_others": 1,
    "forgets_on_restart": 15,
    "booted_machine_grants_at_once": 117,
    "lease_counted_from_the_arrival": 18,
    "lease_stretched_by_a_reload": 23,
    "clock_stands_still_in_suspend": 19,
    "lease_is_not_kept_outside": 12,
    "echo_without_boot": 66,
    "old_beats_count": 11,
    "blocked_is_released": 8,
    "starts_before_a_majority_has_it": 99,
    "promotes_on_its_own_chain": 133,
    "two_voters_change_at_once": 16,
    "claim_is_never_withdrawn": 68,
    "dead_nodes_are_waited_for": 3,
}


def live(seed: int) -> str:
    return Life(seed).run()


def hunt_from_hint(name: str) -> str:
    """What the mutant was caught at; "" where it lived through all seeds unnoticed."""
    return hunt(name, (HINTS.get(name, 0), *range(mutants.CAUGHT_WITHIN)))[1]


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor() as pool:
        yield pool


@pytest.fixture(scope="module")
def hunts(pool: ProcessPoolExecutor) -> dict[str, Future[str]]:
    """All bugs are hunted at once, each test waits for its own."""
    return {mutant.__name__: pool.submit(hunt_from_hint, mutant.__name__) for mutant in BUGS}


def test_seeded_lives_keep_every_promise(pool: ProcessPoolExecutor) -> None:
    """Cuts, crashes, pauses, loss, drift, operators: never two holders, and all is well after healing."""
    outcomes = pool.map(live, range(SEEDS), chunksize=5)
    assert [(seed, why) for seed, why in enumerate(outcomes) if why] == []


def test_the_same_seed_tells_the_same_story() -> None:
    """A failing seed can be looked at as often as needed."""
    first, again = Life(7), Life(7)
    first.run()
    again.run()
    assert first.world.log == again.world.log


@pytest.mark.parametrize("mutant", BUGS, ids=lambda mutant: mutant.__name__)
def test_planted_bugs_are_caught(mutant: mutants.Mutant, hunts: dict[str, Future[str]]) -> None:
    """Each rule of the engine, broken once, is caught within 300 lives."""
    assert hunts[mutant.__name__].result()
