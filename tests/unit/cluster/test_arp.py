"""ARP and neighbour discovery: packets byte for byte, and real hosts on a veth pair."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time

import pytest

from drcm.cluster.agents import arp, neighbour, netlink
from drcm.errors import AgentError

MAC = bytes.fromhex("020000000001")
OTHER = bytes.fromhex("020000000002")
IP = socket.inet_aton("10.9.0.50")


def test_a_gratuitous_request_is_as_rfc_5227_writes_it():
    frame = arp.packet(arp.REQUEST, MAC, IP, arp.NOBODY, IP)
    assert frame.hex() == (
        "ffffffffffff" + MAC.hex() + "0806" + "0001080006040001" + MAC.hex() + IP.hex() + "00" * 6 + IP.hex()
    )


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        pytest.param(arp.packet(arp.REPLY, OTHER, IP, MAC, bytes(4)), OTHER, id="an answer"),
        pytest.param(arp.packet(arp.REQUEST, OTHER, IP, bytes(6), IP), OTHER, id="an announcement"),
        pytest.param(arp.packet(arp.REQUEST, OTHER, bytes(4), bytes(6), IP), OTHER, id="a rival's probe"),
        pytest.param(arp.packet(arp.REQUEST, MAC, bytes(4), bytes(6), IP), None, id="our own probe"),
        pytest.param(
            arp.packet(arp.REQUEST, OTHER, socket.inet_aton("10.9.0.2"), bytes(6), IP), None, id="a question"
        ),
        pytest.param(b"\x00" * 20, None, id="too short"),
    ],
)
def test_what_counts_as_a_conflict(frame, expected):
    assert arp.conflict(frame, IP, MAC) == expected


@pytest.mark.parametrize(("ip", "prefix"), [("10.9.0.50", 24), ("fd00::50", 64)])
def test_a_probe_names_the_mac_of_who_has_the_address(lan, ip, prefix):
    lan.there(f"ip address add {ip}/{prefix} dev vb" + (" nodad" if ":" in ip else ""))
    began = time.monotonic()
    assert asyncio.run(arp.probe(ip, "va", timeout=20.0)) == lan.mac("vb")
    assert time.monotonic() - began < 19.0  # the answer ends it, not the time-out, if only the second one


@pytest.mark.parametrize("ip", ["10.9.0.50", "fd00::50"])
def test_nobody_answers_for_a_free_address_and_little_time_is_spent(lan, ip):
    began = time.monotonic()
    assert asyncio.run(arp.probe(ip, "va")) is None
    assert 0.05 < time.monotonic() - began < 3.0  # 0.1 on an idle machine


ASKING = """
import asyncio
from drcm.cluster.agents import arp

async def ask():
    while True:
        print(await arp.answers("10.9.0.50", "vb", timeout=0.05), flush=True)

asyncio.run(ask())
"""


def test_several_who_ask_for_a_silent_peers_address_do_not_answer_each_other(lan):
    """Two backups ask for the dead primary's address at the same time: it is free all the same."""
    other = lan.there_start(sys.executable, "-c", ASKING)
    try:
        assert other.stdout.readline() == b"None\n"
        assert asyncio.run(arp.answers("10.9.0.50", "va", timeout=0.3)) is None
        assert asyncio.run(arp.probe("10.9.0.50", "va", timeout=0.3)) is None
    finally:
        other.kill()
        other.communicate()


def test_a_silent_peers_address_answers_while_it_lives(lan):
    assert asyncio.run(arp.answers("10.9.0.2", "va")) == lan.mac("vb")
    lan.there("ip link set vb down")
    assert asyncio.run(arp.answers("10.9.0.2", "va")) is None


def test_an_address_of_our_own_is_no_conflict(lan):
    assert asyncio.run(arp.probe("10.9.0.1", "va")) is None


@pytest.mark.parametrize(("device", "text"), [("nothere", "does not exist"), ("vb0", "is down")])
def test_a_device_that_can_not_be_used_is_named(lan, device, text):
    lan.here("ip link add vb0 type veth peer name vb1")
    with pytest.raises(AgentError, match=text):
        asyncio.run(arp.probe("10.9.0.50", device))


def test_loopback_is_not_asked(lan):
    assert asyncio.run(arp.probe("10.9.0.50", "lo")) is None
    arp.announce("10.9.0.50", netlink.link("lo"))


def test_an_announcement_changes_the_neighbours_arp_cache_at_once(lan, until):
    lan.there("ip neigh replace 10.9.0.50 lladdr 02:00:00:00:00:99 dev vb nud stale")
    arp.announce("10.9.0.50", netlink.link("va"))
    until(lambda: lan.mac("va") in lan.there("ip neigh show 10.9.0.50"))


def test_an_unsolicited_advertisement_changes_the_neighbours_cache_at_once(lan, until):
    lan.there("ip neigh replace fd00::50 lladdr 02:00:00:00:00:99 dev vb nud stale")
    arp.announce("fd00::50", netlink.link("va"))
    until(lambda: lan.mac("va") in lan.there("ip -6 neigh show fd00::50"))


def test_an_icmpv6_checksum_sums_up_with_its_pseudo_header():
    source, target = bytes(15) + b"\x01", neighbour.ALL_NODES
    icmp = (
        struct.pack("!BBHI", neighbour.ADVERTISEMENT, 0, 0, neighbour.OVERRIDE) + source + b"\x02\x01" + MAC
    )
    sent = neighbour.frame(MAC, source, target, icmp)[54:]
    data = source + target + struct.pack("!II", len(sent), 58) + sent
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF


def test_an_announcement_is_one_request_and_one_reply_to_everybody(lan):
    link = netlink.link("va")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as wire:
        wire.bind(("va", 3))
        wire.settimeout(2)
        arp.announce("10.9.0.50", link)
        sent: list[bytes] = []
        while len(sent) < 2:  # among the kernel's own multicast
            frame = wire.recv(2048)
            sent += [frame] if frame[12:14] == b"\x08\x06" else []
    assert [frame[:42] for frame in sent] == [
        arp.packet(arp.REQUEST, link.mac, IP, arp.NOBODY, IP),
        arp.packet(arp.REPLY, link.mac, IP, arp.BROADCAST, IP),
    ]
