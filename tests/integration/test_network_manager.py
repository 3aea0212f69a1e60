"""Addresses beside and through a real NetworkManager, on a host of the lab that it rules."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.lab import Host, Lab, wait_until
from tests.lab.host import REPOSITORY

pytestmark = pytest.mark.lab

OWN, PLAIN, FOUR, SIX = "10.77.0.1", "10.77.0.99", "10.77.0.100", "fd77::100"
SCRIPTS = REPOSITORY / "etc/resources"
PRIVATE = ["/etc/NetworkManager", "/var/lib/NetworkManager"]
CONF = """\
[main]
plugins=keyfile
dns=none
systemd-resolved=false
[device]
match-device=interface-name:eth0
managed=1
"""
PROFILE = """\
[connection]
id=eth0
type=ethernet
interface-name=eth0
[ipv4]
method=manual
address1=10.77.0.1/24
%s
[ipv6]
method=ignore
"""
# One floating address by drcm's own agent, held until it is told to end.
HOLD = f"""
import asyncio
from drcm.cluster.agents.address import AddressAgent
from drcm.config.model import Address

async def hold():
    await AddressAgent(Address("plain", "{PLAIN}", 24, ("eth0",), ""), 600).start()
    await asyncio.sleep(600)

asyncio.run(hold())
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Lab() as lab:
        host = lab.add_host("one", OWN, directories=PRIVATE)
        lab.power_on()
        host.write("/etc/NetworkManager/NetworkManager.conf", CONF)
        host.write("/etc/NetworkManager/system-connections/eth0.nmconnection", PROFILE % "", 0o600)
        host.run(["mkdir", "/run/dbus"])
        host.spawn(["dbus-daemon", "--system", "--nofork", "--nopidfile"])
        # Where /sys can be written, it waits for a udev that does not run here.
        host.run(["mount", "-o", "bind,remount,ro", "/sys"])
        wait_until(lambda: host.path("/run/dbus/system_bus_socket").exists(), 20.0, "the bus")
        host.spawn(["NetworkManager", "--no-daemon"])
        up = lambda: host.run(["nmcli", "connection", "up", "eth0"], check=False).returncode == 0  # noqa: E731
        wait_until(up, 60.0, lambda: host.log("NetworkManager").read_text()[-4000:])
        yield host


def act(host: Host, script: str, ip: str, netmask: str, action: str) -> None:
    host.run([str(SCRIPTS / script), ip, netmask, "'ens192|eth0'", action])


def has(host: Host, ip: str) -> bool:
    return f" {ip}/" in host.run(["ip", "-o", "address", "show", "dev", "eth0"]).stdout


def monitor(host: Host) -> str:
    return host.log("monitor").read_text()


def changes(host: Host) -> list[tuple[bool, datetime]]:
    """(deleted, when) for each change of the floating address that the kernel told of."""
    lines = [line for line in monitor(host).splitlines() if f"inet {PLAIN}/24" in line]
    return [("Deleted" in line, datetime.fromisoformat(line[1 : line.index("]")])) for line in lines]


def test_what_network_manager_takes_away_is_back_within_a_second(host: Host) -> None:
    """It deletes every address that is not in its profile when the profile is activated again."""
    holder = host.spawn(["python3", "-c", HOLD], env={"PYTHONPATH": str(REPOSITORY)})
    wait_until(lambda: has(host, PLAIN), 20.0, "the address")
    watch = host.spawn(["ip", "-ts", "monitor", "address"], stdout=host.log("monitor"))
    wait_until(lambda: host.pids("ip -ts monitor"), 20.0, "the monitor")
    host.run(["nmcli", "connection", "up", "eth0"])
    deleted, back = wait_until(
        lambda: changes(host)[:2][1:] and changes(host)[:2], 20.0, lambda: monitor(host)
    )
    assert deleted[0]
    assert not back[0]
    assert (back[1] - deleted[1]).total_seconds() < 1.0
    assert has(host, PLAIN)
    for process in (watch, holder):
        process.kill()
        process.wait(60)


def test_an_address_in_a_profile_comes_and_goes(host: Host) -> None:
    """ipv4addr_nmcli.sh: IPv4 with a dotted netmask, IPv6; twice is once; what was there stays."""
    host.run(
        ["nmcli", "connection", "modify", "eth0", "ipv6.method", "manual", "ipv6.addresses", "fd77::1/64"]
    )
    for ip, netmask in ((FOUR, "255.255.255.0"), (SIX, "64")):
        for _ in range(2):
            act(host, "ipv4addr_nmcli.sh", ip, netmask, "start")
            wait_until(
                lambda ip=ip: has(host, ip), 20.0, f"{ip}: NetworkManager may answer before it is there"
            )
    for ip, netmask in ((FOUR, "255.255.255.0"), (SIX, "64")):
        for _ in range(2):
            act(host, "ipv4addr_nmcli.sh", ip, netmask, "stop")
            assert not has(host, ip)
    assert has(host, OWN)


def test_a_prepared_profile_is_copied_and_applied(host: Host) -> None:
    """ipv4addr_copy_nmcli.sh: the whole connection file, with and without the floating address."""
    for action, more in (("start", f"address2={FOUR}/24"), ("stop", "")):
        host.write(f"/etc/drcm/my_cluster_conf/one_{action}_backup_ip_eth0", PROFILE % more)
    for _ in range(2):
        act(host, "ipv4addr_copy_nmcli.sh", FOUR, "24", "start")
        assert has(host, FOUR)
    for _ in range(2):
        act(host, "ipv4addr_copy_nmcli.sh", FOUR, "24", "stop")
        assert not has(host, FOUR)
    assert has(host, OWN)
    installed = host.path("/etc/NetworkManager/system-connections/eth0.nmconnection")
    assert installed.stat().st_mode & 0o777 == 0o600
