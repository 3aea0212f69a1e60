"""`make campaign ROUNDS=N SEED=S`: a client works, faults happen, and nothing may be lost.

Each round: some faults at random moments of some seconds, then everything is mended, all copies must agree,
and what drcm promises of files is checked (campaign_audit). Round k has the seed S + k; its faults are a pure
function of it. Five rounds share a cluster, and several clusters work side by side. The last line is
`CAMPAIGN OK ...`; or the story of the round that failed, what was found and the command that plays its
schedule again, and exit code 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain, groupby
from multiprocessing import get_context

from drcm.clock import now
from tests.lab import LabError
from tests.lab import campaign_heal as heal
from tests.lab.campaign_audit import Audit, sessions_of
from tests.lab.campaign_cluster import Cluster, begin, prepared
from tests.lab.campaign_faults import ROUNDS_PER_LAB, Fault, Faults, clock_node, kind_of, schedule
from tests.lab.campaign_plants import faults_of
from tests.lab.campaign_watch import Watch
from tests.lab.init import die_with

QUIET_SECONDS = 1.0  # of work before the first fault
WORK_SECONDS = 4.0  # of work at least
LABS = max(2, os.cpu_count() or 1)  # a round is 13 s, and 3 s of one processor


@dataclass(slots=True)
class Result:
    """How one round went."""

    seed: int
    kind: str
    faults: tuple[Fault, ...]
    seconds: float
    findings: list[str]
    story: list[tuple[float, str, str]] = field(default_factory=list)
    operations: int = 0
    versions: int = 0
    runs: int = 0
    plant: str = ""

    @property
    def line(self) -> str:
        faults = ", ".join(str(fault) for fault in self.faults)
        counted = f"{self.operations} operations, {self.versions} versions, {self.runs} runs"
        return f"round {self.seed} ({self.kind}) {self.seconds:.1f} s: {counted}; {faults}"

    def tell(self) -> str:
        """Faults, the engines' notes and runs in the order of time."""
        start = self.story[0][0] if self.story else 0.0
        return "\n".join(f"{moment - start:7.3f} {who:<9} {what}" for moment, who, what in sorted(self.story))

    @property
    def verdict(self) -> str:
        """What was found, and how to play it again."""
        found = [f"FOUND {one}" for one in self.findings]
        again = f"Again: make campaign ROUNDS=1 SEED={self.seed}"
        return "\n".join([f"round {self.seed} FAILED ({self.kind}):", *found, again])


@dataclass(frozen=True, slots=True)
class Order:
    """Rounds of one lab. `schedules`: of faults, instead of the seeds' own; `patience`: see campaign_heal."""

    seeds: tuple[int, ...]
    plant: str = ""
    schedules: tuple[tuple[Fault, ...], ...] = ()
    patience: float = heal.AGREE_SECONDS


def play(order: Order) -> list[Result]:
    """All rounds, to the first that fails."""
    results: list[Result] = []
    given = dict(zip(order.seeds, order.schedules, strict=False))
    with ExitStack() as stack:
        cluster = stack.enter_context(prepared(kind_of(order.seeds[0]), order.plant))
        watch = stack.enter_context(Watch(cluster))
        begin(cluster, clock_node(order.seeds[0]))
        faults = Faults(cluster, watch)
        for seed in order.seeds:
            result = _round(seed, faults, given.get(seed, schedule(seed)), order.patience)
            results.append(replace(result, plant=order.plant))
            if result.findings:
                break
    return results


def play_side_by_side(orders: Sequence[Order], labs: int = LABS) -> Iterator[Result]:
    """`labs` at a time, each in a process of its own: a lab mostly waits. In the order of `orders`."""
    context, parent = get_context("spawn"), os.getpid()
    with ProcessPoolExecutor(labs, context, initializer=die_with, initargs=(parent,)) as pool:
        futures = [pool.submit(play, order) for order in orders]
        try:
            yield from chain.from_iterable(future.result() for future in futures)
        finally:
            pool.shutdown(cancel_futures=True)


def orders_of(seeds: range, plant: str = "") -> list[Order]:
    """One for each lab."""
    groups = [tuple(group) for _, group in groupby(seeds, lambda seed: seed // ROUNDS_PER_LAB)]
    return [Order(group, plant, (faults_of(plant),) * len(group) if plant else ()) for group in groups]


def _round(seed: int, faults: Faults, planned: tuple[Fault, ...], patience: float) -> Result:
    watch, cluster, started = faults.watch, faults.cluster, now()
    first, runs = len(watch.story), len(watch.runs)
    watch.tell("ROUND", f"{seed} begins: {'; '.join(map(str, planned))}")
    audit = Audit(cluster, watch, faults.emptied)
    before = _operations(cluster)
    try:
        heal.work(cluster)
        make(faults, planned)
        heal.mend(faults)
        watch.tell("ROUND", "all is mended")
        heal.rest(cluster)
        heal.agree(faults, patience)
        watch.tell("ROUND", "all agree")
    except LabError as error:
        audit.findings.append(str(error))
    audit.go()
    return Result(
        seed,
        cluster.kind,
        planned,
        now() - started,
        audit.findings,
        list(watch.story[first:]),
        _operations(cluster) - before,
        audit.versions,
        len(watch.runs) - runs,
    )


def _operations(cluster: Cluster) -> int:
    return sum(session.operations for node in cluster.members for session in sessions_of(node))


def make(faults: Faults, planned: tuple[Fault, ...]) -> None:
    """Begin and end each fault at its time."""
    steps = [(fault.at, 0, number, faults.begin, fault) for number, fault in enumerate(planned)]
    steps += [
        (fault.at + fault.seconds, 1, number, faults.end, fault) for number, fault in enumerate(planned)
    ]
    start = now() + QUIET_SECONDS
    for moment, _, _, act, fault in sorted(steps, key=lambda step: step[:3]):
        time.sleep(max(0.0, start + moment - now()))
        act(fault)
    time.sleep(max(0.0, start + WORK_SECONDS - now()))


def main() -> int:
    parser = argparse.ArgumentParser(prog="campaign", description=__doc__.splitlines()[0])
    parser.add_argument("rounds", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("--labs", type=int, default=LABS, help="so many side by side (default: %(default)s)")
    parser.add_argument("--plant", default="", help="a bug, planted in all nodes: campaign_plants.py")
    parser.add_argument("--verbose", action="store_true", help="tell the story of good rounds, too")
    arguments = parser.parse_args()
    count = versions = operations = 0
    seeds = range(arguments.seed, arguments.seed + arguments.rounds)
    for result in play_side_by_side(orders_of(seeds, arguments.plant), arguments.labs):
        if result.findings or arguments.verbose:
            print(result.tell(), flush=True)
        if result.findings:
            print(result.verdict, flush=True)
            return 1
        print(result.line, flush=True)
        count, versions = count + 1, versions + result.versions
        operations += result.operations
    counted = f"{operations} operations, {versions} versions"
    print(f"CAMPAIGN OK: {count} rounds from seed {arguments.seed}, {counted}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
