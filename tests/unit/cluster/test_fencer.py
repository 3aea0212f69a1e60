"""Fence commands: a script that records how it was called, and a real agent of the fence-agents package."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from drcm.cluster.fencer import fence
from drcm.config.fence import FenceCall, parse_fence
from drcm.errors import DrcmError


def script(path: Path, text: str) -> str:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def test_a_program_gets_its_arguments_as_they_are(tmp_path: Path) -> None:
    """No shell sees them; the node's name is in the environment; standard input is empty."""
    seen = tmp_path / "seen"
    text = f'printf "%s\\n" "$@" "$DRCM_NODE" "[$(cat)]" > {seen}\n'
    program = script(tmp_path / "off", text)
    asyncio.run(fence(parse_fence(f"{program} --outlet 'number 3; reboot' '$HOME'"), "two"))
    assert seen.read_text().splitlines() == ["--outlet", "number 3; reboot", "$HOME", "two", "[]"]


def test_only_exit_code_zero_is_success(tmp_path: Path) -> None:
    """Its last words are in the error."""
    program = script(tmp_path / "off", "echo trying; echo no route to host >&2; exit 3\n")
    with pytest.raises(DrcmError, match="off: exit code 3: trying / no route to host"):
        asyncio.run(fence(FenceCall((program,)), "two"))
    with pytest.raises(DrcmError, match="nothere: can't be run: No such file or directory"):
        asyncio.run(fence(FenceCall((str(tmp_path / "nothere"),)), "two"))


def test_one_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    """A power switch may not answer; a late `off` must not hit a node that is back."""
    pids = tmp_path / "pids"
    program = script(tmp_path / "off", f"trap '' TERM; sleep 300 & echo $! $$ > {pids}; wait\n")
    with pytest.raises(DrcmError, match="off: not done after 1 s"):
        asyncio.run(fence(FenceCall((program,)), "two", limit=1.0))
    end = time.monotonic() + 10
    while any(_lives(int(pid)) for pid in pids.read_text().split()):
        assert time.monotonic() < end


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_real_agent_switches_off(tmp_path: Path) -> None:
    """fence_dummy of fence-agents, by the same API as fence_virsh or fence_ipmilan: off means off."""
    state = tmp_path / "power"
    state.write_text("on")
    asyncio.run(fence(parse_fence(f"fence:fence_dummy status_file={state}"), "two"))
    assert state.read_text() == "off"
    asyncio.run(fence(parse_fence(f"fence:fence_dummy status_file={state} action=monitor"), "two"))
    with pytest.raises(DrcmError, match="fence_dummy: exit code"):
        asyncio.run(fence(parse_fence("fence:fence_dummy type=fail plug=1"), "two"))


def test_a_password_comes_from_its_file_and_is_in_no_argument_list(tmp_path: Path) -> None:
    """passwd_file=FILE is read when it is needed and given as passwd=, on standard input alone."""
    secret, seen = tmp_path / "secret", tmp_path / "seen"
    secret.write_text("open sesame\n")
    program = script(tmp_path / "fence_x", f"cat > {seen}; tr '\\0' ' ' < /proc/$$/cmdline >> {seen}\n")
    call = FenceCall((program,), (("ip", "10.0.0.1"), ("passwd_file", str(secret)), ("action", "off")))
    asyncio.run(fence(call, "two"))
    told, _, argv = seen.read_text().rpartition("passwd=open sesame\n")
    assert told == "ip=10.0.0.1\naction=off\n"
    assert "sesame" not in argv
    os.unlink(secret)
    with pytest.raises(DrcmError, match=r"the password of .*fence_x can't be read"):
        asyncio.run(fence(call, "two"))
