"""Asking daemons: one JSON object a line, over the Unix socket here or TLS to another node.

For commands; blocking, standard library only, and every wait has an end. The protocol and its
operations are in ARCHITECTURE.md.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drcm.errors import PeerError

Answer = dict[str, Any]
Request = Mapping[str, Any]

TIMEOUT = 2.0  # seconds for the whole of one question to one node
MAX_ANSWER = 4 << 20  # bytes; printcfg of the largest cm.cfg is far below
START = "Start it with: systemctl start drcm-server"


@dataclass
class NotRunningError(PeerError):
    """Nothing listens there: that daemon is down (unlike one that hangs or refuses)."""


@dataclass
class RefusedError(PeerError):
    """The daemon answered, and said no. `what` and `cure` are its own words."""


def ask_local(path: Path, request: Request, timeout: float = TIMEOUT) -> Answer:
    """The answer of this node's daemon: NotRunningError, RefusedError or PeerError after `timeout`."""
    with Connection.local(path, timeout) as connection:
        return connection.ask(request)


def ask_remote(
    address: str, port: int, context: ssl.SSLContext, request: Request, timeout: float = TIMEOUT
) -> Answer:
    """The answer of the daemon at `address`. Errors as in `ask_local`, within `timeout` seconds in all."""
    with Connection.remote(address, port, context, timeout) as connection:
        return connection.ask(request)


def ask_all(
    addresses: Mapping[str, tuple[str, int]],
    context: ssl.SSLContext,
    request: Request,
    timeout: float = TIMEOUT,
) -> dict[str, Answer | PeerError]:
    """What each node answers, or why it did not; all asked at once, in the order of `addresses`."""

    def ask(address: tuple[str, int]) -> Answer | PeerError:
        try:
            return ask_remote(*address, context, request, timeout)
        except PeerError as error:
            return error

    with ThreadPoolExecutor(max_workers=max(1, len(addresses))) as pool:
        return dict(zip(addresses, pool.map(ask, addresses.values()), strict=True))


class Connection:
    """One connection to a daemon; several questions may follow each other on it.

    All of `timeout` counts from the opening; `allow` gives it more.
    """

    def __init__(self, sock: socket.socket, where: str, deadline: float) -> None:
        self._socket = sock
        self._where = where
        self._deadline = deadline

    @classmethod
    def local(cls, path: Path, timeout: float = TIMEOUT) -> Connection:
        """Connect to the daemon of this node."""
        deadline = time.monotonic() + timeout
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        try:
            sock.connect(str(path))
        except OSError as error:
            sock.close()
            raise _local_error(path, error, timeout) from error
        return cls(sock, "drcm-server on this node", deadline)

    @classmethod
    def remote(cls, address: str, port: int, context: ssl.SSLContext, timeout: float = TIMEOUT) -> Connection:
        """Connect to the daemon at `address` and prove the key to each other."""
        deadline = time.monotonic() + timeout
        where = f"{address} port {port}"
        try:
            plain = socket.create_connection((address, port), timeout)
        except OSError as error:
            raise _connect_error(where, error) from error
        try:
            plain.settimeout(max(0.001, deadline - time.monotonic()))
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return cls(context.wrap_socket(plain), where, deadline)
        except OSError as error:
            plain.close()
            raise _talk_error(where, error) from error

    def allow(self, timeout: float) -> None:
        """What follows may take `timeout` seconds from now."""
        self._deadline = time.monotonic() + timeout

    def ask(self, request: Request) -> Answer:
        """The answer to `request`; RefusedError where it is a no, PeerError where there is none."""
        try:
            self._rest()
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            line = self._read_line()
        except OSError as error:
            raise _talk_error(self._where, error) from error
        return _checked(self._where, line)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_line(self) -> bytes:
        line = bytearray()
        while not line.endswith(b"\n"):
            self._rest()
            piece = self._socket.recv(65536)
            if not piece:
                raise ConnectionResetError("it closed the connection without an answer")
            line += piece
            if len(line) > MAX_ANSWER:
                raise ConnectionAbortedError(f"its answer is longer than {MAX_ANSWER} bytes")
        return bytes(line)

    def _rest(self) -> None:
        """Let the next step take only what is left of the whole."""
        rest = self._deadline - time.monotonic()
        if rest <= 0:
            raise TimeoutError
        self._socket.settimeout(rest)


def _checked(where: str, line: bytes) -> Answer:
    try:
        answer = json.loads(line)
        good = answer["ok"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PeerError(f"{where}: answered something else than a drcm-server does") from error
    if good is not True:
        raise RefusedError(str(answer.get("error", "it refused")), str(answer.get("cure", "")))
    return dict(answer)


def _local_error(path: Path, error: OSError, timeout: float) -> PeerError:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return NotRunningError("drcm-server does not run on this node", START)
    if isinstance(error, TimeoutError | BlockingIOError):
        return PeerError(f"drcm-server on this node does not answer within {timeout:g} s", "Look at its log.")
    return PeerError(f"{path}: {error.strerror or error}", "Ask as root.")


def _connect_error(where: str, error: OSError) -> PeerError:
    if isinstance(error, ConnectionRefusedError):
        return NotRunningError(f"{where}: refuses the connection: drcm-server does not run there", START)
    if isinstance(error, TimeoutError):
        return PeerError(f"{where}: does not answer", "Is the node up, and the port open in its firewall?")
    return PeerError(f"{where}: can't be reached: {error.strerror or error}", "Look at the network.")


def _talk_error(where: str, error: OSError) -> PeerError:
    if isinstance(error, TimeoutError):
        return PeerError(f"{where}: does not answer in time", "Look at the log of its drcm-server.")
    if isinstance(error, ssl.SSLError):
        return PeerError(
            f"{where}: no trust: it has another auth key, or is no drcm-server ({error.reason})",
            "Both nodes need the same key; compare: sha256sum /etc/drcm/.auth/authkey",
        )
    return PeerError(f"{where}: {error.strerror or error}", "Look at the log of its drcm-server.")
