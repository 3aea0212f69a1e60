"""What the tests of drcm.cluster share: a small cm.cfg, a spec of plain values, beats in short words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from drcm.cluster.membership import Membership
from drcm.cluster.messages import Beat, Echo
from drcm.cluster.spec import Group, Spec
from drcm.config.model import Cluster, Quorum
from drcm.config.reading import read_text

KEY = "a/ip:web"
IP_GROUP = Group(KEY, "a", ("a", "b"), ("ip:web",))
SET_GROUP = Group("a/set:data", "a", ("a", "b"), ("set:data", "ip:web"))
DEAD = 2.0  # T_dead of every spec here
LEASE = 1.4

CONFIG = """\
[CM_SERVER]
keep_alive_interval = 0.1
dead_node_count = 20
[CM_CRONTABS]
system, /etc/drcm/crontabs/system_crons, /etc/cron.d, /etc/drcm/resources/crontab.sh
[CM_IPADDRS]
web, 10.9.0.100, 24, va, /etc/drcm/resources/ipv4addr.sh
[CM_NODE]
nodename = a
hostname = host-a
keep_alive_ip = 10.9.0.1
node_crontabs = system
node_floating_ip_addrs = web
[CM_NODE]
nodename = b
hostname = host-b
keep_alive_ip = 10.9.0.2
node_backup_crontabs = a:system
node_backup_floating_ip_addrs = a:web
"""


def cluster_of(text: str = CONFIG) -> Cluster:
    """The cluster of a text without any ERROR."""
    reading = read_text(text, "cm.cfg")
    assert reading.usable, reading.faults
    assert reading.draft is not None
    return reading.draft.cluster


def spec_of(me: str = "a", voters: str = "abc", **changes: Any) -> Spec:
    """T_dead 2.0 s, T_lease 1.4 s; each letter of `voters` is a node."""
    quorum = Quorum.TWO_NODE if len(voters) == 2 else Quorum.MAJORITY
    spec = Spec(me, tuple(voters), (IP_GROUP, SET_GROUP), quorum, 0.1, DEAD, boot_wait=60.0, digest="same")
    return replace(spec, **changes)


def boot_of(name: str, count: int = 1) -> bytes:
    return f"{name}{count}".encode().ljust(16, b".")


def beat_of(sender: str, number: int = 1, **fields: Any) -> Beat:
    boot, dead = fields.pop("boot", boot_of(sender)), fields.pop("dead_seconds", DEAD)
    return Beat(sender, boot, number, dead, fields.pop("epoch", 1), **fields)


def hear(membership: Membership, sender: str, number: int, now: float, **fields: Any) -> bool:
    """A beat that echoes the newest one sent here arrives; whether it was taken in."""
    echo = {membership.spec.me: Echo(membership.boot, membership.number)}
    return membership.hear(beat_of(sender, number, echo=echo, **fields), now) is not None
