"""drcm/cluster/notify.py against a real datagram socket, as systemd's."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drcm.cluster.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """The service manager's end, and NOTIFY_SOCKET as it would write it."""
    name = f"@drcm-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind("\0" + name[1:] if name.startswith("@") else name)
        end.settimeout(5)
        yield end, name


def heard(end: socket.socket) -> str:
    return end.recv(4096).decode()


def test_each_call_says_what_systemd_expects(manager: tuple[socket.socket, str]) -> None:
    """Every call is one datagram in the words of sd_notify(3), on a path or an abstract socket."""
    end, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready()
    notifier.status("writer of testfs\nlag 42 s")
    notifier.watchdog()
    notifier.stopping()
    notifier.stopping(90)
    said = [heard(end) for _ in range(5)]
    notifier.close()
    assert said == [
        "READY=1",
        "STATUS=writer of testfs lag 42 s",
        "WATCHDOG=1",
        "STOPPING=1",
        "STOPPING=1\nEXTEND_TIMEOUT_USEC=90000000",
    ]


def test_a_reload_carries_the_monotonic_clock(manager: tuple[socket.socket, str]) -> None:
    """systemd tells an old reload from a new one by MONOTONIC_USEC."""
    end, name = manager
    before = time.monotonic_ns() // 1000
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.reloading()
    first, second = heard(end).split("\n")
    notifier.close()
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_a_period(environ: dict[str, str], interval: float | None) -> None:
    """The interval is half of WATCHDOG_USEC, and none where it is meant for another process."""
    assert Notifier(environ).watchdog_interval == interval


def test_children_do_not_inherit_the_socket() -> None:
    """The variables are taken out of the environment: no child can speak for the daemon."""
    environ = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1", "PATH": "/bin"}
    Notifier(environ).close()
    assert environ == {"PATH": "/bin"}


def test_a_manager_that_does_not_read_costs_nothing(manager: tuple[socket.socket, str]) -> None:
    """With a full receive buffer, or no receiver at all, calls return at once."""
    end, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    began = time.monotonic()
    for _ in range(10_000):
        notifier.watchdog()
    end.close()
    notifier.ready()
    notifier.close()
    notifier.ready()
    assert time.monotonic() - began < 30  # of a busy machine; blocked, it would never end
