"""Custom and shipped scripts: the arguments of 1.41, deadlines, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from drcm.cluster.agents import netlink, process
from drcm.cluster.agents.address import AddressAgent
from drcm.cluster.agents.application import ApplicationAgent
from drcm.cluster.agents.crontab import CrontabAgent
from drcm.cluster.agents.registry import agent_for
from drcm.cluster.agents.script import (
    BroughtAddressAgent,
    ScriptCrontabAgent,
    ServiceAgent,
    mounted,
    warnings,
)
from drcm.config.model import Address, Application, Crontab, FileSystem, Server, Service
from drcm.errors import AgentError

RESOURCES = Path(__file__).parents[3] / "etc/resources"
SHIPPED = sorted(RESOURCES.glob("*.sh"))


@pytest.fixture
def server(tmp_path):
    return Server(run_dir=str(tmp_path / "run"), log_dir=str(tmp_path / "log"))


@pytest.fixture
def script(tmp_path):
    """A custom script that notes its arguments; `status` succeeds after a `start`."""
    path = tmp_path / "custom.sh"
    path.write_text(
        "#!/bin/sh\n"
        f'echo "$*" >>{tmp_path}/calls\n'
        f"case $* in *start) touch {tmp_path}/on ;; *stop) rm -f {tmp_path}/on ;;"
        f" *status) test -e {tmp_path}/on ;; esac\n"
    )
    path.chmod(0o755)
    return path


def _calls(tmp_path):
    return (tmp_path / "calls").read_text().splitlines()


def _alive(pid):
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_service_script_gets_the_documented_arguments(server, script, tmp_path):
    agent = agent_for(Service("web", "apache2", str(script)), server)

    async def story():
        assert not await agent.running()
        await agent.start()
        assert await agent.running()
        await agent.watch()
        await agent.stop()

    asyncio.run(story())
    assert _calls(tmp_path) == [f"apache2 {a}" for a in ("status", "start", "status", "watch", "stop")]


def test_a_file_system_script_gets_source_and_target_and_only_when_there_is_work(server, script, tmp_path):
    agent = agent_for(FileSystem("data", "nas:/data", "/nowhere", str(script)), server)

    async def story():
        assert not await agent.running()
        await agent.stop()
        await agent.start()
        await agent.watch()

    asyncio.run(story())
    assert _calls(tmp_path) == ["nas:/data /nowhere mount", "nas:/data /nowhere watch"]


def test_a_custom_crontab_script_gets_template_and_folder(server, script, tmp_path):
    agent = agent_for(Crontab("user", "/t/user_crons", str(tmp_path), str(script)), server)
    asyncio.run(agent.start())
    asyncio.run(agent.watch())
    asyncio.run(agent.stop())
    assert _calls(tmp_path) == [f"/t/user_crons {tmp_path} {a}" for a in ("start", "start", "stop")]


def test_a_custom_address_script_brings_it_and_drcm_gives_it_a_lifetime(lan, server, tmp_path):
    path = tmp_path / "mine.sh"
    path.write_text(
        f'#!/bin/sh\necho "$*" >>{tmp_path}/calls\n'
        "case $4 in start) ip addr add $1/32 dev $3 ;; stop) ip addr del $1/32 dev $3 ;; esac\n"
    )
    path.chmod(0o755)
    address = Address("web", "10.9.0.50", 24, ("nothere", "va"), str(path), "255.255.255.0")
    agent = agent_for(address, server)
    assert isinstance(agent, BroughtAddressAgent)

    async def story():
        await agent.start()
        (found,) = [a for a in netlink.addresses() if a.ip == "10.9.0.50"]
        assert (found.prefix, found.valid_seconds) in {(32, 59), (32, 60)}
        await agent.stop()
        assert not await agent.running()

    asyncio.run(story())
    assert _calls(tmp_path) == [f"10.9.0.50 255.255.255.0 va {a}" for a in ("start", "stop")]
    assert [release["do"] for release in agent.releases()] == ["delete-address", "run"]


def test_every_agent_tells_the_keeper_how_to_release_it_in_json(server):
    resources = [
        Address("a", "10.9.0.50", 24, ("va",), ""),
        Address("b", "10.9.0.51", 24, ("va",), "/own.sh", "255.255.255.0"),
        Crontab("c", "/t/user_crons", "/etc/cron.d", ""),
        Crontab("d", "/t/user_crons", "/etc/cron.d", "/own.sh"),
        Service("e", "apache2", "/own.sh"),
        FileSystem("f", "nas:/data", "/data", "/own.sh"),
        Application("g", "nobody", "nogroup", "true", "true"),
    ]
    told = json.loads(json.dumps([agent_for(resource, server).releases() for resource in resources]))
    assert [[(release["phase"], release["do"]) for release in releases] for releases in told] == [
        [("address", "delete-address")],
        [("address", "delete-address"), ("address", "run")],
        [("rest", "remove-crontab")],
        [("rest", "run")],
        [("rest", "run")],
        [("rest", "run")],
        [("rest", "run")],
    ]
    assert told[4][0]["argv"] == ["/own.sh", "apache2", "stop"]
    assert told[4][0]["timeout"] == pytest.approx(60 - 42 - 2)  # T_dead - T_lease - 2 intervals


def test_a_failed_script_is_an_error_with_its_last_words_and_its_log(server, tmp_path):
    path = tmp_path / "fails.sh"
    path.write_text("#!/bin/sh\necho starting; echo no such database >&2; exit 3\n")
    path.chmod(0o755)
    agent = agent_for(Service("db", "postgresql", str(path)), server)
    with pytest.raises(AgentError, match=r"exit code 3: .*no such database") as caught:
        asyncio.run(agent.start())
    assert "service-db.log" in caught.value.cure
    assert "no such database" in Path(server.log_dir, "resources/service-db.log").read_text()


@pytest.mark.parametrize("path", ["", "/etc", "/nowhere/x.sh"])
def test_a_script_that_can_not_be_run_is_named(server, path):
    with pytest.raises(AgentError, match=r"not a program|can't be run"):
        asyncio.run(agent_for(Service("web", "apache2", path), server).start())


def test_shipped_addresses_and_crontabs_are_served_in_process_unless_somebody_made_them_his_own(
    server, tmp_path
):
    def agent(name):
        return agent_for(Address("w", "10.0.0.1", 24, ("va",), str(name)), server)

    assert type(agent(RESOURCES / "ipv4addr.sh")) is AddressAgent
    assert type(agent(RESOURCES / "ipv4addr_multi.sh")) is AddressAgent
    assert type(agent("/nowhere/ipv4addr.sh")) is AddressAgent
    assert type(agent("")) is AddressAgent
    assert type(agent(RESOURCES / "ipv4addr_nmcli.sh")) is BroughtAddressAgent
    own = tmp_path / "ipv4addr.sh"
    own.write_text("#!/bin/sh\n")
    assert type(agent(own)) is BroughtAddressAgent
    shipped = Crontab("c", "/t/x", "/etc/cron.d", str(RESOURCES / "crontab.sh"))
    assert type(agent_for(shipped, server)) is CrontabAgent
    assert type(agent_for(Crontab("c", "/t/x", "/etc/cron.d", str(own)), server)) is ScriptCrontabAgent
    assert type(agent_for(Service("s", "x", "y"), server)) is ServiceAgent
    assert type(agent_for(Application("a", "root", "root", "true", "true"), server)) is ApplicationAgent


def test_a_late_program_and_all_its_children_are_ended(tmp_path, until):
    pids = tmp_path / "pids"
    text = f"trap '' TERM; sleep 100 & echo $! $$ >{pids}; wait; wait; sleep 100"
    began = time.monotonic()
    with pytest.raises(AgentError, match=r"not done after 0\.3 s"):
        asyncio.run(process.run(["sh", "-c", text], 0.3, term_seconds=0.2))
    assert time.monotonic() - began < 30  # the program takes 100
    until(lambda: not any(_alive(pid) for pid in pids.read_text().split()))


def test_a_cancelled_run_leaves_no_process(tmp_path, until):
    pid = tmp_path / "pid"

    async def story():
        task = asyncio.create_task(process.run(["sh", "-c", f"echo $$ >{pid}; exec sleep 100"], 60.0))
        while not (pid.exists() and pid.read_text()):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())
    assert not _alive(pid.read_text().strip())


def test_a_background_child_that_keeps_the_output_neither_delays_nor_dies(tmp_path, until):
    log, pid = tmp_path / "log", tmp_path / "pid"
    text = f"(while :; do echo alive; sleep 0.05; done) & echo $! >{pid}; echo started"
    began = time.monotonic()
    ended = asyncio.run(process.run(["sh", "-c", text], 60.0, log=log))
    assert time.monotonic() - began < 30
    assert ended.code == 0
    size = log.stat().st_size
    until(lambda: log.stat().st_size > size)
    os.kill(int(pid.read_text()), 9)


def test_output_is_bounded_and_the_last_of_it_is_kept(tmp_path):
    text = "yes 0123456789 | head -c 3000000; echo; echo the end"
    ended = asyncio.run(process.run(["sh", "-c", text], 10.0, log=tmp_path / "log"))
    assert len(ended.output) == process.OUTPUT_LIMIT
    assert ended.output.endswith("the end\n")
    asyncio.run(process.run(["true"], 10.0, log=tmp_path / "log"))
    assert (tmp_path / "log").stat().st_size == 0
    assert (tmp_path / "log.1").stat().st_size > 3_000_000


def test_a_log_that_can_not_be_written_stops_no_start():
    assert asyncio.run(process.run(["true"], 10.0, log=Path("/proc/none/log"))).code == 0


def test_the_main_loop_goes_on_while_a_script_runs():
    async def story():
        worst, last = 0.0, time.monotonic()
        running = asyncio.create_task(process.run(["sleep", "0.3"], 5.0))
        while not running.done():
            await asyncio.sleep(0.005)
            worst, last = max(worst, time.monotonic() - last), time.monotonic()
        return worst

    assert asyncio.run(story()) < 0.1


def test_what_is_mounted_is_read_from_the_kernel(tmp_path):
    target = tmp_path / "a b"
    target.mkdir()
    assert not mounted(str(target))
    subprocess.run(["mount", "-t", "tmpfs", "none", str(target)], check=True)
    try:
        assert mounted(str(target))
        assert mounted(f"{target}/")
    finally:
        subprocess.run(["umount", str(target)], check=True)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_script_parses_is_executable_and_explains_itself(path):
    subprocess.run(["bash", "-n", path], check=True)
    assert os.access(path, os.X_OK)
    assert "\nset -u\n" in path.read_text()
    done = subprocess.run([path], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"usage: {path.name} ")


def test_the_scripts_that_1_41_documented_are_all_there():
    address = ["ipv4addr", "ipv4addr_copy_config", "ipv4addr_copy_nmcli", "ipv4addr_multi", "ipv4addr_nmcli"]
    assert [path.stem for path in SHIPPED] == ["cifs", "crontab", "filesystem", *address, "nfs", "service"]


@pytest.mark.parametrize("name", ["ipv4addr.sh", "ipv4addr_multi.sh"])
def test_the_address_script_by_hand_adds_announces_and_deletes(lan, until, name):
    lan.there("ip neigh replace 10.9.0.50 lladdr 02:00:00:00:00:99 dev vb nud stale")
    environ = {**os.environ, "PATH": f"{Path(os.sys.executable).parent}:{os.environ['PATH']}"}
    base = [RESOURCES / name, "10.9.0.50", "255.255.255.0", "'eno9|va'"]
    for _ in range(2):
        subprocess.run([*base, "start"], check=True, env=environ)
        assert lan.addresses().count("10.9.0.50/24 brd 10.9.0.255") == 1
    until(lambda: lan.mac("va") in lan.there("ip neigh show 10.9.0.50"))
    for _ in range(2):
        subprocess.run([*base, "stop"], check=True, env=environ)
        assert "10.9.0.50" not in lan.addresses()


def test_the_address_script_names_a_missing_interface():
    done = subprocess.run(
        [RESOURCES / "ipv4addr.sh", "10.9.0.50", "24", "eno9", "start"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no interface eno9" in done.stderr


def _stand_in(tmp_path, name, text):
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{text}\n")
    (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def test_the_service_script_starts_watches_and_stops(tmp_path):
    """The service manager is a stand-in: there is none in the test machine."""
    on = tmp_path / "on"
    text = (
        f'args="$*"; case $args in *start*) touch {on} ;; *stop*) rm -f {on} ;;'
        f" *status*|*is-active*) test -e {on} ;; esac"
    )
    _stand_in(tmp_path, "systemctl", text)
    environ = _stand_in(tmp_path, "service", text)

    def act(action):
        return subprocess.run([RESOURCES / "service.sh", "web", action], env=environ, check=False).returncode

    assert act("status") != 0
    assert act("start") == 0
    assert act("status") == 0
    on.unlink()
    assert act("watch") == 0
    assert on.exists()
    assert act("stop") == 0
    assert act("status") != 0


def test_the_nfs_script_mounts_once_and_unmounts_what_is_in_use(tmp_path):
    """`mount -t nfs` is a stand-in that mounts a tmpfs: there is no NFS in the test machine."""
    environ = _stand_in(tmp_path, "mount", 'exec /bin/mount -t tmpfs none "${@: -1}"')
    environ["DRCM_RUN_DIR"] = str(tmp_path / "run")
    target = tmp_path / "the data"

    def act(action):
        argv = [RESOURCES / "nfs.sh", "nas:/data", f"{target}/", action]
        return subprocess.run(argv, env=environ, check=False, capture_output=True).returncode

    try:
        assert act("mount") == 0
        assert act("mount") == 0
        assert _mounts(target) == 1
        assert act("watch") == 0
        with subprocess.Popen(["sh", "-c", "exec sleep 100"], cwd=target) as user:
            assert act("unmount") == 0
            assert user.wait(60) == -15
        assert _mounts(target) == 0
        assert "Nothing is mounted" in (target / "THIS_FILE_SYSTEM_IS_NOT_MOUNTED").read_text()
        assert act("unmount") == 0
        assert act("watch") == 0
        assert act("remount") == 0
        assert _mounts(target) == 1
    finally:
        while _mounts(target):
            subprocess.run(["umount", str(target)], check=True)


def test_a_missing_script_of_1_41_is_found_where_drcm_brought_it(server):
    agent = agent_for(Service("web", "apache2", "/usr/local/drcm/service.sh"), server)
    assert agent.releases()[0]["argv"] == [agent.script.path, "apache2", "stop"]
    assert Path(agent.script.path).read_text() == (RESOURCES / "service.sh").read_text()


@pytest.fixture
def act_on(tmp_path):
    """Runs filesystem.sh on a source and a target; the target is unmounted at the end."""
    target = tmp_path / "target"
    environ = {**os.environ, "DRCM_RUN_DIR": str(tmp_path / "run"), "DRCM_PROBE_SECONDS": "30"}

    def act(source, action):
        argv = [RESOURCES / "filesystem.sh", source, target, action]
        return subprocess.run(argv, env=environ, check=False, capture_output=True, text=True)

    yield act
    while _mounts(target):
        subprocess.run(["umount", "-l", str(target)], check=True)


def test_a_directory_is_bound_and_an_image_is_mounted_by_its_loop_device(act_on, tmp_path):
    """What stands for a local disk here is an ext4 in a file: a real block device of the kernel."""
    target = tmp_path / "target"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").touch()
    assert act_on(tmp_path / "folder", "mount").returncode == 0
    assert (target / "a").exists()
    assert act_on(tmp_path / "folder", "unmount").returncode == 0
    image = tmp_path / "image"
    image.write_bytes(b"")
    os.truncate(image, 8 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    assert act_on(image, "mount").returncode == 0
    assert act_on(image, "status").returncode == 0
    assert (target / "lost+found").is_dir()
    assert act_on(image, "watch").stdout == ""
    with suppress(OSError):
        (target / "big").write_bytes(bytes(16 << 20))
    watched = act_on(image, "watch")
    assert watched.returncode == 0
    assert warnings(watched.stdout) == f"{target} is full: 100 % used"


def test_a_file_system_that_becomes_read_only_fails_its_watch_and_a_remount_mends_it(act_on, tmp_path):
    (tmp_path / "folder").mkdir()
    assert act_on(tmp_path / "folder", "mount").returncode == 0
    subprocess.run(["mount", "-o", "remount,ro,bind", tmp_path / "target"], check=True)
    watched = act_on(tmp_path / "folder", "watch")
    assert watched.returncode == 1
    assert "has become read-only" in watched.stderr
    assert act_on(tmp_path / "folder", "remount").returncode == 0
    assert act_on(tmp_path / "folder", "watch").returncode == 0


def test_a_local_disk_that_the_kernel_still_uses_is_not_torn_away(act_on, tmp_path):
    """A mount inside a mount: detaching it would leave a second writer behind."""
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    assert act_on(tmp_path / "folder", "mount").returncode == 0
    inner = tmp_path / "target" / "inner"
    subprocess.run(["mount", "-t", "tmpfs", "none", inner], check=True)
    try:
        done = act_on(tmp_path / "folder", "unmount")
        assert done.returncode == 1
        assert "still in use" in done.stderr
    finally:
        subprocess.run(["umount", inner], check=True)
    assert act_on(tmp_path / "folder", "unmount").returncode == 0


def test_a_source_that_is_nothing_is_named(act_on):
    done = act_on("/nowhere", "mount")
    assert done.returncode == 1
    assert "/nowhere: no device, directory or image here" in done.stderr


def _mounts(target):
    escaped = str(target).replace(" ", "\\040")
    return sum(
        line.split(" ")[4] == escaped for line in Path("/proc/self/mountinfo").read_text().splitlines()
    )
