"""A LAN of two: this process in a network namespace of its own, a peer in another, a veth pair between."""

from __future__ import annotations

import ctypes
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Lan:
    """`va` is here, `vb` at the peer, a process that only keeps its namespace open."""

    peer: subprocess.Popen[bytes]

    def here(self, command: str) -> str:
        return _output(command.split())

    def there(self, command: str) -> str:
        return _output(["nsenter", f"--net=/proc/{self.peer.pid}/ns/net", *command.split()])

    def there_start(self, *argv: str) -> subprocess.Popen[bytes]:
        """Start a program at the peer."""
        return subprocess.Popen(
            ["nsenter", f"--net=/proc/{self.peer.pid}/ns/net", *argv], stdout=subprocess.PIPE
        )

    def mac(self, device: str) -> str:
        words = (self.here if device == "va" else self.there)(f"ip -o link show {device}").split()
        return words[words.index("link/ether") + 1]

    def addresses(self, device: str = "va") -> str:
        return self.here(f"ip -o address show dev {device}")


@pytest.fixture
def lan() -> Iterator[Lan]:
    if os.geteuid() != 0:
        pytest.skip("needs root for network namespaces")
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    _call("unshare", CLONE_NEWNET)
    peer = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE)
    try:
        assert peer.stdout is not None
        peer.stdout.readline()
        lan = Lan(peer)
        lan.here("ip link set lo up")
        lan.here("ip link add va type veth peer name vb")
        lan.here(f"ip link set vb netns {peer.pid}")
        lan.here("ip link set va up")
        lan.there("ip link set vb up")
        lan.here("ip address add 10.9.0.1/24 dev va")
        lan.there("ip address add 10.9.0.2/24 dev vb")
        yield lan
    finally:
        peer.kill()
        peer.wait()
        assert peer.stdout is not None
        peer.stdout.close()
        _call("setns", home, CLONE_NEWNET)
        os.close(home)


def _output(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), name)


@pytest.fixture
def until() -> Callable[..., None]:
    """Poll until a condition holds; the test fails where it does not within `seconds`."""

    def wait(condition: Callable[[], bool], seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not so within {seconds} s"
            select.select([], [], [], 0.01)

    return wait
