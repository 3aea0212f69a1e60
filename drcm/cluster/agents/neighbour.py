"""IPv6's side of `arp`: neighbour solicitation to ask, unsolicited advertisement to tell (RFC 4861, 4862)."""

from __future__ import annotations

import asyncio
import socket
import struct

from drcm.cluster.agents import netlink, probing

ETH_P_IPV6 = 0x86DD
SOLICITATION, ADVERTISEMENT = 135, 136
OVERRIDE = 0x20000000
ALL_NODES = socket.inet_pton(socket.AF_INET6, "ff02::1")
ICMP6_FILTER = 1


def frame(link_mac: bytes, source: bytes, target: bytes, icmp: bytes) -> bytes:
    """An Ethernet multicast frame with one ICMPv6 message, checksummed, hop limit 255."""
    pseudo = source + target + struct.pack("!II", len(icmp), 58)
    checksum = _checksum(pseudo + icmp)
    icmp = icmp[:2] + struct.pack("!H", checksum) + icmp[4:]
    header = struct.pack("!IHBB", 0x60000000, len(icmp), 58, 255) + source + target
    return b"\x33\x33" + target[12:] + link_mac + struct.pack("!H", ETH_P_IPV6) + header + icmp


def announce(ip: str, link: netlink.Link) -> None:
    """Tell all nodes that `ip` is at this device now."""
    packed = socket.inet_pton(socket.AF_INET6, ip)
    icmp = struct.pack("!BBHI", ADVERTISEMENT, 0, 0, OVERRIDE) + packed + b"\x02\x01" + link.mac
    with _sender(link) as channel:
        channel.send(frame(link.mac, packed, ALL_NODES, icmp))


async def probe(ip: str, link: netlink.Link, timeout: float, count: int) -> str | None:
    """The MAC of whoever advertises `ip`, or None. Solicited from `::`, so it goes to all nodes."""
    packed = socket.inet_pton(socket.AF_INET6, ip)
    asked = socket.inet_pton(socket.AF_INET6, "ff02::1:ff00:0")[:13] + packed[13:]
    icmp = struct.pack("!BBHI", SOLICITATION, 0, 0, 0) + packed
    question = frame(link.mac, bytes(16), asked, icmp)
    with _receiver(link) as receiver, _sender(link) as sender:
        return await probing.ask(lambda: sender.send(question), _listen(receiver, packed), timeout, count)


async def _listen(channel: socket.socket, ip: bytes) -> str:
    loop = asyncio.get_running_loop()
    while True:
        message = await loop.sock_recv(channel, 2048)
        if len(message) >= 24 and message[0] == ADVERTISEMENT and message[8:24] == ip:
            return message[26:32].hex(":") or "an unnamed device"


def _receiver(link: netlink.Link) -> socket.socket:
    """Advertisements to all nodes on this device, and nothing else."""
    channel = socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMPV6)
    blocked = bytearray(b"\xff" * 32)
    struct.pack_into("=I", blocked, 4 * (ADVERTISEMENT >> 5), 0xFFFFFFFF & ~(1 << (ADVERTISEMENT & 31)))
    channel.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, bytes(blocked))
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.name.encode() + b"\0")
    return channel


def _sender(link: netlink.Link) -> socket.socket:
    channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    channel.bind((link.name, 0))
    return channel


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))  # always even: ICMPv6 here is 24 or 32 bytes
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
