"""`python -m tests.simulation.hunt [MUTANT ...]`: the first seed that catches each planted bug."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

from tests.simulation import mutants
from tests.simulation.chaos import Life

ALL = (*mutants.UNSAFE, *mutants.STUCK)


def hunt(name: str, seeds: Iterable[int] = range(mutants.CAUGHT_WITHIN)) -> tuple[int, str]:
    """The seed that catches mutant `name`, and at what; (-1, "") where it lives through all unnoticed."""
    mutant = getattr(mutants, name)
    for seed in seeds:
        with mutant():
            violation = Life(seed).run()
        if violation:
            return seed, violation
    return -1, ""


def main(names: list[str]) -> int:
    names = names or [mutant.__name__ for mutant in ALL]
    with ProcessPoolExecutor() as pool:
        for name, (seed, violation) in zip(names, pool.map(hunt, names), strict=True):
            print(f"{name}: {seed if violation else 'NOT CAUGHT'} {violation}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
