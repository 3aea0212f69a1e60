"""drcm/cluster/realtime.py in processes of its own: the kernel's answers, not ours."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: real-time priority, locked memory")


def run(code: str, user: int | None = None) -> str:
    """What `code` prints, in a Python of its own with `realtime` imported."""
    text = "import os, sys, subprocess, resource, threading\nfrom pathlib import Path\n"
    lower = f"os.setgroups([])\nos.setuid({user})\n" if user else ""
    program = f"{text}from drcm.cluster import realtime\n{lower}{code}"
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


@as_root
def test_a_forked_child_is_ordinary() -> None:
    """The daemon runs SCHED_RR at its priority; what it forks is SCHED_OTHER."""
    out = run(
        "print(repr(realtime.raise_priority()), os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK,"
        " os.sched_getparam(0).sched_priority, flush=True)\n"
        "subprocess.run([sys.executable, '-c', 'import os; print(os.sched_getscheduler(0))'])"
    )
    assert out.split() == ["''", str(os.SCHED_RR), str(10), str(os.SCHED_OTHER)]


@as_root
@pytest.mark.parametrize(("main", "thread"), [("realtime.raise_priority()", (os.SCHED_RR, 1)), ("", (0, 0))])
def test_a_thread_comes_next(main: str, thread: tuple[int, int]) -> None:
    """It does not compete with the main loop, nor ordinary processes with it: it may hold Python's lock."""
    out = run(
        f"{main}\n"
        "def told():\n"
        "    realtime.raise_thread()\n"
        "    policy = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK\n"
        "    print(policy, os.sched_getparam(0).sched_priority, flush=True)\n"
        "    subprocess.run([sys.executable, '-c', 'import os; print(os.sched_getscheduler(0))'])\n"
        "t = threading.Thread(target=told)\nt.start()\nt.join()"
    )
    assert out.split() == [*map(str, thread), str(os.SCHED_OTHER)]


@as_root
def test_memory_is_locked() -> None:
    """After lock_memory the kernel counts locked pages, and those allocated later too."""
    out = run(
        "print(repr(realtime.lock_memory()))\nkept = b'x' * 20_000_000\n"
        "print(*[l.split()[1] for l in Path('/proc/self/status').read_text().splitlines() if 'VmLck' in l])"
    )
    answer, locked_kb = out.split()
    assert answer == "''"
    assert int(locked_kb) > 20_000


@as_root
def test_the_oom_score_can_be_given_back() -> None:
    """A child inherits the daemon's score, and gets 0 again."""
    out = run(
        "print(repr(realtime.set_oom_score(100)))\n"
        "child = subprocess.Popen(['cat'], stdin=subprocess.PIPE)\n"
        "score = Path(f'/proc/{child.pid}/oom_score_adj')\n"
        "print(score.read_text().strip())\nrealtime.set_oom_score(0, child.pid)\n"
        "print(score.read_text().strip())\nchild.communicate()"
    )
    assert out.split() == ["''", "100", "0"]


@as_root
def test_a_refusal_is_a_sentence_not_an_error() -> None:
    """Without the right, each call says why and the daemon goes on."""
    out = run(
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))\n"
        "print(realtime.raise_priority())\nprint(realtime.lock_memory())\nprint(realtime.set_oom_score())",
        NOBODY,
    )
    priority, memory, oom = out.splitlines()
    assert priority.startswith("no real-time priority: Operation not permitted")
    assert memory == "memory not locked: only 65536 bytes allowed (set LimitMEMLOCK=infinity)"
    assert oom == "oom_score_adj not set to -900: Permission denied"
