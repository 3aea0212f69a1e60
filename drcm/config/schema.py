"""Every section and key of cm.cfg: one table from which parser, template and man page are made. Pure.

Defaults are those of model.py; a key without one there is required.
"""

from __future__ import annotations

from collections.abc import Sequence

from drcm.config import values as v
from drcm.config.keys import Column, Key, KeySection, RowSection
from drcm.config.model import (
    RESTART_LIMIT,
    RESTART_WINDOW,
    Alerts,
    Kind,
    Node,
    Policy,
    Quorum,
    Replication,
    Server,
    SyncSet,
)

DAY = 86400.0
LEVEL = v.integer(0, 1000)
QUEUE = v.integer(1, 10_000_000)
FAILBACK = v.words(auto=True, manual=False)
TRANSPORT = v.words(udp="udp", tcp="tcp")
PERIOD = v.seconds(0.1, DAY)
REFS = v.list_of(v.Type("", str), "nodename:nickname with commas between")

SERVER = KeySection(
    "CM_SERVER",
    "What the whole cluster shares.",
    Server,
    (
        Key("udpport", v.PORT, "UDP port of the keep alives; open it between the nodes"),
        Key("tcpport", v.PORT, "TCP port of the console and of keep alives over TCP"),
        Key("keep_alive_interval", v.seconds(0.005, 60), "seconds between two keep alives"),
        Key(
            "dead_node_count",
            v.integer(1, 100_000),
            "a node is dead after this many lost keep alives in a row; times the interval = dead time",
        ),
        Key("bind_to_keep_alive_ip", v.BOOL, "listen on this node's keep alive IP alone; 0 = everywhere"),
        Key(
            "quorum",
            v.choice(Quorum),
            "auto: a majority of the nodes must back whoever holds a resource (two_node where there are two)",
        ),
        Key("last_man_standing", v.BOOL, "after a confirmed death a majority agrees to count fewer nodes"),
        Key(
            "ping_hosts",
            v.ADDRESSES,
            "two nodes: routers whose answer shows that this side has the network",
            many=True,
        ),
        Key("boot_wait", v.seconds(0, 3600), "after a machine's boot, wait this long for nodes never heard"),
        Key(
            "failback", FAILBACK, "auto: resources go home once their node is back and up to date; or manual"
        ),
        Key("leave_sync", v.seconds(0, 3600), "a clean stop waits this long for the last sync"),
        Key(
            "flap_limit",
            v.integer(1, 1000),
            "what went to a backup this often within an hour stays where it is, and somebody is told; "
            "the way home is not counted",
        ),
        Key("run_dir", v.PATH, "directory of the running daemon's files"),
        Key("log_dir", v.PATH, "directory of the log file"),
        Key("spool_dir", v.PATH, "directory of what waits to be sent"),
        Key("cluster_user", v.USER, "user of the cluster's files"),
        Key("cluster_group", v.USER, "group of the cluster's files"),
        Key("sudo_command", v.TEXT, "how a command is run as root"),
        Key("bash_shell", v.PATH, "shell that runs applications"),
        Key("bash_rc_file", v.TEXT, "file that this shell reads"),
        Key("service_name", v.NAME, "name of the daemon's service"),
        Key("logfile", v.FILE_NAME, "name of the log file in log_dir, without a path"),
        Key("num_logs_to_keep", v.integer(0, 10_000), "how many rotated log files are kept"),
        Key("max_log_size", v.integer(1000, 2_000_000_000), "bytes at which the log is rotated"),
        Key("log_queue_size", QUEUE, "log lines that may wait to be written"),
        Key("log_queue_debug_size", QUEUE, "the same for debug lines"),
        Key("log_queue_proc_size", QUEUE, "the same for lines of child processes"),
        Key("enable_logging", v.BOOL, "0 = no log file"),
        Key("clear_log", v.BOOL, "begin with an empty log at each start"),
        Key("log_level", v.integer(0, 5), "0 = least, 5 = most"),
        Key("debug", v.BOOL, "debug lines in the log"),
        Key("debug_level", LEVEL, "how many of them"),
        Key("verbose", v.BOOL, "verbose lines on the terminal"),
        Key("verbose_level", LEVEL, "how many of them"),
    ),
)

NODE_LISTS: dict[Kind, tuple[str, str]] = {
    Kind.CRONTAB: ("node_crontabs", "node_backup_crontabs"),
    Kind.ADDRESS: ("node_floating_ip_addrs", "node_backup_floating_ip_addrs"),
    Kind.SERVICE: ("node_services", "node_backup_services"),
    Kind.APPLICATION: ("node_applications", "node_backup_applications"),
    Kind.FILESYSTEM: ("node_filesystems", "node_backup_filesystems"),
}

SECTION_OF: dict[Kind, str] = {
    Kind.CRONTAB: "CM_CRONTABS",
    Kind.ADDRESS: "CM_IPADDRS",
    Kind.SERVICE: "CM_SERVICES",
    Kind.APPLICATION: "CM_APPLICATIONS",
    Kind.FILESYSTEM: "CM_FILESYSTEMS",
}

NODE = KeySection(
    "CM_NODE",
    "One member of the cluster. Repeat the section for each node; the file is the same on all of them.",
    Node,
    (
        Key("nodename", v.NAME, "what this file and the reports call the node", "name"),
        Key("hostname", v.HOST, "as `uname -n` prints it on that node"),
        Key("keep_alive_ip", v.ADDRESS, "address of the keep alives; never a floating one"),
        Key("node_is_active", v.BOOL, "0 = the node takes no part", "active"),
        Key("witness", v.BOOL, "1 = votes, and holds nothing: the cheap third node of a two-node cluster"),
        Key(
            "transport",
            TRANSPORT,
            "how its heartbeats go, both ways: udp; tcp (TLS, to tcpport) where no UDP gets through",
        ),
        Key(
            "fence_command",
            v.FENCE,
            "run by the node that takes over, before it starts anything; it must cut this node's power: a "
            "program with its arguments (no shell), or fence:AGENT key=value ... for /usr/sbin/AGENT of the "
            "fence-agents package, its parameters given on standard input (passwd_file=FILE: the password "
            "from a file of mode 0600; action=off unless said otherwise)",
        ),
        Key(
            "watchdog",
            v.OPTIONAL_PATH,
            "watchdog device, as /dev/watchdog: the machine is reset when what its lease no longer covers "
            "can't be released, or when nobody is left to see to it; empty = none",
        ),
        Key("keep_services", v.BOOL, "1 = services go on when drcm is stopped"),
        Key("keep_filesystems", v.BOOL, "1 = file systems stay mounted when drcm is stopped"),
        Key("keep_applications", v.BOOL, "1 = applications go on when drcm is stopped"),
        Key(
            "ipaddrs_check",
            PERIOD,
            "seconds between two looks at the floating addresses",
            aliases=("ipapddrs_check", "ipaddr_check"),  # the first is how 1.41's own template spells it
        ),
        Key("filesystems_check", PERIOD, "... at the file systems", aliases=("filesystem_check",)),
        Key("services_check", PERIOD, "... at the services", aliases=("service_check",)),
        Key("crontabs_check", PERIOD, "... at the crontabs", aliases=("crontab_check",)),
        Key("applications_check", PERIOD, "... at the applications", aliases=("application_check",)),
        *(
            key
            for kind, (own, backup) in NODE_LISTS.items()
            for key in (
                Key(own, v.NAMES, f"nicknames of [{SECTION_OF[kind]}] that run here", "", many=True),
                Key(backup, REFS, "nodename:nickname of those taken over from others", "", many=True),
            )
        ),
    ),
    repeated=True,
)

TIMEOUT = v.seconds(0.1, DAY)

RESOURCE = KeySection(
    "CM_RESOURCE",
    "Order, timeouts and restarts of resources. Repeat it; without it all is as the defaults say.",
    Policy,
    (
        Key(
            "resource",
            v.list_of(v.Type("", str), "KIND:NICKNAME with commas between, or KIND:*"),
            "whom the section is about: as service:db, or ip:web, service:web; service:* = every service",
            "",
            many=True,
        ),
        Key(
            "depends",
            v.list_of(v.Type("", str), "KIND:NICKNAME with commas between"),
            "what must run before it, on the same node; they move together. Needed only where the order of "
            "the kinds is not enough: file systems, addresses, services, applications, crontabs",
            "",
            many=True,
        ),
        Key("group", v.GROUP, "all resources of this group with one home start, stop and move as one"),
        Key("start_timeout", TIMEOUT, "seconds that its start may take", unset="the agent's, 120"),
        Key("stop_timeout", TIMEOUT, "seconds that its stop may take before TERM, then KILL", unset="60"),
        Key("monitor_timeout", TIMEOUT, "seconds that a look at it may take", unset="60"),
        Key(
            "restart_limit",
            v.integer(0, 1000),
            "a failed resource is restarted where it is so often within restart_window, then it moves",
            unset=str(RESTART_LIMIT),
        ),
        Key(
            "restart_window",
            v.seconds(1, 7 * DAY),
            "seconds after which a failure no longer counts",
            unset=f"{RESTART_WINDOW:.0f}",
        ),
    ),
    repeated=True,
)

REPLICATION = KeySection(
    "CM_REPLICATION",
    "What all sync sets share.",
    Replication,
    (
        Key("cluster_name", v.NAME, "name of the cluster in reports and mails"),
        Key("backup_user", v.USER, "user of the SSH connections between the nodes"),
        Key("ssh_port", v.PORT, "port of sshd on the nodes"),
        Key("storage_server", v.SERVER_NAME, "server of the shared backups; empty = none"),
        Key("storage_location", v.OPTIONAL_PATH, "directory on it"),
    ),
)

SYNC = KeySection(
    "CM_SYNC",
    "One sync set: directories that one node at a time writes, and that its backups copy. Repeat it.",
    SyncSet,
    (
        Key("name", v.NAME, "name of the set, as in `drcm-sync NAME`"),
        Key("primary", v.NAME, "nodename of the node that writes when all is well"),
        Key("backups", v.NAMES, "nodenames of the nodes that copy, in the order of taking over", many=True),
        Key("mirror", v.PATH, "directory copied exactly, deletions too; repeatable", many=True),
        Key("copy", v.PATH, "directory copied without ever deleting; repeatable", many=True),
        Key("schedule", v.CRON, "when it is synced, as in a crontab; or every, or watch", ""),
        Key("every", v.seconds(1, 7 * DAY), "period of the syncs, as 30s", ""),
        Key(
            "watch",
            v.BOOL,
            "1 = sync within about a second of each change; every 10 s where the file system tells none",
            "",
            unset="0",
        ),
        Key("exclude", v.FILLED, "rsync pattern of what is left out; repeatable", many=True),
        Key(
            "max_delete",
            v.DELETE_LIMIT,
            "a sync that would delete more deletes nothing: 1000, 10%, or both (whichever is more)",
            "",
            unset="10% or 1000",
        ),
        Key("max_delete_percent", v.PERCENT, "the percentage of max_delete alone", ""),
        Key(
            "max_shrink",
            v.PERCENT,
            "a source that has shrunk by more than this percentage is refused",
            "max_shrink_percent",
            aliases=("max_shrink_percent",),
        ),
        Key(
            "max_lag",
            v.seconds(0, 365 * DAY),
            "alert once a copy is older; 0 = four periods, at least ten minutes",
        ),
        Key(
            "trash_days", v.integer(1, 36_500), "days for which replaced and deleted files are kept at least"
        ),
        Key(
            "trash_size",
            v.SIZE,
            "with it they are kept longer, until they take this many bytes; a run that finds more than that, "
            "all of it younger than trash_days, fails; 0 = kept for trash_days, however many",
        ),
        Key("bwlimit", v.RATE, "bytes per second at most, as rsync's --bwlimit; empty = no limit"),
        Key(
            "resources",
            v.list_of(v.Type("", str), "KIND:NICKNAME with commas between, or none"),
            "what moves with the set, as ip:web, service:httpd; not given = all that its primary lists",
            "",
            many=True,
        ),
        Key("allow_live", v.BOOL, "1 = sync even a running database's files (the copy may be useless)"),
        Key("pre_sync", v.COMMAND, "command on the writer before each run, as a dump or snapshot; no shell"),
        Key("post_sync", v.COMMAND, "command on the writer after each run, however it ended; no shell"),
        Key("fsync", v.BOOL, "1 = every file is on disk before a run counts; slow"),
    ),
    repeated=True,
)

ALERTS = KeySection(
    "CM_ALERTS",
    "Who hears of trouble.",
    Alerts,
    (
        Key("email", v.MAILS, "mail addresses", many=True),
        Key("sms", v.MAILS, "mail addresses of an SMS gateway", many=True),
        Key("sender", v.MAIL, "From: of the mails; empty = drcm@HOSTNAME"),
        Key("smtp_host", v.SERVER_NAME, "mail server"),
        Key("smtp_port", v.PORT, "its port"),
        Key("smtp_user", v.TEXT, "login there; empty = none"),
        Key("smtp_password_file", v.OPTIONAL_PATH, "file with the password, mode 0600"),
        Key("smtp_starttls", v.BOOL, "1 = encrypt by STARTTLS"),
        Key("throttle_hours", v.number(0, 10_000), "an open problem is told again after so many hours"),
        Key("check", v.CRON, "when the whole cluster is looked at, as in a crontab"),
    ),
)

NICKNAME = Column("nickname", v.NAME)
# Not a path: it may be an OCF agent or a unit, drcm's own may be named alone (ipv4addr.sh); host checks look.
SCRIPT = Column("resource_script", v.SCRIPT)

ROWS: dict[str, RowSection] = {
    section.name: section
    for section in (
        RowSection(
            SECTION_OF[Kind.CRONTAB],
            "Crontabs: a template (minute hour day month weekday user command) installed while it runs here.",
            Kind.CRONTAB,
            (NICKNAME, Column("template_file", v.PATH), Column("install_location", v.PATH), SCRIPT),
        ),
        RowSection(
            SECTION_OF[Kind.ADDRESS],
            "Floating addresses. 'ens192|eno8303' = the first interface that exists on the node.",
            Kind.ADDRESS,
            (
                NICKNAME,
                Column("ip", v.ADDRESS),
                Column("netmask", v.PREFIX),
                Column("interface", v.INTERFACES),
                SCRIPT,
            ),
        ),
        RowSection(
            SECTION_OF[Kind.SERVICE],
            "System services.",
            Kind.SERVICE,
            (NICKNAME, Column("service_name", v.SERVICE), SCRIPT),
        ),
        RowSection(
            SECTION_OF[Kind.APPLICATION],
            "Programs that run as a user, with that user's environment. ; stands between several commands.",
            Kind.APPLICATION,
            (
                NICKNAME,
                Column("user:group", v.OWNER),
                Column("start_program", v.FILLED),
                Column("stop_program", v.FILLED),
                Column("ensure_script", v.TEXT, optional=True),
            ),
        ),
        RowSection(
            SECTION_OF[Kind.FILESYSTEM],
            "File systems.",
            Kind.FILESYSTEM,
            (NICKNAME, Column("source", v.FILLED), Column("target", v.PATH), SCRIPT),
        ),
    )
}

KEYED: dict[str, KeySection] = {
    section.name: section for section in (SERVER, RESOURCE, NODE, REPLICATION, SYNC, ALERTS)
}
# In the order in which template, report and man page show them.
SECTION_ORDER: Sequence[str] = (
    "CM_SERVER",
    *ROWS,
    "CM_RESOURCE",
    "CM_NODE",
    "CM_REPLICATION",
    "CM_SYNC",
    "CM_ALERTS",
)
