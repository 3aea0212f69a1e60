"""Changes below directories, as the kernel tells them: fanotify(7) on whole file systems, by ctypes.

One mark a file system, set in no time whatever its size, where inotify wants a watch for each directory
(TRAPS.md). Needs Linux 5.9 and root. What it tells is a hint that something changed, never what a tree is:
where the queue overflowed all may have changed. It knows nothing of what other machines do on a shared
file system, and not every file system has it: `Changes` then raises OSError.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

FAN_CLOEXEC, FAN_NONBLOCK, FAN_REPORT_DFID_NAME = 0x1, 0x2, 0xC00
FAN_MARK_ADD, FAN_MARK_FILESYSTEM = 0x1, 0x100
FAN_MODIFY, FAN_ATTRIB, FAN_CLOSE_WRITE = 0x2, 0x4, 0x8  # what is written by mmap shows when it is closed
FAN_MOVED_FROM, FAN_MOVED_TO, FAN_CREATE, FAN_DELETE = 0x40, 0x80, 0x100, 0x200
FAN_Q_OVERFLOW, FAN_ONDIR = 0x4000, 0x40000000
MOVED = FAN_MOVED_FROM | FAN_MOVED_TO
MASK = FAN_MODIFY | FAN_ATTRIB | FAN_CLOSE_WRITE | MOVED | FAN_CREATE | FAN_DELETE | FAN_ONDIR
INFO_DFID_NAME = 2
AT_FDCWD = -100
MAX_HANDLE = 128  # bytes: MAX_HANDLE_SZ of name_to_handle_at(2)
READ = 256 * 1024
KNOWN = 4096  # directories that are remembered

_EVENT = struct.Struct("=IBBHQii")  # length, version, -, length of this head, mask, descriptor, pid
_INFO = struct.Struct("=BBH8s")  # type, -, length, file system
_HANDLE = struct.Struct("=Ii")  # bytes, type

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fanotify_mark.argtypes = (ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p)


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to `name` in the directory with `handle`, on the file system `fsid`."""

    mask: int
    fsid: bytes = b""
    handle: bytes = b""  # struct file_handle, whole
    name: bytes = b""


class Changes:
    """The changes below some real paths from now on. A file descriptor: readable when there are some."""

    def __init__(self, roots: Sequence[str], ignored: Sequence[str] = ()) -> None:
        """`ignored`: names of folders in the roots, in which nothing counts."""
        self._roots: dict[bytes, list[tuple[int, str]]] = {}  # by file system: a descriptor, the real path
        self._ignored = ignored
        self._known: dict[tuple[bytes, bytes], str] = {}  # directories: their paths, "" = not below a root
        flags = FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_DFID_NAME
        self._fd = _checked(_libc.fanotify_init(flags, os.O_CLOEXEC))
        try:
            for root in roots:
                self._mark(root)
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        for descriptor in (self._fd, *(fd for roots in self._roots.values() for fd, _ in roots)):
            os.close(descriptor)
        self._roots = {}

    def read(self) -> Iterator[str]:
        """Paths below the roots, all that are told by now; a root itself where anything may have changed."""
        try:
            data = os.read(self._fd, READ)
        except BlockingIOError:
            return
        for event in parse(data):
            if event.mask & FAN_Q_OVERFLOW:
                yield from (path for roots in self._roots.values() for _, path in roots)
                continue
            if event.mask & FAN_ONDIR and event.mask & MOVED:
                self._known.clear()  # directories have other paths now
            if path := self._path(event):
                yield path

    def _mark(self, root: str) -> None:
        """OSError names the root."""
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        status = os.fstatvfs(descriptor)
        self._roots.setdefault(status.f_fsid.to_bytes(8, "little"), []).append((descriptor, root))
        flags = FAN_MARK_ADD | FAN_MARK_FILESYSTEM
        _checked(_libc.fanotify_mark(self._fd, flags, MASK, AT_FDCWD, os.fsencode(root)), root)
        # Some file systems tell handles that can't be opened: nothing would ever be heard of them.
        os.close(_opened(descriptor, _handle_of(root), root))

    def _path(self, event: Event) -> str:
        """Where it happened; "" where that is none of the roots' business."""
        key = event.fsid, event.handle
        if key not in self._known:
            if len(self._known) >= KNOWN:
                self._known.clear()
            self._known[key] = self._folder(event)
        folder = self._known[key]
        return folder and self._counted(f"{folder}/{os.fsdecode(event.name)}")

    def _folder(self, event: Event) -> str:
        for descriptor, root in self._roots.get(event.fsid, ()):
            try:
                found = _opened(descriptor, event.handle)
            except OSError:  # gone meanwhile: that is a change of the directory above
                continue
            path = os.readlink(f"/proc/self/fd/{found}")
            os.close(found)
            if path == root or path.startswith(f"{root.rstrip('/')}/"):
                return path
        return ""

    def _counted(self, path: str) -> str:
        for roots in self._roots.values():
            for _, root in roots:
                first = path.removeprefix(f"{root.rstrip('/')}/").partition("/")[0]
                if path.startswith(root) and first in self._ignored:
                    return ""
        return path


def parse(data: bytes) -> Iterator[Event]:
    """What read(2) of a fanotify descriptor gave."""
    at = 0
    while at + _EVENT.size <= len(data):
        length, _, _, head, mask, _, _ = _EVENT.unpack_from(data, at)
        if length < head or head < _EVENT.size:
            raise OSError(errno.EPROTO, "fanotify: this kernel's events are not understood")
        yield _event(mask, data[at + head : at + length])
        at += length


def _event(mask: int, infos: bytes) -> Event:
    at = 0
    while at + _INFO.size + _HANDLE.size <= len(infos):
        kind, _, length, fsid = _INFO.unpack_from(infos, at)
        if kind == INFO_DFID_NAME:
            handle_at = at + _INFO.size
            size, _ = _HANDLE.unpack_from(infos, handle_at)
            end = handle_at + _HANDLE.size + size
            return Event(mask, fsid, infos[handle_at:end], infos[end : at + length].split(b"\0", 1)[0])
        at += max(length, 1)
    return Event(mask)


def _handle_of(path: str) -> bytes:
    """struct file_handle of a directory."""
    buffer = ctypes.create_string_buffer(_HANDLE.size + MAX_HANDLE)
    _HANDLE.pack_into(buffer, 0, MAX_HANDLE, 0)
    mount_id = ctypes.c_int()
    where = os.fsencode(path)
    _checked(_libc.name_to_handle_at(AT_FDCWD, where, buffer, ctypes.byref(mount_id), 0), path)
    size, _ = _HANDLE.unpack_from(buffer, 0)
    return buffer.raw[: _HANDLE.size + size]


def _opened(mount: int, handle: bytes, path: str = "") -> int:
    return _checked(_libc.open_by_handle_at(mount, handle, os.O_PATH | os.O_CLOEXEC), path)


def _checked(result: int, path: str = "") -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path or None)
    return result
