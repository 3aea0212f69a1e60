"""OCF agents: what they are given, what their exit codes mean, how long they may take."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from drcm import clock
from drcm.cluster.agents.limits import USUAL, Limits
from drcm.cluster.agents.ocf import OcfAgent
from drcm.cluster.agents.registry import agent_for
from drcm.cluster.releasing import Releasing
from drcm.config.agentname import Ocf
from drcm.config.model import FileSystem, Server, Service
from drcm.errors import AgentError

AGENT = """#!/bin/sh
# Notes what it is called with; exits with what lies in the file of the action's name.
echo "$1 $OCF_RESKEY_CRM_meta_timeout $OCF_RESKEY_CRM_meta_interval" >>{folder}/calls
env >{folder}/environ
echo "$*" >{folder}/arguments
case $1 in
meta-data) cat {folder}/meta; exit 0 ;;
*) [ ! -e {folder}/says ] || cat {folder}/says; [ ! -e {folder}/slow ] || sleep 60 ;;
esac
[ -e {folder}/$1 ] || exit 0
exit "$(cat {folder}/$1)"
"""
META = """<?xml version="1.0"?><resource-agent name="box"><parameters/><actions>
<action name="start" timeout="{start}"/><action name="stop" timeout="7s"/>
<action name="monitor" timeout="9s"/>
</actions></resource-agent>"""


class Box:
    """An agent of the test's own below an OCF_ROOT of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        agent = folder / "resource.d/lab/box"
        agent.parent.mkdir(parents=True)
        agent.write_text(AGENT.format(folder=folder))
        agent.chmod(0o755)
        self.meta()
        self.server = Server(run_dir=str(folder / "run"), log_dir=str(folder / "log"))

    def meta(self, start: str = "5s") -> None:
        (self.folder / "meta").write_text(META.format(start=start))

    def exits(self, action: str, code: int) -> None:
        (self.folder / action).write_text(str(code))

    def calls(self) -> list[str]:
        lines = (self.folder / "calls").read_text().splitlines()
        return [line.strip() for line in lines if not line.startswith("meta-data")]

    def environ(self) -> dict[str, str]:
        lines = (self.folder / "environ").read_text().splitlines()
        return dict(line.partition("=")[::2] for line in lines)

    def agent(self, parameters: str = "", limits: Limits = USUAL) -> OcfAgent:
        resource = FileSystem("data", "/dev/sdb1", "/data", f"ocf:lab:box {parameters}")
        found = agent_for(resource, self.server, limits=limits, node="cmnode1")
        assert isinstance(found, OcfAgent)
        return found


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    monkeypatch.setenv("OCF_ROOT", str(tmp_path))
    return Box(tmp_path)


def test_an_agent_is_given_what_the_standard_says_and_nothing_of_ours(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns and parameters, those written out first; its own limits; nothing on the command line."""
    monkeypatch.setenv("DRCM_SECRET", "x")
    asyncio.run(box.agent("directory=/else password='a b' OCF_CHECK_LEVEL=10").start())
    found = box.environ()
    wanted = {
        "OCF_ROOT": str(box.folder),
        "OCF_RESOURCE_INSTANCE": "data",
        "OCF_RESOURCE_TYPE": "box",
        "OCF_RESOURCE_PROVIDER": "lab",
        "OCF_RA_VERSION_MAJOR": "1",
        "OCF_CHECK_LEVEL": "10",
        "OCF_RESKEY_device": "/dev/sdb1",
        "OCF_RESKEY_directory": "/else",
        "OCF_RESKEY_password": "a b",
        "OCF_RESKEY_CRM_meta_timeout": "5000",
        "OCF_RESKEY_CRM_meta_on_node": "cmnode1",
    }
    assert {name: found.get(name) for name in wanted} == wanted
    assert "DRCM_SECRET" not in found
    assert "OCF_RESKEY_OCF_CHECK_LEVEL" not in found
    assert (box.folder / "arguments").read_text() == "start\n"


def test_limits_are_those_of_cm_cfg_then_of_the_meta_data_then_the_usual(box: Box) -> None:
    """In milliseconds; a look whether it runs at all says so by an interval of 0."""

    async def story() -> None:
        await box.agent().running()
        await box.agent().watch()
        await box.agent().stop()
        await box.agent(limits=Limits(stop=3.0)).stop()
        (box.folder / "meta").write_text("no meta-data")
        await box.agent().stop()

    asyncio.run(story())
    assert box.calls()[:4] == ["monitor 9000 0", "monitor 9000 10000", "stop 7000", "stop 3000"]


def test_a_start_that_hangs_is_ended_at_its_own_limit(box: Box) -> None:
    """Which its meta-data gives."""
    box.meta(start="300ms")
    (box.folder / "slow").touch()
    began = time.monotonic()
    with pytest.raises(AgentError, match=r"box start: not done after 0\.3 s"):
        asyncio.run(box.agent().start())
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("code", "runs"),
    [(0, True), (1, True), (7, False), (5, False), (8, True), (9, True), (190, True), (191, True)],
)
def test_whether_it_runs(box: Box, code: int, runs: bool) -> None:
    """What failed may still run in part, and must be stopped before it starts elsewhere."""
    box.exits("monitor", code)
    assert asyncio.run(box.agent().running()) is runs


@pytest.mark.parametrize(
    ("code", "said", "futile"),
    [
        (1, r"failed \(exit code 1\): no output", False),
        (2, r"wrong parameters for this node", True),
        (3, r"can't do that", True),
        (4, r"has not the right to", True),
        (5, r"not installed here", True),
        (6, r"wrong parameters on every node", True),
        (7, r"does not run", False),
        (42, r"exit code 42", False),
    ],
)
def test_a_bad_monitor_is_told_in_words(box: Box, code: int, said: str, futile: bool) -> None:
    """And whether trying again is any use."""
    box.exits("monitor", code)
    with pytest.raises(AgentError, match=said) as caught:
        asyncio.run(box.agent().watch())
    assert caught.value.futile is futile
    assert ("Trying again is no use" in caught.value.cure) == futile


def test_the_reason_that_an_agent_gives_is_told(box: Box) -> None:
    """Its last words would often be about something else."""
    (box.folder / "says").write_text("ocf-exit-reason:no licence\nINFO: goodbye\n")
    box.exits("start", 1)
    with pytest.raises(AgentError, match=r"failed .*: no licence\n"):
        asyncio.run(box.agent().start())
    (log,) = (box.folder / "log/resources").iterdir()
    assert "INFO: goodbye" in log.read_text()


def test_a_degraded_resource_works_and_is_told(box: Box) -> None:
    """190 is no failure."""
    box.exits("monitor", 190)
    assert "degraded" in asyncio.run(box.agent().watch())
    box.exits("monitor", 0)
    assert asyncio.run(box.agent().watch()) == ""


def test_the_keeper_can_stop_it_with_its_parameters(
    box: Box, tmp_path: Path, until: Callable[..., None]
) -> None:
    """By what held.json tells; its report keeps them to itself."""
    told = json.loads(json.dumps(box.agent("password=secret").releases()))
    report = tmp_path / "keeper.json"
    releasing = Releasing(report)
    releasing.begin(told)
    until(lambda: (releasing.attend(), not releasing.busy)[1])
    assert box.environ()["OCF_RESKEY_password"] == "secret"
    assert (box.folder / "arguments").read_text() == "stop\n"
    assert "secret" not in report.read_text()
    assert clock.now() >= json.loads(report.read_text())[0]["at"]


def test_an_agent_that_is_not_here_is_named(box: Box) -> None:
    """With the package that has most of them."""
    agent = OcfAgent(Service("s", "s", ""), Ocf("lab", "box2"), box.server)
    with pytest.raises(AgentError, match="ocf:lab:box2: no such agent here") as caught:
        asyncio.run(agent.start())
    assert "resource-agents" in caught.value.cure


def test_debians_dummy_lives_its_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent that the standard's own examples use: a stop of a stopped one is success."""
    monkeypatch.delenv("OCF_ROOT", raising=False)
    spec = f"ocf:heartbeat:Dummy state={tmp_path}/state"
    agent = agent_for(Service("dummy", "dummy", spec), Server(log_dir=str(tmp_path)))

    async def story() -> list[bool]:
        await agent.stop()
        before = await agent.running()
        await agent.start()
        await agent.start()
        await agent.watch()
        during = await agent.running()
        await agent.stop()
        return [before, during, await agent.running()]

    assert asyncio.run(story()) == [False, True, False]


def test_debians_symlink_says_that_it_will_never_start_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real agent's exit code 6: a parameter is missing."""
    monkeypatch.delenv("OCF_ROOT", raising=False)
    service = Service("link", "link", "ocf:heartbeat:symlink target=/etc/hosts")
    with pytest.raises(AgentError, match="Mandatory parameter link is unset") as caught:
        asyncio.run(agent_for(service, Server(log_dir=str(tmp_path))).start())
    assert caught.value.futile
