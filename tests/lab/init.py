"""Process 1 of a lab host: makes the host's namespaces and root, starts what it is asked to, reaps.

A script of its own (standard library only, no import of the rest of the lab), so that a host boots in
some 50 ms. The control socket is its lifeline: when the lab's end closes, however the lab died, this
process ends, and with it the kernel ends everything in the pid namespace.

Messages on the socket (JSON, one a datagram, descriptors alongside):
    {"argv": [...], "env": {...}, "cwd": PATH} + stdin, stdout, stderr, answer -> `pid N`, later `exit N`
    {"kill": [PID, SIGNAL]} + answer -> `done`      PID -1 is every process but this one
An answer of `error TEXT` says why it could not be done.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import stat
import struct
import sys
from typing import Any

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 2, 4, 4096, 8192, 16384, 1 << 18
PR_SET_PDEATHSIG = 1
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
COPY_LIMIT_BYTES = 1 << 20  # larger files of /etc and /root are shared with the machine
KERNEL_TREES = ("/proc", "/sys", "/dev", "/run")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Move the calling thread into new namespaces (children only, for a pid namespace)."""
    _checked(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    result = _libc.mount(
        os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode()
    )
    _checked(result, f"mount {source} on {target}")


def die_with(parent: int) -> None:
    """The calling process ends when its parent does, however that ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it has ended already


def set_link(control: socket.socket, name: str, up: bool) -> None:
    """Set a network link up or down in the namespace where `control` was opened: microseconds, no fork."""
    request = fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16sh14x", name.encode(), 0))
    (flags,) = struct.unpack_from("H", request, 16)
    flags = flags | IFF_UP if up else flags & ~IFF_UP
    fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", name.encode(), flags))


class Root:
    """The host's own root: the machine's programs, the host's own disk, nothing of the other hosts."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.new: str = spec["root"]
        self.disk: str = spec["disk"]
        self.private: list[str] = sorted(spec["directories"], key=len)
        self.keep: list[str] = spec["keep"]
        self.boot_id: str = spec["boot_id"]

    def enter(self) -> None:
        mount("none", "/", flags=MS_REC | MS_PRIVATE)
        mount("tmpfs", self.new, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
        self._furnish("/")
        for path in self.private:
            os.makedirs(self.new + path, exist_ok=True)
            mount(self.disk + path, self.new + path, flags=MS_BIND)
        self._files()
        self._kernel()
        for path in self.keep:
            os.makedirs(self.new + path, exist_ok=True)
            mount(path, self.new + path, flags=MS_BIND | MS_REC)
        os.chdir(self.new)
        mount(".", "/", flags=MS_MOVE)
        os.chroot(".")
        os.chdir("/")

    def _furnish(self, directory: str) -> None:
        """Share the machine's `directory`, entry by entry where something private lies below it."""
        for entry in os.scandir(directory):
            if entry.path in self.private or entry.path in KERNEL_TREES:
                continue
            target = self.new + entry.path
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), target)
            elif entry.is_dir():
                self._share_directory(entry.path, target)
            elif entry.is_file():
                self._share_file(entry.path, target)

    def _share_directory(self, path: str, target: str) -> None:
        os.mkdir(target)
        if any(private.startswith(path + "/") for private in self.private):
            self._furnish(path)
            shutil.copystat(path, target)
            return
        try:
            mount(path, target, flags=MS_BIND | MS_REC)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EACCES):  # an unbindable mount is left out
                raise

    @staticmethod
    def _share_file(path: str, target: str) -> None:
        status = os.stat(path)
        if status.st_size > COPY_LIMIT_BYTES:
            os.close(os.open(target, os.O_CREAT))
            mount(path, target, flags=MS_BIND)
            return
        shutil.copyfile(path, target)
        os.chown(target, status.st_uid, status.st_gid)
        os.chmod(target, stat.S_IMODE(status.st_mode))

    def _files(self) -> None:
        """Private files of /etc: on the disk under `files`, so the lab can change them while we run."""
        for name in os.listdir(self.disk + "/files"):
            target = f"{self.new}/etc/{name}"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(target)
            os.close(os.open(target, os.O_CREAT))
            mount(f"{self.disk}/files/{name}", target, flags=MS_BIND)

    def _kernel(self) -> None:
        for path in KERNEL_TREES:
            os.makedirs(self.new + path, exist_ok=True)
        mount("proc", self.new + "/proc", "proc")
        mount("sysfs", self.new + "/sys", "sysfs")
        mount("/dev", self.new + "/dev", flags=MS_BIND | MS_REC)
        os.makedirs(self.new + "/dev/shm", exist_ok=True)
        mount("tmpfs", self.new + "/dev/shm", "tmpfs")
        mount("tmpfs", self.new + "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
        os.mkdir(self.new + "/run/sshd")
        os.mkdir(self.new + "/run/lock")
        # The machine's boot id is one for all hosts and all lab boots; drcm tells boots apart by it.
        mount(self.boot_id, self.new + "/proc/sys/kernel/random/boot_id", flags=MS_BIND)


class Init:
    """The loop of process 1."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.answers: dict[int, int] = {}  # pid -> descriptor that wants its exit status
        self.wake, wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_end)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        poller = select.poll()
        poller.register(self.control, select.POLLIN)
        poller.register(self.wake, select.POLLIN)
        while True:
            for descriptor, _ in poller.poll():
                if descriptor == self.wake:
                    os.read(self.wake, 4096)
                    self._reap()
                elif not self._request():
                    return

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                answer = self.answers.pop(pid, None)
                if answer is not None:
                    say(answer, f"exit {os.waitstatus_to_exitcode(status)}")
                    os.close(answer)

    def _request(self) -> bool:
        data, descriptors = receive(self.control)
        if not data:
            return False
        message = json.loads(data)
        answer = descriptors[-1]
        keep = False
        try:
            if "kill" in message:
                kill(*message["kill"])
                say(answer, "done")
            else:
                pid = spawn(message, descriptors[:3])
                self.answers[pid] = answer
                keep = True
                say(answer, f"pid {pid}")
        except OSError as error:
            say(answer, f"error {error}")
        for descriptor in descriptors[:-1] if keep else descriptors:
            os.close(descriptor)
        return True


def receive(control: socket.socket) -> tuple[bytes, list[int]]:
    room = socket.CMSG_SPACE(4 * 4)
    data, ancillary, _, _ = control.recvmsg(1 << 20, room, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, body in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(body[: len(body) // 4 * 4])
    return data, list(descriptors)


def say(answer: int, text: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(answer, text.encode() + b"\n")


def kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def spawn(message: dict[str, Any], descriptors: list[int]) -> int:
    os.chdir(message["cwd"])
    try:
        return os.posix_spawn(
            shutil.which(message["argv"][0], path=message["env"].get("PATH", PATH)) or message["argv"][0],
            message["argv"],
            message["env"],
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(descriptors)],
            setsid=True,
            setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGXFSZ],
            setsigmask=[],
        )
    finally:
        os.chdir("/")


def main() -> None:
    spec = json.loads(sys.argv[1])
    control = socket.socket(fileno=spec["control"])
    ready: int = spec["ready"]
    os.set_inheritable(control.fileno(), False)
    os.set_inheritable(ready, False)
    unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET)
    child = os.fork()
    if child:
        say(ready, f"{child}")
        os.close(ready)
        control.close()
        os.waitpid(child, 0)
        return
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    socket.sethostname(spec["name"])
    Root(spec).enter()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        set_link(any_socket, "lo", up=True)
    init = Init(control)
    say(ready, "ready")
    os.close(ready)
    init.serve()
    os._exit(0)


if __name__ == "__main__":
    main()
