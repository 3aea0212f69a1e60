"""What the engine is told of a cm.cfg: voters, quorum, and groups in their order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_cluster import CONFIG, cluster_of, spec_of

from drcm.cluster.spec import Group, Restarts, build_groups, build_spec
from drcm.config.model import Quorum

MIXED = """\
[CM_SERVER]
keep_alive_interval = 0.1
dead_node_count = 20
failback = manual
ping_hosts = 10.9.0.254
[CM_CRONTABS]
system, /etc/drcm/crontabs/system_crons, /etc/cron.d, /etc/drcm/resources/crontab.sh
[CM_IPADDRS]
web, 10.9.0.100, 24, eth0, /etc/drcm/resources/ipv4addr.sh
db, 10.9.0.101, 24, eth0, /etc/drcm/resources/ipv4addr.sh
[CM_SERVICES]
httpd, httpd, /etc/drcm/resources/service.sh
[CM_FILESYSTEMS]
nfs, filer:/export, /mnt/nfs, /etc/drcm/resources/nfs.sh
[CM_NODE]
nodename = a
hostname = host-a
keep_alive_ip = 10.9.0.1
keep_services = 1
keep_filesystems = 0
node_crontabs = system
node_services = httpd
node_floating_ip_addrs = web
node_filesystems = nfs
[CM_NODE]
nodename = b
hostname = host-b
keep_alive_ip = 10.9.0.2
node_floating_ip_addrs = db
node_backup_crontabs = a:system
node_backup_floating_ip_addrs = a:web
node_backup_filesystems = a:nfs
[CM_NODE]
nodename = c
hostname = host-c
keep_alive_ip = 10.9.0.3
node_backup_floating_ip_addrs = a:web, b:db
[CM_NODE]
nodename = w
hostname = host-w
keep_alive_ip = 10.9.0.4
witness = 1
[CM_NODE]
nodename = off
hostname = host-off
keep_alive_ip = 10.9.0.5
node_is_active = 0
node_backup_floating_ip_addrs = a:web
"""
SYNC = """\
[CM_SYNC]
name = data
primary = a
backups = b, c
mirror = /data
every = 30s
"""


def groups_of(text: str) -> dict[str, Group]:
    return {group.key: group for group in build_groups(cluster_of(text))}


def test_without_sets_each_resource_is_a_group() -> None:
    """Home first, then the backups in the order of cm.cfg; who is not active is no candidate."""
    groups = groups_of(MIXED)
    assert {key: group.candidates for key, group in groups.items()} == {
        "a/cron:system": ("a", "b"),
        "a/ip:web": ("a", "b", "c"),
        "a/service:httpd": ("a",),
        "a/filesystem:nfs": ("a", "b"),
        "b/ip:db": ("b", "c"),
    }
    assert all(group.members == (key.partition("/")[2],) for key, group in groups.items())


def test_a_set_takes_with_it_what_has_a_backup() -> None:
    """Set, file system, address, crontab: in the order of starting; what has no backup stays by itself."""
    groups = groups_of(MIXED + SYNC)
    assert groups["a/set:data"] == Group(
        "a/set:data", "a", ("a", "b", "c"), ("set:data", "filesystem:nfs", "ip:web", "cron:system")
    )
    assert set(groups) == {"a/set:data", "a/service:httpd", "b/ip:db"}
    assert groups["a/set:data"].sets == ("data",)


def test_a_set_takes_only_what_it_names() -> None:
    """With `resources` the others of its home have their own place."""
    groups = groups_of(MIXED + SYNC + "resources = ip:web\n")
    assert groups["a/set:data"].members == ("set:data", "ip:web")
    assert set(groups) == {"a/set:data", "a/cron:system", "a/service:httpd", "a/filesystem:nfs", "b/ip:db"}


def test_sets_of_one_home_are_one_group() -> None:
    """Only a node that backs up all of them can take them."""
    cluster = cluster_of(MIXED + SYNC + SYNC.replace("data", "mail"))
    data, mail = cluster.sets
    group = build_groups(replace(cluster, sets=(data, replace(mail, backups=("c",)))))[0]
    assert group.sets == ("data", "mail")
    assert group.candidates == ("a", "c")
    assert group.members[:2] == ("set:data", "set:mail")


def test_every_resource_is_in_exactly_one_group() -> None:
    """However sets and resources are mixed, nothing is granted twice."""
    for text in (MIXED, MIXED + SYNC, MIXED + SYNC + "resources = cron:system\n"):
        members = [(group.home, m) for group in groups_of(text).values() for m in group.members]
        assert len(members) == len(set(members))
        assert {m for _, m in members if not m.startswith("set:")} == {
            "cron:system", "ip:web", "service:httpd", "filesystem:nfs", "ip:db",
        }  # fmt: skip


def test_build_spec() -> None:
    """Voters with the witness, without who is inactive; times in seconds; what this node keeps."""
    cluster = cluster_of(MIXED)
    spec = build_spec(cluster, "a")
    assert (spec.voters, spec.peers, spec.majority) == (("a", "b", "c", "w"), ("b", "c", "w"), 3)
    assert (spec.interval, spec.dead_seconds, spec.lease_seconds) == (0.1, 2.0, pytest.approx(1.4))
    assert (spec.quorum, spec.failback, spec.pings) == (Quorum.MAJORITY, False, True)
    assert spec.keeps == {"service"}
    assert build_spec(cluster, "b").keeps == {"filesystem"}
    assert spec.digest == cluster.digest != ""


@pytest.mark.parametrize(("voters", "majority"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (64, 33)])
def test_majority_is_more_than_half(voters: int, majority: int) -> None:
    """Of an even number too: two halves must never both be one."""
    spec = replace(spec_of(), voters=tuple(map(str, range(voters))))
    assert spec.majority == majority


def test_the_digest_tells_another_meaning() -> None:
    """Both nodes get equal groups from equal files, and see where the files differ."""
    assert build_spec(cluster_of(CONFIG), "a").groups == build_spec(cluster_of(CONFIG), "b").groups
    other = CONFIG.replace("10.9.0.100", "10.9.0.99")
    assert build_spec(cluster_of(other), "a").digest != build_spec(cluster_of(CONFIG), "a").digest


def test_what_is_bound_is_one_group() -> None:
    """`group` and `depends` make one group of a home's resources; who backs up only some can't take it."""
    bound = (
        MIXED
        + """
[CM_RESOURCE]
resource = ip:web, filesystem:nfs
group = site
restart_limit = 1
[CM_RESOURCE]
resource = filesystem:nfs2
depends = ip:web
"""
    )
    bound = bound.replace(
        "nfs, filer", "nfs2, filer:/more, /mnt/more, /etc/drcm/resources/nfs.sh\nnfs, filer"
    )
    bound = bound.replace("node_filesystems = nfs", "node_filesystems = nfs, nfs2")
    bound = bound.replace("node_backup_filesystems = a:nfs", "node_backup_filesystems = a:nfs, a:nfs2")
    spec = build_spec(cluster_of(bound), "a")
    assert (
        Group(
            "a/group:site",
            "a",
            ("a", "b"),
            ("filesystem:nfs", "ip:web", "filesystem:nfs2"),
            (("filesystem:nfs2", "ip:web"),),
        )
        in spec.groups
    )
    assert spec.restarts == {"ip:web": Restarts(1, 600.0), "filesystem:nfs": Restarts(1, 600.0)}


def test_what_is_bound_to_a_sets_resource_moves_with_the_set() -> None:
    """`resources = ip:web` and a service that depends on it: both go where the set goes."""
    text = (
        CONFIG
        + """
[CM_RESOURCE]
resource = cron:system
depends = ip:web
[CM_SYNC]
name = data
primary = a
backups = b
mirror = /data
every = 30s
resources = ip:web
"""
    )
    (group,) = build_groups(cluster_of(text))
    assert group.members == ("set:data", "ip:web", "cron:system")
