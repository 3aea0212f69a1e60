"""cm.cfg to the model: everything that 1.41's file may hold, and the new sections."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from drcm.config.build import Draft
from drcm.config.model import (
    Address,
    Application,
    BackupRef,
    Crontab,
    FileSystem,
    Kind,
    Quorum,
    ResourceRef,
    Schedule,
    Service,
)

Read = Callable[[str], Draft]


def test_a_whole_file_of_1_41(draft_of: Read, legacy: str) -> None:
    """All sections, keys, spellings, comments, `;` and repeated sections of LEGACY.md are understood."""
    cluster = draft_of(legacy).cluster
    server = cluster.server
    assert (server.udpport, server.tcpport, server.bind_to_keep_alive_ip) == (5000, 5001, False)
    assert (server.run_dir, server.cluster_user, server.logfile) == ("/var/run/drcm", "drcm", "other.log")
    assert (server.max_log_size, server.enable_logging, server.log_level) == (2_000_000_000, True, 5)
    assert server.dead_seconds == 60.0  # old files mean what they meant
    scripts = "/etc/drcm/resources"
    assert cluster.resources == (
        Crontab("system", "/etc/drcm/crontabs/system_crons", "/etc/cron.d", f"{scripts}/crontab.sh", 16),
        Crontab("user", "/etc/drcm/crontabs/user_crons", "/etc/cron.d", f"{scripts}/crontab.sh", 28),
        Address(
            "cmnodef", "192.168.1.9", 24, ("ens192", "eno8303"), f"{scripts}/ipv4addr.sh", "255.255.255.0", 18
        ),
        Address("six", "2001:db8::9", 64, ("eth0:1",), "/opt/my/six.sh", "64", 19),
        Service("web", "httpd", f"{scripts}/service.sh", 21),
        Application(
            "ldm",
            "ldm",
            "users",
            "ldmadmin clean; ldmadmin start",
            "ldmadmin stop; ldmadmin delqueue",
            "",
            23,
        ),
        Application("pod", "app", "app", "~/start #1", "~/stop", "if [ -f ~/up ]; then ~/up; fi", 24),
        FileSystem("data", "nfs1:/export/data", "/data", f"{scripts}/nfs.sh", 26),
    )
    one, two, three = cluster.nodes
    assert (one.name, one.hostname, one.line) == ("cmnode1", "cmnode1.example.org", 29)
    assert (one.keep_services, one.keep_filesystems, one.keep_applications) == (True, False, False)
    assert [node.ipaddrs_check for node in cluster.nodes] == [10.0, 11.0, 12.0]
    assert (one.crontabs_check, one.services_check) == (20.0, 60.0)
    assert set(one.resources) == {
        ResourceRef(Kind.CRONTAB, "user"),
        ResourceRef(Kind.CRONTAB, "system"),
        ResourceRef(Kind.ADDRESS, "cmnodef"),
        ResourceRef(Kind.ADDRESS, "six"),
        ResourceRef(Kind.SERVICE, "web"),
        ResourceRef(Kind.APPLICATION, "ldm"),
        ResourceRef(Kind.APPLICATION, "pod"),
        ResourceRef(Kind.FILESYSTEM, "data"),
    }
    assert BackupRef("cmnode1", Kind.FILESYSTEM, "data") in two.backups
    assert len(two.backups) == 6
    assert three.witness
    assert not three.resources
    assert [node.name for node in cluster.voters] == ["cmnode1", "cmnode2", "cmnode3"]


def test_the_new_sections(draft_of: Read, good: str) -> None:
    """[CM_SERVER]'s new keys, [CM_SYNC], [CM_REPLICATION] and [CM_ALERTS] are understood."""
    text = good.replace(
        "dead_node_count = 20\n",
        "dead_node_count = 20\nquorum = majority\nlast_man_standing = 1\nping_hosts = 192.168.1.254\n"
        "ping_hosts = 192.168.1.253\nboot_wait = 2m\nfailback = manual\nleave_sync = 90s\n",
    ).replace("witness = 1", "witness = 1\ntransport = tcp\nfence_command = /opt/off --node=three")
    text = text.replace(
        "mirror = /testfs\nschedule = */5 * * * *\n",
        "mirror = /testfs\nmirror = /srv/www\ncopy = /usr/local\nwatch = 1\n"
        "exclude = *.tmp\nexclude = \\#*\\#\n"
        "max_delete = 10% or 1000\nmax_shrink = 20%\nmax_lag = 1h\ntrash_days = 7\nbwlimit = 5m\n"
        "resources = ip:front, user\nallow_live = 1\nfsync = y\n",
    )
    text += "sms = 5551@gw.example.org\nsmtp_host = mail.example.org\nsmtp_port = 587\nsmtp_starttls = 1\n"
    text += "throttle_hours = 2.5\ncheck = 30 * * * *\n[CM_REPLICATION]\ncluster_name = NFS-CLUSTER1\n"
    text += "storage_server = 192.168.122.1\nstorage_location = /backups\nssh_port = 2222\n"
    cluster = draft_of(text).cluster
    server = cluster.server
    assert (server.quorum, server.last_man_standing, server.failback) == (Quorum.MAJORITY, True, False)
    assert server.ping_hosts == ("192.168.1.254", "192.168.1.253")
    assert (server.boot_wait, server.leave_sync, server.dead_seconds) == (120.0, 90.0, 2.0)
    witness = cluster.node("witness")
    assert (witness.transport, witness.fence_command) == ("tcp", "/opt/off --node=three")
    sync = cluster.set("testfs")
    assert (sync.mirror, sync.copy) == (("/testfs", "/srv/www"), ("/usr/local",))
    assert sync.schedule == Schedule(watch=True)
    assert sync.exclude == ("*.tmp", "#*#")
    assert (sync.max_delete, sync.max_delete_percent, sync.max_shrink_percent) == (1000, 10.0, 20.0)
    assert (sync.max_lag, sync.trash_days, sync.bwlimit) == (3600.0, 7, "5m")
    assert sync.resources == (ResourceRef(Kind.ADDRESS, "front"), ResourceRef(Kind.CRONTAB, "user"))
    assert (sync.allow_live, sync.fsync) == (True, True)
    assert (cluster.alerts.email, cluster.alerts.sms) == (("root",), ("5551@gw.example.org",))
    assert (cluster.alerts.smtp_port, cluster.alerts.throttle_hours) == (587, 2.5)
    assert (cluster.replication.cluster_name, cluster.replication.ssh_port) == ("NFS-CLUSTER1", 2222)


@pytest.mark.parametrize(
    ("lines", "files", "percent"),
    [
        ("", 1000, 10.0),
        ("max_delete = 50\n", 50, 0.0),
        ("max_delete = 5%\n", 0, 5.0),
        ("max_delete_percent = 5\n", 0, 5.0),
        ("max_delete = 50\nmax_delete_percent = 5\n", 50, 5.0),
        ("max_delete = 0\n", 0, 0.0),
    ],
)
def test_one_delete_limit_means_that_one(
    draft_of: Read, good: str, lines: str, files: int, percent: float
) -> None:
    """`max_delete = 50` is not quietly "50 or 10 %, whichever is more"."""
    sync = draft_of(good.replace("[CM_ALERTS]", f"{lines}[CM_ALERTS]")).cluster.set("testfs")
    assert (sync.max_delete, sync.max_delete_percent) == (files, percent)


@pytest.mark.parametrize(("text", "expected"), [("none", ()), ("", ()), (None, None)])
def test_what_moves_with_a_set(
    draft_of: Read, good: str, text: str | None, expected: tuple[ResourceRef, ...] | None
) -> None:
    """No `resources` means all of the primary's; `none` means none."""
    line = "" if text is None else f"resources = {text}\n"
    sync = draft_of(good.replace("[CM_ALERTS]", f"{line}[CM_ALERTS]")).cluster.set("testfs")
    assert sync.resources == expected


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (
            "[CM_SERVICES]\nweb, httpd\n",
            "2: ERROR - 2 values: expected nickname, service_name, resource_script",
        ),
        ("[CM_IPADDRS]\na,,,eth0,x\n", "2: ERROR - ip is nothing: expected an IPv4 or IPv6 address"),
        (
            "[CM_IPADDRS]\na,1.2.3.4,x,eth0,x\n",
            "2: ERROR - netmask is 'x': expected a netmask (255.255.255.0)",
        ),
        ("[CM_FILESYSTEMS]\na, b, c, d\n", "2: ERROR - target is 'c': expected one absolute path"),
        ("[CM_APPLICATIONS]\na, b, c, d, e, f\n", "2: ERROR - 6 values: expected nickname, user:group"),
        (
            "[CM_SERVER]\nudpport = 1\nudpport = 2\n",
            "3: WARNING - udpport stands in line 2 already; this one",
        ),
        ("[CM_SERVER]\nnodename = a\n", "2: WARNING - nodename belongs into [CM_NODE], not into [CM_SERVER]"),
        (
            "[CM_SERVER]\nudp_port = 1\n",
            "2: WARNING - unknown key 'udp_port' in [CM_SERVER] (did you mean 'udpport'?)",
        ),
        ("[CM_SEVRER]\na = 1\n", "1: WARNING - unknown section [CM_SEVRER] (did you mean 'CM_SERVER'?)"),
        ("[CM_SERVER]\nquorum = most\n", "2: ERROR - quorum is 'most': expected one of auto, majority"),
        (
            "[CM_SERVER]\ntcpport =\n",
            "2: ERROR - tcpport is nothing: expected a port from 1 to 65535; correct it or",
        ),
    ],
)
def test_a_wrong_line_says_what_was_expected(
    row: str, told: str, faults_of: Callable[[str], list[str]]
) -> None:
    """What is wrong, what was expected and the nearest known name stand in one line."""
    assert any(fault.startswith(told) for fault in faults_of(row)), faults_of(row)


def test_the_last_of_a_repeated_key_counts(
    faults_of: Callable[[str], list[str]], good: str, draft_of: Read
) -> None:
    """As the warning says."""
    assert draft_of("[CM_SERVER]\nudpport = 1\nudpport = 2\n" + good).cluster.server.udpport == 2


def test_the_digest_is_of_the_meaning(draft_of: Read, good: str) -> None:
    """Comments, blanks, spellings and the file's name don't change it; any meaning does."""
    first = draft_of(good).cluster.digest
    assert len(first) == 16
    same = "# comment\n" + good.replace("255.255.255.0", "24").replace(
        "dead_node_count = 20", "dead_node_count=20;"
    )
    assert draft_of(same).cluster.digest == first
    for old, new in (
        ("dead_node_count = 20", "dead_node_count = 21"),
        ("'ens192|eno8303'", "'eno8303|ens192'"),
        ("mirror = /testfs", "copy = /testfs"),
        ("email = root", "email = admin"),
        ("node_services = web\n[CM_NODE]", "[CM_NODE]"),
        ("witness = 1", "witness = 1\nfence_command = /x"),
    ):
        assert draft_of(good.replace(old, new)).cluster.digest != first, new
