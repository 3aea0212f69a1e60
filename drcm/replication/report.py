"""What a run did, for a person: lines, and for a dry run a table."""

from __future__ import annotations

import sys

from drcm.console import clean, console, size, table
from drcm.replication.result import SyncResult, TargetResult

NAMES_SHOWN = 50


def show(result: SyncResult, quiet: bool = False, verbose: bool = False) -> None:
    """Print `result`: problems on standard error, the rest on standard output."""
    if result.dry_run and not quiet:
        _show_plan(result)
    for target in result.targets:
        if target.ok and not quiet and not result.dry_run:
            _show_done(result, target, verbose)
        _show_problems(result, target)


def _show_plan(result: SyncResult) -> None:
    screen = console()
    columns = ("to", "created", "changed", "deleted", "metadata", "size")
    rows = [
        (
            one.node,
            *map(str, (one.created_count, one.changed_count, one.deleted_count, one.touched_count)),
            size(one.size),
        )
        for one in result.targets
        if one.ok
    ]
    table(screen, f"{result.name}: what a run would do", columns, rows)
    names = [(one.node, kind, name) for one in result.targets for kind, name in _named(one)]
    if names:
        table(screen, "", ("to", "what", "name"), names, NAMES_SHOWN)


def _named(target: TargetResult) -> list[tuple[str, str]]:
    kinds = {"deleted": target.deleted, "created": target.created, "changed": target.changed}
    return [(kind, name) for kind, names in kinds.items() for name in names]


def _show_done(result: SyncResult, target: TargetResult, verbose: bool) -> None:
    counts = {
        "created": target.created_count,
        "changed": target.changed_count,
        "deleted": target.deleted_count,
        "metadata only": target.touched_count,
    }
    said = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "nothing to do"
    moved = f", {size(target.sent)} sent" if target.sent else ""
    print(f"{result.name} to {target.node}: {said}{moved}, {target.seconds:.1f} s")
    if verbose:
        for kind, name in _named(target)[:NAMES_SHOWN]:
            print(f"  {kind} {clean(name)}")
    if target.metadata and not target.kept:
        print(f"  {target.metadata} names there had other owners, modes or times: --conflicts tells where")
    if target.kept:
        print(f"  {target.node} held what no run describes; {len(target.kept)} files are kept there:")
        for name in target.kept[:NAMES_SHOWN]:
            print(f"  {clean(name)}")


def _show_problems(result: SyncResult, target: TargetResult) -> None:
    for warning in target.warnings:
        print(f"drcm-sync: WARNING - {clean(warning)}", file=sys.stderr)
    if target.ok:
        return
    print(f"drcm-sync: {result.name} to {target.node}: {clean(target.error)}", file=sys.stderr)
    if target.cure:
        print(f"  {clean(target.cure)}", file=sys.stderr)
    for name in target.failed[:NAMES_SHOWN]:
        print(f"  not transferred: {clean(name)}", file=sys.stderr)
