"""Addresses and links by raw AF_NETLINK, in the standard library: 0.04 ms where `ip` takes 2 (TRAPS.md).

Every call is answered by the kernel at once, so all of it may run on the main loop.
Errors are OSError with the kernel's errno.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

RTM_NEWLINK, RTM_GETLINK = 16, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
NLM_F_REPLACE, NLM_F_CREATE = 0x100, 0x400
NLMSG_ERROR, NLMSG_DONE = 2, 3
IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_BROADCAST, IFA_CACHEINFO = 1, 2, 3, 4, 6
IFA_F_NODAD = 0x02
IFLA_ADDRESS, IFLA_IFNAME = 1, 3
IFF_UP, IFF_LOOPBACK, IFF_RUNNING, IFF_NOARP = 0x1, 0x8, 0x40, 0x80
RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x10, 0x100
FOREVER = 0xFFFFFFFF

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ADDRESS = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ATTRIBUTE = struct.Struct("=HH")  # length, type


@dataclass(frozen=True, slots=True)
class Link:
    """A network device. `mac` is empty where it has none."""

    index: int
    name: str
    flags: int
    mac: bytes

    @property
    def up(self) -> bool:
        return bool(self.flags & IFF_UP)

    @property
    def speaks_arp(self) -> bool:
        return len(self.mac) == 6 and not self.flags & (IFF_NOARP | IFF_LOOPBACK)


@dataclass(frozen=True, slots=True)
class Assigned:
    """An address on a device. `valid_seconds` is None where it stays until somebody removes it."""

    ip: str
    prefix: int
    index: int
    label: str
    valid_seconds: int | None


def device_of(interface: str) -> str:
    """`eth0` for 1.41's sub-interface `eth0:1`, which is a label on eth0."""
    return interface.partition(":")[0]


def family_of(ip: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


def link(name: str) -> Link | None:
    """The device called `name`, or None where there is none here."""
    body = _LINK.pack(0, 0, 0, 0, 0) + _attribute(IFLA_IFNAME, name.encode() + b"\0")
    try:
        answers = _request(RTM_GETLINK, NLM_F_ACK, body)
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.EINVAL, errno.ERANGE):
            return None
        raise
    return next((_link(data) for kind, data in answers if kind == RTM_NEWLINK), None)


def addresses() -> list[Assigned]:
    """Every address of this machine, IPv4 and IPv6."""
    answers = _request(RTM_GETADDR, NLM_F_DUMP, _ADDRESS.pack(0, 0, 0, 0, 0))
    return [_assigned(data) for kind, data in answers if kind == RTM_NEWADDR]


def put_address(ip: str, prefix: int, index: int, lifetime: int | None = None, label: str = "") -> None:
    """Add an address, or give the one that is there a new lifetime in seconds (None: no end)."""
    packed = socket.inet_pton(family_of(ip), ip)
    flags = IFA_F_NODAD if ":" in ip else 0
    seconds = FOREVER if lifetime is None else lifetime
    body = _ADDRESS.pack(family_of(ip), prefix, flags, 0, index)
    body += _attribute(IFA_LOCAL, packed) + _attribute(IFA_ADDRESS, packed)
    if ":" not in ip and prefix < 31:
        body += _attribute(IFA_BROADCAST, _broadcast(packed, prefix))
    if ":" not in ip and label:
        body += _attribute(IFA_LABEL, label.encode() + b"\0")
    body += _attribute(IFA_CACHEINFO, struct.pack("=IIII", seconds, seconds, 0, 0))
    _request(RTM_NEWADDR, NLM_F_ACK | NLM_F_REPLACE | NLM_F_CREATE, body)


def delete_address(ip: str, prefix: int, index: int) -> bool:
    """Remove an address; False where it was not there."""
    packed = socket.inet_pton(family_of(ip), ip)
    body = _ADDRESS.pack(family_of(ip), prefix, 0, 0, index)
    body += _attribute(IFA_LOCAL, packed) + _attribute(IFA_ADDRESS, packed)
    try:
        _request(RTM_DELADDR, NLM_F_ACK, body)
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
            return False
        raise
    return True


def remove_everywhere(ip: str, names: tuple[str, ...]) -> int:
    """Remove `ip` from the devices called `names`, whatever its prefix; how many there were."""
    devices = {found.index for found in (link(device_of(name)) for name in names) if found}
    here = [a for a in addresses() if same_ip(a.ip, ip) and a.index in devices]
    return sum(delete_address(ip, a.prefix, a.index) for a in here)


def same_ip(one: str, other: str) -> bool:
    """Whether two spellings are one address (`fd00::1` and `fd00:0::1`)."""
    if family_of(one) != family_of(other):
        return False
    return socket.inet_pton(family_of(one), one) == socket.inet_pton(family_of(other), other)


class AddressMonitor:
    """Hears of every address that comes and goes. `fileno` for the loop; `removed` drains it."""

    def __init__(self) -> None:
        self._socket = _open(RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR)

    def fileno(self) -> int:
        return self._socket.fileno()

    def removed(self) -> tuple[list[Assigned], bool]:
        """The addresses removed since the last call; True where the kernel dropped some events."""
        gone: list[Assigned] = []
        lost = False
        while True:
            try:
                packet = self._socket.recv(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return gone, lost
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                lost = True
            else:
                gone += [_assigned(data) for kind, data in _messages(packet) if kind == RTM_DELADDR]

    def close(self) -> None:
        self._socket.close()


def _open(groups: int = 0) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    opened.bind((0, groups))
    return opened


def _request(kind: int, flags: int, body: bytes) -> list[tuple[int, bytes]]:
    """Send one request, collect the kernel's answers up to its last."""
    dump = flags & NLM_F_DUMP == NLM_F_DUMP
    answers: list[tuple[int, bytes]] = []
    with _open() as channel:
        length = _HEADER.size + len(body)
        channel.send(_HEADER.pack(length, kind, flags | NLM_F_REQUEST, 1, 0) + body)
        while True:
            for kind_, data in _messages(channel.recv(262144)):
                if kind_ == NLMSG_ERROR:
                    _raise(struct.unpack_from("=i", data)[0])
                    return answers
                if kind_ == NLMSG_DONE and dump:
                    return answers
                answers.append((kind_, data))


def _raise(code: int) -> None:
    if code:
        raise OSError(-code, os.strerror(-code))


def _messages(packet: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(packet):
        length, kind, _flags, _sequence, _port = _HEADER.unpack_from(packet, at)
        if length < _HEADER.size:
            return
        yield kind, packet[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def _attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def _attributes(data: bytes, at: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found


def _assigned(data: bytes) -> Assigned:
    family, prefix, _flags, _scope, index = _ADDRESS.unpack_from(data)
    found = _attributes(data, _ADDRESS.size)
    packed = found.get(IFA_LOCAL) or found.get(IFA_ADDRESS) or b""
    ip = ""
    with suppress(ValueError, OSError):  # a family that we don't know
        ip = socket.inet_ntop(family, packed)
    valid = struct.unpack_from("=II", found[IFA_CACHEINFO])[1] if IFA_CACHEINFO in found else FOREVER
    label = found.get(IFA_LABEL, b"").rstrip(b"\0").decode(errors="replace")
    return Assigned(ip, prefix, index, label, None if valid == FOREVER else valid)


def _link(data: bytes) -> Link:
    _family, _type, index, flags, _change = _LINK.unpack_from(data)
    found = _attributes(data, _LINK.size)
    name = found.get(IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
    return Link(index, name, flags, found.get(IFLA_ADDRESS, b""))


def _broadcast(packed: bytes, prefix: int) -> bytes:
    network = int.from_bytes(packed, "big")
    return (network | ((1 << (32 - prefix)) - 1)).to_bytes(4, "big")
