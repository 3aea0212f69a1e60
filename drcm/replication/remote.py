"""Coordination with another node's drcm-gate over SSH. The one module that imports paramiko.

A call is one forced command, one JSON object each way. `Peer.call` opens a connection for it; a `Line`
keeps one for several calls, because a handshake costs more than the call. rsync and ssh are forked while
a line is open: sh's child runs no finalizer (gc is off), takes no lock that paramiko's thread may hold,
closes all descriptors but those it is to keep, and execs; and the socket closes on exec.
Host keys are strict: a node that is not in known_hosts is not spoken to. Every wait is bounded.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import paramiko

from drcm.clock import Seconds, now
from drcm.errors import EXIT_NO_PERMISSION, EXIT_PROTOCOL, DrcmError, PeerError
from drcm.paths import Paths

CONNECT_SECONDS: Seconds = 5.0
CALL_SECONDS: Seconds = 20.0
IDLE_SECONDS: Seconds = 20.0
ASK_SECONDS = 5  # of silence, then the kernel asks whether the peer still knows the connection
REPLY_MAX = 4 * 1024 * 1024  # bytes: 256 generations and their roots are some 100 kB
CHUNK = 32 * 1024
WEAK: dict[str, list[str]] = {
    "ciphers": ["3des-cbc", "aes128-cbc", "aes192-cbc", "aes256-cbc"],
    "macs": ["hmac-md5", "hmac-md5-96", "hmac-sha1", "hmac-sha1-96"],
}


@dataclass
class RefusedError(DrcmError):
    """The gate over there said no. `exit_code` is the one it gave."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node as SSH knows it. `name` is the node's name in cm.cfg."""

    name: str
    address: str
    port: int
    user: str
    paths: Paths

    def call(
        self,
        verb: str,
        name: str = "",
        request: Mapping[str, Any] | None = None,
        seconds: Seconds = CALL_SECONDS,
    ) -> dict[str, Any]:
        """As `Line.call`, over a connection of its own."""
        with Line(self) as line:
            return line.call(verb, name, request, seconds)

    def connect(self, client: paramiko.SSHClient) -> None:
        """Connect `client` to this node; PeerError with the cure where that fails."""
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        key = self._key()
        self._load_known_hosts(client)
        try:
            client.connect(
                self.address,
                self.port,
                self.user,
                pkey=key,
                sock=_socket(self.address, self.port),
                allow_agent=False,
                look_for_keys=False,
                timeout=CONNECT_SECONDS,
                banner_timeout=CONNECT_SECONDS,
                auth_timeout=CONNECT_SECONDS,
                channel_timeout=CONNECT_SECONDS,
                disabled_algorithms=WEAK,
            )
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise self._refused(error) from error

    def _key(self) -> paramiko.Ed25519Key:
        path = self.paths.ssh_key
        try:
            return paramiko.Ed25519Key.from_private_key_file(str(path))
        except FileNotFoundError as error:
            raise PeerError(
                f"{path}: no SSH key", "Run: drcm-server --setup-ssh", EXIT_NO_PERMISSION
            ) from error
        except (paramiko.SSHException, OSError, ValueError) as error:
            what = f"{path}: expected an ed25519 key without a passphrase: {error}"
            raise PeerError(what, "Run: drcm-server --setup-ssh", EXIT_NO_PERMISSION) from error

    def _load_known_hosts(self, client: paramiko.SSHClient) -> None:
        path = self.paths.known_hosts
        try:
            client.load_host_keys(str(path))
        except FileNotFoundError as error:
            what = f"{path}: no host keys, so no node can be recognised"
            raise PeerError(what, "Run: drcm-server --setup-ssh", EXIT_NO_PERMISSION) from error

    def _refused(self, error: BaseException) -> PeerError:
        """What went wrong while connecting, and the cure."""
        where = f"{self.name} ({self.address} port {self.port})"
        if isinstance(error, paramiko.BadHostKeyException):
            return PeerError(
                f"{where} shows another host key than {self.paths.known_hosts} has: a reinstalled node, "
                "or somebody in between. Nothing was sent",
                f"Reinstalled? Then: drcm-server --setup-ssh --host-key '{self.name}=ssh-ed25519 AAAA...'",
                EXIT_NO_PERMISSION,
            )
        if isinstance(error, paramiko.AuthenticationException):
            return PeerError(
                f"{where} refuses the key {self.paths.ssh_key} for user {self.user}",
                f"On {self.name}, with the same /etc/drcm: drcm-server --setup-ssh",
                EXIT_NO_PERMISSION,
            )
        if isinstance(error, paramiko.SSHException) and "known_hosts" in str(error):
            return PeerError(
                f"{where} is not in {self.paths.known_hosts}",
                "Run: drcm-server --setup-ssh",
                EXIT_NO_PERMISSION,
            )
        if isinstance(error, OSError):
            return PeerError(f"no connection to {where}: {error.strerror or error}", "Is its sshd running?")
        return PeerError(f"no SSH connection to {where}: {error}", "Look at its sshd's log")

    def lost(self, verb: str, error: BaseException) -> PeerError:
        said = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        return PeerError(
            f"{self.name} broke off while asked to {verb}: {said}", "It is tried again at the next run"
        )

    def reply(self, verb: str, status: int, out: bytes, err: bytes) -> dict[str, Any]:
        try:
            reply = json.loads(out)
        except ValueError as error:
            said = (err or out).decode("utf-8", "backslashreplace").strip().split("\n")[0][:200]
            what = f"{self.name} answered {verb} with no JSON but {said or 'nothing'} (exit {status})"
            cure = f"Its authorized_keys must start drcm-gate: on {self.name} run drcm-server --setup-ssh"
            raise PeerError(what, cure, EXIT_PROTOCOL) from error
        if not isinstance(reply, dict) or not isinstance(reply.get("ok"), bool):
            raise PeerError(f"{self.name} answered {verb} with something unknown", "", EXIT_PROTOCOL)
        if not reply["ok"]:
            raise RefusedError(f"{self.name}: {reply.get('error')}", reply.get("cure", ""), status)
        return reply


class Line:
    """One connection to a peer for several calls: `with Line(peer) as line: line.call("probe", ...)`.

    It is opened by the first call, and anew after IDLE_SECONDS without one: what lies between two calls
    may be hours of rsync, in which a firewall forgets a silent connection.
    """

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._client: paramiko.SSHClient | None = None
        self._used: Seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def call(
        self,
        verb: str,
        name: str = "",
        request: Mapping[str, Any] | None = None,
        seconds: Seconds = CALL_SECONDS,
    ) -> dict[str, Any]:
        """Run `drcm-gate VERB NAME` there with `request` on its standard input; its answer.

        Raises RefusedError where the gate says no, PeerError where it can't be reached or understood.
        """
        deadline = now() + seconds
        client = self._open()
        try:
            status, out, err = _exec(client, f"drcm-gate {verb} {name}".rstrip(), request or {}, deadline)
        except (paramiko.SSHException, OSError, EOFError) as error:
            self.close()
            raise self._peer.lost(verb, error) from error
        self._used = now()
        return self._peer.reply(verb, status, out, err)

    def _open(self) -> paramiko.SSHClient:
        transport = self._client.get_transport() if self._client else None
        fresh = transport is not None and transport.is_active() and now() - self._used < IDLE_SECONDS
        if self._client is not None and fresh:
            return self._client
        self.close()
        client = paramiko.SSHClient()
        try:
            self._peer.connect(client)
        except BaseException:
            client.close()
            raise
        self._client = client
        return client


def _socket(address: str, port: int) -> socket.socket:
    """A TCP connection that notices a dead peer by itself; paramiko's keep alive never does (#918).

    A call may take minutes, all of them silent: the kernel asks meanwhile. A peer that lost its power and is
    back knows nothing of the connection, and would otherwise be waited for until the call's deadline.
    """
    connection = socket.create_connection((address, port), CONNECT_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, ASK_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, ASK_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(CALL_SECONDS * 1000))
    return connection


def _exec(
    client: paramiko.SSHClient, command: str, request: Mapping[str, Any], deadline: Seconds
) -> tuple[int, bytes, bytes]:
    transport = client.get_transport()
    assert transport is not None
    channel = transport.open_session(timeout=CONNECT_SECONDS)
    channel.settimeout(_left(deadline))
    channel.exec_command(command)
    channel.sendall(json.dumps(request).encode())
    channel.shutdown_write()
    out = _read(channel, deadline)
    if not channel.status_event.wait(_left(deadline)):  # recv_exit_status() knows no timeout (#1815)
        raise TimeoutError
    if channel.exit_status < 0:  # no status came: killed, or the connection ended
        raise EOFError("it ended without an answer")
    err = channel.recv_stderr(CHUNK) if channel.recv_stderr_ready() else b""
    return channel.exit_status, out, err


def _read(channel: paramiko.Channel, deadline: Seconds) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        channel.settimeout(_left(deadline))
        part = channel.recv(CHUNK)
        if not part:
            return b"".join(parts)
        parts.append(part)
        size += len(part)
        if size > REPLY_MAX:
            raise paramiko.SSHException(f"its answer is longer than {REPLY_MAX} bytes")


def _left(deadline: Seconds) -> Seconds:
    left = deadline - now()
    if left <= 0:
        raise TimeoutError
    return left
