"""A lab leaves nothing behind, however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import Host, Lab, LabError, make_cluster, wait_until
from tests.lab.host import BIN, REPOSITORY
from tests.lab.lab import sweep

pytestmark = pytest.mark.lab

CRASHING = """
import os, sys
from tests.lab import Lab
lab = Lab()
host = lab.add_host("one", "10.77.0.1", directories=["/data"])
host.give_small_disk("/data", 8)
host.power_on()
host.spawn(["sleep", "31536000"])
print(host.init_pid, lab.directory, flush=True)
sys.stdin.read()
"""


def traces(directory: Path) -> list[str]:
    """Mounts and processes of the machine that name the lab's directory."""
    found = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(directory) in line]
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes()
        except OSError:  # ended meanwhile
            continue
        if str(directory).encode() in line:
            found.append(line.decode())
    return found


def test_closed_lab_leaves_nothing(tmp_path: Path) -> None:
    """After the with block no process, mount, interface, descriptor or file of the lab is there."""
    links = sorted(os.listdir("/sys/class/net"))
    descriptors = len(os.listdir("/proc/self/fd"))
    with contextlib.suppress(ZeroDivisionError), Lab() as lab:
        host = lab.add_host("one", "10.77.0.1", directories=["/data"])
        host.give_small_disk("/data", 8)
        host.power_on()
        process = host.spawn(["sleep", "1000"])
        init = Path(f"/proc/{host.init_pid}")
        assert init.exists()
        assert traces(lab.directory)
        raise ZeroDivisionError
    assert process.wait(60) == -signal.SIGKILL
    assert not init.exists()
    assert traces(lab.directory) == []
    assert not lab.directory.exists()
    assert sorted(os.listdir("/sys/class/net")) == links
    assert len(os.listdir("/proc/self/fd")) == descriptors
    lab.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_killed_lab_leaves_nothing(number: signal.Signals) -> None:
    """When the process of a lab is killed its hosts die with it, and the next lab removes its directory."""
    with subprocess.Popen(
        [sys.executable, "-c", CRASHING],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        pid, name = process.stdout.readline().split()
        directory = Path(name)
        assert directory not in sweep()  # its owner lives
        process.send_signal(number)
        process.wait(60)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), 5, "process 1 of the host to end")
    wait_until(
        lambda: [one for one in traces(directory) if "init.py" in one] == [], 5, "the processes to end"
    )
    sweep()  # or another lab's beginning, which may be at it now
    wait_until(lambda: not directory.exists() and not traces(directory), 10, "its directory to go")


def test_labs_do_not_meet() -> None:
    """Two labs with the same names and addresses run side by side."""
    with Lab() as first, Lab() as second:
        here, there = (lab.add_host("one", "10.77.0.1") for lab in (first, second))
        first.power_on()
        second.power_on()
        here.write("/etc/drcm/only-here", "")
        assert here.read("/etc/hosts") == there.read("/etc/hosts")
        assert not there.path("/etc/drcm/only-here").exists()
        first.close()
        assert there.run(["uname", "-n"]).stdout == "one\n"


def test_failed_boot_tells_why(lab: Lab) -> None:
    """A host that cannot boot says what process 1 said, and nothing of it stays."""
    host = lab.add_host("one", "10.77.0.1")
    host.path("/etc/cron.d").rmdir()
    with pytest.raises(LabError, match=r"one does not boot: (?s:.*)mount .*cron\.d"):
        host.power_on()
    assert not host.is_on
    assert [line for line in traces(lab.directory) if "init.py" in line] == []


def test_cluster_files_are_as_drcm_wants_them(lab: Lab) -> None:
    """The nodes of a cluster share authkey, SSH key and config, know each other's host keys, and let the
    key run drcm-gate alone."""
    nodes = [lab.add_node(f"cmnode{number}", f"10.77.0.{number}") for number in (1, 2)]
    make_cluster(lab, "# cm.cfg\n", nodes)
    lab.power_on()
    one, two = nodes
    assert one.run(["stat", "-c", "%a", "/etc/drcm/.auth", "/etc/drcm/.auth/authkey"]).stdout == "700\n600\n"
    assert one.path("/etc/drcm/.auth/authkey").stat().st_size == 2048
    for path in ("/etc/drcm/cm.cfg", "/etc/drcm/.auth/authkey", "/etc/drcm/.auth/known_hosts"):
        assert one.path(path).read_bytes() == two.path(path).read_bytes()
    assert f'command="{BIN}/drcm-gate",restrict ssh-ed25519' in two.read("/root/.ssh/authorized_keys")
    ssh = ["ssh", "-i", "/etc/drcm/.auth/id_ed25519", "-o", "UserKnownHostsFile=/etc/drcm/.auth/known_hosts"]
    for name in ("cmnode2", two.ip):
        # An impostor of the gate, to see that it is what runs, and that it is asked for nothing else.
        impostor = f'command="echo gate $SSH_ORIGINAL_COMMAND",restrict {key_of(two)}\n'
        two.write("/root/.ssh/authorized_keys", impostor, 0o600)
        assert one.run([*ssh, "-o", "BatchMode=yes", name, "rm -rf /"]).stdout == "gate rm -rf /\n"


def key_of(host: Host) -> str:
    return host.read("/etc/drcm/.auth/id_ed25519.pub").strip()
