"""A run in the history: one row a target. It is for reports; a history that fails never fails a run."""

from __future__ import annotations

import sys
from datetime import datetime

from drcm.clock import wall
from drcm.errors import DrcmError
from drcm.history import History, RunRow
from drcm.paths import Paths
from drcm.replication.result import TargetResult

RUN_NAMES = 50  # of each kind that stay in the history; the receiver's trash knows the rest


def note(
    paths: Paths, result: TargetResult, *, name: str, node: str, generation: str, started: datetime
) -> None:
    """Write the row of what one target got. `result.node` is empty where no target was reached."""
    row = RunRow(
        set_name=name,
        node=node,
        target=result.node,
        generation=generation,
        run=result.run,
        started=started,
        ended=wall(),
        seconds=result.seconds,
        outcome=result.outcome,
        rsync_rc=result.rsync_rc if result.ok or result.failed else None,
        files=result.created_count + result.changed_count,
        bytes=result.sent,
        created=result.created_count,
        changed=result.changed_count,
        deleted=result.deleted_count,
        detail=_detail(result),
    )
    try:
        History(paths.history).record_run(row)
    except DrcmError as error:
        print(f"drcm-sync: WARNING - the run is not in the history: {error.what}", file=sys.stderr)


def _detail(result: TargetResult) -> dict[str, object]:
    said: dict[str, object] = {
        "verdict": result.verdict,
        "reason": result.reason,
        "error": result.error,
        "exit_code": result.exit_code,
        "failed": list(result.failed[:50]),
        "kept": len(result.kept),
        "names": _names(result),
    }
    return {key: value for key, value in said.items() if value}


def _names(result: TargetResult) -> dict[str, list[str]]:
    """Relative to their roots, as in the result."""
    kinds = {"created": result.created, "changed": result.changed, "deleted": result.deleted}
    return {kind: list(names[:RUN_NAMES]) for kind, names in kinds.items() if names and result.run}
