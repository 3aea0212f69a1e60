"""The lab's wire, its faults, and what runs over it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.lab import Client, Host, Lab, wait_until

pytestmark = pytest.mark.lab

FLOATING = "10.77.0.100"
ANNOUNCE = """
import socket, sys
mac, ip = bytes.fromhex(sys.argv[1].replace(":", "")), socket.inet_aton(sys.argv[2])
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("eth0", 0x0806))
head = b"\\xff" * 6 + mac + bytes.fromhex("0806 0001 0800 06 04 0001")
wire.send(head + mac + ip + bytes(6) + ip)
"""


@pytest.fixture(scope="module")
def wired() -> Iterator[Lab]:
    """Hosts one, two and client, on."""
    with Lab() as lab:
        for number, name in enumerate(("one", "two"), 1):
            lab.add_host(name, f"10.77.0.{number}", directories=["/testfs"])
        lab.add_client()
        lab.power_on()
        yield lab


@pytest.fixture
def two_hosts(wired: Lab) -> Iterator[tuple[Host, Host]]:
    """The two hosts, whose links are whole again after the test."""
    yield wired.hosts["one"], wired.hosts["two"]
    wired.heal_all()


def send(sender: Host, receiver: Host, text: str) -> bool:
    """Whether a datagram arrives: one way, unlike a ping. ARP is settled first by the tests."""
    catcher = (
        "import socket as s,sys; u=s.socket(s.AF_INET,s.SOCK_DGRAM); u.bind(('',5000)); u.settimeout(.3)\n"
        "print('ready',flush=True); print(u.recv(99).decode(),flush=True)"
    )
    log = receiver.directory / "caught"
    log.unlink(missing_ok=True)
    process = receiver.spawn(["python3", "-S", "-c", catcher], stdout=log)
    wait_until(lambda: "ready" in log.read_text(), 5, "the receiver to listen")
    sender.run(["bash", "-c", f"echo -n {text} > /dev/udp/{receiver.ip}/5000"])
    process.wait(60)
    return text in log.read_text()


def learn_addresses(one: Host, two: Host) -> None:
    """Fixed neighbours: a one-way cut would else stop ARP, and with it both ways."""
    for host, peer in ((one, two), (two, one)):
        host.run(["ip", "neigh", "replace", peer.ip, "lladdr", peer.mac, "dev", "eth0", "nud", "permanent"])


def test_cut_and_heal(two_hosts: tuple[Host, Host], wired: Lab) -> None:
    """A cut link carries nothing between the two, others still reach both; healed, it works at once."""
    one, two = two_hosts
    ping = ["ping", "-c", "1", "-W", "0.2"]
    one.run([*ping, two.ip])
    wired.cut(one, two)
    assert one.run([*ping, two.ip], check=False).returncode == 1
    assert two.run([*ping, one.ip], check=False).returncode == 1
    assert wired.hosts["client"].run([*ping, two.ip]).returncode == 0
    wired.heal(one, two)
    assert one.run([*ping, two.ip]).returncode == 0


def test_unplugged_cable(two_hosts: tuple[Host, Host]) -> None:
    """A host without its cable has no carrier and reaches nobody, and does again when it is plugged in."""
    one, two = two_hosts
    one.unplug()
    assert one.run(["cat", "/sys/class/net/eth0/carrier"]).stdout == "0\n"
    assert one.run(["ping", "-c", "1", "-W", "0.2", two.ip], check=False).returncode != 0
    one.plug()
    wait_until(lambda: one.run(["cat", "/sys/class/net/eth0/carrier"]).stdout == "1\n", 2, "a carrier")
    assert one.run(["ping", "-c", "1", "-W", "5", two.ip]).returncode == 0


def test_one_way_cut(two_hosts: tuple[Host, Host], wired: Lab) -> None:
    """A one-way cut stops what the first sends to the second, and lets answers' direction live."""
    one, two = two_hosts
    learn_addresses(one, two)
    wired.cut_one_way(one, two)
    assert not send(one, two, "hello")
    assert send(two, one, "hello")
    wired.heal_all()
    assert send(one, two, "hello")


def test_loss_is_random_and_of_the_wanted_size(two_hosts: tuple[Host, Host]) -> None:
    """40 % loss each way lets 36 % of the pings come back."""
    one, two = two_hosts
    learn_addresses(one, two)
    one.lose(40)
    found = one.run(["ping", "-c", "250", "-i", "0.002", "-W", "0.2", two.ip], check=False).stdout
    received = int(re.findall(r"(\d+) received", found)[0])
    assert 0.24 < received / 250 < 0.48  # more than four standard deviations each way
    one.lose(0)
    found = one.run(["ping", "-c", "100", "-i", "0.002", "-W", "0.2", two.ip]).stdout
    assert "100 received" in found


def test_sshd_answers_with_the_hosts_own_key(two_hosts: tuple[Host, Host]) -> None:
    """Each host's sshd shows its own host key and lets in whom its own authorized_keys names."""
    one, two = two_hosts
    assert one.host_key.public != two.host_key.public
    two.write("/root/.ssh/authorized_keys", one.ssh_key.public + "\n", 0o600)
    one.write("/root/.ssh/known_hosts", f"two {two.host_key.public}\n")
    assert one.run(["ssh", "-o", "BatchMode=yes", "two", "uname", "-n"]).stdout == "two\n"
    one.write("/root/.ssh/known_hosts", f"two {one.host_key.public}\n")
    refused = one.run(["ssh", "-o", "BatchMode=yes", "two", "true"], check=False)
    assert refused.returncode == 255
    assert "HOST IDENTIFICATION HAS CHANGED" in refused.stderr


def test_rsync_over_ssh(two_hosts: tuple[Host, Host]) -> None:
    """rsync carries a tree from one host to the other, with ACLs and extended attributes."""
    one, two = two_hosts
    two.write("/root/.ssh/authorized_keys", one.ssh_key.public + "\n", 0o600)
    one.write("/root/.ssh/known_hosts", f"two {two.host_key.public}\n")
    one.write("/testfs/tree/file", "text")
    one.run(["setfacl", "-m", "u:daemon:r", "/testfs/tree/file"])
    one.run(["setfattr", "-n", "user.colour", "-v", "blue", "/testfs/tree/file"])
    one.run(["rsync", "-aHAXS", "-e", "ssh -o BatchMode=yes", "/testfs/tree", "two:/testfs/"])
    assert two.read("/testfs/tree/file") == "text"
    assert "user:daemon:r--" in two.run(["getfacl", "-c", "/testfs/tree/file"]).stdout
    assert 'user.colour="blue"' in two.run(["getfattr", "-d", "/testfs/tree/file"]).stdout


def announce(host: Host, ip: str) -> None:
    """Broadcast a gratuitous ARP."""
    host.run(["python3", "-S", "-c", ANNOUNCE, host.mac, ip])


def test_probe_sees_an_address_move(wired: Lab) -> None:
    """A floating IP that moves with a gratuitous ARP is away for the client as long as nobody held it."""
    one, two, client = wired.hosts["one"], wired.hosts["two"], wired.hosts["client"]
    assert isinstance(client, Client)
    one.run(["ip", "address", "add", f"{FLOATING}/24", "dev", "eth0"])
    with client.probe(FLOATING) as probe:
        assert probe.wait_answer()
        seen = len(probe.answers())
        wait_until(lambda: len(probe.answers()) > seen + 20, 5, "a steady probe")
        assert probe.outage() < 0.3
        one.run(["ip", "address", "del", f"{FLOATING}/24", "dev", "eth0"])
        assert wired.holders(FLOATING) == []
        wait_until(lambda: probe.outage() > 0.3, 5, "an open gap to be seen")
        two.run(["ip", "address", "add", f"{FLOATING}/24", "dev", "eth0"])
        announce(two, FLOATING)
        probe.wait_answer(after=probe.gaps(0.3)[0].start)
        assert wired.holders(FLOATING) == ["two"]
    (gap,) = probe.gaps(0.3)
    assert 0.3 < gap.seconds == probe.outage() < 3
    two.run(["ip", "address", "del", f"{FLOATING}/24", "dev", "eth0"])


def test_link_down_with_the_power(lab: Lab) -> None:
    """A client loses a host with its power, hears it again after its boot, and knows how long it was gone."""
    host, client = lab.add_host("one", "10.77.0.1"), lab.add_client()
    lab.power_on()
    with client.probe(host.ip) as probe:
        probe.wait_answer()
        moment = host.power_cut()
        host.power_on()
        back = probe.wait_answer(after=moment)
    gap = max(probe.gaps(0), key=lambda gap: gap.seconds)
    assert gap.start <= moment + 0.005
    assert gap.end == back
