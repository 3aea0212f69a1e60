"""Beats over TCP, to and from nodes that say `transport = tcp`: the sealed datagrams of UDP, framed, in TLS.

Who sends dials: each direction has a connection of its own, to the port that the console uses. A stream must
not become a queue of old beats: what is not acknowledged yet is bounded, the rest is dropped and counted.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import logging
import socket
import ssl
import struct
import termios
from collections.abc import Awaitable, Callable, Mapping

from drcm.cluster.transport.endpoint import READ_BYTES
from drcm.cluster.transport.keys import Keys
from drcm.errors import DrcmError

log = logging.getLogger(__name__)

OPENING = b'{"op": "beats"}\n'  # a request of the control protocol: frames follow, and nothing else
GRANTED = b'{"ok": true}\n'
FRAME = struct.Struct("!H")  # bytes of the datagram that follows
DIAL_SECONDS = 5.0  # for the connection, its handshake and the permission
REDIAL_SECONDS = 0.5
QUEUE_BYTES = 16 << 10  # that the peer has not acknowledged; beyond it nothing is sent

Address = tuple[str, int]


class Streams:
    """This node's connections to the peers that are to be reached over TCP."""

    def __init__(self, keys: Keys, dead_seconds: float) -> None:
        """A connection whose peer acknowledges nothing for `dead_seconds` is dialled anew."""
        self._keys, self._dead_seconds = keys, dead_seconds
        self._context: asyncio.Future[ssl.SSLContext] | None = None
        self._streams: dict[str, Stream] = {}
        self.sent = self.unsent = 0

    def reconfigure(self, peers: Mapping[str, Address]) -> None:
        """Keep connections to these, and to nobody else."""
        for name, stream in list(self._streams.items()):
            if peers.get(name) != stream.address:
                self._streams.pop(name).close()
        for name in peers.keys() - self._streams.keys():
            self._streams[name] = Stream(name, peers[name], self._dead_seconds, self.context)

    def __contains__(self, name: str) -> bool:
        return name in self._streams

    def send(self, name: str, datagram: bytes) -> None:
        """Hand it to the kernel, or drop and count it."""
        if self._streams[name].send(datagram):
            self.sent += 1
        else:
            self.unsent += 1

    async def context(self) -> ssl.SSLContext:
        """Made once, and only where it is needed: by a child, for it takes a while."""
        from drcm.cluster.transport.certificates import make_in_child  # not before the daemon's first beat
        from drcm.cluster.transport.tls import client_context

        if self._context is None or (self._context.done() and self._context.exception()):
            making = asyncio.to_thread(client_context, self._keys, make_in_child)
            self._context = asyncio.ensure_future(making)
        return await asyncio.shield(self._context)

    def close(self) -> None:
        self.reconfigure({})


class Stream:
    """The connection to one peer: dialled again and again until it is closed."""

    def __init__(
        self,
        name: str,
        address: Address,
        dead_seconds: float,
        context: Callable[[], Awaitable[ssl.SSLContext]],
    ) -> None:
        self.address = address
        self._name, self._context = name, context
        self._user_timeout = int(1000 * dead_seconds)  # ms
        self._writer: asyncio.StreamWriter | None = None
        self._told = ""
        self._task = asyncio.get_running_loop().create_task(self._keep())

    def send(self, datagram: bytes) -> bool:
        """False where there is no connection, or the peer is too far behind."""
        writer = self._writer
        if writer is None or writer.is_closing() or _unacknowledged(writer) > QUEUE_BYTES:
            return False
        writer.write(FRAME.pack(len(datagram)) + datagram)
        return True

    def close(self) -> None:
        """What was sent still arrives. May be called twice."""
        self._task.cancel()

    async def _keep(self) -> None:
        while True:
            try:
                await self._hold()
            except (OSError, TimeoutError, DrcmError, ValueError) as error:  # ValueError: an endless line
                where = f"{self.address[0]} port {self.address[1]}"
                self._tell(f"no connection for heartbeats to {where}: {error or 'no answer'}")
            await asyncio.sleep(REDIAL_SECONDS)

    async def _hold(self) -> None:
        """One connection, from its beginning to its end."""
        reader, writer = await self._dial()
        try:
            self._tell("heartbeats go over TCP")
            self._writer = writer
            await reader.read(1)  # nothing comes: it returns when the connection has ended
        finally:
            self._writer = None
            writer.transport.abort()

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = await self._context()
        async with asyncio.timeout(DIAL_SECONDS):
            reader, writer = await asyncio.open_connection(*self.address, ssl=context)
            try:
                sock: socket.socket = writer.get_extra_info("socket")
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._user_timeout)
                writer.write(OPENING)
                if await reader.readline() != GRANTED:
                    raise ConnectionRefusedError("it does not take heartbeats over TCP: an older drcm?")
            except BaseException:
                writer.transport.abort()
                raise
        return reader, writer

    def _tell(self, what: str) -> None:
        """Once, not at each attempt."""
        if what != self._told:
            self._told = what
            log.info("%s: %s", self._name, what)


def _unacknowledged(writer: asyncio.StreamWriter) -> int:
    """Bytes that the kernel holds for the peer. The bound keeps asyncio's own buffer empty, too."""
    size = array.array("i", [0])
    with contextlib.suppress(OSError, ValueError):  # it is closed just now
        fcntl.ioctl(writer.get_extra_info("socket").fileno(), termios.TIOCOUTQ, size)
    return size[0]


async def receive(reader: asyncio.StreamReader, silence: float, on_datagram: Callable[[bytes], None]) -> None:
    """Hand on each datagram, until the connection ends, says nothing for `silence` s, or says nonsense."""
    with contextlib.suppress(asyncio.IncompleteReadError, TimeoutError):
        while True:
            async with asyncio.timeout(silence):
                (size,) = FRAME.unpack(await reader.readexactly(FRAME.size))
                if size > READ_BYTES:
                    return
                datagram = await reader.readexactly(size)
            on_datagram(datagram)
