"""Where drcm keeps things. Every path has one environment variable that moves it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Paths:
    """The directories and files of one node."""

    config: Path  # cm.cfg
    auth: Path  # authkey, SSH key, known_hosts: 0700
    state: Path  # survives a reboot: set records, heads, history, alert throttle
    run: Path  # does not: control socket, lease, grants

    @property
    def sets(self) -> Path:
        """Durable set records `NAME.json` and their locks `NAME.lock`."""
        return self.state / "sets"

    @property
    def heads(self) -> Path:
        """The newest generation of every set that this voter knows."""
        return self.state / "heads.json"

    @property
    def roll(self) -> Path:
        """Who votes, and what this voter has accepted for the next change of it."""
        return self.state / "voters.json"

    @property
    def patience(self) -> Path:
        """The longest T_dead that this voter gives words for."""
        return self.state / "patience.json"

    @property
    def history(self) -> Path:
        return self.state / "history.db"

    @property
    def socket(self) -> Path:
        """The daemon's control socket, for root on this machine."""
        return self.run / "drcm.sock"

    @property
    def authkey(self) -> Path:
        return self.auth / "authkey"

    @property
    def known_hosts(self) -> Path:
        return self.auth / "known_hosts"

    @property
    def ssh_key(self) -> Path:
        return self.auth / "id_ed25519"


def paths(environ: Mapping[str, str] = os.environ) -> Paths:
    """The paths of this node: /etc, /var/lib and /run unless DRCM_* says otherwise."""
    config = Path(environ.get("DRCM_CONFIG", "/etc/drcm/cm.cfg"))
    return Paths(
        config=config,
        auth=Path(environ.get("DRCM_AUTH_DIR", "/etc/drcm/.auth")),
        state=Path(environ.get("DRCM_STATE_DIR", "/var/lib/drcm")),
        run=Path(environ.get("DRCM_RUN_DIR", "/run/drcm")),
    )


def resource_script(path: str) -> str:
    """`path`, or where a script of that name came with drcm if there is no such file (1.41's may be gone)."""
    name = os.path.basename(path)
    if not name.endswith(".sh") or os.path.exists(path):
        return path
    return next((str(folder / name) for folder in shipped_resources() if (folder / name).exists()), path)


def shipped_resources() -> tuple[Path, ...]:
    """Where drcm's own resource scripts lie: as installed, as in a checkout, as in the wheel."""
    package = Path(__file__).resolve().parent.parent
    wheel = Path(sys.prefix) / "share/drcm"
    return tuple(base / "resources" for base in (Path("/etc/drcm"), package / "etc", wheel / "etc"))
