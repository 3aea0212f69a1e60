"""A writer that slept through its own death, or does not know of it, writes nothing on the new writer."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

import pytest

from drcm.errors import EXIT_WRONG_ROLE
from tests.integration.cluster import (
    BACKUP,
    OWN,
    TREE,
    Cluster,
    Facts,
    config,
    contents,
    contents_of_own,
    listing,
    role,
    running_cluster,
)
from tests.lab import Node, wait_until

pytestmark = pytest.mark.lab

BIG = 100 << 20  # bytes
SENT_BEFORE = 5 << 20  # of them: so much has arrived when the writer falls asleep
LIMIT = "bwlimit = 20000\n"  # KiB/s: the transfer takes 5 s, the sleep comes in its first second
TAKEOVER = 20.0


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with running_cluster(config(sync_set=LIMIT)) as cluster:
        yield cluster


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    running.settle()
    return running


def tree(node: Node) -> dict[str, Facts]:
    """Everything in the tree with inode, times and hash, and what drcm keeps in it, but its own record."""
    own = (OWN, f"{OWN}/set.json", f"{OWN}/tmp")
    new_record = f"{OWN}/.set.json."  # the record of this node's own, just being replaced
    found = listing(node).items()
    return {name: facts for name, facts in found if name not in own and not name.startswith(new_record)}


def taken_over(cluster: Cluster) -> dict[str, Facts]:
    """Wait until cmnode2 is the writer, change its tree, and return it."""
    wait_until(lambda: role(cluster.b) == "writer", TAKEOVER, cluster.logs)
    wait_until(lambda: cluster.holders() == [BACKUP], TAKEOVER, cluster.logs)
    wait_until(lambda: not cluster.b.pids("rsync --server|drcm-gate"), 10.0, "the cut run to end")
    cluster.b.write(f"{TREE}/d0/f0", "changed by the new writer\n")
    cluster.b.write(f"{TREE}/new-writers", "only there\n")
    return tree(cluster.b)


def watch_until_home(cluster: Cluster, before: dict[str, Facts]) -> None:
    """As long as cmnode2 is the writer, nothing in its tree changes."""
    looks = 0

    def handed_over() -> bool:
        nonlocal looks
        now = tree(cluster.b)
        if role(cluster.b) != "writer":
            return True
        assert now == before, "something was written on the new writer"
        looks += 1
        return False

    wait_until(handed_over, 60.0, cluster.logs)
    assert looks > 10, "it was hardly looked at"


def everywhere(cluster: Cluster) -> set[str]:
    """Hashes of all that is kept anywhere: trees, conflicts and trash of both."""
    found: set[str] = set()
    for node in cluster.nodes:
        # Not `conflicts`: it leaves out the run, and one name may be kept by several.
        for kept in (contents(node), contents_of_own(node, "conflicts"), contents_of_own(node, "trash")):
            found |= set(kept.values())
    return found


def arrived(node: Node) -> int:
    """Bytes of files under way in drcm's own folders and partial folders."""
    own = [path for path in node.path(TREE).rglob("*") if OWN in str(path) and path.is_file()]
    return sum(path.stat().st_size for path in own)


def test_writer_paused_in_the_middle_of_a_transfer(cluster: Cluster) -> None:
    """All processes of the writer sleep in the middle of a big transfer, through their own death, and wake
    up: nothing on the new writer changes, then all comes home and no version is lost."""
    big, changed = os.urandom(BIG), b"changed on the old writer\n"
    cluster.a.write(f"{TREE}/d0/f0", changed)
    cluster.a.write(f"{TREE}/big", big)
    wait_until(lambda: arrived(cluster.b) > SENT_BEFORE, 20.0, "the transfer to be under way")
    cluster.a.pause()
    before = taken_over(cluster)
    assert "big" not in before, "it was to be under way, not done"
    mark = len(cluster.a.daemon_log())
    cluster.a.resume()
    watch_until_home(cluster, before)
    cluster.settle(60.0)
    kept = everywhere(cluster)
    assert hashlib.sha256(big).hexdigest() in kept, "the file under way was lost"
    assert hashlib.sha256(changed).hexdigest() in kept, "the old writer's version was lost"
    assert cluster.a.read(f"{TREE}/d0/f0") == "changed by the new writer\n"
    assert cluster.a.read(f"{TREE}/new-writers") == "only there\n"
    assert cluster.a.daemon_log()[mark:], "it said what happened to it"


def test_writer_paused_with_a_sync_due(cluster: Cluster) -> None:
    """The writer sleeps with changes that a sync is due for, each second; what it tries when it wakes up
    changes nothing on the new writer."""
    cluster.a.pause("drcm-server|drcm-sync|rsync")
    cluster.a.write(f"{TREE}/d0/f0", "due on the old writer\n")
    cluster.a.write(f"{TREE}/due", "due\n")
    before = taken_over(cluster)
    cluster.a.resume("drcm-server|drcm-sync|rsync")
    watch_until_home(cluster, before)
    cluster.settle(60.0)
    kept = everywhere(cluster)
    assert hashlib.sha256(b"due\n").hexdigest() in kept
    assert hashlib.sha256(b"due on the old writer\n").hexdigest() in kept


def test_writer_by_its_record_alone_is_refused_by_the_gate(cluster: Cluster) -> None:
    """Without a daemon the old writer's record still names it: drcm-sync by hand reaches the gate of the new
    writer, which refuses, by chain, and nothing there changes."""
    cluster.a.kill_drcm()
    cluster.a.write(f"{TREE}/by-hand", "by hand\n")
    before = taken_over(cluster)
    ended = cluster.a.sync("testfs", check=False)
    assert ended.returncode == EXIT_WRONG_ROLE, ended.stdout + ended.stderr
    assert "newer generation" in ended.stderr, ended.stderr
    assert tree(cluster.b) == before
    cluster.settle(60.0)
    assert hashlib.sha256(b"by hand\n").hexdigest() in everywhere(cluster)


def test_forged_push_of_an_old_generation_is_refused(cluster: Cluster) -> None:
    """Who has the SSH key and asks the gate for a run of an old generation is refused before rsync."""
    record = cluster.a.read("/var/lib/drcm/sets/testfs.json")
    cluster.a.power_cut()
    before = taken_over(cluster)
    key = ["-i", "/etc/drcm/.auth/id_ed25519", "-o", "UserKnownHostsFile=/etc/drcm/.auth/known_hosts"]
    cluster.a.power_on()
    request = f'{{"record": {record}, "run": "9-0123abcd"}}'
    begin = cluster.a.run(
        ["ssh", *key, "10.77.0.2", "drcm-gate begin testfs"], input=request, check=False, timeout=20.0
    )
    assert begin.returncode == EXIT_WRONG_ROLE, begin.stdout + begin.stderr
    assert '"ok": false' in begin.stdout
    assert "refused" in begin.stderr
    assert tree(cluster.b) == before
