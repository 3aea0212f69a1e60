"""Carries out releases: what an agent said must be done to let go of its resource without the daemon.

A release is one JSON object: `phase` (address or rest) and `do`:
delete-address {ip, devices} · remove-crontab {path, mark} · run {argv, timeout[, environ][, cgroup][, kill]}.
A `run` that is not done after `timeout` seconds is killed with its process group; `cgroup` is killed in any
case, `kill` (another argv) run where stopping failed. `again` = seconds for which what failed is tried anew.
`group` and `member` say whose it is. Standard library only: the keeper imports this.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drcm import clock
from drcm.cluster.agents import netlink

AGAIN_SECONDS = 0.3  # between two attempts: a file system is busy until what used it has ended
KILL_SECONDS = 0.3  # from KILL to an empty cgroup; longer is D state


@dataclass
class Stopping:
    """A stop command under way; `kill_at` by clock.now()."""

    release: dict[str, Any]
    process: subprocess.Popen[bytes]
    kill_at: float
    until: float  # so long it is tried again
    killed: bool = False


class Releasing:
    """Starts releases, sees to those under way, and reports what came of each in `report`."""

    def __init__(self, report: Path, who: str = "keeper") -> None:
        self._report, self._who = report, who
        self._stopping: list[Stopping] = []
        self._again: list[tuple[float, dict[str, Any], float]] = []  # when, what, until when
        self.stuck: list[dict[str, Any]] = []  # what could not be released
        self._did: list[dict[str, Any]] = []

    @property
    def busy(self) -> bool:
        return bool(self._stopping or self._again)

    def begin(self, releases: list[dict[str, Any]]) -> None:
        """Start every one of them; one that fails does not stop the others."""
        for release in releases:
            until = clock.now() + float(release.get("again", 0.0))
            self._try(release, until)

    def _try(self, release: dict[str, Any], until: float) -> None:
        try:
            self._note(release, self._begin(release, until))
        except (OSError, KeyError, TypeError, ValueError) as error:
            self._note(release, f"FAILED: {error!r}")
            self.stuck.append(release)

    def attend(self) -> None:
        """Kill what is late; note what has ended. Never waits: a process in D state stays listed."""
        now = clock.now()
        due = [again for again in self._again if again[0] <= now]
        self._again = [again for again in self._again if again[0] > now]
        for _, release, until in due:
            self._try(release, until)
        for stopping in list(self._stopping):
            code = stopping.process.poll()
            if code is not None:
                self._stopping.remove(stopping)
            if not stopping.killed and (code is not None or now >= stopping.kill_at):
                stopping.killed = True
                self._ended(stopping, code, now)

    def _ended(self, stopping: Stopping, code: int | None, now: float) -> None:
        """Its time is over, or it exited with `code`: what is left of it is killed, or it is tried again."""
        self._note(stopping.release, "KILLED, too late" if code is None else f"exit code {code}")
        if _kill(stopping, failed=code != 0) or code == 0:
            return
        if now < stopping.until:
            self._again.append((now + AGAIN_SECONDS, stopping.release, stopping.until))
        else:
            self._note(stopping.release, "NOT RELEASED")
            self.stuck.append(stopping.release)

    def _begin(self, release: dict[str, Any], until: float) -> str:
        if release["do"] == "delete-address":
            count = netlink.remove_everywhere(release["ip"], tuple(release["devices"]))
            return "deleted" if count else "was not there"
        if release["do"] == "remove-crontab":
            return _remove_crontab(Path(release["path"]), release["mark"])
        if release["do"] == "run":
            process = subprocess.Popen(
                release["argv"], stdin=subprocess.DEVNULL, start_new_session=True, env=release.get("environ")
            )
            late = clock.now() + float(release["timeout"])
            self._stopping.append(Stopping(release, process, late, until))
            return "stopping"
        raise ValueError(f"unknown release {release['do']}")

    def _note(self, release: dict[str, Any], outcome: str) -> None:
        told = {key: value for key, value in release.items() if key != "environ"}  # it may hold passwords
        self._did = [*self._did[-99:], {"at": clock.now(), "release": told, "outcome": outcome}]
        what = release.get("ip") or release.get("path") or " ".join(map(str, release.get("argv", ())))
        print(f"{self._who}: {release.get('do')} {what}: {outcome}", file=sys.stderr, flush=True)
        beside = self._report.with_suffix(".new")
        with suppress(OSError):
            beside.write_text(json.dumps(self._did))
            beside.replace(self._report)


def _kill(stopping: Stopping, failed: bool) -> bool:
    """KILL the stop command if it still runs, the cgroup always, the service where stopping it failed.

    True where that is known to have ended what was to be released.
    """
    ended = False
    if failed:
        with suppress(ProcessLookupError):
            os.killpg(stopping.process.pid, signal.SIGKILL)
        if stopping.release.get("kill"):
            with suppress(OSError, subprocess.TimeoutExpired):
                argv = stopping.release["kill"]
                ended = (
                    subprocess.run(argv, stdin=subprocess.DEVNULL, timeout=1.0, check=False).returncode == 0
                )
    if stopping.release.get("cgroup"):
        ended = _empty(Path(stopping.release["cgroup"])) or ended
    return ended


def _empty(cgroup: Path) -> bool:
    """KILL all in a cgroup; whether nothing is left a moment later. One that is not there is empty."""
    with suppress(OSError):
        (cgroup / "cgroup.kill").write_text("1")
    end = clock.now() + KILL_SECONDS
    while True:
        try:
            populated = "populated 1" in (cgroup / "cgroup.events").read_text()
        except OSError:
            return True
        if not populated or clock.now() >= end:
            return not populated
        time.sleep(0.01)


def _remove_crontab(path: Path, mark: str) -> str:
    """Remove it only if its first line says that it is ours."""
    try:
        if not path.read_bytes().startswith(mark.encode()):
            return "left: not ours"
    except FileNotFoundError:
        return "was not there"
    path.unlink(missing_ok=True)
    return "removed"
