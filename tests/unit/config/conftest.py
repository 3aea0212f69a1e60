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
