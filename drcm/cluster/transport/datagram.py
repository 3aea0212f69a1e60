"""Sealed datagrams (DESIGN.md 5): a clear header, and a body that only a holder of the key can make.

    magic "DRCM" · version 1 byte · key id 4 · boot 16 · sequence 8 · length of the name 1 · sender
    body sealed with AES-256-GCM-SIV, the header being the additional data · tag 16

The nonce is the sequence: one counter over every datagram to anyone (HISTORIES W1). GCM-SIV, because
a cloned virtual machine repeats nonces with other content; that then shows equality only (W2).
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from drcm.cluster.transport.keys import KEY_ID_BYTES, Key

MAGIC = b"DRCM"
VERSION = 1
BOOT_BYTES = 16
TAG_BYTES = 16
MAX_DATAGRAM = 1400  # fits an Ethernet frame through a tunnel or two: never fragmented
HEADER = struct.Struct(f">4sB{KEY_ID_BYTES}s{BOOT_BYTES}sQB")
WINDOW = 1024  # datagrams that may overtake each other; more than a second of the fast profile
BOOTS_KEPT = 32  # replay windows a sender, the least recently heard goes first


class Reason(StrEnum):
    """Why a datagram was dropped. Nothing that is dropped is ever answered."""

    SIZE = "size"  # shorter than a header or longer than MAX_DATAGRAM
    MAGIC = "magic"
    VERSION = "version"
    KEY = "unknown key"
    SENDER = "unknown sender"
    FORGED = "forged"
    REPLAYED = "replayed"


def body_room(sender: str) -> int:
    """Bytes that a body of `sender` may have."""
    return MAX_DATAGRAM - HEADER.size - len(sender.encode()) - TAG_BYTES


class Sealer:
    """Seals what one sender says in one boot. One for the whole process: it owns the counter."""

    def __init__(self, key: Key, sender: str, boot: bytes) -> None:
        if len(boot) != BOOT_BYTES or not 0 < len(sender.encode()) < 256:
            raise ValueError(f"a boot has {BOOT_BYTES} bytes and a name 1 to 255")
        self._name = sender.encode()
        self._boot = boot
        self._room = body_room(sender)
        self._sequence = 0
        self.use(key)

    def use(self, key: Key) -> None:
        """Seal with `key` from now on. The counter goes on, so that no replay window is upset."""
        self.key = key
        self._cipher = AESGCMSIV(key.sealing_key(self._name.decode(), self._boot))

    def seal(self, body: bytes) -> bytes:
        """The datagram for `body`; it may go to several peers. ValueError beyond `body_room`."""
        if len(body) > self._room:
            raise ValueError(f"a body of {len(body)} bytes; at most {self._room} fit")
        self._sequence += 1
        fixed = HEADER.pack(MAGIC, VERSION, self.key.id, self._boot, self._sequence, len(self._name))
        header = fixed + self._name
        return header + self._cipher.encrypt(_nonce(self._sequence), body, header)


@dataclass(frozen=True, slots=True)
class Opened:
    """A body that is authentic, and new in its boot."""

    sender: str
    boot: bytes
    sequence: int
    body: bytes
    key_id: bytes


class Opener:
    """Opens what members send. Never raises, and nothing unauthentic leaves a trace but a count."""

    def __init__(self, keys: Iterable[Key], members: Collection[str]) -> None:
        """`keys` are those that live (`Keys.all`); `members` the peers that may speak."""
        self._keys = {key.id: key for key in keys}
        self._streams: dict[str, OrderedDict[tuple[bytes, bytes], _Stream]] = {}
        self.rejected: Counter[Reason] = Counter()
        # member -> id of the key it speaks with; from the clear header, so only good for an alert (W8)
        self.foreign_keys: dict[str, bytes] = {}
        self.set_members(members)

    def set_members(self, members: Collection[str]) -> None:
        """Listen to `members` from now on; windows of those that stay are kept."""
        self._streams = {name: self._streams.get(name, OrderedDict()) for name in members}
        self.foreign_keys = {name: key for name, key in self.foreign_keys.items() if name in members}

    def open(self, datagram: bytes) -> Opened | None:
        """What a member says in `datagram`; None where it is to be dropped (counted in `rejected`)."""
        found = self._open(datagram)
        if isinstance(found, Reason):
            self.rejected[found] += 1
            return None
        return found

    def _open(self, datagram: bytes) -> Opened | Reason:
        header = _read_header(datagram)
        if isinstance(header, Reason):
            return header
        streams = self._streams.get(header.sender)
        if streams is None:
            return Reason.SENDER
        key = self._keys.get(header.key_id)
        if key is None:
            self.foreign_keys[header.sender] = header.key_id
            return Reason.KEY
        stream = streams.get((header.key_id, header.boot)) or _Stream(key, header.sender, header.boot)
        body = stream.decrypt(header.sequence, datagram[header.size :], datagram[: header.size])
        if body is None:
            return Reason.FORGED
        return self._accept(header, stream, body)

    def _accept(self, header: _Header, stream: _Stream, body: bytes) -> Opened | Reason:
        """The stream is stored only here: an unauthenticated header can't create state."""
        if not stream.is_new(header.sequence):
            return Reason.REPLAYED
        streams = self._streams[header.sender]
        streams[header.key_id, header.boot] = stream
        streams.move_to_end((header.key_id, header.boot))
        if len(streams) > BOOTS_KEPT:
            streams.popitem(last=False)
        self.foreign_keys.pop(header.sender, None)
        return Opened(header.sender, header.boot, header.sequence, body, header.key_id)


@dataclass(frozen=True, slots=True)
class _Header:
    key_id: bytes
    boot: bytes
    sequence: int
    sender: str
    size: int


def _read_header(datagram: bytes) -> _Header | Reason:
    if not HEADER.size + TAG_BYTES < len(datagram) <= MAX_DATAGRAM:
        return Reason.SIZE
    magic, version, key_id, boot, sequence, length = HEADER.unpack_from(datagram)
    if magic != MAGIC:
        return Reason.MAGIC
    if version != VERSION:
        return Reason.VERSION
    size = HEADER.size + length
    if len(datagram) < size + TAG_BYTES:
        return Reason.SIZE
    sender = datagram[HEADER.size : size].decode(errors="replace")
    return _Header(key_id, boot, sequence, sender, size)


class _Stream:
    """One boot of one sender under one key: its cipher, and which sequences were seen."""

    __slots__ = ("_cipher", "_newest", "_seen")

    def __init__(self, key: Key, sender: str, boot: bytes) -> None:
        self._cipher = AESGCMSIV(key.sealing_key(sender, boot))
        self._newest = 0
        self._seen = 0  # bit i: newest - i was seen

    def decrypt(self, sequence: int, sealed: bytes, header: bytes) -> bytes | None:
        try:
            return self._cipher.decrypt(_nonce(sequence), sealed, header)
        except InvalidTag:
            return None

    def is_new(self, sequence: int) -> bool:
        """True, once, for each sequence that is not older than the window. Only after `decrypt`."""
        ahead = sequence - self._newest
        if ahead > 0:
            self._seen = (self._seen << min(ahead, WINDOW) | 1) & (1 << WINDOW) - 1
            self._newest = sequence
            return True
        bit = 1 << -ahead if -ahead < WINDOW else 0
        if not bit or self._seen & bit:
            return False
        self._seen |= bit
        return True


def _nonce(sequence: int) -> bytes:
    return sequence.to_bytes(12, "big")
