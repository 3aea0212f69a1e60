"""`RUN_DIR/grants`: what a daemon that restarts on the same kernel must remember (DESIGN.md rule 2).

Replaced by rename on a tmpfs, without fsync: it need not survive the machine, only the process. It
carries the kernel's boot_id, so that a booted machine, wherever its /run lies, does not believe it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drcm.cluster.engine import Beginning, Engine
from drcm.cluster.messages import HoldState

KERNEL_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
ADOPTABLE = (HoldState.STARTING, HoldState.RUNNING)
LEAVING = (HoldState.STOPPING, HoldState.BLOCKED)


@dataclass(frozen=True, slots=True)
class GrantsFile:
    """One daemon's memory in `path`."""

    path: Path
    kernel_boot: str

    def write(self, engine: Engine) -> None:
        """Note what `engine` has granted and holds; on every pass, before its beat goes out. Some 50 µs."""
        held = {key: h for key, h in engine.care.holdings.items() if h.state in ADOPTABLE and not h.handover}
        stopping = {k: h for k, h in engine.care.holdings.items() if h.state in LEAVING or h.handover}
        value = {
            "kernel_boot": self.kernel_boot,
            "boot": engine.boot.hex(),
            "words": engine.ledger.export(),
            "silent_until": engine.ledger.silent_until,
            "held": list(held),
            "stopping": list(stopping),
            "members": {key: h.maybe_up for key, h in (held | stopping).items()},
            "lease_until": min((h.lease_until for h in held.values()), default=0.0),
        }
        beside = f"{self.path}.new"
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, json.dumps(value).encode())
        finally:
            os.close(descriptor)
        os.rename(beside, self.path)

    def beginning(self, now: float) -> Beginning:
        """How the daemon starts at `now`: after a machine boot, or from what the last one left."""
        value = self._read()
        if value.get("kernel_boot") != self.kernel_boot:
            return Beginning(machine_booted=True)
        silent_until = float(value.get("silent_until", 0.0))
        begin = Beginning(machine_booted=False, words=value["words"], silent_until=silent_until)
        lease_until = float(value["lease_until"])
        if lease_until <= now:
            return begin
        boot, adopt = bytes.fromhex(value["boot"]), tuple(value["held"])
        stopping = tuple(value.get("stopping", ()))
        members = {key: tuple(some) for key, some in value.get("members", {}).items()}
        return replace(
            begin, resumes=boot, lease_until=lease_until, adopt=adopt, stopping=stopping, members=members
        )

    def _read(self) -> dict[str, Any]:
        """{} where there is none, or the former daemon's machine died while writing it."""
        try:
            value = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}


def grants_file(run: Path) -> GrantsFile:
    return GrantsFile(run / "grants", KERNEL_BOOT_ID.read_text().strip())
