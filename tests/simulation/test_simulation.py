"""Some lives of each size in every run of the tests; `make sim` lives through ten thousand."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.simulation import mutants
from tests.simulation.chaos import Life

SEEDS = 120
CAUGHT_WITHIN = 300  # seeds

# The first seed that catches a mutant, so that the usual run need not search. A change of the engine moves
# them: then the search below finds another one, and only costs time.
HINTS = {
    "voter_grants_twice": 11,
    "word_ends_with_the_lease": 131,
    "booted_machine_grants_at_once": 109,
    "lease_counted_from_the_arrival": 161,
    "echo_without_boot": 48,
    "lease_is_not_kept_outside": 7,
    "claim_is_never_withdrawn": 93,
}


def live(seed: int) -> str:
    return Life(seed).run()


def test_seeded_lives_keep_every_promise() -> None:
    """Cuts, crashes, pauses, loss, drift, replays: never two holders, and all is well after healing."""
    with ProcessPoolExecutor() as pool:
        outcomes = list(pool.map(live, range(SEEDS), chunksize=5))
    assert [(seed, why) for seed, why in enumerate(outcomes) if why] == []


def test_the_same_seed_tells_the_same_story() -> None:
    """A failing seed can be looked at as often as needed."""
    first, again = Life(7), Life(7)
    first.run()
    again.run()
    assert first.world.log == again.world.log


@pytest.mark.parametrize("mutant", [*mutants.UNSAFE, *mutants.STUCK], ids=lambda mutant: mutant.__name__)
def test_planted_bugs_are_caught(mutant: mutants.Mutant) -> None:
    """Each rule of the engine, broken once, is caught within 300 lives."""
    hint = HINTS.get(mutant.__name__, 0)
    for seed in (hint, *range(CAUGHT_WITHIN)):
        with mutant():
            violation = live(seed)
        if violation:
            return
    pytest.fail(f"{mutant.__name__} lived through {CAUGHT_WITHIN} seeds unnoticed")
