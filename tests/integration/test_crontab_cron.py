"""A real cron daemon reads what the crontab agent installs, and follows its changes."""

from __future__ import annotations

import time

import pytest

from tests.lab import Host, Lab, wait_until
from tests.lab.host import REPOSITORY

pytestmark = pytest.mark.lab

AGENT = """
import asyncio, sys
from drcm.cluster.agents.crontab import CrontabAgent
from drcm.config.model import Crontab

agent = CrontabAgent(Crontab("jobs", "/srv/jobs", "/etc/cron.d", ""))
asyncio.run(getattr(agent, sys.argv[1])())
"""


def act(host: Host, action: str) -> None:
    host.run(["python3", "-c", AGENT, action], env={"PYTHONPATH": str(REPOSITORY)})


def near_the_end_of_a_minute(host: Host, seconds: int = 3) -> None:
    """Give the host a wall clock by which the next minute begins in some seconds."""
    host.step_clock(60 - seconds - int(time.time()) % 60)


def wait_line(host: Host, path: str, line: str) -> None:
    """Until a job has written it."""
    wait_until(
        lambda: host.path(path).exists() and line in host.read(path), 80.0, f"{line!r} in {host.name}:{path}"
    )


def test_cron_runs_what_is_installed_then_what_has_changed_and_nothing_after_the_stop(lab: Lab) -> None:
    """Three starts of cron, each just before a minute begins: a whole minute is not worth waiting for."""
    host = lab.add_host("one", "10.77.0.1", directories=["/srv"])
    host.power_on()
    for turn, action in enumerate(("start", "watch", "stop")):
        host.write("/srv/jobs", f"* * * * * root echo job {turn} >>/srv/ran")
        host.write("/etc/cron.d/other", f"* * * * * root echo other {turn} >>/srv/others\n")
        act(host, action)
        near_the_end_of_a_minute(host)
        cron = host.spawn(["cron", "-f"])
        wait_line(host, "/srv/others", f"other {turn}")  # cron begins a minute
        if action != "stop":
            wait_line(host, "/srv/ran", f"job {turn}")
        cron.kill()
        cron.wait(60)
    assert "job 2" not in host.read("/srv/ran")
