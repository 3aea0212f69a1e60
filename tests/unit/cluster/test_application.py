"""Applications: a login shell of the user's own, and nothing that outlives a stop."""

from __future__ import annotations

import asyncio
import pwd
from pathlib import Path

import pytest

from drcm.cluster.agents.application import ApplicationAgent, cgroup_root, populated
from drcm.config.model import Application, Server
from drcm.errors import AgentError


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:3]:
        parent.chmod(0o755)
    return tmp_path


@pytest.fixture
def server(folder):
    rc = folder / "rc"
    rc.write_text("export FROM_RC=sourced\n")
    rc.chmod(0o644)
    yield Server(run_dir=str(folder / "run"), log_dir=str(folder / "log"), bash_rc_file=str(rc))
    name = str(folder / "run").strip("/").replace("/", "_")[-100:]
    for cgroup in (cgroup_root() or folder).glob(f"drcm/{name}/*/"):
        cgroup.rmdir()
    for cgroup in (cgroup_root() or folder).glob(f"drcm/{name}/"):
        cgroup.rmdir()


def _agent(server, start, stop="true", ensure="", user="nobody", nickname="app"):
    return ApplicationAgent(Application(nickname, user, "nogroup", start, stop, ensure), server)


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_an_application_runs_as_its_user_and_group_with_the_environment_sourced(server, folder):
    text = f'echo "$(id -un) $(id -gn) $HOME $USER $FROM_RC" >{folder}/who; echo second >{folder}/second'
    asyncio.run(_agent(server, text).start())
    assert (folder / "who").read_text().split() == [
        "nobody", "nogroup", pwd.getpwnam("nobody").pw_dir, "nobody", "sourced",
    ]  # fmt: skip
    assert (folder / "second").exists()


def test_it_runs_from_start_to_stop_even_for_a_restarted_daemon(server, folder):
    count = f"echo x >>{folder}/started"

    async def story():
        assert not await _agent(server, count).running()
        await _agent(server, count).start()
        assert await _agent(server, count).running()
        await _agent(server, count).start()  # adopted, not started twice
        await _agent(server, count, stop=f"touch {folder}/stopped").stop()
        assert not await _agent(server, count).running()
        await _agent(server, count, stop="false").stop()  # nothing to do

    asyncio.run(story())
    assert (folder / "started").read_text() == "x\n"
    assert (folder / "stopped").exists()


def test_the_ensure_script_watches_and_its_failure_is_told(server, folder):
    async def story():
        agent = _agent(server, "true", ensure=f"echo x >>{folder}/ensured; test ! -e {folder}/broken")
        await agent.watch()  # not started here: nothing to ensure
        assert not (folder / "ensured").exists()
        await agent.start()
        await agent.watch()
        (folder / "broken").touch()
        with pytest.raises(AgentError, match="exit code 1"):
            await agent.watch()

    asyncio.run(story())
    assert (folder / "ensured").read_text() == "x\nx\n"


def test_a_failed_start_is_told_and_can_be_stopped(server):
    async def story():
        agent = _agent(server, "echo no licence >&2; exit 4")
        with pytest.raises(AgentError, match=r"application app: start: exit code 4: .*no licence"):
            await agent.start()
        assert await agent.running()
        await agent.stop()
        assert not await agent.running()

    asyncio.run(story())


def test_stopping_ends_also_what_fled_into_a_session_of_its_own(server, folder):
    if cgroup_root() is None:
        pytest.skip("no cgroup v2 here")
    pid = folder / "pid"

    async def story():
        agent = _agent(server, f"setsid sh -c 'echo $$ >{pid}; exec sleep 300' & sleep 0.2", stop="false")
        await agent.start()
        cgroup = Path(agent.releases()[0]["cgroup"])
        assert populated(cgroup)
        assert _lives(pid.read_text().strip())
        await agent.stop()
        assert not cgroup.exists()

    asyncio.run(story())
    assert not _lives(pid.read_text().strip())


def test_the_cgroup_mount_is_found_wherever_it_is():
    mounts = ["proc /proc proc rw 0 0", "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0"]
    assert cgroup_root(mounts) == Path("/sys/fs/cgroup/unified")
    assert cgroup_root(mounts[:1]) is None
