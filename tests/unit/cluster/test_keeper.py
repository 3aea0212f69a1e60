"""The keeper against a real daemon-like process that is stopped, killed, or well."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from drcm import clock
from drcm.cluster import keeper as module
from drcm.cluster import watchdog
from drcm.cluster.agents import netlink
from drcm.cluster.agents.application import cgroup_root
from drcm.cluster.agents.crontab import MARK
from drcm.cluster.keeper import Keeper, ensure_keeper
from drcm.cluster.lease_file import LeaseFile

# Renews a lease of argv[2] seconds twenty times a second, as the daemon does.
DAEMON = """
import pathlib, sys, time
from drcm import clock
from drcm.cluster.lease_file import LeaseFile
file = LeaseFile(pathlib.Path(sys.argv[1]) / "lease")
while True:
    file.write(clock.now() + float(sys.argv[2]), clock.now() + float(sys.argv[2]) + 0.2)
    print(flush=True)
    time.sleep(0.05)
"""
ADDRESS = {"phase": "address", "do": "delete-address", "ip": "10.9.0.50", "devices": ["nothere", "va"]}


@pytest.fixture
def run_dir(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    return path


@pytest.fixture
def keeper(run_dir, lan):
    ensure_keeper(run_dir)
    pid = _keeper_pid(run_dir)
    yield pid
    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def daemon(run_dir, lan):
    """Holds 10.9.0.50 with a lease of 0.5 s, renewed."""
    netlink.put_address("10.9.0.50", 24, socket.if_nametoindex("va"), 60)
    LeaseFile(run_dir / "lease").write_held([ADDRESS])
    process = _daemon(run_dir)
    yield process
    _end(process)


def _daemon(run_dir, seconds=0.5):
    argv = [sys.executable, "-c", DAEMON, run_dir, str(seconds)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


def _end(process):
    process.kill()
    process.wait()
    process.stdout.close()


def _keeper_pid(run_dir):
    """The one keeper that is left, and has its lock: two may start at once, and one of them goes."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        pids = _keeper_pids(run_dir)
        if len(pids) == 1 and _has_open(pids[0], run_dir / "keeper.lock"):
            return pids[0]
    raise AssertionError("no keeper runs")


def _keeper_pids(run_dir):
    wanted = ["-m", "drcm.cluster.keeper", str(run_dir), ""]
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _words(pid)[1:] == wanted]


def _words(pid):
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    return []


def _has_open(pid, path):
    with suppress(OSError):
        return any(os.readlink(fd) == str(path) for fd in Path(f"/proc/{pid}/fd").iterdir())
    return False


def _did(run_dir):
    path = run_dir / "keeper.json"
    return [entry["outcome"] for entry in json.loads(path.read_text())] if path.exists() else []


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_daemon_that_hangs_or_dies_loses_its_address_when_its_lease_ends(
    lan, until, run_dir, keeper, daemon, number
):
    assert "10.9.0.50" in lan.addresses()
    began = clock.now()
    daemon.send_signal(number)
    until(lambda: "10.9.0.50" not in lan.addresses())
    assert 0.4 < clock.now() - began < 10  # of a busy machine
    until(lambda: _did(run_dir) == ["deleted"])


def test_a_renewed_lease_releases_nothing(lan, run_dir, keeper, daemon):
    for _ in range(30):  # 1.5 s, three leases long
        daemon.stdout.readline()
        assert "10.9.0.50" in lan.addresses()
    assert _did(run_dir) == []


def test_a_daemon_that_comes_back_is_kept_and_watched_again(lan, until, run_dir, keeper, daemon):
    daemon.kill()
    until(lambda: _did(run_dir) == ["deleted"])
    netlink.put_address("10.9.0.50", 24, socket.if_nametoindex("va"), 60)
    again = _daemon(run_dir)
    for _ in range(20):
        again.stdout.readline()
        assert "10.9.0.50" in lan.addresses()
    _end(again)
    until(lambda: "10.9.0.50" not in lan.addresses())


def test_a_daemon_that_left_cleanly_has_nothing_released(lan, run_dir, keeper, daemon, until):
    daemon.send_signal(signal.SIGSTOP)
    LeaseFile(run_dir / "lease").write(0.0, 0.0)
    end = clock.now() + 0.8
    until(lambda: clock.now() > end)
    assert "10.9.0.50" in lan.addresses()


def test_only_one_keeper_runs_and_it_is_nobodys_child(run_dir, keeper):
    ensure_keeper(run_dir)
    ensure_keeper(run_dir)
    done = subprocess.run([sys.executable, "-m", "drcm.cluster.keeper", run_dir], timeout=60, check=False)
    assert done.returncode == 0
    assert _keeper_pid(run_dir) == keeper
    assert os.getsid(keeper) == keeper
    assert os.sched_getscheduler(keeper) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR


def test_the_rest_is_released_in_its_own_phase_and_late_ones_are_killed(run_dir, lan, tmp_path, until):
    crontab, foreign = tmp_path / "user_crons", tmp_path / "theirs"
    crontab.write_text(f"{MARK}/t\n")
    foreign.write_text("0 0 * * * root x\n")
    pid = tmp_path / "pid"
    stubborn = f"trap '' TERM; echo $$ >{pid}; sleep 100 & wait; sleep 100"
    file = LeaseFile(run_dir / "lease")
    kill = ["touch", str(tmp_path / "killed")]
    file.write_held([
        ADDRESS,
        {"phase": "rest", "do": "remove-crontab", "path": str(crontab), "mark": MARK},
        {"phase": "rest", "do": "remove-crontab", "path": str(foreign), "mark": MARK},
        {"phase": "rest", "do": "run", "argv": ["touch", str(tmp_path / "stopped")], "timeout": 5},
        {"phase": "rest", "do": "run", "argv": ["sh", "-c", stubborn], "timeout": 0.4, "kill": kill},
        {"phase": "rest", "do": "run", "argv": ["/nowhere"], "timeout": 1},
        {"phase": "rest", "do": "something new"},
    ])  # fmt: skip
    file.write(clock.now() - 1, clock.now() + 0.2)
    keeper = Keeper(run_dir)
    keeper.tick()
    assert crontab.exists()
    until(lambda: keeper.tick() >= 0 and (tmp_path / "killed").exists())
    until(lambda: keeper.tick() >= 0 and (tmp_path / "stopped").exists() and len(_did(run_dir)) == 9)
    assert not crontab.exists()
    assert foreign.exists()
    outcomes = _did(run_dir)
    assert outcomes[:3] == ["was not there", "removed", "left: not ours"]
    assert sum("FAILED" in outcome for outcome in outcomes) == 2
    assert "exit code 0" in outcomes
    assert "KILLED, too late" in outcomes
    until(lambda: keeper.tick() >= 0 and not Path(f"/proc/{pid.read_text().strip()}").exists())


def test_each_deadline_is_dealt_with_once(run_dir, lan, tmp_path, until):
    file = LeaseFile(run_dir / "lease")
    argv = ["sh", "-c", f"echo x >>{tmp_path}/ran"]
    file.write_held([{"phase": "rest", "do": "run", "argv": argv, "timeout": 5}])
    file.write(0.0, clock.now() - 0.1)
    keeper = Keeper(run_dir)
    for _ in range(5):
        keeper.tick()
    until(lambda: keeper.tick() >= 0 and "exit code 0" in _did(run_dir))
    assert (tmp_path / "ran").read_text() == "x\n"
    file.write(0.0, clock.now() - 0.05)
    until(lambda: keeper.tick() >= 0 and (tmp_path / "ran").read_text() == "x\nx\n")
    until(lambda: keeper.tick() >= 0 and _did(run_dir).count("exit code 0") == 2)


def test_a_busy_file_system_is_unmounted_once_its_users_have_ended(run_dir, tmp_path, until):
    """All are released in the same moment: what fails is tried again, and succeeds later."""
    blocker, done = tmp_path / "blocker", tmp_path / "done"
    blocker.touch()
    unmount = ["sh", "-c", f"test ! -e {blocker} && touch {done}"]
    LeaseFile(run_dir / "lease").write_held([
        {"phase": "rest", "do": "run", "argv": unmount, "timeout": 5, "again": 60.0},
    ])  # fmt: skip
    LeaseFile(run_dir / "lease").write(0.0, clock.now() - 0.1)
    keeper = Keeper(run_dir)
    until(lambda: keeper.tick() >= 0 and _did(run_dir).count("exit code 1") >= 2)
    blocker.unlink()
    until(lambda: keeper.tick() >= 0 and done.exists() and "exit code 0" in _did(run_dir))
    assert "NOT RELEASED" not in _did(run_dir)


def test_all_processes_of_a_cgroup_end_though_its_stop_fails(run_dir, tmp_path, until):
    """What left its process group is found by its cgroup; a stop that fails in an empty one is none."""
    root = cgroup_root()
    assert root is not None
    cgroup = root / f"drcm-test-{os.getpid()}"
    cgroup.mkdir()
    runaway = ["setsid", "sh", "-c", f"echo 0 > {cgroup}/cgroup.procs; echo in; exec sleep 300"]
    process = subprocess.Popen(runaway, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"in\n"
    release = {"phase": "rest", "do": "run", "argv": ["false"], "timeout": 5, "cgroup": str(cgroup)}
    LeaseFile(run_dir / "lease").write_held([release])
    LeaseFile(run_dir / "lease").write(0.0, clock.now() - 0.1)
    keeper = Keeper(run_dir)
    until(lambda: keeper.tick() >= 0 and process.poll() is not None)
    process.stdout.close()
    until(lambda: keeper.tick() >= 0 and "exit code 1" in _did(run_dir))
    assert "NOT RELEASED" not in _did(run_dir)
    cgroup.rmdir()


def test_the_watchdog_is_fed_until_something_cannot_be_released(run_dir, tmp_path, until):
    """A file stands in for /dev/watchdog: food, and no more of it once a release has failed for good."""
    device = tmp_path / "watchdog"
    device.touch()
    watchdog.configure(run_dir, str(device))
    LeaseFile(run_dir / "lease").write_held([{"phase": "rest", "do": "run", "argv": ["false"], "timeout": 5}])
    LeaseFile(run_dir / "lease").write(0.0, clock.now() + 1.2)
    keeper = Keeper(run_dir)
    until(lambda: keeper.tick() >= 0 and device.read_bytes().startswith(b"\0\0"))
    until(lambda: keeper.tick() >= 0 and "NOT RELEASED" in _did(run_dir))
    fed, end = device.read_bytes(), clock.now() + 2 * watchdog.FEED_SECONDS
    until(lambda: keeper.tick() >= 0 and clock.now() > end)
    keeper.close()
    assert device.read_bytes() == fed
    assert b"V" not in fed


def test_a_watchdog_that_is_no_longer_wanted_is_disarmed(run_dir, tmp_path, until, monkeypatch):
    """Taken out of cm.cfg, or nothing is held any more: the magic V, or the machine would be reset."""
    monkeypatch.setattr(watchdog, "LOOK_SECONDS", 0.0)
    device = tmp_path / "watchdog"
    device.touch()
    watchdog.configure(run_dir, str(device))
    keeper = Keeper(run_dir)
    keeper.tick()
    watchdog.configure(run_dir, "")
    keeper.tick()
    assert device.read_bytes() == b"\0V"
    watchdog.configure(run_dir, str(device))
    keeper.tick()
    keeper.close()
    assert device.read_bytes().endswith(b"V")


def test_it_sleeps_exactly_to_the_next_deadline(run_dir, monkeypatch):
    file = LeaseFile(run_dir / "lease")
    keeper = Keeper(run_dir)
    assert keeper.tick() == module.LONGEST_SLEEP
    monkeypatch.setattr(module.clock, "now", lambda: 1000.0)
    file.write(1000.03, 1050.0)
    assert keeper.tick() == pytest.approx(0.03)


def test_it_ends_when_nothing_is_held_and_no_daemon_lives(run_dir, monkeypatch, until):
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.3)
    _end(_daemon(run_dir, seconds=0.5))
    began = clock.now()
    keeper = Keeper(run_dir)
    until(lambda: keeper.tick() >= 0 and keeper.idle)
    assert clock.now() - began > 0.9  # its lease, 0.2 s for the rest, then IDLE_SECONDS


def test_it_stays_while_a_daemon_lives(run_dir, monkeypatch, until):
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.1)
    LeaseFile(run_dir / "lease").write(0.0, 0.0)  # by this process, which lives
    keeper = Keeper(run_dir)
    end = clock.now() + 0.3
    until(lambda: keeper.tick() >= 0 and clock.now() > end)
    assert not keeper.idle


def test_it_needs_little_and_imports_nothing_heavy(run_dir):
    text = "import sys, drcm.cluster.keeper; print(*sorted(m for m in sys.modules if m in sys.argv[1:]))"
    heavy = ["asyncio", "msgspec", "cryptography", "rich", "sh", "paramiko", "apscheduler", "drcm.config"]
    assert subprocess.check_output([sys.executable, "-c", text, *heavy], text=True).strip() == ""
