"""The lab's hosts are what the tests of drcm take them for."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Host, Lab, LabError, wait_until

pytestmark = pytest.mark.lab

BOOT_ID = "/proc/sys/kernel/random/boot_id"


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Host, Host]]:
    """Two hosts for the tests that leave them as they found them: on, healed, nothing running."""
    with Lab() as lab:
        made = (
            lab.add_host("one", "10.77.0.1", directories=["/testfs"]),
            lab.add_host("two", "10.77.0.2", directories=["/testfs"]),
        )
        lab.power_on()
        yield made


def reaches(sender: Host, receiver: Host) -> bool:
    ping = ["ping", "-c", "1", "-W", "0.3", receiver.ip]
    return sender.run(ping, check=False).returncode == 0


def test_hosts_reach_each_other_by_name(pair: tuple[Host, Host]) -> None:
    """Two hosts of a lab have names of their own and ping each other by them."""
    one, two = pair
    assert one.run(["uname", "-n"]).stdout == "one\n"
    assert one.run(["ping", "-c", "1", "-W", "1", "two"]).returncode == 0
    assert two.addresses() == ["10.77.0.2/24"]
    assert one.lab.holders("10.77.0.2") == ["two"]


def test_host_sees_its_own_processes_files_and_disk_only(pair: tuple[Host, Host]) -> None:
    """Neither the machine's processes nor its /tmp, nor another host's files are there."""
    one, two = pair
    one.write("/testfs/mine", "1")
    assert one.run(["cat", "/testfs/mine"]).stdout == "1"
    assert two.run(["test", "-e", "/testfs/mine"], check=False).returncode == 1
    assert one.run(["test", "-e", str(one.lab.directory)], check=False).returncode == 1
    assert one.run(["ls", "-A", "/etc/cron.d"]).stdout == ""
    assert not Path("/testfs").exists()
    assert os.getpid() not in one.pids()
    assert len(one.pids()) == 1  # its sshd


def test_run_reports_output_status_and_time_out(pair: tuple[Host, Host]) -> None:
    """A bad end and a run that lasts too long are errors that show what was printed; nothing stays behind."""
    one, _ = pair
    with pytest.raises(LabError, match="ended with 3\nsome\nmore"):
        one.run(["sh", "-c", "echo some; echo more >&2; exit 3"])
    assert one.run(["cat"], input="text").stdout == "text"
    with pytest.raises(LabError, match=r"still ran after 0\.1 s\nbegun"):
        one.run(["sh", "-c", "echo begun; sleep 77 & sleep 77"], timeout=0.1)
    wait_until(lambda: not one.pids("sleep 77"), 2, "the children to be gone")
    with pytest.raises(LabError, match=r"could not start nonsense: error .*No such file"):
        one.run(["nonsense"])


def test_spawned_process_can_be_signalled_and_waited_for(pair: tuple[Host, Host]) -> None:
    """A long-lived process has a number of the host, takes signals and tells how it ended."""
    one, _ = pair
    process = one.spawn(["sleep", "1000"])
    assert process.pid in one.pids("^sleep 1000")
    assert process.poll() is None
    with pytest.raises(TimeoutError):
        process.wait(0.01)
    process.terminate()
    assert process.wait(60) == -signal.SIGTERM
    assert one.spawn(["sh", "-c", "exit 4"]).wait(60) == 4


def test_orphans_are_reaped(pair: tuple[Host, Host]) -> None:
    """What a process leaves behind lives on as a daemon does, and is no zombie after its end."""
    one, _ = pair
    one.run(["sh", "-c", "sleep 0.3 &"])
    assert one.pids("sleep 0.3")
    wait_until(lambda: one.run(["ps", "-eo", "comm="]).stdout.count("sleep") == 0, 2, "no zombie")


def test_pause_and_resume(pair: tuple[Host, Host]) -> None:
    """A paused process stands still, alone or with all others of its host, and goes on when resumed."""
    one, _ = pair
    counter = one.directory / "count"
    script = "import time\nwhile True: print(flush=True); time.sleep(0.005)"
    process = one.spawn(["python3", "-S", "-c", script], stdout=counter)
    for matching in ("flush=True", ""):
        wait_until(lambda: counter.exists() and counter.stat().st_size > 0, 2, "the counter to count")
        one.pause(matching)
        wait_until(lambda: _state(one, process.pid) == "T", 2, "the counter to stop")
        size = counter.stat().st_size
        assert reaches(pair[1], one)  # its kernel still answers
        assert counter.stat().st_size == size
        one.resume(matching)
        grows_beyond(counter, size)
    process.kill()
    process.wait(60)


def grows_beyond(file: Path, size: int) -> None:
    wait_until(lambda: file.stat().st_size > size, 2, f"{file} to grow")


def _state(host: Host, pid: int) -> str:
    return Path(f"/proc/{host.init_pid}/root/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def test_power_cut_kills_all_and_keeps_the_disk_but_not_run(lab: Lab) -> None:
    """After a power cut the disk is as it was; processes, /run, addresses and the boot id are not."""
    host = lab.add_host("one", "10.77.0.1", directories=["/srv/data"])
    host.power_on()
    boot = host.read(BOOT_ID)
    assert host.run(["cat", BOOT_ID]).stdout == boot != Path(BOOT_ID).read_text()
    host.write("/srv/data/file", "kept", 0o640)
    host.write("/run/file", "lost")
    host.run(["ip", "address", "add", "10.77.0.9/24", "dev", "eth0"])
    process = host.spawn(["sleep", "1000"])
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    moment = host.power_cut()
    assert before < moment < before + 0.1
    assert process.wait(60) == -signal.SIGKILL
    with pytest.raises(LabError, match="one is off"):
        host.run(["true"])
    assert host.read("/srv/data/file") == "kept"
    host.power_on()
    assert host.run(["stat", "-c", "%a", "/srv/data/file"]).stdout == "640\n"
    assert not host.path("/run/file").exists()
    assert host.addresses() == ["10.77.0.1/24"]
    assert host.read(BOOT_ID) != boot
    assert len(host.pids()) == 1


def test_shutdown_lets_processes_end_themselves(lab: Lab) -> None:
    """A shutdown sends SIGTERM first and waits; a power cut does not."""
    host = lab.add_host("one", "10.77.0.1", directories=["/data"])
    script = (
        "trap 'sleep 0.1; echo bye > /data/bye; exit' TERM; echo > /data/up; while :; do sleep 0.01; done"
    )
    for end, said in ((host.power_cut, False), (host.shutdown, True)):
        host.power_on()
        host.path("/data/up").unlink(missing_ok=True)
        host.spawn(["sh", "-c", script])
        wait_until(host.path("/data/up").exists, 2, "the process to be ready")
        end()
        assert not host.is_on
        assert host.path("/data/bye").exists() is said


def test_clock_step_moves_the_wall_clock_alone(lab: Lab) -> None:
    """A stepped clock is seen by programs, while they run as well; the clocks that measure stay right."""
    host = lab.add_host("one", "10.77.0.1", directories=["/data"])
    host.power_on()
    script = (
        "import time,sys\n"
        "for _ in sys.stdin: print(time.time(), *(time.clock_gettime(c) for c in"
        " (time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC)), flush=True)"
    )
    host.step_clock(0)
    host.run(["mkfifo", "/data/ask"])
    output = host.directory / "clock"
    process = host.spawn(["sh", "-c", f"exec python3 -c '{script}' < /data/ask"], stdout=output)
    with host.path("/data/ask").open("w") as ask:
        for count, step in enumerate((0, 3600, -86400, 0), 1):
            host.step_clock(step)
            ask.write("\n")
            ask.flush()
            line = nth_line(output, count)
            wall, boottime, monotonic = map(float, line.split())
            assert wall - time.time() == pytest.approx(step, abs=1)
            assert boottime == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=1)
            assert monotonic == pytest.approx(time.monotonic(), abs=1)
    assert process.wait(60) == 0


def nth_line(file: Path, count: int) -> str:
    found = wait_until(lambda: file.read_text().splitlines()[count - 1 :], 5, file.read_text)
    return found[0]


def test_cron_runs_as_a_boot_service(lab: Lab) -> None:
    """A host with cron has a cron daemon of its own, which does not read the machine's tables."""
    host = lab.add_host("one", "10.77.0.1", cron=True)
    host.power_on()
    assert host.services["cron"].poll() is None
    assert host.run(["cat", "/etc/crontab"]).stdout == ""
    assert host.run(["crontab", "-l"], check=False).stderr.strip() == "no crontab for root"
    assert host.stop_service("cron") in (0, -signal.SIGTERM)


def test_a_small_disk_is_full_until_it_is_freed(lab: Lab) -> None:
    """What it holds survives a power cut and stays readable; nothing more fits, before and after a boot."""
    host = lab.add_host("one", "10.77.0.1", directories=["/data"])
    host.give_small_disk("/data", 8)
    host.power_on()
    host.write("/data/old", "kept\n")
    host.fill_disk("/data")
    write = ["sh", "-c", "head -c 100000 /dev/zero > /data/new"]
    for _ in range(2):
        assert "No space left" in host.run(write, check=False).stderr
        assert host.read("/data/old") == "kept\n"
        host.power_cut()
        host.power_on()
    host.free_disk("/data")
    host.run(write)
    host.fill_disk("/data", left=8192)
    assert host.run(["sh", "-c", "head -c 8192 /dev/zero > /data/more"], check=False).returncode == 0
    assert "No space left" in host.run([*write[:2], "cat /data/new >> /data/more"], check=False).stderr
