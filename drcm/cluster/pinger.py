"""Pings the ping_hosts all the time, so that the answer is there before it is needed (HISTORIES E16)."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable

from drcm import clock

log = logging.getLogger(__name__)

ECHO_REQUEST, ECHO_REPLY = 8, 0
IP_HEADER_MINIMUM = 20


class Pinger:
    """ICMP echoes to every host each `interval` seconds; `answered(sent)` for each that comes back."""

    def __init__(self, hosts: tuple[str, ...], interval: float, answered: Callable[[float], None]) -> None:
        self._hosts, self._interval, self._answered = hosts, interval, answered
        self._sent: dict[int, float] = {}
        self._sequence = 0
        self._ident = os.getpid() & 0xFFFF
        self._socket = socket.socket(
            socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP
        )
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._read)
        self._task = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        self._task.cancel()
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()

    async def _run(self) -> None:
        while True:
            self._sequence = (self._sequence + 1) & 0xFFFF
            self._sent[self._sequence] = clock.now()
            self._sent.pop((self._sequence - 1000) & 0xFFFF, None)
            for host in self._hosts:
                self._send(host)
            await asyncio.sleep(self._interval)

    def _send(self, host: str) -> None:
        try:
            self._socket.sendto(echo_request(self._ident, self._sequence), (host, 0))
        except OSError as error:
            log.debug("ping %s: %s", host, error)

    def _read(self) -> None:
        try:
            packet, (sender, _) = self._socket.recvfrom(256)
        except OSError:
            return
        sequence = echo_reply(packet, self._ident)
        sent = self._sent.get(sequence) if sequence is not None else None
        if sent is not None and sender in self._hosts:
            self._answered(sent)


def echo_request(ident: int, sequence: int) -> bytes:
    """An ICMP echo request without a body."""
    unsummed = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, ident, sequence)
    total = sum(struct.unpack("!4H", unsummed))
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBHHH", ECHO_REQUEST, 0, ~total & 0xFFFF, ident, sequence)


def echo_reply(packet: bytes, ident: int) -> int | None:
    """The sequence number of an echo reply to `ident` in a raw IPv4 packet; None for anything else."""
    start = (packet[0] & 0x0F) * 4 if packet else 0
    if start < IP_HEADER_MINIMUM or len(packet) < start + 8:
        return None
    kind, _, _, echoed, sequence = struct.unpack_from("!BBHHH", packet, start)
    return int(sequence) if kind == ECHO_REPLY and echoed == ident else None
