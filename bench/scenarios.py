"""What is done to a cluster, and what is measured of it: a scenario gives rows of the table."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from bench import idle, with_set
from bench.contenders import FAST, TEMPLATE, Contender
from bench.stage import Stage, Watch, running
from bench.table import Cell, Row
from bench.timeline import Seen, departures, double_seconds
from drcm import clock
from tests.lab import Lab, LabError, Probe

AFTER_SECONDS = 0.05  # an answer sooner than this after a cut may have been on its way
GONE_SECONDS = 30.0  # the longest wait for an address to come back
QUIET_SECONDS = 0.5  # after a move, for what may still follow
BUSY_LOOPS = 4
LOSS_SECONDS, BUSY_SECONDS, CUT_SECONDS, IDLE_SECONDS = 180.0, 120.0, 10.0, 30.0
SETTLED_SECONDS = 5.0  # after the start: what it makes once is not what it costs
BOTH = (TEMPLATE.name, FAST.name)
IDLE_LIMITS = {"cpu": {TEMPLATE.name: 1.5}, "rss": {TEMPLATE.name: 45.0}}  # with two nodes
T = TypeVar("T")


@dataclass(frozen=True)
class Effort:
    """How often, and how long where time is what counts (None: as long as the scenario says)."""

    runs: int = 5
    seconds: float | None = None

    def long(self, seconds: float) -> float:
        return seconds if self.seconds is None else self.seconds


@dataclass(frozen=True)
class Scenario:
    """`measure` is given contenders and effort; its rows have a cell for each of them."""

    name: str
    summary: str
    measure: Callable[[Sequence[Contender], Effort], list[Row]]


# -- how long a client misses the address: one contender after the other ---------------------------


def power_cut(stage: Stage) -> float:
    with stage.probe() as probe:
        time.sleep(random.uniform(0, stage.contender.interval))  # any moment between two messages
        cut = stage.home.power_cut()
        probe.wait_answer(GONE_SECONDS, after=cut + AFTER_SECONDS)
        return max(gap.seconds for gap in probe.gaps() if gap.end > cut)


def clean_stop(stage: Stage) -> float:
    with stage.probe() as probe:
        asked = clock.now()
        stage.contender.stop(stage.home)
        stage.wait_holder(stage.backup)
        return longest_gap(probe, asked)


def failback(stage: Stage) -> float:
    stage.home.power_cut()
    stage.wait_holder(stage.backup)
    with stage.probe() as probe:
        begun = clock.now()
        stage.settle()
        return longest_gap(probe, begun)


def longest_gap(probe: Probe, since: float) -> float:
    time.sleep(QUIET_SECONDS)
    probe.wait_answer(GONE_SECONDS, after=clock.now())
    return max(gap.seconds for gap in probe.gaps(longer_than=0.0) if gap.end > since)


def outage(name: str, title: str, one: Callable[[Stage], float], targets: Mapping[str, float]) -> Scenario:
    def measure(contenders: Sequence[Contender], effort: Effort) -> list[Row]:
        cells = {each.name: attempt(each, partial(repeated, one, each, effort.runs)) for each in contenders}
        return [Row(name, title, "s", cells, targets)]

    return Scenario(
        name, f"{title}: the longest time that a client which asks every 5 ms has no answer", measure
    )


def repeated(one: Callable[[Stage], float], contender: Contender, runs: int) -> list[float]:
    found = []
    with running(contender) as stage:
        for _ in range(runs):
            found.append(one(stage))
            stage.settle()
    return found


# -- who has the address while things go wrong: all contenders at once, each in a lab of its own ----


def lossy(percent: int) -> Scenario:
    def measure(contenders: Sequence[Contender], effort: Effort) -> list[Row]:
        seconds = effort.long(LOSS_SECONDS)

        def lose(stages: Sequence[Stage]) -> None:
            for stage in stages:
                stage.home.lose(percent)
            time.sleep(seconds)

        title = f"false failovers at {percent} % loss in {seconds:g} s"
        cells = side_by_side(contenders, lose, departures)
        return [Row(f"loss-{percent}", title, "number", cells, dict.fromkeys(BOTH, 0))]

    return Scenario(f"loss-{percent}", f"false failovers while {percent} % are lost each way", measure)


def under_load(contenders: Sequence[Contender], effort: Effort) -> list[Row]:
    seconds = effort.long(BUSY_SECONDS)

    def load(stages: Sequence[Stage]) -> None:
        with busy_loops():
            time.sleep(seconds)

    title = f"false failovers under load in {seconds:g} s"
    cells = side_by_side(contenders, load, departures)
    return [Row("load", title, "number", cells, dict.fromkeys(BOTH, 0))]


@contextmanager
def busy_loops() -> Iterator[None]:
    """Programs that want all of the processors; on a lab host, so that they end however we do."""
    with Lab() as lab:
        host = lab.add_host("busy", "10.77.0.1")
        host.power_on()
        for _ in range(BUSY_LOOPS):
            host.spawn([sys.executable, "-c", "while True: pass"])
        yield


def partition(contenders: Sequence[Contender], effort: Effort) -> list[Row]:
    """A cut round the home, one between home and backup alone, and one that is deaf one way."""

    def cuts(stages: Sequence[Stage]) -> None:
        for cut in (cut_off_home, cut_between, cut_one_way):
            for stage in stages:
                cut(stage)
            time.sleep(effort.long(CUT_SECONDS))
            for stage in stages:
                stage.lab.heal_all()
            for stage in stages:
                stage.wait_holder(stage.home)

    cells = side_by_side(contenders, cuts, double_seconds, witness=True)
    return [Row("partition", "two holders at once in partitions", "s", cells, dict.fromkeys(BOTH, 0))]


def cut_off_home(stage: Stage) -> None:
    for node in stage.nodes[1:]:
        stage.lab.cut(stage.home, node)


def cut_between(stage: Stage) -> None:
    stage.lab.cut(stage.home, stage.backup)


def cut_one_way(stage: Stage) -> None:
    for node in stage.nodes[1:]:
        stage.lab.cut_one_way(stage.home, node)


def side_by_side(
    contenders: Sequence[Contender],
    harm: Callable[[Sequence[Stage]], None],
    judged: Callable[[Seen, str], float],
    *,
    witness: bool = False,
) -> dict[str, Cell]:
    """All contenders suffer `harm` at the same time; `judged(what was seen, name of the home)` of each."""
    try:
        with ExitStack() as stack:
            stages = [stack.enter_context(running(one, witness=witness)) for one in contenders]
            watches = [stack.enter_context(Watch(stage)) for stage in stages]
            harm(stages)
            names = [(stage.contender.name, stage.home.name) for stage in stages]
            return {
                name: [judged(watch.seen(), home)] for (name, home), watch in zip(names, watches, strict=True)
            }
    except LabError as error:  # of one, but what the others show was not side by side then
        return {one.name: complain(one, error) for one in contenders}


# -- what it costs when nothing happens ------------------------------------------------------------


def idling(count: int) -> Scenario:
    name = f"idle-{count}"
    limits = IDLE_LIMITS if count == 2 else {}

    def measure(contenders: Sequence[Contender], effort: Effort) -> list[Row]:
        able = [each for each in contenders if count <= each.largest]
        seconds = effort.long(IDLE_SECONDS)
        found = {each.name: attempt(each, partial(costs, each, count, seconds)) for each in able}
        return [
            Row(f"{name}-{part}", f"{title}, {count} nodes", unit, _parts(found, part), limits.get(part, {}))
            for part, title, unit in idle.PARTS
        ]

    return Scenario(name, f"processor and memory of each of {count} nodes when nothing happens", measure)


def costs(contender: Contender, count: int, seconds: float) -> list[idle.Cost]:
    """Of each node."""
    with running(contender, count) as stage:
        time.sleep(SETTLED_SECONDS)
        return idle.measure(stage, seconds)


def _parts(found: Mapping[str, list[idle.Cost] | str], part: str) -> dict[str, Cell]:
    return {
        name: cost if isinstance(cost, str) else [getattr(one, part) for one in cost]
        for name, cost in found.items()
    }


# -- drcm with a sync set beside the address -----------------------------------------------------------


def of_a_set(contenders: Sequence[Contender], effort: Effort) -> list[Row]:
    if TEMPLATE not in contenders:
        return []
    found = attempt(TEMPLATE, partial(with_set.measure, effort.runs))
    return [
        Row(
            name,
            title,
            "s",
            {TEMPLATE.name: found if isinstance(found, str) else found[name]},
            {TEMPLATE.name: limit},
        )
        for name, title, limit in with_set.PARTS
    ]


# -- all of them -----------------------------------------------------------------------------------


def attempt(contender: Contender, measure: Callable[[], T]) -> T | str:
    """What `measure` finds; where the lab could not do it, why not."""
    print(f"  {contender.title}", file=sys.stderr)
    try:
        return measure()
    except LabError as error:
        return complain(contender, error)


def complain(contender: Contender, error: LabError) -> str:
    print(f"{contender.title}: {error}", file=sys.stderr)
    return str(error).partition("\n")[0]


SCENARIOS = (
    outage("power-cut", "power cut", power_cut, {TEMPLATE.name: 2.3, FAST.name: 0.4}),
    outage("clean-stop", "clean stop", clean_stop, dict.fromkeys(BOTH, 0.1)),
    outage("failback", "failback", failback, {}),
    Scenario("with-set", "power cut and clean stop of drcm with a sync set", of_a_set),
    lossy(20),
    lossy(40),
    Scenario("load", f"false failovers under {BUSY_LOOPS} busy loops", under_load),
    Scenario("partition", "how long two nodes have the address in partitions, with a witness", partition),
    *(idling(count) for count in (2, 8, 32)),
)
