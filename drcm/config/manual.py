"""The man page cm.cfg(5), made from schema.py: `python -m drcm.config.manual > etc/man/cm.cfg.5`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from drcm.config.keys import Key, KeySection, RowSection
from drcm.config.schema import KEYED, ROWS, SECTION_ORDER

HEAD = r""".\" Made by python -m drcm.config.manual from drcm/config/schema.py: change it there.
.Dd November 22, 2026
.Dt CM.CFG 5
.Os
.Sh NAME
.Nm cm.cfg
.Nd configuration of the drcm cluster manager
.Sh DESCRIPTION
.Pa /etc/drcm/cm.cfg
says which nodes there are, what runs on which of them, who takes it over, and which directories are
replicated.
The same file lies on every node.
.Pp
A
.Ql #
begins a comment, also in mid-line;
.Ql \e#
is a literal one.
.Ql [SECTION]
begins a section; most hold lines of the form
.Ql key = value ,
the resource sections hold one resource a line, its values with commas between.
A
.Ql \&;
after a number is ignored.
Booleans are 1 or 0, true or false, yes or no.
Times are seconds, or 500ms, 30s, 5m, 4h, 2d.
Addresses are IPv4 or IPv6.
.Pp
Look at a file before it is used:
.Dl drcm-server --check-config [--config-file=FILE]
prints every setting, and each fault as FILE:LINE: SEVERITY - TEXT.
Where there is no file, a commented one is written.
"""
AGENTS = r""".Sh RESOURCE SCRIPTS, OCF AGENTS AND UNITS
The last value of a crontab, address, service or file system names who does the work.
What a node has is told by
.Dl drcm-server --client --command=agents
and the parameters of one by
.Dl drcm-server --client --command='agents NAME'
.Bl -tag -width Ds
.It Pa /etc/drcm/resources/NAME.sh
A script: drcm's own, or any of yours with the same arguments.
Exit 0 is success;
.Cm watch
checks and repairs.
A line of its output that begins with
.Ql WARNING:\&
raises an alert although the resource works.
.Bl -tag -width Ds -compact
.It Cm crontab
script template install_dir start|stop
.It Cm address
script ip netmask interface start|stop
.It Cm service
script name start|stop|restart|reload|watch|status
.It Cm file system
script source target mount|unmount|remount|watch
.El
A script of drcm's own that is not at its path is found where drcm was installed.
.It Cm ocf:PROVIDER:AGENT Op Ar name Ns = Ns Ar value ...
An OCF resource agent below
.Pa /usr/lib/ocf/resource.d
(package resource-agents), with its parameters, quoted where a value has blanks; commas need no quotes.
.Cm ocf:AGENT
means
.Cm ocf:heartbeat:AGENT .
The other columns are parameters already: ip, cidr_netmask and nic of an address, device and directory of a
file system, the name of a docker, podman or lxc container; those written out go before them.
.Cm OCF_CHECK_LEVEL Ns = Ns 10
makes its monitor look deeper.
Its meta-data say how long an action may take.
An address that an agent brings is watched by drcm itself.
An agent whose address is on no interface of the node (a cloud's) belongs into
.Cm [CM_SERVICES] .
.It Cm systemd:UNIT
A systemd unit of any kind, not for addresses.
It must not be enabled: drcm starts it.
.El
.Pp
.Dl web, 192.168.122.5, 24, eth0, ocf:heartbeat:IPaddr2 arp_count=3
.Dl data, /dev/vg0/data, /data, ocf:heartbeat:Filesystem fstype=ext4 options=noatime,nodev
.Dl httpd, httpd, ocf:heartbeat:apache configfile=/etc/apache2/apache2.conf
.Dl proxy, nginx, systemd:nginx.service
.Pp
.Pa filesystem.sh
mounts a device, UUID=, LABEL=, an image file, a directory (bind), server:/export (NFS) or
//server/share (CIFS).
.Pa nfs.sh
and
.Pa cifs.sh
are the same.
Options and other types stand in
.Pa /etc/fstab ,
with noauto.
Its watch mounts a file system anew that does not answer within 10 seconds, fails when one has become
read-only, and warns when one is full.
Unmounting ends the processes that use it; a local one that is still in use then stays, and what holds it is
named.
A mount point that was empty gets a file THIS_FILE_SYSTEM_IS_NOT_MOUNTED, to be seen while nothing is mounted.
"""
TAIL = r""".Sh FILES
.Bl -tag -width Ds -compact
.It Pa /etc/drcm/cm.cfg
the configuration;
.Ev DRCM_CONFIG
names another
.It Pa /etc/drcm/resources
resource scripts
.It Pa /etc/drcm/crontabs
crontab templates: minute hour day month weekday user command
.El
.Sh EXIT STATUS
.Nm drcm-server
.Fl -check-config
exits 0 when the file is good, 1 with errors, 2 with warnings only or when a template was written.
.Sh SEE ALSO
.Xr drcm-server 8 ,
.Xr drcm-sync 8 ,
.Xr drcm-alert 8 ,
.Xr crontab 5
"""


def manual_text() -> str:
    """All of cm.cfg(5) in mdoc."""
    parts = [HEAD, ".Sh SECTIONS\n"]
    for name in SECTION_ORDER:
        parts.extend(_rows(ROWS[name]) if name in ROWS else _keys(KEYED[name]))
    return "".join([*parts, AGENTS, TAIL])


def _rows(section: RowSection) -> Iterator[str]:
    yield f".Ss [{section.name}]\n{_escaped(section.doc)}\n.Dl {_escaped(section.format)}\n"


def _keys(section: KeySection) -> Iterator[str]:
    yield f".Ss [{section.name}]\n{_escaped(section.doc)}\n.Bl -tag -width Ds\n"
    for key in section.keys:
        yield f".It Cm {key.name}\n{_escaped(_sentence(key))}\n"
        yield f"Expected: {_escaped(key.type.expected)}.\n"
        if section.required(key):
            yield "Must be given.\n"
        elif default := section.default_text(key):
            yield f"Default: {_escaped(default)}.\n"
        if key.aliases:
            yield f"Also spelt {' and '.join(key.aliases)}.\n"
    yield ".El\n"


def _sentence(key: Key) -> str:
    doc = key.doc.removeprefix("... ")
    if doc != key.doc:
        doc = f"seconds between two looks {doc}"
    is_value = doc.partition(" ")[0].endswith((":", ","))  # "auto: ..." stays as it is typed
    return (doc if is_value else doc[0].upper() + doc[1:]) + "."


def _escaped(text: str) -> str:
    """Text that roff takes as it stands: no request at its beginning, no escape in it."""
    text = text.replace("\\", "\\e")
    return "\\&" + text if text.startswith((".", "'")) else text


if __name__ == "__main__":
    sys.stdout.write(manual_text())
