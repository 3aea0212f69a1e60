"""Addresses by copied interface files of network-scripts. Debian has no such scripts: the lab's own ifup and
ifdown read the same files and do what they say with the real kernel."""

from __future__ import annotations

import pytest

from tests.lab import Host, Lab
from tests.lab.host import REPOSITORY

pytestmark = pytest.mark.lab

FILE = "/etc/sysconfig/network-scripts/ifcfg-eth0"
FLOATING = "10.77.0.100"
READ = """#!/bin/bash
echo "${0##*/} $1" >>/srv/calls
. /etc/sysconfig/network-scripts/ifcfg-$1
for n in '' 1; do
    ip="IPADDR$n" prefix="PREFIX$n"
    [ -z "${!ip:-}" ] || DO
done
"""
UP = 'ip address replace "${!ip}/${!prefix}" dev "$1"'
DOWN = 'ip address del "${!ip}/${!prefix}" dev "$1"'
OWN = "DEVICE=eth0\nIPADDR=10.77.0.1\nPREFIX=24\n"


@pytest.fixture
def host(lab: Lab) -> Host:
    host = lab.add_host("one", "10.77.0.1", directories=["/srv", "/etc/sysconfig"])
    lab.power_on()
    host.write("/srv/bin/ifup", READ.replace("DO", UP), 0o755)
    host.write("/srv/bin/ifdown", READ.replace("DO", DOWN), 0o755)
    host.write(FILE, OWN)
    host.write("/etc/drcm/my_cluster_conf/one_stop_backup_ip_eth0", OWN)
    host.write("/etc/drcm/my_cluster_conf/one_start_backup_ip_eth0", f"{OWN}IPADDR1={FLOATING}\nPREFIX1=24\n")
    return host


def act(host: Host, action: str, *, check: bool = True) -> str:
    """Run ipv4addr_copy_config.sh; its complaints."""
    environ = {"PATH": "/srv/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    argv = [str(REPOSITORY / "etc/resources/ipv4addr_copy_config.sh"), FLOATING, "255.255.255.0"]
    return host.run([*argv, "'ens192|eth0'", action], env=environ, check=check).stderr


def test_a_prepared_interface_file_is_copied_and_applied(host: Host) -> None:
    """The whole file, with and without the address; what is as it should be is not touched again."""
    for _ in range(2):
        act(host, "start")
        assert f"{FLOATING}/24" in host.addresses()
        assert FLOATING in host.read(FILE)
    for _ in range(2):
        act(host, "stop")
        assert host.addresses() == ["10.77.0.1/24"]
        assert host.read(FILE) == OWN
    assert host.read("/srv/calls").split("\n")[:-1] == ["ifdown eth0", "ifup eth0"] * 2


def test_a_file_that_nobody_prepared_is_named(host: Host) -> None:
    """Nothing is changed then."""
    host.path("/etc/drcm/my_cluster_conf/one_start_backup_ip_eth0").unlink()
    assert "one_start_backup_ip_eth0: no such file, or empty" in act(host, "start", check=False)
    assert host.read(FILE) == OWN
