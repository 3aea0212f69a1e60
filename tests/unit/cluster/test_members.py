"""Starting and stopping what a node holds, with the real agents in a namespace of their own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from small_cluster import CONFIG, cluster_of

from drcm import clock
from drcm.cluster import actions as ac
from drcm.cluster import events as ev
from drcm.cluster.agents.address import AddressAgent
from drcm.cluster.holding import Holding
from drcm.cluster.lease_file import LeaseFile
from drcm.cluster.members import UNUSED_FOR, Members
from drcm.cluster.messages import HoldState
from drcm.cluster.spec import build_groups

IP = "10.9.0.100"
WEB, CRON = ("a/ip:web", "ip:web"), ("a/cron:system", "cron:system")
GONE = ("a/service:gone", "service:gone")


class Stage:
    """Members of node a, and what they told the engine."""

    def __init__(self, folder: Path, text: str) -> None:
        self.crontab = folder / "cron.d" / "system"
        self.crontab.parent.mkdir(exist_ok=True)
        (folder / "system").write_text("* * * * * root true\n")
        rows = text.replace(
            "/etc/drcm/crontabs/system_crons, /etc/cron.d", f"{folder}/system, {folder}/cron.d"
        )
        self.cluster = cluster_of(rows)
        self.told: list[ev.Event] = []
        self.problems: list[ac.Problem] = []
        self.lease = clock.now() + 3600
        self.held = folder / "held.json"
        self.members = Members(
            self.cluster,
            self.cluster.node("a"),
            self.told.append,
            LeaseFile(folder / "lease"),
            lambda key: self.lease,
            self.problems.append,
        )

    def start(self, group: str, member: str, op: int = 1) -> None:
        self.members.start(ac.StartMember(group, member, op, handed=True))

    def stop(self, group: str, member: str, op: int = 2, urgent: bool = False) -> None:
        self.members.stop(ac.StopMember(group, member, op, urgent))

    def noted(self) -> list[str]:
        """Of what the keeper knows how to let go of it."""
        return sorted(release["member"] for release in json.loads(self.held.read_text()))

    async def tells(self, kind: type[ev.Event], count: int = 1) -> Any:
        async with asyncio.timeout(60):
            while len(found := [event for event in self.told if isinstance(event, kind)]) < count:
                await asyncio.sleep(0.005)
        return found[-1]

    def run(self, story: Callable[[], Awaitable[None]]) -> None:
        async def whole() -> None:
            await story()
            tasks = [m.task for m in self.members.running.values() if m.task]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for agent in [member.agent for member in self.members.running.values()]:
                if isinstance(agent, AddressAgent):
                    agent.let_go()  # its socket is the daemon's for as long as it lives

        asyncio.run(asyncio.wait_for(whole(), 120))


@pytest.fixture
def stage(tmp_path: Path, lan: Any) -> Stage:
    return Stage(tmp_path, CONFIG)


def test_start_and_stop(stage: Stage, lan: Any) -> None:
    """The address is on the interface, the crontab in its place; the keeper's list follows."""

    async def story() -> None:
        stage.start(*WEB)
        assert json.loads(stage.held.read_text())[0]["ip"] == IP  # before the start, not after
        assert await stage.tells(ev.MemberStarted) == ev.MemberStarted(*WEB, 1)
        assert IP in lan.addresses()
        stage.start(*CRON, op=5)
        assert await stage.tells(ev.MemberStarted, 2) == ev.MemberStarted(*CRON, 5)
        assert stage.crontab.exists()
        assert len(json.loads(stage.held.read_text())) == 2
        stage.stop(*CRON, op=6)
        assert await stage.tells(ev.MemberStopped) == ev.MemberStopped(*CRON, 6)
        stage.stop(*WEB, op=7)
        assert await stage.tells(ev.MemberStopped, 2) == ev.MemberStopped(*WEB, 7)

    stage.run(story)
    assert not stage.crontab.exists()
    assert IP not in lan.addresses()
    assert json.loads(stage.held.read_text()) == []
    assert stage.members.running == {}


def test_what_cannot_start_says_why(stage: Stage, lan: Any) -> None:
    """The reason is the agent's; the member is not up, but what may be there is still released."""
    lan.here("ip link set va down")

    async def story() -> None:
        stage.start(*WEB)
        event = await stage.tells(ev.MemberStarted)
        assert "interface va is down" in event.error
        assert not stage.members.running[WEB].up
        assert len(json.loads(stage.held.read_text())) == 1
        stage.stop(*WEB)
        assert (await stage.tells(ev.MemberStopped)).error == ""

    stage.run(story)
    assert json.loads(stage.held.read_text()) == []


def test_no_start_after_the_lease(stage: Stage, lan: Any) -> None:
    """A daemon that was late puts nothing back: rule 3."""
    stage.lease = clock.now() - 0.1

    async def story() -> None:
        stage.start(*WEB)
        assert (await stage.tells(ev.MemberStarted)).error

    stage.run(story)
    assert IP not in lan.addresses()


@pytest.mark.parametrize(("seconds_ago", "asks"), [(0.0, False), (UNUSED_FOR + 0.1, True)])
def test_a_free_address_is_not_asked_for_twice(
    stage: Stage, lan: Any, seconds_ago: float, asks: bool
) -> None:
    """While its holder was silent nobody answered for it: to ask again would only make the outage longer."""

    async def story() -> None:
        stage.members.nobody_answers(IP)
        stage.members.unused_at[IP] -= seconds_ago
        stage.members.start(ac.StartMember(*WEB, 1, handed=False))
        agent = stage.members.running[WEB].agent
        assert isinstance(agent, AddressAgent)
        assert agent.known_free is not asks
        assert (await stage.tells(ev.MemberStarted)).error == ""

    stage.run(story)


def test_a_stop_overtakes_a_start(stage: Stage, lan: Any) -> None:
    """It ends the start that is under way (here: an address being asked for), and leaves nothing."""

    async def story() -> None:
        stage.members.start(ac.StartMember(*WEB, 1, handed=False))
        await asyncio.sleep(0.01)
        stage.stop(*WEB)
        assert await stage.tells(ev.MemberStopped) == ev.MemberStopped(*WEB, 2)
        assert not [event for event in stage.told if isinstance(event, ev.MemberStarted)]

    stage.run(story)
    assert IP not in lan.addresses()
    assert stage.members.running == {}


def test_stopping_what_is_not_known(stage: Stage, lan: Any) -> None:
    """After a restart the daemon knows of nothing; what runs is stopped all the same."""
    lan.here(f"ip address add {IP}/24 dev va")

    async def story() -> None:
        stage.stop(*WEB)
        assert (await stage.tells(ev.MemberStopped)).error == ""

    stage.run(story)
    assert IP not in lan.addresses()


def test_strays_are_stopped_first(stage: Stage, lan: Any) -> None:
    """Rule 4: what runs here without a lease is stopped, but for kinds that are kept."""
    groups = build_groups(stage.cluster)

    async def up() -> None:
        stage.start(*WEB)
        stage.start(*CRON)
        await stage.tells(ev.MemberStarted, 2)

    stage.run(up)
    stage.members.running.clear()
    asyncio.run(stage.members.release_strays(groups, frozenset({"cron"})))
    assert IP not in lan.addresses()
    assert stage.crontab.exists()
    asyncio.run(stage.members.release_strays(groups, frozenset()))
    assert not stage.crontab.exists()


def without_crontab(text: str) -> str:
    rows = (line for line in text.splitlines() if "system" not in line and "CRONTABS" not in line)
    return "\n".join(rows) + "\n"


def test_what_cm_cfg_lost_is_stopped_by_what_the_former_daemon_noted(tmp_path: Path, lan: Any) -> None:
    """Nothing else tells by now how that is done; until it is, the keeper has both in its list."""
    stage = Stage(tmp_path, CONFIG)

    async def up() -> None:
        stage.start(*WEB)
        stage.start(*CRON)
        await stage.tells(ev.MemberStarted, 2)

    stage.run(up)
    again = Stage(tmp_path, without_crontab(CONFIG))

    async def story() -> None:
        again.start(*WEB)  # adopted
        await again.tells(ev.MemberStarted)
        assert again.noted() == ["cron:system", "ip:web"]
        again.stop(*CRON)
        assert await again.tells(ev.MemberStopped) == ev.MemberStopped(*CRON, 2)

    assert stage.crontab.exists()
    again.run(story)
    assert not stage.crontab.exists()
    assert again.noted() == ["ip:web"]


def test_a_leftover_that_does_not_stop_says_so(tmp_path: Path, lan: Any) -> None:
    """With what was tried: nobody else knows its name any more."""
    stage = Stage(tmp_path, CONFIG)
    release = {"phase": "rest", "do": "run", "argv": ["/bin/false", "it"], "timeout": 1.0}
    stage.members.former[GONE] = [release]

    async def story() -> None:
        stage.stop(*GONE)
        error = (await stage.tells(ev.MemberStopped)).error
        assert "service:gone: cm.cfg no longer has it, and it can't be stopped: /bin/false it" in error

    stage.run(story)


def test_without_a_lease_what_cm_cfg_lost_is_stopped_first(tmp_path: Path, lan: Any) -> None:
    """As every stray; then the keeper's list is empty."""
    stage = Stage(tmp_path, CONFIG)

    async def up() -> None:
        stage.start(*CRON)
        await stage.tells(ev.MemberStarted)

    stage.run(up)
    again = Stage(tmp_path, without_crontab(CONFIG))
    asyncio.run(again.members.release_strays(build_groups(again.cluster), frozenset()))
    assert not stage.crontab.exists()
    assert json.loads(again.held.read_text()) == []


def test_watching(tmp_path: Path, lan: Any) -> None:
    """What somebody removes comes back; what can't be mended is told to the engine."""
    stage = Stage(tmp_path, CONFIG.replace("node_crontabs", "ipaddrs_check = 1\nnode_crontabs"))

    async def story() -> None:
        stage.start(*WEB)
        await stage.tells(ev.MemberStarted)
        lan.here(f"ip address delete {IP}/24 dev va")
        async with asyncio.timeout(60):
            while IP not in lan.addresses():
                await asyncio.sleep(0.02)
        lan.here("ip link set va down")
        event = await stage.tells(ev.MemberFailed)
        assert (event.group, event.member) == WEB
        assert "down" in event.reason
        assert not stage.members.running[WEB].up

    stage.run(story)


def lifetime(lan: Any) -> int:
    """Of the address in the kernel; 0 where it is gone."""
    line = next((line for line in lan.addresses().splitlines() if IP in line), "valid_lft 0sec")
    return int(line.split("valid_lft ")[1].split("sec")[0])


async def nearly_over(lan: Any) -> None:
    async with asyncio.timeout(60):
        while lifetime(lan) > 1:
            await asyncio.sleep(0.02)


def test_addresses_of_the_daemon_before_live_on_at_once(tmp_path: Path, lan: Any) -> None:
    """Whatever comes first in the order of starting, and takes its time."""
    stage = Stage(tmp_path, CONFIG)

    async def up() -> None:
        stage.start(*WEB)
        await stage.tells(ev.MemberStarted)

    stage.run(up)
    again = Stage(tmp_path, CONFIG)

    async def story() -> None:
        await nearly_over(lan)
        await again.members.go_on(
            Holding(group, HoldState.STARTING, 0.0, 1, "a test") for group in build_groups(again.cluster)
        )
        assert lifetime(lan) == 2
        assert list(again.members.running) == [WEB]
        await nearly_over(lan)
        again.members.renew((WEB[0],))
        assert lifetime(lan) == 2

    again.run(story)
    assert again.told == []


def test_renewing_gives_the_address_its_lifetime_again(stage: Stage, lan: Any) -> None:
    """HISTORIES E7: the kernel drops it by itself; only groups with a lease are renewed."""

    async def story() -> None:
        stage.start(*WEB)
        await stage.tells(ev.MemberStarted)
        assert lifetime(lan) <= 2
        await nearly_over(lan)
        stage.members.renew(("a/other",))
        assert lifetime(lan) <= 1
        stage.members.renew((WEB[0],))
        assert lifetime(lan) == 2

    stage.run(story)


SERVICE = ("a/service:box", "service:box")


def with_service(folder: Path, script: str) -> Stage:
    """Node a runs a service by this script, with 0.3 s for its start, looked at ten times a second."""
    path = folder / "box.sh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    section = "[CM_RESOURCE]\nresource = service:box\nstart_timeout = 300ms\n[CM_SERVICES]\n"
    text = CONFIG.replace("[CM_NODE]", f"{section}box, box, {path}\n[CM_NODE]", 1)
    text = text.replace("node_crontabs", "services_check = 0.1\nnode_services = box\nnode_crontabs", 1)
    return Stage(folder, text)


def test_a_resource_has_the_time_that_cm_cfg_gives_it(tmp_path: Path, lan: Any) -> None:
    """[CM_RESOURCE] goes before the agent's own limits."""
    stage = with_service(tmp_path, "[ $2 = start ] && exec sleep 60; exit 0")

    async def story() -> None:
        stage.start(*SERVICE)
        assert "not done after 0.3 s" in (await stage.tells(ev.MemberStarted)).error

    stage.run(story)


def test_nothing_is_watched_while_it_may_not_be_repaired(tmp_path: Path, lan: Any) -> None:
    """A script's `watch` starts it again where it has died: not beside a set's tree that is not there."""
    watched = tmp_path / "watched"
    stage = with_service(tmp_path, f"[ $2 = watch ] && : > {watched}; exit 0")
    may = False
    stage.members.may_repair = lambda group: may and group == SERVICE[0]

    async def story() -> None:
        nonlocal may
        stage.start(*SERVICE)
        await stage.tells(ev.MemberStarted)
        await asyncio.sleep(0.5)
        assert not watched.exists()
        may = True
        async with asyncio.timeout(60):
            while not watched.exists():
                await asyncio.sleep(0.01)

    stage.run(story)


def test_a_second_stop_waits_for_the_watch_that_the_first_one_ends(tmp_path: Path, lan: Any) -> None:
    """A lease that ends meanwhile makes it urgent; a `watch` still at work could start it again."""
    told = tmp_path / "told"
    watch = f"trap 'sleep 0.5; echo watched >> {told}; exit 0' TERM; : > {told}; sleep 60 & wait"
    stage = with_service(tmp_path, f"case $2 in watch) {watch};; stop) echo stopped >> {told};; esac")

    async def story() -> None:
        stage.start(*SERVICE)
        async with asyncio.timeout(60):
            while not told.exists():
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        stage.stop(*SERVICE)
        await asyncio.sleep(0.1)
        stage.stop(*SERVICE, op=3, urgent=True)
        assert await stage.tells(ev.MemberStopped) == ev.MemberStopped(*SERVICE, 3)

    stage.run(story)
    assert told.read_text().split() == ["watched", "stopped"]


def test_a_watch_that_warns_raises_an_alert_until_it_is_over(tmp_path: Path, lan: Any) -> None:
    """The resource goes on: a full disk is no reason to move it."""
    full = tmp_path / "full"
    stage = with_service(tmp_path, f"[ $2 = watch ] && [ -e {full} ] && echo WARNING: no room; exit 0")
    full.touch()

    async def story() -> None:
        stage.start(*SERVICE)
        async with asyncio.timeout(60):
            while not stage.problems:
                await asyncio.sleep(0.01)
            full.unlink()
            while len(stage.problems) < 2:
                await asyncio.sleep(0.01)
        assert stage.members.running[SERVICE].up

    stage.run(story)
    key = "resource-warning:a/service:box:service:box"
    assert stage.problems[0] == ac.Problem(key, "service:box: no room")
    assert (stage.problems[1].key, stage.problems[1].over) == (key, True)


def test_addresses_of_a_group(stage: Stage) -> None:
    """What is probed while a node is silent: its floating addresses, nothing else."""
    found = [a.ip for group in build_groups(stage.cluster) for a in stage.members.addresses(group)]
    assert found == [IP]
