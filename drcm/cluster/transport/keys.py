"""The auth key: 2048 random bytes that every node of a cluster holds, and what is derived from them.

It is a group key: whoever holds it, a witness too, can speak as any node (HISTORIES W9).
`authkey.sha1` is written for tools of 1.41 and never read: 1.41 sent it in clear for years (W7).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from drcm.errors import KeyFileError
from drcm.state import sync_directory, write_bytes

KEY_BYTES = 2048
KEY_ID_BYTES = 4
SEALING_KEY_BYTES = 32  # AES-256
LEAST_DISTINCT = 128  # 2048 random bytes have about 256 distinct values; text and zeros have far fewer


@dataclass(frozen=True)
class Key:
    """One auth key. `material` is never shown, logged or sent."""

    material: bytes = field(repr=False)

    @cached_property
    def id(self) -> bytes:
        """Four bytes that name the key in clear headers."""
        return self.derive(b"id", length=KEY_ID_BYTES)

    def sealing_key(self, sender: str, boot: bytes) -> bytes:
        """The AES key of one sender's one boot, so that no two boots share a nonce (HISTORIES W1)."""
        name = sender.encode()
        return self.derive(b"seal\0" + bytes([len(boot)]) + boot + name, length=SEALING_KEY_BYTES)

    def derive(self, info: bytes, *, length: int) -> bytes:
        """`length` (at most 32) bytes for the purpose `info`: HKDF-SHA256, RFC 5869, without salt."""
        return hmac.digest(self._extracted, info + b"\x01", hashlib.sha256)[:length]

    @cached_property
    def _extracted(self) -> bytes:
        return hmac.digest(bytes(32), self.material, hashlib.sha256)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that this node accepts. Two are live while a new one is rolled out (HISTORIES W8)."""

    current: Key
    next: Key | None = None

    @property
    def all(self) -> tuple[Key, ...]:
        return (self.current,) if self.next is None else (self.current, self.next)


def generate(auth: Path, force: bool = False) -> Path:
    """Make a new key in the folder `auth` and return its path.

    It appears whole or not at all, also when two people do this at once. KeyFileError where there is
    a key already and not `force`, or where the folder can't be written.
    """
    path = auth / "authkey"
    try:
        _write_new(path, os.urandom(KEY_BYTES), force)
    except FileExistsError as error:
        raise KeyFileError(
            f"{path}: there is a key already; a new one would cut this node off from those that hold it",
            "To make a new one all the same: drcm-server --generate-authkey --force, "
            "then copy it to every node.",
        ) from error
    except OSError as error:
        raise _unusable(path, error) from error
    return path


def _write_new(path: Path, material: bytes, force: bool) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.fresh")
    write_bytes(fresh, material)
    try:
        if force:
            fresh.replace(path)
        else:
            os.link(fresh, path)  # refuses to overwrite, unlike rename
    finally:
        fresh.unlink(missing_ok=True)
    sync_directory(path.parent)
    digest = hashlib.sha1(material, usedforsecurity=False).hexdigest()
    write_bytes(path.with_name("authkey.sha1"), digest.encode() + b"\n")


def load(auth: Path) -> Keys:
    """The keys in the folder `auth`: `authkey`, and `authkey.next` where there is one.

    KeyFileError where the key is missing, can be read by others, or is not 2048 random bytes.
    """
    current = _read(auth / "authkey")
    if current is None:
        raise KeyFileError(
            f"{auth / 'authkey'}: there is no auth key on this node",
            f"On the first node: drcm-server --generate-authkey. On the others: copy {auth} from there.",
        )
    return Keys(current, _read(auth / "authkey.next"))


def _read(path: Path) -> Key | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        _check_private(path, os.fstat(descriptor))
        _check_folder(path.parent)
        return Key(_checked(path, os.read(descriptor, KEY_BYTES + 1)))
    finally:
        os.close(descriptor)


def _check_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError(f"{path}: expected a file of {KEY_BYTES} bytes, found something else", _make_new())
    if status.st_mode & 0o077 or status.st_uid not in (0, os.geteuid()):
        raise KeyFileError(
            f"{path}: others can read the auth key "
            f"(mode {stat.S_IMODE(status.st_mode):04o}, owner {status.st_uid}; expected 0600, owner 0)",
            f"chown 0:0 {path} && chmod 600 {path}; if others have read it, make a new key.",
        )


def _check_folder(folder: Path) -> None:
    mode = folder.stat().st_mode
    if mode & 0o077:
        raise KeyFileError(
            f"{folder}: others can enter the folder of the auth key "
            f"(mode {stat.S_IMODE(mode):04o}, expected 0700)",
            f"chmod 700 {folder}",
        )


def _checked(path: Path, material: bytes) -> bytes:
    if len(material) != KEY_BYTES:
        found = f"more than {KEY_BYTES}" if len(material) > KEY_BYTES else str(len(material))
        raise KeyFileError(f"{path}: expected {KEY_BYTES} bytes, found {found}", _make_new())
    if len(set(material)) < LEAST_DISTINCT:
        raise KeyFileError(f"{path}: expected {KEY_BYTES} random bytes; these are not random", _make_new())
    return material


def _make_new() -> str:
    return "Copy it again from a good node, or make a new one: drcm-server --generate-authkey --force"


def _unusable(path: Path, error: OSError) -> KeyFileError:
    return KeyFileError(f"{path}: {error.strerror}", "drcm reads and writes its auth key as root.")
