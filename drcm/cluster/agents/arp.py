"""ARP: asks whether somebody has an address, and tells everybody that we have it now (RFC 5227, RFC 826).

IPv6 goes the same ways by `neighbour`. Raw AF_PACKET: 0.01 ms a packet (TRAPS.md).
"""

from __future__ import annotations

import asyncio
import socket
import struct

from drcm.cluster.agents import neighbour, netlink, probing
from drcm.errors import AgentError

ETH_P_ARP = 0x0806
REQUEST, REPLY = 1, 2
BROADCAST = b"\xff" * 6
NOBODY = bytes(6)
# Short on purpose: probing is part of the outage. A live host on the same LAN answers in 1 ms.
PROBES, PROBE_SECONDS = 2, 0.06

_FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")


def packet(operation: int, mac: bytes, sender: bytes, target_mac: bytes, target: bytes) -> bytes:
    """An Ethernet broadcast frame with one ARP packet in it."""
    return _FRAME.pack(BROADCAST, mac, ETH_P_ARP, 1, 0x0800, 6, 4, operation, mac, sender, target_mac, target)


def conflict(frame: bytes, ip: bytes, own: bytes) -> bytes | None:
    """The MAC in `frame` that uses `ip`, or probes for it as we do; None where it is no conflict."""
    if len(frame) < _FRAME.size:
        return None
    fields = _FRAME.unpack_from(frame)
    mac, sender, target = fields[8], fields[9], fields[11]
    if fields[2] != ETH_P_ARP or mac == own:
        return None
    probing = sender == bytes(4) and target == ip and fields[7] == REQUEST
    return mac if sender == ip or probing else None


def announce(ip: str, link: netlink.Link) -> None:
    """Gratuitous ARP, as request and as reply since some only believe one; for IPv6 a neighbour
    advertisement. OSError where the device takes none."""
    if not link.speaks_arp:
        return
    if ":" in ip:
        neighbour.announce(ip, link)
        return
    packed = socket.inet_aton(ip)
    with _open(link) as channel:
        channel.send(packet(REQUEST, link.mac, packed, NOBODY, packed))
        channel.send(packet(REPLY, link.mac, packed, BROADCAST, packed))


async def probe(ip: str, interface: str, timeout: float = PROBE_SECONDS, count: int = PROBES) -> str | None:
    """The MAC of whoever else has `ip` on the LAN of `interface`; None where nobody answered in time.

    `count` probes spread over `timeout` seconds. AgentError where the device can't be used.
    """
    found = _usable(interface)
    return await _ask(ip, found, timeout, count, bytes(4)) if found.speaks_arp else None


def _usable(interface: str) -> netlink.Link:
    found = netlink.link(netlink.device_of(interface))
    if found is None or not found.up:
        raise AgentError(f"interface {interface}: {'is down' if found else 'does not exist here'}")
    return found


async def answers(ip: str, interface: str, timeout: float = 0.1) -> str | None:
    """The MAC that answers for a silent peer's address: a sign of life (HISTORIES E16).

    An ordinary question, from this node's own address: several backups ask at the same time, and to each
    a probe (whose sender is 0.0.0.0) of another would be a conflict, so that nobody ever took over.
    """
    found = _usable(interface)
    return await _ask(ip, found, timeout, PROBES, _own_ip(found)) if found.speaks_arp else None


def _own_ip(link: netlink.Link) -> bytes:
    """An IPv4 address of the link; 0.0.0.0 where it has none."""
    own = (one.ip for one in netlink.addresses() if one.index == link.index and ":" not in one.ip)
    return socket.inet_aton(next(own, "0.0.0.0"))  # noqa: S104 - no address to listen on


async def _ask(ip: str, link: netlink.Link, timeout: float, count: int, sender: bytes) -> str | None:
    try:
        return await _probe(ip, link, timeout, count, sender)
    except OSError as error:
        raise AgentError(f"interface {link.name}: can't ask for {ip}: {error}") from error


async def _probe(ip: str, link: netlink.Link, timeout: float, count: int, sender: bytes) -> str | None:
    if ":" in ip:
        return await neighbour.probe(ip, link, timeout, count)
    target = socket.inet_aton(ip)
    question = packet(REQUEST, link.mac, sender, NOBODY, target)
    with _open(link) as channel:
        listening = _listen(channel, target, link.mac)
        return await probing.ask(lambda: channel.send(question), listening, timeout, count)


async def _listen(channel: socket.socket, ip: bytes, own: bytes) -> str:
    loop = asyncio.get_running_loop()
    while True:
        mac = conflict(await loop.sock_recv(channel, 2048), ip, own)
        if mac is not None:
            return mac.hex(":")


def _open(link: netlink.Link) -> socket.socket:
    channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(ETH_P_ARP))
    channel.bind((link.name, ETH_P_ARP))
    return channel
