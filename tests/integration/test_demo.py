"""`make demo` as a newcomer runs it, here into a pipe."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import wait_until
from tests.lab.host import REPOSITORY

pytestmark = pytest.mark.lab

SECONDS = 300  # it takes 18
ARGV = [sys.executable, "-m", "tests.lab.demo"]
MEASURED = 8
BROKEN = """
import sys
from tests.lab import demo, demo_cluster
demo_cluster.CONFIG = demo_cluster.CONFIG.replace("node_backup_floating_ip_addrs = cmnode1:web", "")
sys.exit(demo.main())
"""


def owned_by(pid: int) -> list[Path]:
    """Directories of labs that the process made."""
    found = []
    for owner in Path("/tmp").glob("drcm-lab-*/owner"):
        with contextlib.suppress(FileNotFoundError):  # another lab that ends meanwhile
            if owner.read_text().split()[0] == str(pid):
                found.append(owner.parent)
    return found


def processes_of(directories: list[Path]) -> list[str]:
    """Command lines of this machine that name one of the directories."""
    lines = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(entry.read_bytes().decode(errors="replace"))
        except OSError:  # ended meanwhile
            continue
    return [line for line in lines if any(str(one) in line for one in directories)]


def start(argv: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        argv, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0
    )


def seen_directories(demo: subprocess.Popen[str]) -> list[Path]:
    wait_until(lambda: processes_of(owned_by(demo.pid)), 20, "the demo's machines")
    return owned_by(demo.pid)


def nothing_left(directories: list[Path]) -> bool:
    return not processes_of(directories) and not any(one.exists() for one in directories)


def test_demo_succeeds_and_leaves_nothing() -> None:
    """The demo ends with DEMO OK and exit 0, prints plain text into a pipe, and nothing of it is left."""
    with start(ARGV) as demo:
        directories = seen_directories(demo)
        output, _ = demo.communicate(timeout=SECONDS)
    assert demo.returncode == 0, output
    last = output.splitlines()[-1]
    assert re.match(r"DEMO OK address back \d\.\d\d s after the power cut, ", last), output
    assert "\x1b" not in output
    table = output.partition("Measured\n")[2].splitlines()
    assert len([line for line in table if re.search(r" \d+\.\d\d$", line)]) == MEASURED
    assert nothing_left(directories)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_demo_leaves_nothing(number: signal.Signals) -> None:
    """^C or SIGTERM in the middle ends the demo with 130, in one line, and nothing of it is left."""
    with start(ARGV) as demo:
        directories = seen_directories(demo)
        assert demo.stdout is not None
        while "drcm-server runs on both" not in demo.stdout.readline():
            assert demo.poll() is None
        demo.send_signal(number)
        output, _ = demo.communicate(timeout=SECONDS)
    assert demo.returncode == 130, output
    assert output.splitlines()[-1].startswith("interrupted"), output
    assert nothing_left(directories)


def test_failed_demo_tells_why_and_leaves_nothing() -> None:
    """Where the backup does not take the address over, the demo says DEMO FAILED, shows logs and exits 1."""
    with start([sys.executable, "-c", BROKEN]) as demo:
        directories = seen_directories(demo)
        output, _ = demo.communicate(timeout=SECONDS)
    assert demo.returncode == 1, output
    assert output.splitlines()[-1].startswith("DEMO FAILED: waited"), output
    assert "the end of cmnode2's log" in output
    assert nothing_left(directories)
