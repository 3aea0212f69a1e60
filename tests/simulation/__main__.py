"""`python -m tests.simulation [SEEDS] [--trace]`: live through seeds; SIM OK or the first that fails."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.chaos import Life

STORY = 80  # lines of a failing life that are told


def main(argv: list[str]) -> int:
    words = [word for word in argv if not word.startswith("--")]
    first, _, last = (words[0] if words else "0-9999").partition("-")
    seeds = range(int(first), int(last or first) + 1)
    begun = time.monotonic()
    with ProcessPoolExecutor() as pool:
        for seed, violation in zip(seeds, pool.map(live, seeds, chunksize=10), strict=True):
            if violation:
                pool.shutdown(wait=False, cancel_futures=True)
                tell(seed, whole="--trace" in argv)
                return 1
    print(f"SIM OK {len(seeds)} seeds {seeds[0]}-{seeds[-1]} in {time.monotonic() - begun:.0f} s")
    return 0


def live(seed: int) -> str:
    return Life(seed).run()


def tell(seed: int, whole: bool) -> None:
    """The story of a failing seed; the same seed always tells the same."""
    life = Life(seed)
    violation = life.run()
    print("\n".join(life.world.log if whole else life.world.log[-STORY:]))
    print(f"SIM FAILED seed {seed}: {violation}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
