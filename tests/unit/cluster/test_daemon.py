"""A whole daemon in a network namespace: it beats, holds, answers, reads cm.cfg again, leaves in order."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_cluster import CONFIG, cluster_of

from drcm.cluster import events as ev
from drcm.cluster.daemon import Daemon
from drcm.cluster.keeper import _lock
from drcm.cluster.transport.keys import generate, load
from drcm.control import ask_local
from drcm.errors import EXIT_NO_PERMISSION, EXIT_USAGE, DrcmError
from drcm.paths import Paths

IP = "10.9.0.100"
# 0.3 s until a node is dead: fifty beats a second, and node b never was there.
FAST = CONFIG.replace("keep_alive_interval = 0.1", "keep_alive_interval = 0.02\nboot_wait = 0.5").replace(
    "dead_node_count = 20", "dead_node_count = 15"
)
SYNC = "[CM_SYNC]\nname = data\nprimary = a\nbackups = b\nmirror = {folder}/data\nevery = 30s\n"


class Site:
    """Node a in `folder`; `run` lives through a story beside its daemon, and has it leave."""

    def __init__(self, folder: Path) -> None:
        for name in ("cron.d", "run", "state/sets", "data"):
            (folder / name).mkdir(parents=True)
        (folder / "system").write_text("* * * * * root true\n")
        rows = "/etc/drcm/crontabs/system_crons, /etc/cron.d"
        text = FAST.replace(rows, f"{folder}/system, {folder}/cron.d") + SYNC.format(folder=folder)
        self.text = text.replace("host-a", socket.gethostname())  # a reload looks at this machine too
        self.paths = Paths(folder / "cm.cfg", folder / "auth", folder / "state", folder / "run")
        self.paths.config.write_text(self.text)
        generate(self.paths.auth)
        self.passes: list[float] = []

    def daemon(self) -> Daemon:
        cluster = cluster_of(self.text)
        return Daemon(cluster, cluster.node("a"), load(self.paths.auth), self.paths)

    def run(self, story: Callable[[Daemon], Awaitable[None]]) -> int:
        async def whole() -> int:
            daemon = self.daemon()
            self._measure(daemon)
            task = asyncio.create_task(daemon.run())
            while not self.paths.socket.exists():
                assert not task.done(), task.result()
                await asyncio.sleep(0.01)
            try:
                await story(daemon)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)  # the daemon's own handler: it leaves
            code = await task
            daemon.notifier.close()
            return code

        return asyncio.run(asyncio.wait_for(whole(), 120))

    def _measure(self, daemon: Daemon) -> None:
        feed = daemon.feed

        def measured(event: ev.Event) -> None:
            begun = time.thread_time()  # of the processor: the machine is shared
            feed(event)
            self.passes.append(time.thread_time() - begun)

        daemon.feed = measured  # type: ignore[method-assign]

    async def ask(self, op: str, **words: str) -> dict[str, Any]:
        return await asyncio.to_thread(ask_local, self.paths.socket, {"op": op, **words})


@pytest.fixture
def site(tmp_path: Path, lan: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(tmp_path)
    monkeypatch.setenv("DRCM_STATE_DIR", str(made.paths.state))  # what the daemon's children go by
    monkeypatch.setenv("DRCM_RUN_DIR", str(made.paths.run))
    yield made
    gc.unfreeze()
    _end_keeper(made.paths.run)


def _end_keeper(run: Path) -> None:
    """The keeper outlives its daemon by a minute."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended meanwhile
            continue
        if words[1:] == ["-m", "drcm.cluster.keeper", str(run), ""]:
            os.kill(int(path.parent.name), signal.SIGKILL)


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_life(site: Site, lan: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Alone it takes what is its own; no pass is long; systemd hears of it; leaving releases everything."""
    service_manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    service_manager.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "200000")

    async def story(daemon: Daemon) -> None:
        await until(lambda: IP in lan.addresses() and (tmp_path / "cron.d" / "system").exists())
        site.passes.clear()
        await until(lambda: len(site.passes) >= 200)

    assert site.run(story) == 0
    assert IP not in lan.addresses()
    assert not (tmp_path / "cron.d" / "system").exists()
    assert not site.paths.socket.exists()
    told = [service_manager.recv(200) for _ in range(6)]
    service_manager.close()
    assert {b"READY=1", b"WATCHDOG=1"} <= set(told)
    print(f"{len(site.passes)} passes, the longest {max(site.passes) * 1000:.1f} ms")
    assert statistics.quantiles(site.passes, n=20)[-1] < 0.05


def test_answers(site: Site, lan: Any) -> None:
    """The whole table of the control protocol, asked at the real socket."""

    async def story(daemon: Daemon) -> None:
        await until(lambda: IP in lan.addresses())
        await until(lambda: daemon.engine.care.is_settled and daemon.engine.care.holdings)
        ping = await site.ask("ping")
        assert (ping["node"], ping["address"]) == ("a", "10.9.0.1")
        status = await site.ask("status")
        assert {n["name"]: n["state"] for n in status["nodes"]} == {"a": "UP", "b": "DOWN"}
        assert {r["nickname"]: (r["holder"], r["state"]) for r in status["resources"]} == {
            "data": ("a", "running"), "web": ("a", "running"), "system": ("a", "running"),
        }  # fmt: skip
        assert {(r["kind"], r["home"], r["backup"]) for r in status["running"]} == {
            ("ip", "a", False), ("cron", "a", False),
        }  # fmt: skip
        (one,) = status["sets"]
        assert (one["name"], one["generation"], one["last_good"]) == ("data", 0, None)
        assert "drcm-sync data --init" in one["reason"] or "not begun" in one["problem"]
        assert status["counters"]["datagrams_sent"] > 0
        lines = (await site.ask("rstats"))["lines"]
        assert sorted(line.partition(",")[0] for line in lines) == ["cron:system", "ip:web"]
        assert "keep_alive_interval = 0.02" in (await site.ask("printcfg"))["text"]
        answer = await site.ask("set", name="data")
        assert (answer["role"], answer["generation"], answer["targets"]) == ("none", 0, [])
        with pytest.raises(DrcmError, match="no such set") as refused:
            await site.ask("set", name="nosuch")
        assert "data" in refused.value.cure
        with pytest.raises(DrcmError, match="no such operation"):
            await site.ask("frobnicate")

    site.run(story)


def test_only_root_here_may_change_anything(site: Site) -> None:
    """What comes over TLS may look; roles, promotions and reloads are for this node's root."""

    async def story(daemon: Daemon) -> None:
        from drcm.cluster.answers import Answers

        answers = Answers(daemon)
        assert (await answers.dispatch({"op": "status"}, False))["ok"]
        for name in ("set", "promote", "reload"):
            with pytest.raises(DrcmError, match="only on this node") as refused:
                await answers.dispatch({"op": name, "name": "data"}, False)
            assert refused.value.exit_code == EXIT_NO_PERMISSION
        with pytest.raises(DrcmError) as unknown:
            await answers.dispatch({"op": 7}, True)
        assert unknown.value.exit_code == EXIT_USAGE

    site.run(story)


def test_reload(site: Site, lan: Any, tmp_path: Path) -> None:
    """A faulty cm.cfg is not taken and changes nothing; a good one moves what it says, and only that."""

    async def story(daemon: Daemon) -> None:
        crontab = tmp_path / "cron.d" / "system"
        await until(lambda: IP in lan.addresses() and crontab.exists())
        digest = daemon.engine.spec.digest
        faulty = {
            "keep_alive_ip is 'nonsense'": site.text.replace("10.9.0.1\n", "nonsense\n"),
            "no active [CM_NODE] a has hostname": site.text.replace("= a\n", "= x\n").replace("a:", "x:"),
        }
        for fault, text in faulty.items():
            site.paths.config.write_text(text)
            refused = (await site.ask("reload"))["text"]
            assert refused.startswith("not taken, the old one stays: ")
            assert fault in refused
            assert "INFO" not in refused  # what need not be corrected would only hide what must
        site.paths.config.unlink()
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.05)
        assert "there is no such file" in (await site.ask("reload"))["text"]
        assert daemon.engine.spec.digest == digest
        without = site.text.replace("node_crontabs = system\n", "").replace(
            "node_backup_crontabs = a:system\n", ""
        )
        site.paths.config.write_text(without)
        assert "read again" in (await site.ask("reload"))["text"]
        await until(lambda: not crontab.exists())
        assert IP in lan.addresses()

    site.run(story)


def test_one_daemon_a_node(site: Site) -> None:
    """A second one is refused by the port, and harms nothing of the first."""

    async def story(daemon: Daemon) -> None:
        with pytest.raises(DrcmError, match="UDP port 53897"):
            await site.daemon().run()
        assert (await site.ask("ping"))["node"] == "a"

    site.run(story)


def test_the_keeper_is_there(site: Site) -> None:
    """Before anything is held there is somebody to release it."""

    async def story(daemon: Daemon) -> None:
        await until(lambda: _lock(site.paths.run) is None)

    site.run(story)
