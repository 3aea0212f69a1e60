"""The engine's decisions on sets, carried out on real records with a stand-in for drcm-sync."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_cluster import CONFIG, cluster_of

from drcm.cluster import actions as ac
from drcm.cluster import events as ev
from drcm.cluster import setruns
from drcm.cluster.heads import generation_of, head_of
from drcm.cluster.messages import Head
from drcm.cluster.programs import Outcome, Programs
from drcm.cluster.setkeeping import LOOK_SECONDS, SetKeeping
from drcm.cluster.setruns import why_failed
from drcm.errors import EXIT_DIVERGED, EXIT_FAILED, EXIT_LOCKED, EXIT_OK
from drcm.paths import Paths
from drcm.replication import custody, records, transitions
from drcm.replication.generation import ACCEPT_LOSS, Generation, Position
from drcm.state import read_json

GROUP = "a/set:data"
SYNC = "[CM_SYNC]\nname = data\nprimary = a\nbackups = b\nmirror = {root}\nevery = 30s\n"


class Desk:
    """The sets of one node, in its own state and tree; drcm-sync is a script that notes its words."""

    def __init__(self, folder: Path, me: str) -> None:
        self.folder, self.me = folder, me
        self.root = folder / "data"
        self.root.mkdir(parents=True)
        self.paths = Paths(folder / "cm.cfg", folder / "auth", folder / "state", folder / "run")
        self.cluster = cluster_of(CONFIG + SYNC.format(root=self.root))
        self.sync_set = self.cluster.set("data")
        self.told: list[ev.Event] = []
        self.problems: list[ac.Problem] = []
        self.due: list[str] = []
        self.install("echo '{}'")

    def install(self, script: str) -> None:
        path = self.folder / "drcm-sync"
        path.write_text(f'#!/bin/sh\nshift 2\necho "$@" >> {self.folder}/calls\n{script}\n')
        path.chmod(0o755)

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def heads(self) -> Any:
        return read_json(self.paths.heads) or {}

    def run(self, story: Callable[[SetKeeping], Awaitable[None]]) -> None:
        async def whole() -> None:
            keeping = SetKeeping(
                cluster=self.cluster, me=self.me, paths=self.paths, feed=self.told.append,
                programs=Programs(self.paths.config), problem=self.problems.append, due=self.due.append,
            )  # fmt: skip
            self.told += keeping.load()
            try:
                await story(keeping)
            finally:
                await keeping.close()

        asyncio.run(asyncio.wait_for(whole(), 120))

    async def tells(self, kind: type[ev.Event]) -> Any:
        async with asyncio.timeout(60):
            while not (found := [event for event in self.told if isinstance(event, kind)]):
                await asyncio.sleep(0.005)
        return found[-1]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.005)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Node a, where the set has begun."""
    made = Desk(tmp_path / "a", "a")
    monkeypatch.setattr(sys, "executable", str(made.folder / "python"))
    monkeypatch.setattr(setruns, "LOCKED_WAIT", 0.01)
    custody.init(made.paths, made.sync_set, "a")
    return made


def give_all_to_b(desk: Desk) -> None:
    """What a whole run to b leaves in a's record."""
    record = records.load(desk.paths.sets, "data")
    assert record is not None
    run = transitions.run_for(record, "b", "0badcafe")
    done = transitions.complete_run(transitions.begin_run(record, "b", run), "b", run)
    with records.lock(desk.paths.sets, "data", "a test"):
        records.save(desk.paths.sets, done)


def test_load(desk: Desk) -> None:
    """At its start the engine learns the heads and the copy, also where heads.json was never written."""

    async def story(keeping: SetKeeping) -> None:
        head, looked = desk.told
        assert isinstance(head, ev.HeadStored)
        assert (head.head.n, head.head.writer, head.head.started) == (1, "a", True)
        assert isinstance(looked, ev.SetLooked)
        assert (looked.view.writer, looked.view.sole, looked.view.problem) == (True, True, "")

    desk.run(story)


def test_open_and_start(desk: Desk) -> None:
    """Becoming the writer is durable before it is told; so is the start."""

    async def story(keeping: SetKeeping) -> None:
        desk.told.clear()
        keeping.open(ac.OpenSet(GROUP, "data", 7, None))
        opened = await desk.tells(ev.SetOpened)
        assert (opened.group, opened.name, opened.op) == (GROUP, "data", 7)
        assert desk.heads["data"]["id"] == opened.head.id
        keeping.start_set(ac.StartMember(GROUP, "set:data", 8))
        assert await desk.tells(ev.MemberStarted) == ev.MemberStarted(GROUP, "set:data", 8)
        assert desk.heads["data"]["started"]

    desk.run(story)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_generation_that_was_made_in_vain_is_taken_back(desk: Desk, restarted: bool) -> None:
    """It never started, and another's run brought the copy back to the one before: that is what this voter
    has from then on, also where its daemon was away meanwhile."""
    before = records.load(desk.paths.sets, "data")
    assert before is not None

    def go_back() -> None:
        now = records.load(desk.paths.sets, "data")
        assert now is not None
        assert (now.head.n, now.head.started) == (4, False)
        with records.lock(desk.paths.sets, "data", "a test"):
            records.save(desk.paths.sets, replace(before, serial=now.serial))

    async def story(keeping: SetKeeping) -> None:
        keeping.start()
        known = head_of(before.head, before.chain)
        keeping.open(ac.OpenSet(GROUP, "data", 7, known, above=3))
        assert (await desk.tells(ev.SetOpened)).head.n == desk.heads["data"]["n"] == 4
        if not restarted:
            await asyncio.to_thread(go_back)
            assert (await desk.tells(ev.HeadTakenBack)).head.id == before.head.id

    desk.run(story)
    if restarted:
        go_back()
    desk.told.clear()
    desk.run(lambda keeping: asyncio.sleep(0))
    (stored,) = (event for event in desk.told if isinstance(event, ev.HeadStored))
    assert stored.head.id == desk.heads["data"]["id"] == before.head.id


def test_a_copy_that_may_not_be_promoted(desk: Desk, tmp_path: Path) -> None:
    """The engine is told why, as of any member that did not start."""
    other = Desk(tmp_path / "b", "b")

    async def story(keeping: SetKeeping) -> None:
        keeping.open(ac.OpenSet(GROUP, "data", 7, None))
        event = await other.tells(ev.MemberStarted)
        assert (event.member, event.op) == ("set:data", 7)
        assert "not begun" in event.error

    other.run(story)


@pytest.mark.parametrize("what", ["open", "start", "give"])
def test_a_disk_that_takes_nothing(desk: Desk, what: str) -> None:
    """ENOSPC and the like are answered too: a group whose start never ends is held by nobody else."""
    give_all_to_b(desk)

    async def story(keeping: SetKeeping) -> None:
        if what == "give":
            keeping.step(ac.Intend(GROUP, "data", "b", 1))
            await desk.tells(ev.StepDone)
            desk.told.clear()
        desk.paths.heads.unlink(missing_ok=True)
        desk.paths.heads.mkdir()  # what heads.json is to be renamed to
        if what == "open":
            keeping.open(ac.OpenSet(GROUP, "data", 7, None))
        elif what == "start":
            keeping.start_set(ac.StartMember(GROUP, "set:data", 7))
        else:
            keeping.step(ac.Give(GROUP, "data", "b", 7))
            await desk.until(lambda: custody.look(desk.paths, desk.sync_set, "a").head.n == 2)  # type: ignore[union-attr]
            await asyncio.sleep(0.1)
            assert not [e for e in desk.told if isinstance(e, ev.StepDone)]  # row 4: it stands, no way back
            desk.paths.heads.rmdir()
            event = await desk.tells(ev.StepDone)
            assert (event.error, event.head.writer) == ("", "b")
            return
        event = await desk.tells(ev.MemberStarted)
        assert (event.op, bool(event.error)) == (7, True)

    desk.run(story)


def test_heads_of_others_are_stored(desk: Desk) -> None:
    """A voter makes durable what it hears, of sets that it has no copy of too; then says so."""
    head = Head(4, "g4", "b", "g3", "9-aa", started=True)

    async def story(keeping: SetKeeping) -> None:
        desk.told.clear()
        keeping.store_head(ac.StoreHead("other", head))
        assert await desk.tells(ev.HeadStored) == ev.HeadStored("other", head)
        assert Head(**desk.heads["other"]) == head

    desk.run(story)


def test_a_head_that_could_not_be_written_is_tried_again(desk: Desk) -> None:
    """The record names a newer generation, and the list of heads can't be stored for a while."""
    mine = records.load(desk.paths.sets, "data")
    assert mine is not None
    head = Head(2, "g2", "b", mine.head.id, "7-aa", started=True)

    async def story(keeping: SetKeeping) -> None:
        keeping.start()
        desk.paths.heads.unlink(missing_ok=True)
        desk.paths.heads.mkdir()
        desk.told.clear()
        custody.hear(desk.paths, "data", generation_of(head))
        await asyncio.sleep(3 * LOOK_SECONDS)
        assert not [event for event in desk.told if isinstance(event, ev.HeadStored)]
        desk.paths.heads.rmdir()
        assert (await desk.tells(ev.HeadStored)).head.n == 2
        assert desk.heads["data"]["n"] == 2

    desk.run(story)


def test_a_newer_writer_is_heard_in_the_record(desk: Desk) -> None:
    """HISTORIES R9: this node is no writer any more, before anybody else could be told so."""
    mine = records.load(desk.paths.sets, "data")
    assert mine is not None
    head = Head(2, "g2", "b", mine.head.id, "7-aa", started=True)

    async def story(keeping: SetKeeping) -> None:
        desk.told.clear()
        keeping.store_head(ac.StoreHead("data", head))
        assert (await desk.tells(ev.HeadStored)).head == head
        assert not custody.look(desk.paths, desk.sync_set, "a").writer
        assert not (await desk.tells(ev.SetLooked)).view.writer

    desk.run(story)


def test_the_steps_of_a_gift(desk: Desk) -> None:
    """Intent, drop, intent, gift: each durable when it is told done; the gift names its generation."""
    give_all_to_b(desk)

    async def story(keeping: SetKeeping) -> None:
        steps: list[ac.Intend | ac.DropIntent | ac.Give] = [
            ac.Intend(GROUP, "data", "b", 1), ac.DropIntent(GROUP, "data", 2),
            ac.Intend(GROUP, "data", "b", 3), ac.Give(GROUP, "data", "b", 4),
        ]  # fmt: skip
        for step in steps:
            desk.told.clear()
            keeping.step(step)
            done = await desk.tells(ev.StepDone)
            assert (done.op, done.error) == (step.op, "")
            record = records.load(desk.paths.sets, "data")
            assert record is not None
            assert record.giving == ("b" if isinstance(step, ac.Intend) else "")
        assert (done.head.n, done.head.writer) == (2, "b")
        assert Head(**desk.heads["data"]) == done.head

    desk.run(story)


def test_a_gift_without_a_whole_copy_is_refused(desk: Desk) -> None:
    """Nothing is given to a node that has not all of it."""

    async def story(keeping: SetKeeping) -> None:
        keeping.step(ac.Give(GROUP, "data", "b", 4))
        done = await desk.tells(ev.StepDone)
        assert "can't be given to b" in done.error
        assert custody.look(desk.paths, desk.sync_set, "a").writer

    desk.run(story)


@pytest.mark.parametrize(
    ("script", "last", "error"),
    [
        ("echo '{}'", False, ""),
        ("echo '{}'", True, ""),
        ("""echo '{"targets": [{"node": "b", "error": "no room"}]}'; exit 1""", True, "no room"),
        ("echo 'ssh: no route' >&2; exit 69", False, "ssh: no route"),
        ("exit 6", False, "exit 6"),
    ],
)
def test_a_pass(desk: Desk, script: str, last: bool, error: str) -> None:
    """One run to the taker; what it says of its failure reaches the operator."""
    desk.install(script)

    async def story(keeping: SetKeeping) -> None:
        keeping.run_pass(ac.Pass(GROUP, "data", "b", 9, last=last))
        done = await desk.tells(ev.StepDone)
        assert (done.op, bool(done.error)) == (9, bool(error))
        assert error in done.error
        assert done.seconds > 0
        assert ("data" in keeping.runs.last_good) is not bool(error)

    desk.run(story)
    assert desk.calls() == ["data --json -q " + ("--hand-over b" if last else "--target b")]


def test_a_pass_waits_for_a_run_by_hand(desk: Desk) -> None:
    """Locked is no failure of a hand-over at once: it is tried again."""
    desk.install(f"[ $(wc -l < {desk.folder}/calls) -ge 3 ] || exit {EXIT_LOCKED}")

    async def story(keeping: SetKeeping) -> None:
        keeping.run_pass(ac.Pass(GROUP, "data", "b", 9, last=True))
        assert (await desk.tells(ev.StepDone)).error == ""

    desk.run(story)
    assert len(desk.calls()) == 3


@pytest.mark.parametrize("what", ["not there", "no process"])
def test_what_can_not_be_started_is_answered(desk: Desk, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that is never answered would keep the hand-over, and the services, where they are for ever."""
    if what == "not there":
        (desk.folder / "drcm-sync").unlink()
    else:

        async def refuse(*words: object, **options: object) -> None:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

        monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)

    async def story(keeping: SetKeeping) -> None:
        for operation, begin in enumerate(
            (
                lambda: keeping.run_pass(ac.Pass(GROUP, "data", "b", 0, last=False)),
                lambda: keeping.prepare(ac.Prepare(GROUP, "data", "b", 1)),
                lambda: keeping.run_pass(ac.Pass(GROUP, "data", "b", 2, last=True)),
            )
        ):
            desk.told.clear()
            begin()
            done = await desk.tells(ev.StepDone)
            assert done.op == operation
            assert "could not be started" in done.error

    desk.run(story)


def test_scheduled_runs_do_not_pile_up(desk: Desk) -> None:
    """What still runs is not started twice, and is counted; without a target nothing runs."""
    desk.install(f"while [ ! -e {desk.folder}/go ]; do sleep 0.01; done")

    async def story(keeping: SetKeeping) -> None:
        keeping.run_scheduled("data", [])
        keeping.run_scheduled("data", ["b"])
        await desk.until(desk.calls)
        keeping.run_scheduled("data", ["b"])
        assert keeping.runs.skipped == {"data": 1}
        (desk.folder / "go").touch()
        await desk.until(lambda: desk.problems)

    desk.run(story)
    assert desk.calls() == ["data --json -q --target b"]
    assert desk.problems == [ac.Problem("set-failed:data", "data was synced", over=True)]


@pytest.mark.parametrize(
    ("code", "key"),
    [(EXIT_FAILED, "set-failed:data"), (EXIT_DIVERGED, "set-diverged:data"), (EXIT_LOCKED, None)],
)
def test_what_a_failed_run_means(desk: Desk, code: int, key: str | None) -> None:
    """An alert of its kind; that somebody syncs by hand is none."""
    desk.install(f"echo why >&2; exit {code}")

    async def story(keeping: SetKeeping) -> None:
        keeping.run_scheduled("data", ["b"])
        await desk.until(lambda: desk.calls() and not keeping.runs.is_running("data"))
        await asyncio.sleep(0.05)

    desk.run(story)
    assert desk.problems == ([ac.Problem(key, "why")] if key else [])


def test_beats_tell_whose_copy_has_another_history(desk: Desk) -> None:
    """As its gate said of the last run; until a run to it is good, or a generation begins."""

    def diverged() -> list[tuple[str, ...]]:
        return [event.view.diverged for event in desk.told if isinstance(event, ev.SetLooked)]

    codes = (EXIT_DIVERGED, EXIT_FAILED, EXIT_OK, EXIT_DIVERGED)

    async def story(keeping: SetKeeping) -> None:
        for code, told in zip(codes, (("b",), ("b",), (), ("b",)), strict=True):
            answer = json.dumps({"targets": [{"node": "b", "exit_code": code}]})
            desk.install(f"echo '{answer}'; exit {code}")
            run = keeping.run_scheduled("data", ["b"])
            assert run is not None
            await run
            assert diverged()[-1] == told
        desk.told.clear()
        keeping.go_alone(ac.GoAlone("data"))
        await desk.until(diverged)
        assert diverged() == [()]

    desk.run(story)


def test_stopping_the_set_ends_its_runs(desk: Desk) -> None:
    """Rule 3: no push goes on once the set is let go of."""
    desk.install(f"echo $$ > {desk.folder}/pid.new; mv {desk.folder}/pid.new {desk.folder}/pid; sleep 60")

    async def story(keeping: SetKeeping) -> None:
        keeping.run_scheduled("data", ["b"])
        await desk.until((desk.folder / "pid").exists)
        pid = int((desk.folder / "pid").read_text())
        keeping.stop_set(ac.StopMember(GROUP, "set:data", 5, urgent=True))
        assert await desk.tells(ev.MemberStopped) == ev.MemberStopped(GROUP, "set:data", 5)
        await desk.until(lambda: not Path(f"/proc/{pid}").exists())

    desk.run(story)


def test_alone_and_diverged(desk: Desk) -> None:
    """A generation of its own when it goes on alone; a mark that lasts where its copy is not served."""
    give_all_to_b(desk)

    async def story(keeping: SetKeeping) -> None:
        desk.told.clear()
        keeping.go_alone(ac.GoAlone("data"))
        assert (await desk.tells(ev.HeadStored)).head.n == 2
        assert custody.look(desk.paths, desk.sync_set, "a").sole
        desk.told.clear()
        keeping.mark_diverged(ac.MarkDiverged("data", "DIVERGED from b"))
        assert "DIVERGED from b" in (await desk.tells(ev.SetLooked)).view.problem
        assert "DIVERGED" in custody.look(desk.paths, desk.sync_set, "a").problem

    desk.run(story)


def test_what_others_write_is_noticed(desk: Desk, tmp_path: Path) -> None:
    """`drcm-sync --init` by hand: the daemon sees the new record, and the engine hears of its head."""
    fresh = Desk(tmp_path / "fresh", "a")

    async def story(keeping: SetKeeping) -> None:
        keeping.start()
        fresh.told.clear()
        await asyncio.to_thread(custody.init, fresh.paths, fresh.sync_set, "a")
        assert (await fresh.tells(ev.HeadStored)).head.n == 1
        assert (await fresh.tells(ev.SetLooked)).view.writer
        assert fresh.heads["data"]["n"] == 1

    fresh.run(story)


def test_heads_and_generations() -> None:
    """What is said in beats and what is on disk are the same."""
    whole = Generation(3, "g3", "b", "heard", Position("g2", "7-aa"), started=True)
    below = Generation(1, "g2", "a", "init")
    assert generation_of(head_of(whole, [whole, below])) == whole
    assert head_of(whole, [whole, below]).origin_n == 1
    assert head_of(whole, [whole]).origin_n == 2  # pruned
    first = replace(whole, origin=None)
    assert generation_of(head_of(first, [first])) == first
    wanted = replace(whole, why=ACCEPT_LOSS)
    assert generation_of(head_of(wanted, [])) == wanted


@pytest.mark.parametrize(
    ("answer", "complaint", "words"),
    [
        ({"targets": [{"error": "one"}, {"error": ""}, {"error": "two"}]}, "x", "one; two"),
        ({"targets": ["?"]}, "last words", "last words"),
        ({}, "", f"exit {EXIT_OK}"),
    ],
)
def test_why_failed(answer: dict[str, Any], complaint: str, words: str) -> None:
    """Its own JSON first, then standard error, at the very least the exit code."""
    assert why_failed(Outcome(EXIT_OK, answer, complaint)) == words


def test_looks_that_overlap_leave_the_engine_with_the_newest(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older look that is told late is followed by another one, although the records rest."""
    saw = custody.look(desk.paths, desk.sync_set, "a")
    outdated = replace(saw, problem="in doubt: read in the middle of a save")
    looks, slow, gate = iter([outdated]), iter([True]), asyncio.Event()

    async def recall(*_: object) -> None:
        if next(slow, False):
            await gate.wait()

    async def story(keeping: SetKeeping) -> None:
        monkeypatch.setattr(custody, "look", lambda *_: next(looks, saw))
        monkeypatch.setattr(keeping.runs, "recall_last_good", recall)
        first = asyncio.ensure_future(keeping._look(desk.sync_set))
        await desk.until(lambda: keeping._looked["data"] == outdated)
        await keeping._look(desk.sync_set)
        gate.set()
        await first
        await keeping._look(desk.sync_set)
        views = [event.view for event in desk.told if isinstance(event, ev.SetLooked)]
        assert views[-1].problem == ""

    desk.run(story)
