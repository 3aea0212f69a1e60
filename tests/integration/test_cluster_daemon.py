"""The daemon as a service: reload, a second one, what it installs, its logs, its schedule."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from drcm import clock
from tests.integration.cluster import (
    CRONTAB,
    IP,
    TREE,
    Cluster,
    ask,
    config,
    logged,
    role,
    running_cluster,
    settled_facts,
    wait_logged,
)
from tests.lab import wait_until

pytestmark = pytest.mark.lab

LOG_SIZE, LOGS_KEPT = 2000, 2
CONFIG = config(server=f"max_log_size = {LOG_SIZE}\nnum_logs_to_keep = {LOGS_KEPT}\n")


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with running_cluster(CONFIG, files=3) as cluster:
        yield cluster


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    running.settle()
    return running


def reload(cluster: Cluster, text: str) -> str:
    """Give cmnode1 another cm.cfg and have it read; what the daemon says to it."""
    cluster.a.write_config(text)
    return str(ask(cluster.a, op="reload")["text"])


def test_broken_config_is_not_taken(cluster: Cluster) -> None:
    """SIGHUP with a broken cm.cfg: its faults are told, the old one stays, nothing moves."""
    facts, mark = settled_facts(cluster.a), len(cluster.a.daemon_log())
    cluster.a.write_config(CONFIG + "\n[CM_NODE]\nnodename = \n")
    try:
        cluster.a.daemon.signal(signal.SIGHUP)
        line = wait_logged(cluster.a, "ERROR   cm.cfg was not taken, the old one stays", 10.0, mark)
        assert "cm.cfg:" in line
        assert settled_facts(cluster.a) == facts
        assert cluster.holders() == ["cmnode1"]
    finally:
        cluster.a.write_config(CONFIG)
    cluster.a.daemon.signal(signal.SIGHUP)
    wait_logged(cluster.a, "cm.cfg was read again", 10.0, mark)


def test_good_config_is_taken_without_a_gap(cluster: Cluster) -> None:
    """A changed schedule counts as soon as cm.cfg was read again, and nothing moves."""
    begun = clock.now()
    with cluster.client.probe(IP) as probe:
        probe.wait_answer()
        try:
            assert "read again" in reload(cluster, CONFIG.replace("every = 1s", "every = 1h"))
        finally:
            assert "read again" in reload(cluster, CONFIG)
        cluster.wait_run(cluster.a)
        probe.wait_answer(5.0, after=clock.now())
        assert [gap for gap in probe.gaps(0.5) if gap.end > begun] == []
    assert role(cluster.a) == "writer"


def test_second_daemon_refuses_and_disturbs_nothing(cluster: Cluster) -> None:
    """A second drcm-server says that one runs already, and takes nothing away from the first."""
    facts = settled_facts(cluster.a)
    mark, begun = len(cluster.a.daemon_log()), clock.now()
    with cluster.client.probe(IP) as probe:
        probe.wait_answer()
        second = cluster.a.drcm("drcm-server", check=False, timeout=20.0)
        assert second.returncode != 0
        assert "another drcm-server" in second.stderr
        assert "Traceback" not in second.stderr
        cluster.wait_run(cluster.a)
        probe.wait_answer(5.0, after=clock.now())
        assert [gap for gap in probe.gaps(0.5) if gap.end > begun] == []
    assert settled_facts(cluster.a) == facts
    assert cluster.crontabs() == ["cmnode1"]
    assert logged(cluster.a, "claiming|released|without a lease", mark) == []


def test_changed_template_is_installed(cluster: Cluster) -> None:
    """A changed crontab template is installed at the next check, and a deleted crontab is put back."""
    template = "/etc/drcm/crontabs/system_crons"
    cluster.a.write(template, cluster.a.read(template) + "7 3 * * * root true\n")
    wait_until(lambda: "7 3 * * * root true\n" in cluster.a.read(CRONTAB), 10.0, "the new template")
    cluster.a.path(CRONTAB).unlink()
    wait_until(cluster.a.path(CRONTAB).exists, 10.0, "the crontab to be put back")
    assert not cluster.b.path(CRONTAB).exists()


def test_logs_rotate(cluster: Cluster) -> None:
    """The log is rotated at max_log_size, and num_logs_to_keep old ones stay."""
    folder = cluster.a.path("/var/log/drcm")
    oldest = folder / f"drcm.log.{LOGS_KEPT}"
    try:
        for number in range(200):
            if oldest.exists():
                break
            reload(cluster, f"{CONFIG}\n[CM_NODE]\nnodename = *{number}\n")
    finally:
        reload(cluster, CONFIG)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["drcm.log", *(f"drcm.log.{number + 1}" for number in range(LOGS_KEPT))]
    assert all((folder / name).stat().st_size <= LOG_SIZE for name in names)


def test_schedule_runs_the_set(cluster: Cluster) -> None:
    """A file written on the writer is on its backup soon, and a deleted one is gone, without any command."""
    cluster.a.write(f"{TREE}/new/by-schedule", "sent\n")
    cluster.a.path(f"{TREE}/d0/f0").unlink()
    cluster.wait_same(15.0)
    assert cluster.b.read(f"{TREE}/new/by-schedule") == "sent\n"
    assert not cluster.b.path(f"{TREE}/d0/f0").exists()


def test_stopped_backup_says_goodbye(cluster: Cluster) -> None:
    """SIGTERM to the backup's daemon: it ends with 0 and its log says that it left; the primary goes on."""
    mark = len(cluster.b.daemon_log())
    assert cluster.b.stop_drcm() == 0
    assert logged(cluster.b, "left the cluster", mark)
    assert logged(cluster.b, "ERROR|Traceback", mark) == []
    assert cluster.holders() == ["cmnode1"]
    assert role(cluster.a) == "writer"
