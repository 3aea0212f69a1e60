"""--history, --show, --undo and --conflicts for a person: tables on a terminal, plain columns in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime

from drcm.console import clean, console, size, table
from drcm.replication.conflicts import Conflict
from drcm.replication.past import Past, PastRun, Shown
from drcm.replication.undoing import Undone

RUNS_SHOWN = 50
NAMES_SHOWN = 500


def history(past: Past, verbose: bool) -> None:
    """The runs, the newest first."""
    columns = (
        "when",
        "from",
        "to",
        "gen",
        "run",
        "created",
        "replaced",
        "deleted",
        "failed",
        "outcome",
        "kept",
    )
    rows = (_row(one) for one in past.runs)
    table(console(), f"{past.name}: runs", columns, rows, len(past.runs) if verbose else RUNS_SHOWN)
    if past.idle:
        print(f"{past.idle} runs with nothing to do are not listed.")
    print(
        f"What a run did: drcm-sync {past.name} --show RUN. Bring it back: drcm-sync {past.name} --undo RUN"
    )
    _tell_silent(past.silent)


def _row(one: PastRun) -> tuple[str, ...]:
    counts = (one.created, one.changed, one.deleted, one.failed)
    shown = map(str, counts) if one.source and one.outcome else ("-",) * 4
    run = one.run or "-"
    generation = str(one.generation or "-")
    return (
        _local(one.when),
        one.source or "-",
        one.target or "-",
        generation,
        run,
        *shown,
        one.outcome or "-",
        one.kept,
    )


def _local(when: str) -> str:
    return f"{datetime.fromisoformat(when).astimezone():%Y-%m-%d %H:%M:%S}"


def shown(found: Shown) -> None:
    """One run: what it created, replaced and deleted."""
    for one in found.runs:
        said = f", {one.outcome}" if one.outcome else ""
        by = f"{one.source or '?'} to {one.target}"
        run = f"run {one.run} of generation {one.generation or '?'}"
        print(f"{found.name}: {run}, {_local(one.when)}, {by}{said}")
        if one.error:
            print(f"  {clean(one.error)}")
    rows = (
        (one.what, one.name, one.node, one.place or "-", size(one.size) if one.place else "-", _of(one.mtime))
        for one in found.names
    )
    table(console(), "", ("what", "name", "on", "old version in .drcm", "size", "of"), rows, NAMES_SHOWN)
    if found.more:
        print(f"... and {found.more} more, whose names were not noted")
    if any(one.place for one in found.names):
        print(f"Bring the old versions back: drcm-sync {found.name} --undo {found.run} [PATH ...] --dry-run")
    _tell_silent(found.silent)


def _of(mtime: str) -> str:
    return _local(mtime) if mtime else "-"


WORDS = {"missing": "comes back", "replaced": "replaces what is there", "same": "is there already"}


def undone(done: Undone, quiet: bool) -> None:
    """What an undo did or would do."""
    for note in done.notes:
        print(f"drcm-sync: WARNING - {clean(note)}", file=sys.stderr)
    if quiet:
        return
    if done.dry_run:
        rows = [
            (WORDS[one.now], f"{one.root}/{one.name}", size(one.size), one.label) for one in done.versions
        ]
        rows += [("goes (is kept)", path, "-", "created by the run") for path in done.removed]
        table(
            console(),
            f"{done.name}: what --undo {done.run} would do",
            ("what", "name", "size", "from"),
            rows,
            NAMES_SHOWN,
        )
        return
    gone = f", {len(done.removed)} that it created taken away" if done.removed else ""
    back, over, same = map(done.count, ("missing", "replaced", "same"))
    counts = f"{back} came back, {over} replaced what was there, {same} were there already"
    print(f"{done.name}: of run {done.run} {counts}{gone}")
    if done.kept_in:
        label = done.kept_in.split("/")[-1]
        print(f"  What was in their place: {done.kept_in} (back: drcm-sync {done.name} --undo {label})")
    if not done.removed:
        print("  Files that the run created stay; with --created they go too (and are kept).")
    print(f"  The next run brings it to the other nodes: drcm-sync {done.name}")


def conflicts(name: str, found: list[Conflict], silent: Mapping[str, str]) -> None:
    """The conflict list: what never expires."""
    rows = (_conflict(one) for one in found)
    if found:
        table(
            console(),
            f"{name}: conflicts",
            ("id", "when", "files", "size", "metadata", "in", "what"),
            rows,
            NAMES_SHOWN,
        )
        print(f"Look: drcm-sync {name} --show ID. On the writer: drcm-sync {name} --undo ID [PATH ...]")
        print(f"When nothing of it is wanted any more, on its node: drcm-sync {name} --conflicts --forget ID")
    elif not silent:
        print(f"{name}: no conflicts.")
    _tell_silent(silent)


def _conflict(one: Conflict) -> tuple[str, ...]:
    metadata = str(one.metadata or "-")
    return (one.id, _local(one.when), str(one.files), size(one.size), metadata, one.path, one.why)


def _tell_silent(silent: Mapping[str, str]) -> None:
    for node, why in silent.items():
        print(f"drcm-sync: WARNING - {node} was not asked: {clean(why)}", file=sys.stderr)
