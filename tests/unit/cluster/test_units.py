"""systemd units, `systemctl` standing in with states in files (test_cluster_systemd.py has a real one).

It answers as systemd 252 does; drcm has no other way to systemd than this command.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from drcm.cluster.agents import systemd
from drcm.cluster.agents.registry import agent_for
from drcm.cluster.agents.systemd import UnitAgent
from drcm.config.model import Server, Service
from drcm.errors import AgentError

SYSTEMCTL = """#!/bin/bash
echo "$*" >>{folder}/calls
unit=${{@: -1}}
case $1 in
start) echo active >{folder}/$unit ;;
stop) rm -f {folder}/$unit ;;
show)
    state=$(cat {folder}/$unit 2>/dev/null || echo inactive)
    [[ $unit == nowhere* ]] && load=not-found || load=loaded
    printf 'Result=success\\nActiveState=%s\\nSubState=%s\\nLoadState=%s\\n' $state $state $load ;;
esac
"""


class Site:
    """A unit, its agent, and the calls of systemctl."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = Server(log_dir=str(folder / "log"))

    def agent(self, name: str = "nginx") -> UnitAgent:
        found = agent_for(Service("web", "nginx", f"systemd:{name}"), self.server)
        assert isinstance(found, UnitAgent)
        return found

    def state(self, text: str) -> None:
        (self.folder / "nginx.service").write_text(text)

    def calls(self) -> list[str]:
        return [c for c in (self.folder / "calls").read_text().splitlines() if not c.startswith("show")]

    @property
    def order(self) -> Path:
        return self.folder / "system/nginx.service.d/50-drcm.conf"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin/systemctl"
    command.write_text(SYSTEMCTL.format(folder=tmp_path))
    command.chmod(0o755)
    (tmp_path / "system").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    monkeypatch.setattr(systemd, "SYSTEMD", tmp_path / "system")
    return Site(tmp_path)


def test_a_unit_starts_is_watched_and_stops(site: Site) -> None:
    """While it is held, a shutdown stops drcm before the unit: drcm stops what it runs."""

    async def story() -> None:
        agent = site.agent()
        assert not await agent.running()
        await agent.start()
        assert await agent.running()
        assert await agent.watch() == ""
        assert "Before=drcm-server.service" in site.order.read_text()
        await agent.start()  # adopted
        await agent.stop()
        assert not await agent.running()
        assert not site.order.exists()
        await agent.stop()

    asyncio.run(story())
    start, stop = "start nginx.service", "stop nginx.service"
    assert site.calls() == [start, "daemon-reload", start, stop, stop]


@pytest.mark.parametrize("state", ["failed", "inactive", "deactivating"])
def test_a_unit_that_is_down_for_good_fails_its_watch(site: Site, state: str) -> None:
    """With what systemd calls it, and where its log is."""
    site.state(state)
    with pytest.raises(AgentError, match=rf"nginx\.service: {state}") as caught:
        asyncio.run(site.agent().watch())
    assert "journalctl -u nginx.service" in caught.value.cure


def test_a_unit_that_systemd_restarts_is_left_to_it(site: Site) -> None:
    """Its Restart= is quicker than we are."""
    site.state("activating")
    assert asyncio.run(site.agent().watch()) == ""


def test_a_unit_that_goes_down_still_runs(site: Site) -> None:
    """Nobody else may start it yet."""
    site.state("deactivating")
    assert asyncio.run(site.agent().running())


def test_an_unknown_unit_is_named(site: Site) -> None:
    """Not taken for one that is stopped."""
    with pytest.raises(AgentError, match=r"systemd knows no such unit \(not-found\)"):
        asyncio.run(site.agent("nowhere").running())


def test_the_keeper_stops_it_and_kills_what_stays(site: Site) -> None:
    """By systemctl, as it lives in a cgroup of its own."""
    (release,) = site.agent().releases()
    assert release["argv"] == ["systemctl", "stop", "nginx.service"]
    assert release["kill"] == ["systemctl", "kill", "--signal=KILL", "nginx.service"]
