"""The frozen model of cm.cfg: what every other part of drcm is given.

Durations are seconds (float), sizes bytes, nicknames and node names as the file spells them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")


class Kind(StrEnum):
    """What a resource is. The order is that of starting; stopping runs backwards (DESIGN.md rule 6)."""

    SET = "set"
    FILESYSTEM = "filesystem"
    ADDRESS = "ip"
    SERVICE = "service"
    APPLICATION = "application"
    CRONTAB = "cron"


class Quorum(StrEnum):
    """How many voters must back a node before it may hold a resource."""

    AUTO = "auto"
    MAJORITY = "majority"
    TWO_NODE = "two_node"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Server:
    """[CM_SERVER]: what the whole cluster shares."""

    udpport: int = 53897
    tcpport: int = 53897
    dead_node_count: int = 60
    keep_alive_interval: float = 1.0
    bind_to_keep_alive_ip: bool = True
    quorum: Quorum = Quorum.AUTO
    last_man_standing: bool = False
    ping_hosts: tuple[str, ...] = ()
    boot_wait: float = 60.0
    failback: bool = True  # "auto"; False is "manual"
    leave_sync: float = 60.0
    flap_limit: int = 6  # moves to a backup within an hour after which a group stays where it is
    run_dir: str = "/var/run/drcm"
    log_dir: str = "/var/log/drcm"
    spool_dir: str = "/var/spool/drcm"
    cluster_user: str = "root"
    cluster_group: str = "root"
    sudo_command: str = "/usr/bin/sudo -u root"
    bash_shell: str = "/bin/bash"
    bash_rc_file: str = "~/.bashrc"
    service_name: str = "drcm_server"
    logfile: str = "drcm.log"
    num_logs_to_keep: int = 3
    max_log_size: int = 5_000_000
    log_queue_size: int = 1024
    log_queue_debug_size: int = 1024
    log_queue_proc_size: int = 1024
    enable_logging: bool = True
    clear_log: bool = False
    log_level: int = 0
    debug: bool = False
    debug_level: int = 0
    verbose: bool = False
    verbose_level: int = 0

    @property
    def dead_seconds(self) -> float:
        """T_dead: silence after which a node counts as dead."""
        return self.keep_alive_interval * self.dead_node_count

    @property
    def lease_seconds(self) -> float:
        """T_lease: how long a granted beat lets its sender go on holding."""
        return 0.7 * self.dead_seconds


@dataclass(frozen=True, slots=True)
class Crontab:
    """[CM_CRONTABS] nickname, template_file, install_location, resource_script."""

    nickname: str
    template: str
    install_dir: str
    script: str
    line: int = 0
    kind = Kind.CRONTAB


@dataclass(frozen=True, slots=True)
class Address:
    """[CM_IPADDRS] nickname, ip, netmask, interface, script. `interfaces`: the first that exists here."""

    nickname: str
    ip: str
    prefix: int  # 24 for 255.255.255.0
    interfaces: tuple[str, ...]
    script: str
    netmask: str = ""  # as written, for scripts of 1.41
    line: int = 0
    kind = Kind.ADDRESS


@dataclass(frozen=True, slots=True)
class Service:
    """[CM_SERVICES] nickname, service_name, resource_script."""

    nickname: str
    service: str
    script: str
    line: int = 0
    kind = Kind.SERVICE


@dataclass(frozen=True, slots=True)
class Application:
    """[CM_APPLICATIONS] nickname, user:group, start; ..., stop; ...[, ensure_script]."""

    nickname: str
    user: str
    group: str
    start: str
    stop: str
    ensure: str = ""
    line: int = 0
    kind = Kind.APPLICATION


@dataclass(frozen=True, slots=True)
class FileSystem:
    """[CM_FILESYSTEMS] nickname, source, target, resource_script."""

    nickname: str
    source: str
    target: str
    script: str
    line: int = 0
    kind = Kind.FILESYSTEM


Resource = Crontab | Address | Service | Application | FileSystem


@dataclass(frozen=True, slots=True)
class ResourceRef:
    """A resource that a node lists as its own (home)."""

    kind: Kind
    nickname: str


@dataclass(frozen=True, slots=True)
class BackupRef:
    """A resource that a node lists as backup of `home`: `home:nickname`."""

    home: str
    kind: Kind
    nickname: str


RESTART_LIMIT = 3
RESTART_WINDOW = 600.0
EACH = "*"  # the nickname that means every resource of a kind


@dataclass(frozen=True, slots=True)
class Policy:
    """[CM_RESOURCE]: how one resource, or with nickname "*" each of its kind, is started, stopped, kept up.

    None: not said here. Of the timeouts (seconds) the agent's own counts then.
    """

    kind: Kind
    nickname: str
    depends: tuple[ResourceRef, ...] = ()  # what must run before it, on the same node
    group: str = ""  # all of one name and one home are granted, started and moved as one
    start_timeout: float | None = None
    stop_timeout: float | None = None
    monitor_timeout: float | None = None
    restart_limit: int | None = None
    restart_window: float | None = None
    line: int = 0

    def over(self, wider: Policy) -> Policy:
        """This one, with what it leaves unsaid taken from `wider`."""
        unsaid = {f.name: getattr(wider, f.name) for f in fields(self) if getattr(self, f.name) is None}
        return replace(self, **unsaid)


@dataclass(frozen=True, slots=True)
class Node:
    """[CM_NODE]: one member. A witness votes and holds nothing."""

    name: str
    hostname: str
    keep_alive_ip: str
    active: bool = True
    witness: bool = False
    transport: str = "udp"  # or "tcp"
    keep_services: bool = False
    keep_filesystems: bool = True
    keep_applications: bool = False
    ipaddrs_check: float = 60.0
    filesystems_check: float = 60.0
    services_check: float = 60.0
    crontabs_check: float = 60.0
    applications_check: float = 60.0
    resources: tuple[ResourceRef, ...] = ()
    backups: tuple[BackupRef, ...] = ()
    fence_command: str = ""
    watchdog: str = ""  # device that resets the machine when it is not fed
    line: int = 0


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a set is due: exactly one of the three is set."""

    cron: str = ""  # crontab syntax, local time
    every: float = 0.0  # seconds
    watch: bool = False


@dataclass(frozen=True, slots=True)
class SyncSet:
    """[CM_SYNC]: directories that one node at a time writes and the others copy."""

    name: str
    primary: str
    backups: tuple[str, ...]
    mirror: tuple[str, ...] = ()  # exact copy, deletions too
    copy: tuple[str, ...] = ()  # never deletes
    schedule: Schedule = Schedule()
    exclude: tuple[str, ...] = ()  # rsync patterns
    max_delete_percent: float = 10.0
    max_delete: int = 1000  # over both the percentage and this: nothing is deleted
    max_shrink_percent: float = 50.0  # a source smaller by more than this is refused
    max_lag: float = 0.0  # seconds; a copy that is older is an alert; 0 = four periods, 600 s at least
    trash_days: int = 30  # of the daemon's own counting, never of the wall clock
    trash_size: int = 0  # bytes; 0 = no limit
    bwlimit: str = ""  # as rsync's --bwlimit
    resources: tuple[ResourceRef, ...] | None = None  # what moves with it; None = all its primary's
    allow_live: bool = False
    pre_sync: str = ""  # command before each run, without a shell; "" = none
    post_sync: str = ""  # and after it, however it ended
    fsync: bool = False
    line: int = 0

    @property
    def nodes(self) -> tuple[str, ...]:
        """Primary first, then the backups in the order of taking over."""
        return (self.primary, *self.backups)

    @property
    def roots(self) -> tuple[str, ...]:
        return (*self.mirror, *self.copy)


@dataclass(frozen=True, slots=True)
class Replication:
    """[CM_REPLICATION]: what all sets share."""

    cluster_name: str = "drcm"
    backup_user: str = "root"
    ssh_port: int = 22
    storage_server: str = ""
    storage_location: str = ""


@dataclass(frozen=True, slots=True)
class Alerts:
    """[CM_ALERTS]: who hears of trouble, by what, and how often."""

    email: tuple[str, ...] = ()
    sms: tuple[str, ...] = ()  # mail addresses of an SMS gateway
    sender: str = ""  # From:; empty = drcm@HOSTNAME
    smtp_host: str = "localhost"
    smtp_port: int = 25
    smtp_user: str = ""
    smtp_password_file: str = ""
    smtp_starttls: bool = False
    throttle_hours: float = 4.0
    check: str = "0 * * * *"  # the hourly look at the whole cluster


@dataclass(frozen=True, slots=True)
class Cluster:
    """All of cm.cfg. `digest` is equal on two nodes where the shared meaning is equal."""

    server: Server
    nodes: tuple[Node, ...]
    resources: tuple[Resource, ...]
    sets: tuple[SyncSet, ...] = ()
    replication: Replication = Replication()
    alerts: Alerts = Alerts()
    path: str = "/etc/drcm/cm.cfg"
    digest: str = ""
    policies: tuple[Policy, ...] = ()

    def node(self, name: str) -> Node:
        """The node called `name` (KeyError where there is none)."""
        return _one((n for n in self.nodes if n.name == name), name)

    def resource(self, kind: Kind, nickname: str) -> Resource:
        found = (r for r in self.resources if r.kind == kind and r.nickname == nickname)
        return _one(found, f"{kind}:{nickname}")

    def policy(self, kind: Kind, nickname: str) -> Policy:
        """What [CM_RESOURCE] says of a resource, with what it says of each of its kind."""
        said = {p.nickname: p for p in self.policies if p.kind is kind}
        each = said.get(EACH, Policy(kind, EACH))
        return said.get(nickname, Policy(kind, nickname)).over(each)

    def set(self, name: str) -> SyncSet:
        return _one((s for s in self.sets if s.name == name), name)

    @property
    def voters(self) -> tuple[Node, ...]:
        """Every active node, witnesses too."""
        return tuple(node for node in self.nodes if node.active)

    @property
    def quorum(self) -> Quorum:
        """What is ruled by: `auto` is `two_node` with two voters, where no majority is to be had."""
        if self.server.quorum is not Quorum.AUTO:
            return self.server.quorum
        return Quorum.TWO_NODE if len(self.voters) == 2 else Quorum.MAJORITY


def _one(items: Iterator[T], name: str) -> T:
    for item in items:
        return item
    raise KeyError(name)
