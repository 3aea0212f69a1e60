"""drcm beside keepalived on one lab: outages, false failovers, partitions, what they cost when idle.

    python -m bench.failover [--only SCENARIO]... [--contender NAME]... [--runs N] [--seconds N] [--json]

As root, on an idle machine; all of it takes about half an hour. Each contender runs on the same hosts
(tests/lab). A table, or one JSON document, on standard output; what is being done on standard error. Exit
status: 0 all that is promised was kept, 1 some was not (or could not be measured), 2 it could not begin.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.contenders import CONTENDERS, RIVALS, Contender, require
from bench.scenarios import SCENARIOS, Effort, Scenario
from bench.table import Row, as_json, as_text
from tests.lab import LabError

KEPT, MISSED, UNUSABLE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    options = parser().parse_args(argv)
    scenarios = [one for one in SCENARIOS if not options.only or one.name in options.only]
    contenders = [one for one in CONTENDERS if not options.contender or one.name in options.contender]
    try:
        require(contenders)
        about = describe(sys.argv[1:] if argv is None else argv)
        rows = measure(scenarios, contenders, Effort(options.runs, options.seconds))
    except LabError as error:
        print(f"bench.failover: {error}", file=sys.stderr)
        return UNUSABLE
    about["load after"] = _load()
    show(about, rows, contenders, as_document=options.json)
    return MISSED if any(row.missed for row in rows) else KEPT


def parser() -> argparse.ArgumentParser:
    summary = (__doc__ or "").partition("\n")[0]
    told = "\n".join(f"  {one.name:<12}{one.summary}" for one in SCENARIOS)
    made = argparse.ArgumentParser(
        prog="python -m bench.failover",
        description=summary,
        epilog=f"scenarios:\n{told}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    names, who = [one.name for one in SCENARIOS], [one.name for one in CONTENDERS]
    add("--only", action="append", choices=names, metavar="SCENARIO", help="only this one (repeatable)")
    add("--contender", action="append", choices=who, metavar="NAME", help=f"only this one: {', '.join(who)}")
    add("--runs", type=_runs, default=5, metavar="N", help="of each outage (default: 5)")
    add("--seconds", type=_seconds, metavar="N", help="instead of each timed scenario's own time")
    add("--json", action="store_true", help="one JSON document")
    return made


def measure(scenarios: Sequence[Scenario], contenders: Sequence[Contender], effort: Effort) -> list[Row]:
    rows = []
    for scenario in scenarios:
        print(f"{scenario.name}: {scenario.summary} (load {_load()})", file=sys.stderr)
        found = scenario.measure(contenders, effort)
        print(as_text(found, titles(contenders), RIVALS), file=sys.stderr, flush=True)
        rows += found
    return rows


def titles(contenders: Sequence[Contender]) -> dict[str, str]:
    return {one.name: one.title for one in contenders}


def describe(argv: Sequence[str]) -> dict[str, str]:
    """When, where and how this was measured: nobody can judge numbers without it."""
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    processor = models[0].partition(":")[2].strip() if models else platform.machine()
    return {
        "date": datetime.now().astimezone().isoformat(timespec="minutes"),
        "machine": f"{os.cpu_count()} x {processor}, Linux {platform.release()}",
        "command": shlex.join(["python", "-m", "bench.failover", *argv]),
        "load before": _load(),
    }


def show(
    about: dict[str, str], rows: Sequence[Row], contenders: Sequence[Contender], *, as_document: bool
) -> None:
    if as_document:
        document: dict[str, Any] = {"about": about, "rows": as_json(rows, RIVALS)}
        json.dump(document, sys.stdout, indent=1)
        print()
        return
    for name, text in about.items():
        print(f"{name}: {text}")
    print(as_text(rows, titles(contenders), RIVALS))


def _load() -> str:
    return " ".join(f"{one:.2f}" for one in os.getloadavg())


def _runs(word: str) -> int:
    value = int(word)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{word}: expected at least 1")
    return value


def _seconds(word: str) -> float:
    value = float(word)
    if not 1 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{word}: expected 1 to 3600")
    return value


if __name__ == "__main__":
    sys.exit(main())
