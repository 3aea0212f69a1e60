"""A UDP endpoint on the running event loop that never blocks and never queues.

What the kernel does not take at once is dropped and counted: the next beat replaces it anyway.
asyncio's own datagram transport queues without bound, hence the plain socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

OnDatagram = Callable[[bytes, tuple[str, int]], None]

BURST = 64  # datagrams read in one turn of the loop, so that a flood leaves time for everything else
READ_BYTES = 2048  # more than any datagram that counts; longer ones are cut and then fail their seal
RECEIVE_BUFFER = 1 << 18  # bytes; about 200 full datagrams
IP_FREEBIND = 15  # linux/in.h: bind before the address exists, so a late network does not stop the start
IPV6_FREEBIND = 78
NETWORK_CONTROL = 0xC0  # DSCP CS6: switches drop heartbeats last


class Endpoint:
    """One bound UDP socket. Made by `open_endpoint`."""

    def __init__(self, sock: socket.socket, on_datagram: OnDatagram) -> None:
        self._socket = sock
        self._on_datagram = on_datagram
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._read)
        self.sent = 0
        self.unsent = 0  # no route, no address yet, a full queue, or a firewall that says no
        self.received = 0

    @property
    def address(self) -> tuple[str, int]:
        ip, port = self._socket.getsockname()[:2]
        return str(ip), int(port)

    def send(self, datagram: bytes, address: tuple[str, int]) -> bool:
        """Hand `datagram` to the kernel; False (and counted) where it does not take it now."""
        try:
            self._socket.sendto(datagram, address)
        except OSError:
            self.unsent += 1
            return False
        self.sent += 1
        return True

    def close(self) -> None:
        """Stop listening. May be called twice."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _read(self) -> None:
        for _ in range(BURST):
            try:
                datagram, sender = self._socket.recvfrom(READ_BYTES)
            except OSError:  # nothing more, or an ICMP error of what was sent before
                return
            self.received += 1
            self._on_datagram(datagram, (sender[0], sender[1]))
            if self._socket.fileno() < 0:  # closed by what was called
                return


def open_endpoint(bind_ip: str, port: int, on_datagram: OnDatagram) -> Endpoint:
    """Bind (`bind_ip`, `port`) and call `on_datagram(bytes, (ip, port))` for each datagram.

    `bind_ip` need not exist yet. OSError where another program has the port.
    """
    family = socket.AF_INET6 if ":" in bind_ip else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        _set_options(sock)
        sock.bind((bind_ip, port))
        return Endpoint(sock, on_datagram)
    except BaseException:
        sock.close()
        raise


def _set_options(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    free_bind(sock)
    with contextlib.suppress(OSError):  # a matter of quality of service, not of function
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, NETWORK_CONTROL)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, NETWORK_CONTROL)


def free_bind(sock: socket.socket) -> None:
    """Let `sock` bind an address that this machine does not have yet."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
