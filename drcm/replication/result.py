"""What a run did, for people, for the history and for `--json`. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from drcm.errors import EXIT_OK

SCHEMA = 1  # of the JSON; fields are only added
NAMES_SHOWN = 1000  # of each kind in the JSON


@dataclass(frozen=True, slots=True)
class TargetResult:
    """One node. Sizes are bytes, `seconds` the whole of it; names are relative to their roots."""

    node: str
    exit_code: int = EXIT_OK
    outcome: str = "good"  # outcome.Kind, or "guard", "diverged", "refused", "unreachable" before rsync ran
    error: str = ""
    cure: str = ""
    row: int = 0  # of the table in DESIGN.md section 6
    verdict: str = ""
    reason: str = ""
    run: str = ""
    created: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    created_count: int = 0
    changed_count: int = 0
    deleted_count: int = 0
    touched_count: int = 0
    size: int = 0
    sent: int = 0
    seconds: float = 0.0
    rsync_rc: int = 0
    failed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()  # in .drcm/conflicts on that node
    metadata: int = 0  # names there whose owner, mode or times differed; in the manifest beside `kept`
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.exit_code == EXIT_OK


@dataclass(frozen=True, slots=True)
class SyncResult:
    """A run of one set, to all its targets."""

    name: str
    node: str
    generation: int = 0
    dry_run: bool = False
    seconds: float = 0.0
    targets: tuple[TargetResult, ...] = field(default=())

    @property
    def exit_code(self) -> int:
        """0 if all is well, else that of the first target that is not."""
        return next((target.exit_code for target in self.targets if not target.ok), EXIT_OK)

    def to_json(self) -> dict[str, Any]:
        """Stable: additions only."""
        return {
            "schema": SCHEMA,
            "ok": self.exit_code == EXIT_OK,
            "exit_code": self.exit_code,
            **asdict(self),
        }
