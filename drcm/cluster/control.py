"""The daemon's side of the control protocol (ARCHITECTURE.md): a Unix socket for root, TLS for other nodes.

It shares the loop with the heartbeats, so everything has a bound: connections in all and from one
address, the length of a line, each wait.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from drcm.cluster.transport.endpoint import free_bind
from drcm.cluster.transport.stream import GRANTED, OPENING
from drcm.errors import EXIT_UNAVAILABLE, DrcmError

Dispatch = Callable[[dict[str, Any], bool], Awaitable[dict[str, Any]]]
TakeOver = Callable[[asyncio.StreamReader], Awaitable[None]]

MAX_REQUEST = 64 << 10  # bytes of one line
READ_SECONDS = 5.0  # for a whole line to come, a handshake, an answer to be taken
MAX_LOCAL = 64  # connections over the Unix socket
MAX_REMOTE = 64  # over TLS, handshakes under way included
MAX_EACH = 8  # over TLS from one address, so that one host can't keep the others out
PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid


class ControlServer:
    """Answers requests with what `dispatch(request, local)` returns; DrcmError becomes a refusal."""

    def __init__(
        self,
        dispatch: Dispatch,
        unix_path: Path,
        tcp_bind: str = "",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        beats: TakeOver | None = None,
    ) -> None:
        """Without `ssl_context` only the Unix socket is served. `port` 0 takes a free one.

        `beats` gets a connection over which a peer wants to send its heartbeats.
        """
        self._dispatch = dispatch
        self._unix_path = unix_path
        self._tcp = (tcp_bind, port)
        self._context, self._beats = ssl_context, beats
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: Counter[str] = Counter()  # connections by address; "" = local
        self.turned_away = 0

    @property
    def port(self) -> int:
        """The TCP port that is served (0 without TLS)."""
        tcp = [sock for sock in self._sockets if sock.family != socket.AF_UNIX]
        return int(tcp[0].getsockname()[1]) if tcp else 0

    async def start(self) -> None:
        """Listen. DrcmError where a daemon runs here already, or another program has the port."""
        try:
            self._sockets.append(listen_unix(self._unix_path))
            if self._context is not None:
                self._sockets.append(listen_tcp(*self._tcp))
        except DrcmError:
            await self.close()
            raise
        for sock in self._sockets:
            self._start(self._accept(sock))

    async def close(self) -> None:
        """Stop listening, end every other conversation, and remove the socket file."""
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for sock in self._sockets:
            if sock.family == socket.AF_UNIX:
                self._unix_path.unlink(missing_ok=True)
            sock.close()
        self._sockets.clear()

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket) -> None:
        local = listener.family == socket.AF_UNIX
        while True:
            try:
                sock, address = await asyncio.get_running_loop().sock_accept(listener)
            except OSError:  # no descriptors left, or it is gone already
                await asyncio.sleep(0.1)
                continue
            host = "" if local else address[0]
            if not self._admits(sock, host):
                self.turned_away += 1
                sock.close()
                continue
            self._open[host] += 1
            self._start(self._converse(sock, host))

    def _admits(self, sock: socket.socket, host: str) -> bool:
        if not host:
            return self._open[""] < MAX_LOCAL and _is_trusted(sock)
        return self._open.total() - self._open[""] < MAX_REMOTE and self._open[host] < MAX_EACH

    async def _converse(self, sock: socket.socket, host: str) -> None:
        try:
            reader, writer = await self._streams(sock, local=not host)
        except (OSError, TimeoutError):  # ssl.SSLError is an OSError: who has no key is not talked to
            sock.close()
        else:
            await self._talk(reader, writer, local=not host)
        finally:
            self._open[host] -= 1
            if not self._open[host]:
                del self._open[host]

    async def _streams(
        self, sock: socket.socket, local: bool
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=MAX_REQUEST)
        protocol = asyncio.StreamReaderProtocol(reader)
        secure: dict[str, Any] = {}
        if not local:
            secure = {"ssl": self._context, "ssl_handshake_timeout": READ_SECONDS, "ssl_shutdown_timeout": 1}
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, **secure)
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, local: bool) -> None:
        try:
            await self._answer_all(reader, writer, local)
            writer.close()
        except (OSError, TimeoutError):  # it went away, or does not take its answer
            pass
        finally:
            if not writer.is_closing():
                writer.transport.abort()

    async def _answer_all(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, local: bool
    ) -> None:
        while line := await _read_line(reader):
            if line == OPENING and self._beats is not None and not local:
                writer.write(GRANTED)
                return await self._beats(reader)
            answer = await self._answer(line, local) if line.endswith(b"\n") else TOO_LONG
            writer.write(json.dumps(answer).encode() + b"\n")
            async with asyncio.timeout(READ_SECONDS):
                await writer.drain()
            if answer is TOO_LONG:
                return

    async def _answer(self, line: bytes, local: bool) -> dict[str, Any]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict) or not isinstance(request.get("op"), str):
            return refusal("expected a line with a JSON object that has an op", "See ARCHITECTURE.md.")
        try:
            return await self._dispatch(request, local)
        except DrcmError as error:
            return refusal(error.what, error.cure)


def refusal(error: str, cure: str = "") -> dict[str, Any]:
    """The answer that says no, and why."""
    return {"ok": False, "error": error, "cure": cure}


TOO_LONG = refusal(f"a request of more than {MAX_REQUEST} bytes")


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    """The next line; b"" at the end; something without its newline where it is too long."""
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError:
        return b""
    except asyncio.LimitOverrunError:
        return b"?"


def _is_trusted(sock: socket.socket) -> bool:
    """The other end of the Unix socket is root, or who runs the daemon."""
    _, uid, _ = PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
    return uid in (0, os.geteuid())


def listen_unix(path: Path) -> socket.socket:
    """A listening socket at `path`, 0600; the file of a daemon that died is replaced."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        _remove_stale(path)
        os.fchmod(sock.fileno(), 0o600)  # Linux: what bind creates has this mode from the start
        sock.bind(str(path))
        sock.listen(16)
    except OSError as error:
        sock.close()
        cure = "Is DRCM_RUN_DIR right, and does drcm-server run as root?"
        raise DrcmError(f"{path}: can't listen: {error.strerror or error}", cure) from error
    except DrcmError:
        sock.close()
        raise
    return sock


def _remove_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:  # its queue is full: somebody listens
            pass
    raise DrcmError(
        "drcm-server runs already on this node", "See: systemctl status drcm-server", EXIT_UNAVAILABLE
    )


def listen_tcp(ip: str, port: int) -> socket.socket:
    """A listening socket at (`ip`, `port`); the address need not exist yet."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free_bind(sock)
        sock.bind((ip, port))
        sock.listen(16)
    except OSError as error:
        sock.close()
        cure = f"See who has the port: ss -ltnp 'sport = :{port}'; or set another tcpport."
        raise DrcmError(f"tcpport {port}: can't listen on {ip}: {error.strerror}", cure) from error
    return sock
