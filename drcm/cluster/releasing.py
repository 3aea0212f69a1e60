"""Carries out releases: what an agent said must be done to let go of its resource without the daemon.

A release is one JSON object: `phase` (address or rest) and `do`:
delete-address {ip, devices} · remove-crontab {path, mark} · run {argv, timeout[, environ][, cgroup][, kill]}.
A `run` that is not done after `timeout` seconds is killed with its process group; `cgroup` is killed in any
case, `kill` (another argv) run where stopping failed. Standard library only: the keeper imports this.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drcm import clock
from drcm.cluster.agents import netlink


@dataclass
class Stopping:
    """A stop command under way; `kill_at` by clock.now()."""

    release: dict[str, Any]
    process: subprocess.Popen[bytes]
    kill_at: float
    killed: bool = False


class Releasing:
    """Starts releases, sees to those under way, and reports what came of each in `report`."""

    def __init__(self, report: Path) -> None:
        self._report = report
        self._stopping: list[Stopping] = []
        self._did: list[dict[str, Any]] = []

    @property
    def busy(self) -> bool:
        return bool(self._stopping)

    def begin(self, releases: list[dict[str, Any]]) -> None:
        """Start every one of them; one that fails does not stop the others."""
        for release in releases:
            try:
                self._note(release, self._begin(release))
            except (OSError, KeyError, TypeError, ValueError) as error:
                self._note(release, f"FAILED: {error!r}")

    def attend(self) -> None:
        """Kill what is late; note what has ended. Never waits: a process in D state stays listed."""
        for stopping in list(self._stopping):
            code = stopping.process.poll()
            if code is not None:
                self._stopping.remove(stopping)
            if stopping.killed or (code is None and clock.now() < stopping.kill_at):
                continue
            stopping.killed = True
            self._note(stopping.release, "KILLED, too late" if code is None else f"exit code {code}")
            _kill(stopping, failed=code != 0)

    def _begin(self, release: dict[str, Any]) -> str:
        if release["do"] == "delete-address":
            count = netlink.remove_everywhere(release["ip"], tuple(release["devices"]))
            return "deleted" if count else "was not there"
        if release["do"] == "remove-crontab":
            return _remove_crontab(Path(release["path"]), release["mark"])
        if release["do"] == "run":
            process = subprocess.Popen(
                release["argv"], stdin=subprocess.DEVNULL, start_new_session=True, env=release.get("environ")
            )
            self._stopping.append(Stopping(release, process, clock.now() + float(release["timeout"])))
            return "stopping"
        raise ValueError(f"unknown release {release['do']}")

    def _note(self, release: dict[str, Any], outcome: str) -> None:
        told = {key: value for key, value in release.items() if key != "environ"}  # it may hold passwords
        self._did = [*self._did[-99:], {"at": clock.now(), "release": told, "outcome": outcome}]
        what = release.get("ip") or release.get("path") or " ".join(map(str, release.get("argv", ())))
        print(f"keeper: {release.get('do')} {what}: {outcome}", file=sys.stderr, flush=True)
        beside = self._report.with_suffix(".new")
        with suppress(OSError):
            beside.write_text(json.dumps(self._did))
            beside.replace(self._report)


def _kill(stopping: Stopping, failed: bool) -> None:
    """KILL the stop command if it still runs, the cgroup always, the service where stopping it failed."""
    if failed:
        with suppress(ProcessLookupError):
            os.killpg(stopping.process.pid, signal.SIGKILL)
        if stopping.release.get("kill"):
            with suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(stopping.release["kill"], stdin=subprocess.DEVNULL, timeout=1.0, check=False)
    if stopping.release.get("cgroup"):
        with suppress(OSError):
            Path(stopping.release["cgroup"], "cgroup.kill").write_text("1")


def _remove_crontab(path: Path, mark: str) -> str:
    """Remove it only if its first line says that it is ours."""
    try:
        if not path.read_bytes().startswith(mark.encode()):
            return "left: not ours"
    except FileNotFoundError:
        return "was not there"
    path.unlink(missing_ok=True)
    return "removed"
