"""drcm with a sync set, a crontab and an address: what a client misses when the files move too.

"clean stop" counts from the end of the set's hand-over: how long that takes depends on what there is to send.
"""

from __future__ import annotations

import time
from datetime import datetime

from drcm import clock
from tests.integration.cluster import BACKUP, IP, Cluster, logged, running_cluster
from tests.lab import wait_until

AFTER_SECONDS = 0.3  # an answer sooner than this after the cut may have been on its way
GONE_SECONDS = 20.0
SETTLE_SECONDS = 120.0  # on a busy machine a pass of rsync and ssh may take 15 of them
PARTS = (  # row, title, seconds promised
    ("power-cut-set", "power cut, with a set", 2.5),
    ("clean-stop-set", "clean stop, from the set's hand-over", 0.3),
)


def measure(runs: int) -> dict[str, list[float]]:
    """Seconds of each run, by row."""
    with running_cluster() as cluster:
        return {
            "power-cut-set": [power_cut(cluster) for _ in range(runs)],
            "clean-stop-set": [clean_stop(cluster) for _ in range(runs)],
        }


def power_cut(cluster: Cluster) -> float:
    """Seconds without an answer after the primary's power was cut. All is at home again afterwards."""
    with cluster.client.probe(IP) as probe:
        probe.wait_answer()
        cut = cluster.a.power_cut()
        probe.wait_answer(GONE_SECONDS, after=cut + AFTER_SECONDS)
        outage = max(gap.seconds for gap in probe.gaps() if gap.end > cut)
    cluster.settle(SETTLE_SECONDS)
    return outage


def clean_stop(cluster: Cluster) -> float:
    """Seconds from the end of the hand-over's last pass to the first answer of the backup."""
    mark = len(cluster.a.daemon_log())
    with cluster.client.probe(IP) as probe:
        probe.wait_answer()
        cluster.a.stop_drcm()
        wait_until(lambda: cluster.holders() == [cluster.b.name], GONE_SECONDS, cluster.logs)
        probe.wait_answer(GONE_SECONDS, after=clock.now())
        (line,) = logged(cluster.a, f"--hand-over {BACKUP}: exit 0", mark)
        given = clock.now() - (time.time() - datetime.fromisoformat(line.split()[0]).timestamp())
        back = max(probe.gaps(), key=lambda gap: gap.seconds).end
    cluster.settle(SETTLE_SECONDS)
    return back - given
