r"""rsync as drcm drives it: the sender's command line, and what it prints. Pure.

The options are the measured start line of TRAPS.md. Two of them must not be touched: `--partial-dir` is
one relative component (two discard every file below the top and end with 0, an absolute one swaps
contents: HISTORIES R1, R2), and `--modify-window=-1` compares nanoseconds (HISTORIES R3).
Names are bytes on the wire; here they are text as `os.fsdecode` gives it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

OLDEST = (3, 2, 4)  # before it arguments are not escaped on their way through the remote shell
SAFE = (3, 5, 0)  # 33 CVEs were fixed in it

OWN_DIR = ".drcm"  # in every root: marker, trash, conflicts, temporary files; never transferred
PARTIAL_DIR = ".drcm-partial"
TEMP_DIR = ".drcm/tmp"

FIDELITY = ("-aHAXS", "--numeric-ids", "--modify-window=-1")
PUBLISHING = ("--delay-updates", f"--partial-dir={PARTIAL_DIR}", f"--temp-dir={TEMP_DIR}", "--mkpath")
REPORTING = ("-8", "--out-format=%i %l %n", "--info=progress2,stats2,name0", "--outbuf=L")
OWN_EXCLUDES = (f"--exclude=/{OWN_DIR}/", f"--exclude={PARTIAL_DIR}")


@dataclass(frozen=True, slots=True)
class Transfer:
    """One root on its way to one node."""

    source: str  # the root here, an absolute path
    target: str  # the root there
    address: str  # IP address or host name
    user: str
    shell: tuple[str, ...]  # ssh and its options, for rsync's -e
    remote: tuple[str, ...]  # what stands in for `rsync` there: drcm-gate receive ... -- rsync
    backup_dir: str = ""  # relative to the target; the gate imposes its own anyway
    deletes: bool = False  # mirror, and not the first run
    dry_run: bool = False
    max_delete: int | None = None  # a seat belt only: rsync deletes that many before it stops
    exclude: tuple[str, ...] = ()
    only: tuple[str, ...] = ()  # include patterns; of all else nothing
    bwlimit: str = ""
    fsync: bool = False
    timeout: int = 60  # seconds without a byte


def sender_argv(transfer: Transfer, program: str = "rsync") -> list[str]:
    """The whole command line of the local sender."""
    argv = [program, *FIDELITY, *PUBLISHING, f"--timeout={transfer.timeout}", *REPORTING]
    argv += _optional(transfer)
    argv += OWN_EXCLUDES
    argv += [f"--exclude={pattern}" for pattern in transfer.exclude]
    argv += [f"--include={pattern}" for pattern in transfer.only]
    argv += ["--exclude=*"] if transfer.only else []
    argv += ["-e", " ".join(map(_shell_word, transfer.shell))]
    argv += [f"--rsync-path={' '.join(map(_shell_word, transfer.remote))}"]
    return [
        *argv,
        "--",
        _as_folder(transfer.source),
        _remote(transfer.user, transfer.address, transfer.target),
    ]


@dataclass(frozen=True, slots=True)
class Fetch:
    """A folder of kept versions on its way to `target`, from this node (no shell) or from another."""

    source: str  # an absolute path; the gate over there puts its own in its place
    target: str
    address: str = ""
    user: str = ""
    shell: tuple[str, ...] = ()
    remote: tuple[str, ...] = ()  # drcm-gate fetch ... -- rsync
    rules: str = ""  # a file of NUL-separated patterns of what is wanted; "" = all
    bwlimit: str = ""


def fetch_argv(fetch: Fetch, program: str = "rsync") -> list[str]:
    """The whole command line of the local receiver."""
    argv = [program, *FIDELITY, "--timeout=60", *REPORTING]
    argv += [f"--bwlimit={fetch.bwlimit}"] if fetch.bwlimit else []
    argv += ["--from0", f"--include-from={fetch.rules}", "--exclude=*"] if fetch.rules else []
    if not fetch.shell:
        return [*argv, "--", _as_folder(fetch.source), _as_folder(fetch.target)]
    argv += ["-e", " ".join(map(_shell_word, fetch.shell))]
    argv += [f"--rsync-path={' '.join(map(_shell_word, fetch.remote))}"]
    return [*argv, "--", _remote(fetch.user, fetch.address, fetch.source), _as_folder(fetch.target)]


def _optional(transfer: Transfer) -> Iterator[str]:
    if transfer.dry_run:
        yield "--dry-run"
    if transfer.backup_dir:
        yield from ("--backup", f"--backup-dir={transfer.backup_dir}")
    deletes = transfer.deletes and not transfer.only
    if deletes:
        yield "--delete-delay"
    if deletes and transfer.max_delete is not None:
        yield f"--max-delete={transfer.max_delete}"
    if transfer.bwlimit:
        yield f"--bwlimit={transfer.bwlimit}"
    if transfer.fsync:
        yield "--fsync"


def _remote(user: str, address: str, path: str) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"{user}@{host}:{_as_folder(path)}"


def _as_folder(path: str) -> str:
    return path if path.endswith("/") else f"{path}/"


def _shell_word(word: str) -> str:
    """`word` for -e and --rsync-path, which rsync splits at blanks and unquotes by itself."""
    return f"'{word}'" if re.search(r"\s", word) else word


# -- what it prints --------------------------------------------------------------------------------


class Change(StrEnum):
    """What a run does to one name on the receiver."""

    CREATED = "created"
    CHANGED = "changed"
    METADATA = "metadata"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Item:
    """One itemised line. `size` in bytes (0 for what is deleted: the sender doesn't know it)."""

    change: Change
    kind: str  # f file, d directory, L symlink, D device, S special
    size: int
    name: str  # relative to the root; a directory without its slash
    linked: bool = False  # to another name of the same file


@dataclass(frozen=True, slots=True)
class Position:
    """One line of progress2. `left` seconds, `rate` bytes a second; `total` grows while rsync looks."""

    bytes: int
    percent: int
    rate: float
    left: int
    files: int = 0
    unchecked: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Stats:
    """The numbers of --info=stats2."""

    files: int = 0
    created: int = 0
    deleted: int = 0
    transferred: int = 0
    total_size: int = 0
    transferred_size: int = 0
    sent: int = 0
    received: int = 0


_ITEM = re.compile(rb"^(\*deleting|[<>ch.][fdLDS].{9})\s+(\d+) (.+)$", re.DOTALL)
_PROGRESS = re.compile(
    rb"^\s*([\d,]+)\s+(\d+)%\s+([\d.]+)([kMGT]?)B/s\s+(\d+):(\d\d):(\d\d)"
    rb"(?:\s+\(xfr#(\d+), (?:to|ir)-chk=(\d+)/(\d+)\))?"
)
_STATS = {
    b"Number of files": "files",
    b"Number of created files": "created",
    b"Number of deleted files": "deleted",
    b"Number of regular files transferred": "transferred",
    b"Total file size": "total_size",
    b"Total transferred file size": "transferred_size",
    b"Total bytes sent": "sent",
    b"Total bytes received": "received",
}
_STAT = re.compile(rb"^([A-Z][a-z ]+): ([\d,]+)")
_ESCAPE = re.compile(rb"\\#([0-7]{3})")
_UNITS = {b"": 1.0, b"k": 1e3, b"M": 1e6, b"G": 1e9, b"T": 1e12}


def parse_item(line: bytes) -> Item | None:
    """The itemised line, or None where `line` is none."""
    found = _ITEM.match(line)
    if found is None:
        return None
    flags, size, name = found[1].decode("ascii", "replace"), int(found[2]), unescape(found[3])
    if flags.startswith("*"):
        return Item(Change.DELETED, "d" if name.endswith("/") else "f", 0, name.rstrip("/"))
    size = size if flags[1] == "f" else 0
    return Item(_change(flags), flags[1], size, name.rstrip("/"), linked=flags[0] == "h")


def _change(flags: str) -> Change:
    if flags[2] == "+":
        return Change.CREATED
    return Change.METADATA if flags[0] == "." else Change.CHANGED


def unescape(name: bytes) -> str:
    r"""The name that rsync prints with `\#012` for a control character (and a backslash before #ooo)."""
    return os.fsdecode(_ESCAPE.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), name))


def parse_progress(line: bytes) -> Position | None:
    """The progress2 line, or None."""
    found = _PROGRESS.match(line)
    if found is None:
        return None
    counts = [int(part or 0) for part in found.groups()[7:]]
    left = int(found[5]) * 3600 + int(found[6]) * 60 + int(found[7])
    return Position(_number(found[1]), int(found[2]), float(found[3]) * _UNITS[found[4]], left, *counts)


def _number(digits: bytes) -> int:
    return int(digits.replace(b",", b""))


class Lines:
    """Cuts a stream into lines at line feeds and, for progress2, carriage returns."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without empty ones."""
        *whole, self._rest = re.split(rb"[\r\n]", self._rest + data)
        return [line for line in whole if line]

    def end(self) -> list[bytes]:
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


@dataclass(slots=True)
class Report:
    """What a run said so far: `take` its lines. `items` is what `plan.plan_of` reads."""

    items: list[Item] = field(default_factory=list)
    stats: dict[str, int] = field(default_factory=dict)

    def take(self, line: bytes) -> Position | None:
        """Note one line; returns the progress where it is one."""
        progress = parse_progress(line)
        if progress is not None:
            return progress
        item = parse_item(line)
        if item is not None:
            self.items.append(item)
        else:
            self._take_stat(line)
        return None

    def _take_stat(self, line: bytes) -> None:
        found = _STAT.match(line)
        if found is not None and found[1] in _STATS:
            self.stats[_STATS[found[1]]] = _number(found[2])

    @property
    def totals(self) -> Stats:
        return Stats(**self.stats)


# -- which rsync -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Program:
    """What `rsync --version` says."""

    version: tuple[int, ...]
    acls: bool
    xattrs: bool

    @property
    def text(self) -> str:
        return ".".join(map(str, self.version))

    @property
    def refused(self) -> str:
        """Why this rsync can't be used, or nothing."""
        if self.version >= OLDEST:
            return ""
        return f"rsync {self.text} is older than {_dotted(OLDEST)}, the first that escapes its arguments"

    @property
    def warning(self) -> str:
        if self.version >= SAFE:
            return ""
        return f"rsync {self.text} has known security holes; {_dotted(SAFE)} or newer is advised"


def parse_version(text: str) -> Program | None:
    """The program that printed `text`, or None where that is not rsync."""
    found = re.search(r"^rsync\s+version v?(\d+(?:\.\d+)*)", text, re.MULTILINE)
    if found is None:
        return None
    able = {word.strip() for word in re.split(r"[,\n]", text)}
    return Program(tuple(map(int, found[1].split("."))), "ACLs" in able, "xattrs" in able)


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))
