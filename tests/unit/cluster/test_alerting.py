"""Problems reach drcm-alert in their order, once, whatever drcm-alert does with them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from drcm.alerts.alert import SEVERITIES, Severity, is_lasting
from drcm.cluster import alerting as module
from drcm.cluster.actions import Problem
from drcm.cluster.alerting import EVENTS, SUBJECTS, Alerting, arguments
from drcm.cluster.programs import Programs
from drcm.history import History
from drcm.paths import Paths

DEAD = Problem("node-dead:b", "b does not answer")
BACK = Problem("node-dead:b", "b answers again", over=True)
FAILED = Problem("set-failed:data", "disk full")


class Desk:
    """An Alerting whose drcm-alert notes its words, one call a line, and then does `script`."""

    def __init__(self, folder: Path, script: str = "") -> None:
        self.calls_file = folder / "calls"
        self.paths = Paths(folder / "cm.cfg", folder, folder / "state", folder / "run")
        path = folder / "drcm-alert"
        path.write_text(f'#!/bin/sh\nshift 2\n(printf "%s|" "$@"; echo) >> {self.calls_file}\n{script}\n')
        path.chmod(0o755)

    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []

    def run(
        self, story: Callable[[Alerting], Awaitable[None]], mails: bool = True, last: float = 5.0
    ) -> None:
        async def whole() -> None:
            alerting = Alerting(Programs(self.paths.config), self.paths, mails)
            await story(alerting)
            await alerting.close(last)

        asyncio.run(asyncio.wait_for(whole(), 120))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    return Desk(tmp_path)


def test_arguments() -> None:
    """A subject that a phone can show, the text as standard input."""
    assert arguments(DEAD) == ["raise", "node-dead:b", "-s", "node b is DOWN", "-f", "-"]
    assert arguments(BACK) == ["resolve", "node-dead:b", "-f", "-"]
    assert arguments(Problem("new:thing", "x"))[3] == "thing"


def test_the_text_is_not_in_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop by `pkill -f` would end the alert that it failed."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    desk = Desk(tmp_path, f"cat >>{tmp_path}/texts")

    async def story(alerting: Alerting) -> None:
        alerting.problem(DEAD)
        alerting.problem(BACK)

    desk.run(story)
    assert (tmp_path / "texts").read_text() == DEAD.text + BACK.text
    assert DEAD.text not in desk.calls_file.read_text()


def test_in_order_and_once(desk: Desk) -> None:
    """What is open is not raised again; what is over is resolved once, and may open again."""

    async def story(alerting: Alerting) -> None:
        for problem in (DEAD, DEAD, FAILED, BACK, BACK, DEAD):
            alerting.problem(problem)

    desk.run(story)
    assert [call.split("|")[:2] for call in desk.calls()] == [
        ["raise", "node-dead:b"],
        ["raise", "set-failed:data"],
        ["resolve", "node-dead:b"],
        ["raise", "node-dead:b"],
    ]  # fmt: skip


def test_over_is_passed_on_after_a_restart(desk: Desk) -> None:
    """A problem that a former run of the daemon opened is closed by this one, once."""

    async def opened(alerting: Alerting) -> None:
        alerting.problem(DEAD)

    async def closed(alerting: Alerting) -> None:
        for problem in (BACK, BACK):
            alerting.problem(problem)

    desk.run(opened)
    desk.run(closed)
    assert desk.calls()[1:] == ["resolve|node-dead:b|-f|-|"]


def test_what_was_never_open_is_not_over(desk: Desk) -> None:
    """A node that starts clears all that it may have said; only what it did say costs a program."""

    async def story(alerting: Alerting) -> None:
        alerting.problem(BACK)

    desk.run(story)
    assert desk.calls() == []
    assert not desk.paths.history.exists()


def test_the_history_has_them_all(desk: Desk) -> None:
    """drcm-report shows them, also where nobody is to be mailed."""

    async def story(alerting: Alerting) -> None:
        alerting.problem(DEAD)
        alerting.problem(BACK)

    desk.run(story, mails=False)
    closed, opened = History(desk.paths.history).events()
    assert (opened.kind, opened.object, opened.text) == ("node-dead", "b", "b does not answer")
    assert closed.kind.startswith("node-dead-")
    assert (closed.object, closed.text) == ("b", "b answers again")


@pytest.mark.parametrize("script", ["exit 1", "kill -KILL $$"])
def test_a_failing_drcm_alert_stops_nothing(
    tmp_path: Path, desk: Desk, caplog: pytest.LogCaptureFixture, script: str
) -> None:
    """It is logged, and the next problem is handed over all the same."""

    async def story(alerting: Alerting) -> None:
        alerting.problem(DEAD)
        alerting.problem(FAILED)

    failing = Desk(tmp_path, script)
    failing.run(story)
    assert len(failing.calls()) == 2
    assert "drcm-alert raise node-dead:b: exit" in caplog.text


def test_without_the_program(tmp_path: Path, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """A broken installation is logged; the problems are in the log and the history."""

    async def story(alerting: Alerting) -> None:
        alerting.problem(DEAD)

    (tmp_path / "drcm-alert").unlink()
    desk.run(story)
    assert "drcm-alert could not be run" in caplog.text
    assert "b does not answer" in caplog.text
    assert len(History(desk.paths.history).events()) == 1


def test_closing_waits_no_longer_than_asked(tmp_path: Path, desk: Desk) -> None:
    """Mail may hang; a daemon that leaves does not. What hung is ended."""

    async def story(alerting: Alerting) -> None:
        alerting.problem(DEAD)
        alerting.problem(FAILED)

    slow = Desk(tmp_path, "exec sleep 60")
    slow.run(story, last=0.5)
    assert len(slow.calls()) == 1


def test_overflow_drops_the_oldest_only(
    tmp_path: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]
) -> None:
    """While one is being sent the queue may run over: what is still in it must all go out."""
    monkeypatch.setattr(module, "QUEUE", 3)
    slow = Desk(tmp_path, f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done")

    async def story(alerting: Alerting) -> None:
        for number in range(3):
            alerting.problem(Problem(f"set-failed:{number}", "x"))
        while not slow.calls():
            await asyncio.sleep(0.01)
        alerting.problem(Problem("set-failed:3", "x"))  # the queue is full: what is being sent falls out
        (tmp_path / "go").touch()

    slow.run(story)
    assert [call.split("|")[1][-1] for call in slow.calls() if "raise" in call] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("mails", [True, False])
def test_flush(desk: Desk, monkeypatch: pytest.MonkeyPatch, mails: bool) -> None:
    """In quiet times spooled mail and reminders go out, where there is somebody to mail."""
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.05)

    async def story(alerting: Alerting) -> None:
        async with asyncio.timeout(60):
            while mails and not desk.calls():
                await asyncio.sleep(0.01)
        alerting.problem(DEAD)

    desk.run(story, mails=mails)
    assert ("flush|" in desk.calls()) is mails
    assert any("node-dead:b" in call for call in desk.calls())


def test_every_kind_that_the_daemon_tells_is_known_to_drcm_alert() -> None:
    """What it does not know it takes for a lasting warning: nothing that runs nowhere is only that."""
    assert set(SUBJECTS) <= {*SEVERITIES}
    assert {kind for kind in SUBJECTS if not is_lasting(f"{kind}:x")} == set(EVENTS)
    assert {SEVERITIES[kind] for kind in ("stopped", "blocked", "fence-failed")} == {Severity.CRITICAL}
