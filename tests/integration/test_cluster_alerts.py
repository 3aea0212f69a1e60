"""Alerts of a real failover at a real mail server: once a problem, and once more when it is over."""

from __future__ import annotations

import json
import mailbox
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cluster import Cluster, config, running_cluster
from tests.lab import wait_until

pytestmark = pytest.mark.lab

PORT = 2525
MAIL = "/tmp/mail"
ALERTS = f"""
[CM_ALERTS]
email = root@example.org
smtp_host = 10.77.0.200
smtp_port = {PORT}
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with running_cluster(config(more=ALERTS), files=3) as cluster:
        yield cluster


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    serve_mail(running)
    running.settle()
    return running


def serve_mail(cluster: Cluster) -> None:
    """A real SMTP server on the client, unless it runs."""
    if cluster.client.pids("aiosmtpd"):
        return
    handler = ["-c", "aiosmtpd.handlers.Mailbox", MAIL]
    cluster.client.spawn([sys.executable, "-m", "aiosmtpd", "-n", "-l", f"0.0.0.0:{PORT}", *handler])
    table = Path(f"/proc/{cluster.client.init_pid}/net/tcp")
    wait_until(lambda: f":{PORT:04X} 00000000" in table.read_text(), 10.0, "the mail server")


def subjects(cluster: Cluster) -> Counter[str]:
    """Subjects of all mail so far, each with how often it came."""
    if not cluster.client.path(MAIL).is_dir():
        return Counter()
    box = mailbox.Maildir(cluster.client.path(MAIL))
    return Counter(str(message["Subject"]) for message in box)


def about(cluster: Cluster, *words: str) -> list[str]:
    """Subjects that hold all the words."""
    return [subject for subject in subjects(cluster).elements() if all(word in subject for word in words)]


def test_failover_is_mailed_once_and_its_end_once(cluster: Cluster) -> None:
    """The primary dies and comes back: one mail for the node, one for what failed over, one for each when
    it is over."""
    cluster.a.power_cut()
    cluster.wait_place(cluster.b)
    wait_until(lambda: about(cluster, "cmnode1", "DOWN"), 20.0, lambda: f"{subjects(cluster)}")
    wait_until(lambda: about(cluster, "set:testfs", "FAILED OVER"), 20.0, lambda: f"{subjects(cluster)}")
    cluster.settle()
    wait_until(lambda: len(about(cluster, "cmnode1 is DOWN")) == 2, 20.0, lambda: f"{subjects(cluster)}")
    wait_until(lambda: len(about(cluster, "FAILED OVER")) == 2, 20.0, lambda: f"{subjects(cluster)}")
    assert len(about(cluster, "cmnode1 is DOWN", "RESOLVED")) == 1
    assert len(about(cluster, "FAILED OVER", "RESOLVED")) == 1


def test_restarted_daemon_does_not_repeat_an_open_alert(cluster: Cluster) -> None:
    """While a problem stays open, a restarted daemon does not mail it again within throttle_hours."""
    before = len(about(cluster, "cmnode2 is DOWN"))
    cluster.b.power_cut()
    wait_until(lambda: len(about(cluster, "cmnode2 is DOWN")) > before, 20.0, lambda: f"{subjects(cluster)}")
    cluster.a.kill_drcm()
    cluster.a.start_drcm()
    wait_until(lambda: raised(cluster, "node-dead:cmnode2") >= 2, 20.0, cluster.logs)
    cluster.a.drcm("drcm-alert", "send", "-s", "the end of the test")
    wait_until(lambda: about(cluster, "the end of the test"), 20.0, lambda: f"{subjects(cluster)}")
    assert len(about(cluster, "cmnode2 is DOWN")) == before + 1


def raised(cluster: Cluster, key: str) -> int:
    """How often the open problem `key` was raised on cmnode1."""
    alerts = json.loads(cluster.a.report("--json", check=False).stdout)["alerts"]
    return sum(int(one["count"]) for one in alerts if one["key"] == key)
