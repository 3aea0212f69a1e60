"""--failover and --failback for a person: what moves, the question, the steps as they happen, the result."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from drcm.console import clean, console, table
from drcm.errors import EXIT_FAILED, EXIT_OK
from drcm.replication import deciding, report
from drcm.replication.moves import Moved, Moves, Order, exit_code
from drcm.replication.result import SyncResult

Plan = Callable[[str, str], SyncResult]  # set, target -> what a run would do


def run(moves: Moves, arguments: argparse.Namespace, plan: Plan) -> int:
    """The whole command."""
    orders = moves.orders()
    if arguments.dry_run:
        return _show_plan(moves, orders, arguments, plan)
    moves.need_all(orders)
    if not (arguments.quiet or arguments.json):
        _explain(orders)
    if not deciding.need_consent(f"Move {len(orders)} group{'s' * (len(orders) > 1)}?", arguments.yes):
        print("Nothing was changed.")
        return EXIT_FAILED
    silent = arguments.quiet or arguments.json
    moved = moves.go(orders, (lambda group, seconds, text: None) if silent else _say)
    _tell_end(orders, moved, arguments)
    return exit_code(moved)


def _explain(orders: list[Order]) -> None:
    for one in orders:
        print(f"{one.group}: {clean(str(one))}" + (f"; it stays there {one.stays}" if one.stays else ""))
    print(
        "The services go on until the last small pass; what fails before that leaves all as it is.",
        flush=True,
    )


def _say(group: str, seconds: float, text: str) -> None:
    print(f"{seconds:8.3f}  {group}: {clean(text)}", flush=True)


def _tell_end(orders: list[Order], moved: list[Moved], arguments: argparse.Namespace) -> None:
    if arguments.json:
        document = {"schema": 1, "ok": exit_code(moved) == EXIT_OK, "exit_code": exit_code(moved)}
        _print(
            {**document, "orders": [asdict(one) for one in orders], "moves": [asdict(one) for one in moved]}
        )
        return
    for one in moved:
        if one.state != "running":
            print(f"drcm-sync: {one.group} was not moved to {one.to}: {clean(one.error)}", file=sys.stderr)
        elif not arguments.quiet:
            took = "" if one.interruption is None else f"; interrupted for {one.interruption:.2f} s"
            print(f"{one.group} runs on {one.to}{took}")


def _show_plan(moves: Moves, orders: list[Order], arguments: argparse.Namespace, plan: Plan) -> int:
    """What would move and what its first pass would carry. Nothing is changed."""
    results = [plan(name, one.to) for one in orders if not one.refused for name in one.sets]
    refused = any(one.refused for one in orders)
    code = next((one.exit_code for one in results if one.exit_code != EXIT_OK), EXIT_OK)
    if arguments.json:
        document: dict[str, Any] = {"schema": 1, "ok": not refused and code == EXIT_OK, "dry_run": True}
        document |= {"exit_code": code, "orders": [asdict(one) for one in orders]}
        document["plans"] = [one.to_json() for one in results]
        _print(document)
    elif not arguments.quiet:
        rows = [
            (
                one.group,
                ", ".join(one.members),
                one.source,
                one.to or "-",
                one.refused or f"can move {one.stays}".strip(),
            )
            for one in orders
        ]
        table(console(), "what would move", ("group", "members", "from", "to", "and"), rows)
    for result in [] if arguments.json else results:
        report.show(result, arguments.quiet, arguments.verbose)
    if refused:
        moves.need_all(orders)
    return code


def _print(document: dict[str, Any]) -> None:
    json.dump(document, sys.stdout, indent=1, ensure_ascii=True)
    print()
