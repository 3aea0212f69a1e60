"""A cm.cfg without any fault, and what is wrong with one that has been changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from drcm.config.build import Draft
from drcm.config.reading import read_text

GOOD = """\
[CM_SERVER]
keep_alive_interval = 0.1
dead_node_count = 20
[CM_CRONTABS]
user, /etc/drcm/crontabs/user_crons, /etc/cron.d, /etc/drcm/resources/crontab.sh
[CM_IPADDRS]
front, 192.168.1.50, 255.255.255.0, 'ens192|eno8303', /etc/drcm/resources/ipv4addr.sh
[CM_SERVICES]
web, httpd, /etc/drcm/resources/service.sh
[CM_NODE]
nodename = one
hostname = one.example.org
keep_alive_ip = 192.168.1.1
node_crontabs = user
node_floating_ip_addrs = front
node_services = web
[CM_NODE]
nodename = two
hostname = two.example.org
keep_alive_ip = 192.168.1.2
node_services = web
node_backup_crontabs = one:user
node_backup_floating_ip_addrs = one:front
[CM_NODE]
nodename = witness
hostname = three.example.org
keep_alive_ip = 192.168.1.3
witness = 1
[CM_SYNC]
name = testfs
primary = one
backups = two
mirror = /testfs
schedule = */5 * * * *
[CM_ALERTS]
email = root
"""


LEGACY = r"""
# a file of 1.41
[CM_SERVER]
udpport = 5000;
tcpport = 5001;
dead_node_count = 60;    # one keep alive a second
bind_to_keep_alive_ip = No
run_dir = /var/run/drcm/
cluster_user = drcm
sudo_command = /usr/bin/sudo -u root
logfile = other.log
max_log_size = 2000000000;
enable_logging = t
log_level = 5
[ CM_CRONTABS ]
system, /etc/drcm/crontabs/system_crons, /etc/cron.d, /etc/drcm/resources/crontab.sh
[CM_IPADDRS]
cmnodef, 192.168.1.9, 255.255.255.0, 'ens192|eno8303', /etc/drcm/resources/ipv4addr.sh
six, 2001:db8::9, 64, eth0:1, /opt/my/six.sh
[CM_SERVICES]
web, httpd, /etc/drcm/resources/service.sh
[CM_APPLICATIONS]
ldm, ldm:users, ldmadmin clean; ldmadmin start, ldmadmin stop; ldmadmin delqueue
pod, app:app, ~/start \#1, ~/stop, if [ -f ~/up ]; then ~/up; fi
[CM_FILESYSTEMS]
data, nfs1:/export/data, /data/, /etc/drcm/resources/nfs.sh
[CM_CRONTABS]
user, /etc/drcm/crontabs/user_crons, /etc/cron.d, /etc/drcm/resources/crontab.sh
[CM_NODE]
nodename = cmnode1   # any name
hostname = cmnode1.example.org
keep_alive_ip = 192.168.1.1
node_is_active = 1
keep_services = 1
keep_filesystems = 0
ipapddrs_check = 10;
crontabs_check = 20
node_crontabs = user,system
node_floating_ip_addrs = cmnodef, six
node_services = web
node_applications = ldm
node_applications = pod
node_filesystems = data
[CM_NODE]
nodename = cmnode2
hostname = cmnode2.example.org
keep_alive_ip = 192.168.1.2
ipaddr_check = 11
node_services = web
node_backup_crontabs = cmnode1:user, cmnode1:system
node_backup_floating_ip_addrs = cmnode1:cmnodef,cmnode1:six
node_backup_services =
node_backup_applications = cmnode1:ldm
node_backup_filesystems = cmnode1:data
[CM_NODE]
nodename = cmnode3
hostname = cmnode3.example.org
keep_alive_ip = 192.168.1.3
ipaddrs_check = 12
witness = yes
"""


@pytest.fixture
def legacy() -> str:
    """A file with everything that 1.41 knows."""
    return LEGACY


@pytest.fixture
def good() -> str:
    return GOOD


@pytest.fixture
def faults_of() -> Callable[[str], list[str]]:
    """Every fault of a text, as `LINE: SEVERITY - TEXT`."""
    return lambda text: [str(fault).removeprefix("F:") for fault in read_text(text, "F").faults]


@pytest.fixture
def draft_of() -> Callable[[str], Draft]:
    """The draft of a text that has no ERROR."""

    def read(text: str) -> Draft:
        reading = read_text(text, "F")
        assert reading.usable, reading.faults
        assert reading.draft is not None
        return reading.draft

    return read
