"""The crontab agent: a template of 1.41 in /etc/cron.d while this node is to run it.

Installed by rename under a name that cron reads; removed only if it is ours.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from drcm import clock
from drcm.cluster.agents.agent import Lease, Release, forever
from drcm.config.model import Crontab
from drcm.errors import AgentError

MARK = "# Managed by drcm: edit the template "  # the keeper looks for it too
_CRON_READS = re.compile(r"[A-Za-z0-9_-]+")  # run-parts names: cron ignores all others


class CrontabAgent:
    """One template, installed or not."""

    def __init__(self, crontab: Crontab, lease: Lease = forever) -> None:
        self.crontab = crontab
        self.template = Path(crontab.template)
        self.installed = Path(crontab.install_dir) / self.template.name
        self._lease = lease

    async def start(self) -> None:
        """Install it, over an older version of ours or an unmarked copy that 1.41 left. One that is there as
        it should be is adopted: cron has read it."""
        if not _CRON_READS.fullmatch(self.installed.name):
            raise AgentError(
                f"{self.template}: cron ignores a file of that name",
                "Letters, digits, _ and - only: rename the template and change cm.cfg.",
            )
        await self.watch()

    async def stop(self) -> None:
        current = self._read(self.installed)
        if current is None:
            return
        self._refuse_foreign(current)
        try:
            self.installed.unlink(missing_ok=True)
        except OSError as error:
            raise AgentError(f"{self.installed}: can't be removed: {error.strerror}") from error

    async def running(self) -> bool:
        current = self._read(self.installed)
        return current is not None and self._ours(current)

    async def watch(self) -> str:
        """Install again what was deleted, edited, or has a newer template."""
        content = self._content()
        if self._read(self.installed) != content:
            self._install(content)
        return ""

    def releases(self) -> list[Release]:
        return [{"phase": "rest", "do": "remove-crontab", "path": str(self.installed), "mark": MARK}]

    def _content(self) -> bytes:
        template = self._read(self.template)
        if template is None:
            raise AgentError(f"{self.template}: no such crontab template", "Copy it from the other node.")
        end = b"" if not template or template.endswith(b"\n") else b"\n"  # cron ignores an unfinished line
        return f"{MARK}{self.template}\n".encode() + template + end

    def _install(self, content: bytes) -> None:
        current = self._read(self.installed)
        if current is not None:
            self._refuse_foreign(current)
        if clock.now() >= self._lease():
            raise AgentError(f"{self.installed}: not installed, the lease has ended meanwhile")
        beside = self.installed.with_name(f".{self.installed.name}.drcm")  # cron ignores names with a dot
        try:
            before = self.installed.stat().st_mtime if current is not None else 0.0
            beside.write_bytes(content)
            beside.chmod(0o644)
            self._newer(beside, before)
            beside.replace(self.installed)
        except OSError as error:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise AgentError(f"{self.installed}: can't be installed: {error.strerror}") from error

    @staticmethod
    def _newer(beside: Path, before: float) -> None:
        """cron compares whole seconds: two versions within one must not look the same."""
        if int(beside.stat().st_mtime) <= int(before):
            os.utime(beside, (before + 1, before + 1))

    def _refuse_foreign(self, current: bytes) -> None:
        if not self._ours(current):
            raise AgentError(
                f"{self.installed}: exists and is not drcm's (its first line does not say so): left alone",
                f"If it is an old copy of the template: rm {self.installed}",
            )

    def _ours(self, current: bytes) -> bool:
        return current.startswith(MARK.encode()) or current == self._read(self.template)

    @staticmethod
    def _read(path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AgentError(f"{path}: can't be read: {error.strerror}") from error
