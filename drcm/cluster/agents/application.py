"""The application agent: a user's programs, started in that user's login shell.

Without an ensure script an application is only started and stopped (LEGACY.md): that it runs is what
we remember, in the run directory, which a reboot empties. All its processes live in one cgroup where
cgroup v2 is mounted, so that nothing that left its process group outlives a lease.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from drcm import clock
from drcm.cluster.agents import process
from drcm.cluster.agents.agent import Release
from drcm.cluster.agents.limits import USUAL, Limits, stop_seconds
from drcm.config.model import Application, Server
from drcm.errors import AgentError

KILL_SECONDS = 2.0  # from cgroup.kill to an empty cgroup; longer means D state
_SAFE = str.maketrans("/", "_")


class ApplicationAgent:
    """`user:group, start; start, stop; stop[, ensure]`."""

    def __init__(self, application: Application, server: Server, limits: Limits = USUAL) -> None:
        self.application = application
        self._server = server
        self._limits = limits
        name = application.nickname.translate(_SAFE)[:100]
        self._marker = Path(server.run_dir) / "applications" / name
        self._log = Path(server.log_dir) / "resources" / f"application-{name}.log"
        root = cgroup_root()
        # The run directory tells two nodes on one kernel apart.
        node = server.run_dir.strip("/").translate(_SAFE)[-100:]
        self._cgroup = root / "drcm" / node / f"application-{name}" if root else None

    async def start(self) -> None:
        """Run the start commands; remembered before, since a half-started one must be stopped too.

        One that we started already is adopted: its ensure script looks after it.
        """
        if await self.running():
            await self.watch()
            return
        self._remember()
        await self._do("start", self.application.start, self._limits.starting(), self._joined())

    async def stop(self) -> None:
        """Run the stop commands if we started it, then kill what is left of it.

        An empty cgroup proves the end, whatever the stop commands said (`pkill` fails when nothing
        runs any more); without a cgroup their failure counts.
        """
        if not await self.running():
            return
        try:
            await self._do("stop", self.application.stop, self._limits.stopping())
        except AgentError:
            if self._cgroup is None or not self._cgroup.exists():
                raise
        finally:
            await self._kill_rest()
        self._marker.unlink(missing_ok=True)

    async def running(self) -> bool:
        return self._marker.exists()

    async def watch(self) -> str:
        """Run the ensure script: it looks, and starts what is missing."""
        if self.application.ensure and await self.running():
            await self._do("ensure", self.application.ensure, self._limits.watching(), self._joined())
        return ""

    def releases(self) -> list[Release]:
        argv, timeout = self.argv(self.application.stop), stop_seconds(self._server)
        release: Release = {"phase": "rest", "do": "run", "argv": argv, "timeout": timeout}
        if self._cgroup is not None:
            release["cgroup"] = str(self._cgroup)
        return [release]

    def argv(self, command: str) -> list[str]:
        """`command` in the user's login shell with the rc file sourced, as 1.41 did.

        --session-command keeps it in our process group: -c would move it into a session of its own.
        """
        rc = self._server.bash_rc_file
        sourced = rc if rc.startswith("~") else shlex.quote(rc)  # bash expands ~ only unquoted
        text = f"[ -r {sourced} ] && . {sourced}; {command}" if rc else command
        user = ["--group", self.application.group] if self.application.group else []
        shell = ["--shell", self._server.bash_shell, "--session-command", text]
        return ["runuser", "--login", self.application.user, *user, *shell]

    async def _do(self, action: str, command: str, timeout: float, cgroup: Path | None = None) -> None:
        name = f"application {self.application.nickname}: {action}"
        await process.must(self.argv(command), timeout, self._log, cgroup, name=name)

    def _remember(self) -> None:
        try:
            self._marker.parent.mkdir(parents=True, exist_ok=True)
            self._marker.write_text(f"started {clock.wall():%Y-%m-%d %H:%M:%S} UTC\n")
        except OSError as error:
            raise AgentError(f"{self._marker}: can't be written: {error.strerror}") from error

    def _joined(self) -> Path | None:
        """The cgroup, made; None where it can't be (then the process group must do)."""
        if self._cgroup is None:
            return None
        try:
            self._cgroup.mkdir(parents=True, exist_ok=True)
        except OSError:
            return None
        return self._cgroup

    async def _kill_rest(self) -> None:
        """KILL what the stop commands left; AgentError for what even that does not end (rule 3: blocked)."""
        if self._cgroup is None or not self._cgroup.exists():
            return
        with suppress(OSError):
            (self._cgroup / "cgroup.kill").write_text("1")
        end = clock.now() + KILL_SECONDS
        while populated(self._cgroup):
            if clock.now() >= end:
                raise AgentError(f"application {self.application.nickname}: processes left after KILL")
            await asyncio.sleep(0.02)
        with suppress(OSError):
            self._cgroup.rmdir()


def cgroup_root(mounts: Iterable[str] | None = None) -> Path | None:
    """Where cgroup v2 is mounted, or None."""
    for line in mounts if mounts is not None else Path("/proc/self/mounts").read_text().splitlines():
        fields = line.split(" ")
        if len(fields) > 2 and fields[2] == "cgroup2":
            return Path(fields[1])
    return None


def populated(cgroup: Path) -> bool:
    """Whether a process lives in it or below."""
    try:
        return "populated 1" in (cgroup / "cgroup.events").read_text()
    except OSError:
        return False
