"""The campaign's client: works in a set's tree while drcm keeps it running, and journals what it does.

It is a service of the cluster (`NAME start|stop|restart|reload|watch|status`), so it runs where the set is
written and nowhere else. A script of its own, standard library only: a start takes some 20 ms.

Each session has a journal, one JSON object a line, written by one write(2), so a killed client leaves whole
lines; `t` is CLOCK_BOOTTIME, the same on all hosts of the lab:
    {"e": "open", "found": [[path, hash], ...]}          what the tree held when the session began
    {"e": "try", "op": WHAT, "takes": [...], "gives": [...]}   about to replace or remove, and to write
    {"e": "did"} | {"e": "failed", "why": ...}            of the `try` before it
    {"e": "foreign", "path": ..., "why": ...}            somebody else changed the tree under the client
    {"e": "rest"} | {"e": "work"} | {"e": "close"}
Every content is unique. Outside `place/` and temporary names a file is only ever replaced by rename, and its
first line is the SHA-256 of the rest: a partial one shows by itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import random
import select
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator

TREE, JOURNAL = "/testfs", "/var/lib/campaign"
PID_FILE, LOCK_FILE = "/run/campaign.pid", "/run/campaign.lock"
REST = f"{JOURNAL}/rest"
OWN = (".drcm", ".drcm-partial")  # drcm's own folders
IN_PLACE = "place/"
TEMPORARY = "~new-"
CLOCK_BOOTTIME = 7
CHECK_EVERY = 40  # operations between two looks at the whole tree
FEW, MANY = 60, 110  # files: below only creating, above more deleting
BIG_BYTES = 3 << 20
ODD_NAMES = (
    b"-rf", b"--delete", b" leading", b"trailing ", b"new\nline", b"\xff\xfe not utf-8", b"tab\t", b"*?[a]",
    b"back\\slash", b"\\#012", b"quote'\"", b"$(reboot)", b"%s%n", b"colon:b", b"#hash", b"~tilde",
    b".hidden",
    b"...", b"\x7f\x01", "\u00fc\u20ac".encode(), b"a" * 200, b"{x,y}", b"semi;colon & more", b"!bang",
)  # fmt: skip

Pairs = list[tuple[str, str]]  # (path below the tree, hash)
Signature = tuple[int, int, int]  # inode, size, mtime


class Journal:
    """The lines of one session."""

    def __init__(self, name: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(f"{JOURNAL}/{name}.jsonl", flags, 0o600)

    def write(self, event: str, **more: object) -> None:
        line = {"t": time.clock_gettime(CLOCK_BOOTTIME), "e": event, **more}
        os.write(self._descriptor, json.dumps(line).encode() + b"\n")


class Client:
    """One session. `files` is what the tree must hold: nobody else may change it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.journal = Journal(name)
        self.dice = random.Random(name)
        self.count = 0
        self.ended = False
        self.files: dict[str, tuple[str, Signature]] = {}

    # -- the tree as it is

    def open(self) -> None:
        for path in scan():
            with contextlib.suppress(FileNotFoundError):
                self.files[path] = (digest(read(path)), signature(path))
        self.journal.write("open", found=[(path, one[0]) for path, one in self.files.items()])

    def check(self) -> None:
        """The whole tree is as this client left it."""
        found = set(scan())
        for path in found - self.files.keys():
            self._foreign(path, "is new")
        for path in self.files.keys() - found:
            self._foreign(path, "is gone")
        for path in sorted(found & self.files.keys()):
            self.check_one(path)

    def check_one(self, path: str) -> None:
        """The path holds what it held after the last operation on it."""
        known = self.files.get(path)
        try:
            now = signature(path)
        except FileNotFoundError:
            if known is not None:
                self._foreign(path, "is gone")
            return
        if known is None:
            self._foreign(path, "is new")
        elif now != known[1]:
            self._foreign(path, f"was {known[1]}, is {now}")

    def _foreign(self, path: str, why: str) -> None:
        self.journal.write("foreign", path=path, why=why)
        self.files.pop(path, None)
        with contextlib.suppress(FileNotFoundError):
            self.files[path] = (digest(read(path)), signature(path))

    # -- one operation

    def do(self, op: str, takes: Pairs, gives: Pairs, act: Callable[[], None]) -> None:
        """Journal what is meant, do it, journal that it is done."""
        for path in {path for path, _ in (*takes, *gives)}:
            self.check_one(path)
        self.journal.write("try", op=op, takes=takes, gives=gives)
        try:
            act()
        except OSError as error:
            self.journal.write("failed", why=str(error))
            self._look_again(takes, gives)
            return
        for path, _ in takes:
            self.files.pop(path, None)
        for path, content in gives:
            self.files[path] = (content, signature(path))
        self.journal.write("did")

    def _look_again(self, takes: Pairs, gives: Pairs) -> None:
        """A full disk stopped it half way."""
        for path, _ in (*takes, *gives):
            self.files.pop(path, None)
            with contextlib.suppress(FileNotFoundError):
                self.files[path] = (digest(read(path)), signature(path))

    def had(self, path: str) -> Pairs:
        return [(path, self.files[path][0])] if path in self.files else []

    def _body(self) -> bytes:
        """A content that never was before."""
        self.count += 1
        size = BIG_BYTES if self.dice.random() < 0.004 else self.dice.randrange(6000)
        return f"{self.name} {self.count}\n".encode() + self.dice.randbytes(size)

    # -- what a client does

    def write_whole(self, path: str) -> None:
        """A new version beside, fsynced now and then, and renamed over."""
        body = self._body()
        data = hashlib.sha256(body).hexdigest().encode() + b"\n" + body
        content, folder = digest(data), os.path.dirname(path)
        beside = f"{folder}/{TEMPORARY}{self.name}-{self.count}"  # never one that a killed client left

        def create() -> None:
            os.makedirs(folder, exist_ok=True)
            write_file(beside, data, os.O_TRUNC, self.dice.random() < 0.2)

        self.do("create beside", [], [(beside, content)], create)
        if self.had(beside) != [(beside, content)]:  # the disk is full: half a file is no version
            return self.delete(beside) if beside in self.files else None
        takes = [(beside, content), *self.had(path)]
        self.do("replace", takes, [(path, content)], lambda: os.replace(beside, path))

    def change_in_place(self, path: str, op: str) -> None:
        """append, overwrite, truncate: under every name of the file."""
        data = bytearray(read(path))
        if op == "append":
            data += self._body()[:2000]
        elif op == "truncate":
            del data[self.dice.randrange(40, max(41, len(data))) :]
        else:
            new = self._body()[:500]
            start = self.dice.randrange(max(1, len(data)))
            data[start : start + len(new)] = new
        names = [name for name in self.files if self.files[name][1][0] == self.files[path][1][0]]
        old, new_hash = self.files[path][0], digest(data)
        takes: Pairs = [(name, old) for name in names]
        gives: Pairs = [(name, new_hash) for name in names]

        def act() -> None:
            if op == "truncate":
                os.truncate(path, len(data))
            else:
                write_file(path, bytes(data), 0, self.dice.random() < 0.2)

        self.do(op, takes, gives, act)

    def create_in_place(self) -> None:
        path, data = f"place/{self.dice.randrange(40)}", self._body()
        if path not in self.files:
            self.do("create", [], [(path, digest(data))], lambda: write_file(path, data, os.O_TRUNC, False))

    def delete(self, path: str) -> None:
        self.do("delete", self.had(path), [], lambda: os.unlink(path))

    def rename(self, path: str) -> None:
        target = self._sibling(path)
        if target == path or (target in self.files and self._same_file(path, target)):
            return  # rename(2) between two names of one file does nothing
        takes = [*self.had(path), *self.had(target)]
        gives: Pairs = [(target, self.files[path][0])]
        self.do("rename", takes, gives, lambda: os.rename(path, target))

    def link(self, path: str) -> None:
        target = self._sibling(path)
        if target not in self.files:
            self.do("link", [], [(target, self.files[path][0])], lambda: os.link(path, target))

    def move_folder(self) -> None:
        """A folder with all that is in it, as `mv` does it."""
        old, new = f"deep/{self.dice.choice('abcdef')}", f"deep/{self.dice.choice('abcdefghijklmnop')}"
        inside = [path for path in self.files if path.startswith(old + "/")]
        if not inside or os.path.lexists(new):
            return
        takes: Pairs = [(path, self.files[path][0]) for path in inside]
        gives: Pairs = [(new + path.removeprefix(old), content) for path, content in takes]
        self.do("move folder", takes, gives, lambda: os.rename(old, new))

    def symlink(self) -> None:
        path = f"links/soft{self.dice.randrange(8)}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.symlink(f"../{self.dice.choice(sorted(self.files))}", path)

    def chmod(self, path: str) -> None:
        os.chmod(path, self.dice.choice((0o600, 0o640, 0o644, 0o755)))

    # -- which, and where

    def step(self) -> None:
        whole = sorted(path for path in self.files if not path.startswith(IN_PLACE))
        placed = sorted(path for path in self.files if path.startswith(IN_PLACE))
        dice, roll = self.dice, self.dice.random()
        if len(whole) + len(placed) < FEW or roll < 0.3:
            self.write_whole(self._whole_name())
        elif roll < 0.38:
            self.create_in_place()
        elif roll < 0.6 and placed:
            self.change_in_place(dice.choice(placed), dice.choice(("append", "overwrite", "truncate")))
        elif roll < 0.72 or len(self.files) > MANY:
            self.delete(dice.choice(whole + placed))
        elif roll < 0.82:
            self.rename(dice.choice(whole + placed))
        elif roll < 0.89:
            self.link(dice.choice(whole + placed))
        elif roll < 0.93:
            self.move_folder()
        else:
            self.symlink() if dice.random() < 0.5 else self.chmod(dice.choice(whole + placed))

    def _whole_name(self) -> str:
        dice = self.dice
        kind = dice.random()
        if kind < 0.4:
            return f"whole/{dice.randrange(40)}"
        if kind < 0.7:
            return "odd/" + os.fsdecode(dice.choice(ODD_NAMES))
        depth = "/".join(dice.choice("xyz") for _ in range(dice.randrange(6)))
        return os.path.normpath(f"deep/{dice.choice('abcdef')}/{depth}/{dice.randrange(5)}.dat")

    def _sibling(self, path: str) -> str:
        """Another name for it: what is written in place stays in `place/`."""
        if path.startswith(IN_PLACE):
            return f"place/{self.dice.randrange(60)}"
        return f"links/{self.dice.randrange(40)}"

    def _same_file(self, one: str, other: str) -> bool:
        return self.files[one][1][0] == self.files[other][1][0]

    # -- the session

    def work(self) -> None:
        self.open()
        for folder in ("whole", "place", "odd", "links", "deep"):
            os.makedirs(folder, exist_ok=True)
        while not self.ended:
            if os.path.exists(REST):
                self._rest()
                continue  # it may have been told to end
            with contextlib.suppress(OSError):
                self.step()
            if self.count % CHECK_EVERY == 0:
                self.check()
            sleep(self.dice.uniform(0.005, 0.03))
        self.check()
        self.journal.write("close")

    def _rest(self) -> None:
        self.check()
        self.journal.write("rest")
        while os.path.exists(REST) and not self.ended:
            sleep(0.02)
        self.check()
        self.journal.write("work")


def sleep(seconds: float) -> None:
    """As time.sleep, which fails where libfaketime steps the clock (stepped/sitecustomize.py)."""
    select.select([], [], [], seconds)


def read(path: str) -> bytes:
    with open(os.fsencode(path), "rb") as file:
        return file.read()


def write_file(path: str, data: bytes, flags: int, durable: bool) -> None:
    descriptor = os.open(os.fsencode(path), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        if durable:
            os.fsync(file.fileno())


def digest(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()


def signature(path: str) -> Signature:
    status = os.lstat(os.fsencode(path))
    return status.st_ino, status.st_size, status.st_mtime_ns


def scan(top: str = ".") -> Iterator[str]:
    """Paths of all regular files below `top`, drcm's own left out, relative to it."""
    for folder, folders, names in os.walk(os.fsencode(top)):
        folders[:] = [name for name in folders if os.fsdecode(name) not in OWN]
        for name in names:
            path = os.path.join(folder, name)
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISREG(os.lstat(path).st_mode):
                    yield os.fsdecode(os.path.relpath(path, os.fsencode(top)))


# -- as a service ----------------------------------------------------------------------------------


def start() -> int:
    """Returns once it works in the background."""
    lock = os.open(LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0  # it runs
    if os.fork():
        return 0
    os.setsid()
    with open(PID_FILE, "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
    os.chdir(TREE)  # and stays there, whatever is mounted over it
    client = Client(f"{os.uname().nodename}-{time.clock_gettime_ns(CLOCK_BOOTTIME)}")

    def end(number: int, frame: object) -> None:
        client.ended = True

    signal.signal(signal.SIGTERM, end)
    client.work()
    return 0


def running() -> int | None:
    """Its number, None where it doesn't run: who holds the lock is the client."""
    try:
        with open(PID_FILE, encoding="ascii") as file:
            pid = int(file.read())
        with open(LOCK_FILE, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return pid
    except (FileNotFoundError, ValueError):
        return None


def stop() -> int:
    """TERM, and KILL after a tenth of a second: the lease's end leaves little time."""
    for number, tries in ((signal.SIGTERM, 10), (signal.SIGKILL, 100)):
        for _ in range(tries):
            pid = running()
            if pid is None:
                return 0
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            sleep(0.01)
    return 1


def main() -> int:
    action = sys.argv[2]
    if action == "status":
        return 0 if running() else 3
    if action == "stop":
        return stop()
    if action == "restart":
        stop()
    return start()


if __name__ == "__main__":
    sys.exit(main())
