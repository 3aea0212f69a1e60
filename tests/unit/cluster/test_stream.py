"""Beats over TCP: real TLS on loopback, connections that break, stall, say nonsense or nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from drcm.cluster.control import ControlServer
from drcm.cluster.transport.endpoint import READ_BYTES
from drcm.cluster.transport.keys import KEY_BYTES, Key, Keys
from drcm.cluster.transport.stream import FRAME, GRANTED, OPENING, QUEUE_BYTES, Streams, receive
from drcm.cluster.transport.tls import server_context

KEYS = Keys(Key(os.urandom(KEY_BYTES)))
SERVER = server_context(KEYS)
DEAD = 2.0
SILENCE = 60.0


async def until(condition: Callable[[], object], keep: Callable[[], object] = lambda: None) -> None:
    """Wait at most a minute for `condition()`; call `keep()` all the while."""
    async with asyncio.timeout(60):
        while not condition():
            keep()
            await asyncio.sleep(0.01)


async def no_question(request: dict[str, Any], local: bool) -> dict[str, Any]:
    return {"ok": False, "error": "no such operation"}


class Taker:
    """Takes beats at a port, as the daemon does."""

    def __init__(self, path: Path, takes: bool = True) -> None:
        self.heard: list[bytes] = []
        self.ended = 0
        self._path, self._beats = path / "drcm.sock", self._take if takes else None

    async def _take(self, reader: asyncio.StreamReader) -> None:
        await receive(reader, SILENCE, self.heard.append)
        self.ended += 1

    @asynccontextmanager
    async def at(self, port: int = 0) -> AsyncIterator[tuple[str, int]]:
        control = ControlServer(no_question, self._path, "127.0.0.1", port, SERVER, self._beats)
        await control.start()
        try:
            yield "127.0.0.1", control.port
        finally:
            await control.close()


@asynccontextmanager
async def streams_to(address: tuple[str, int]) -> AsyncIterator[Streams]:
    streams = Streams(KEYS, DEAD)
    streams.reconfigure({"b": address})
    try:
        yield streams
    finally:
        streams.close()
        await asyncio.sleep(0)


def test_datagrams_arrive_as_they_were_sent(tmp_path: Path) -> None:
    """Each whole, in order, whatever its bytes; what was sent before there was a connection is dropped."""
    sent = [b"first", b"", os.urandom(1400), b"\n", OPENING]

    async def story() -> None:
        taker = Taker(tmp_path)
        async with taker.at() as address, streams_to(address) as streams:
            assert "b" in streams
            assert "c" not in streams
            await until(lambda: taker.heard, lambda: streams.send("b", b"hello"))
            assert streams.unsent > 0
            taker.heard.clear()
            await asyncio.sleep(0.2)
            taker.heard.clear()
            for datagram in sent:
                streams.send("b", datagram)
            await until(lambda: len(taker.heard) == len(sent))
            assert taker.heard == sent

    asyncio.run(story())


def test_a_daemon_that_restarts_is_found_again(tmp_path: Path) -> None:
    """What is said meanwhile is dropped and counted, not kept."""

    async def story() -> None:
        taker = Taker(tmp_path)
        async with contextlib.AsyncExitStack() as stack:
            async with taker.at() as address:
                streams = await stack.enter_async_context(streams_to(address))
                await until(lambda: taker.heard, lambda: streams.send("b", b"1"))
            await until(lambda: not streams._streams["b"].send(b"into nothing"))
            taker.heard.clear()
            async with taker.at(address[1]):
                await until(lambda: taker.heard, lambda: streams.send("b", b"2"))
                assert set(taker.heard) <= {b"2", b"into nothing"}

    asyncio.run(story())


def test_a_peer_that_does_not_read_is_no_queue() -> None:
    """It takes the connection and reads nothing: no more than the bound waits for it, and nothing blocks."""

    async def story() -> None:
        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(GRANTED)
            writer.transport.pause_reading()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            writer.transport.abort()

        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        small.bind(("127.0.0.1", 0))
        server = await asyncio.start_server(take, sock=small, ssl=SERVER)
        async with streams_to(small.getsockname()) as streams:
            await until(lambda: streams.sent, lambda: streams.send("b", b"x" * 1400))
            slowest = 0.0
            for _ in range(3000):
                begun = time.monotonic()
                streams.send("b", b"x" * 1400)
                slowest = max(slowest, time.monotonic() - begun)
                await asyncio.sleep(0)
            assert streams.unsent > 1000
            writer = streams._streams["b"]._writer
            assert writer is None or writer.transport.get_write_buffer_size() <= QUEUE_BYTES
            assert slowest < 10.0  # of a busy machine; blocked, it would take a minute
        server.close()

    asyncio.run(story())


def test_who_does_not_take_beats_is_asked_again(tmp_path: Path) -> None:
    """An older drcm says no: nothing is sent, and nothing breaks."""

    async def story() -> None:
        async with Taker(tmp_path, takes=False).at() as address, streams_to(address) as streams:
            for _ in range(100):
                streams.send("b", b"x")
                await asyncio.sleep(0.01)
            assert streams.sent == 0

    asyncio.run(story())


def test_who_says_nonsense_is_asked_again() -> None:
    """It answers the opening with a line that does not end; the next time with what it should."""

    async def story() -> None:
        heard: list[bytes] = []
        answers = [b"x" * 200_000, GRANTED]

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(answers.pop(0))
            with contextlib.suppress(ConnectionError):
                await receive(reader, SILENCE, heard.append)
            writer.transport.abort()

        server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=SERVER)
        async with streams_to(server.sockets[0].getsockname()) as streams:
            await until(lambda: heard, lambda: streams.send("b", b"x"))
        server.close()

    asyncio.run(story())


def test_another_cm_cfg_ends_and_begins_connections(tmp_path: Path) -> None:
    """Who is no longer to be reached over TCP loses its connection; who stays keeps it."""

    async def story() -> None:
        taker = Taker(tmp_path)
        async with taker.at() as address, streams_to(address) as streams:
            await until(lambda: taker.heard, lambda: streams.send("b", b"1"))
            kept = streams._streams["b"]
            streams.reconfigure({"b": address, "c": address})
            assert streams._streams["b"] is kept
            streams.reconfigure({"c": address})
            assert "b" not in streams
            await until(lambda: taker.ended == 1)
            taker.heard.clear()
            await until(lambda: taker.heard, lambda: streams.send("c", b"3"))

    asyncio.run(story())


def fed(data: bytes, silence: float = SILENCE) -> list[bytes]:
    """What a connection hands on that brings `data` and ends."""
    heard: list[bytes] = []

    async def story() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        if silence == SILENCE:
            reader.feed_eof()
        async with asyncio.timeout(30):
            await receive(reader, silence, heard.append)

    asyncio.run(story())
    return heard


def test_nonsense_ends_a_connection() -> None:
    """A frame longer than any datagram, or one that breaks off."""
    good = FRAME.pack(4) + b"beat"
    assert fed(good + FRAME.pack(READ_BYTES + 1) + b"x" * 5000 + good) == [b"beat"]
    assert fed(good + good[:3]) == [b"beat"]
    assert fed(good + good[:1]) == [b"beat"]
    assert fed(FRAME.pack(READ_BYTES) + b"y" * READ_BYTES) == [b"y" * READ_BYTES]


def test_silence_ends_a_connection() -> None:
    """A peer whose power was cut says nothing more and ends nothing."""
    assert fed(FRAME.pack(4) + b"beat", silence=0.1) == [b"beat"]
