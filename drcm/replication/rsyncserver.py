"""The gate's rsync, receiver or sender: which command lines it starts, and what it imposes on them. Pure.

Standard library only: drcm-gate must start in milliseconds. Nothing is passed through that is not on the
list below; backup, temporary and log paths are the gate's own, whatever was asked (HISTORIES R31).
What it can't impose is the sender's `--exclude=/.drcm/`: a server takes its filters from the client alone
(measured, 3.5.0); so the gate looks after the marker when the run has ended.
"""

from __future__ import annotations

import os.path
import re
from dataclasses import dataclass

from drcm.errors import EXIT_NO_PERMISSION, DrcmError

PARTIAL_DIR = ".drcm-partial"
TIMEOUT = 60  # seconds without a byte: a sender that hangs must not hold the set's lock for ever

# -logDtprAXHS as rsync sends them, n for a dry run, b for backup, then what the client is able to do
_SHORT = re.compile(r"-(?P<letters>[bnlHogDtpAXrS]+)(?:e[0-9]*\.[A-Za-z]*)?")
_EXACT = frozenset(
    {"--delete-delay", "--delay-updates", "--numeric-ids", "--fsync", "-@-1", "--modify-window=-1"}
)
_NUMBERED = re.compile(r"--(?:timeout|bwlimit|max-delete)=[0-9]+|--info=[A-Z0-9,]+|--log-format=%i")
_DROPPED = frozenset({"--mkpath", "--backup"})  # a root that is gone is never made anew
_DROPPED_WITH_VALUE = frozenset({"--backup-dir", "--temp-dir"})


# What `rsync -aHAXS --numeric-ids` sends when it fetches: it may not follow a link (L, k) nor name files (R).
_FETCH_SHORT = re.compile(r"-[lHogDtpAXrS]+(?:e[0-9]*\.[A-Za-z]*)?")
_FETCH = re.compile(r"--numeric-ids|--timeout=[0-9]+|--bwlimit=[0-9]+|--info=[A-Z0-9,]+")


class OptionsError(DrcmError):
    """A command line that the gate does not start."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the sender wants of `rsync --server`."""

    letters: str  # "-lHogDtpAXrSe.iLsfxCIvu" without b and n
    kept: tuple[str, ...]
    path: str
    dry_run: bool
    deletes: bool


@dataclass(frozen=True, slots=True)
class Imposed:
    """Where the gate lets rsync write beside the tree: absolute paths. No temp_dir over several mounts."""

    backup_dir: str
    log_file: str
    temp_dir: str = ""


def parse(argv: list[str]) -> Asked:
    """The receiving rsync that `argv` asks for; OptionsError for anything else."""
    if len(argv) < 5 or argv[:2] != ["rsync", "--server"]:
        raise _refuse("expected rsync --server OPTIONS . PATH")
    short = _SHORT.fullmatch(argv[2])
    if short is None:
        raise _refuse(f"{argv[2]!r} is not a set of options that drcm-sync uses")
    if argv[-2] != ".":
        raise _refuse("expected one path after a single dot")
    kept = _kept(argv[3:-2])
    letters = argv[2].replace("n", "", 1) if "n" in short["letters"] else argv[2]
    return Asked(
        letters=_without(letters, "b", short["letters"]),
        kept=kept,
        path=_checked_path(argv[-1]),
        dry_run="n" in short["letters"],
        deletes="--delete-delay" in kept,
    )


def _without(option: str, letter: str, letters: str) -> str:
    return option.replace(letter, "", 1) if letter in letters else option


def _kept(options: list[str]) -> tuple[str, ...]:
    kept: list[str] = []
    words = iter(options)
    for word in words:
        name, equals, value = word.partition("=")
        if name in _DROPPED_WITH_VALUE:
            equals or next(words, "")
        elif name == "--partial-dir":
            kept += _partial(value if equals else next(words, ""))
        elif word in _EXACT or _NUMBERED.fullmatch(word):
            kept.append(word)
        elif word not in _DROPPED:
            raise _refuse(f"option {word!r} is not one that drcm-sync uses")
    return tuple(kept)


def _partial(value: str) -> tuple[str, ...]:
    if value != PARTIAL_DIR:
        raise _refuse(f"partial files belong into {PARTIAL_DIR}, not {value!r}")
    return ("--partial-dir", value)


def _checked_path(path: str) -> str:
    if not path.startswith("/") or ".." in path.split("/"):
        raise _refuse(f"path {path!r} is not absolute and plain")
    return os.path.normpath(path)


def _refuse(what: str) -> OptionsError:
    return OptionsError(what, "drcm-sync on the writer starts it as it must be", EXIT_NO_PERMISSION)


def plan_argv(asked: Asked, program: str = "rsync") -> list[str]:
    """A dry run: nothing that could be written to is named."""
    letters = f"-n{asked.letters[1:]}"
    return [program, "--server", letters, *asked.kept, ".", f"{asked.path}/"]


def receive_argv(asked: Asked, imposed: Imposed, program: str = "rsync") -> list[str]:
    """The real one, with the gate's own paths."""
    own = ["--backup", f"--backup-dir={imposed.backup_dir}"]
    own += [f"--log-file={imposed.log_file}", "--log-file-format=%i %l %n"]
    if not any(word.startswith("--timeout=") for word in asked.kept):
        own.append(f"--timeout={TIMEOUT}")
    if imposed.temp_dir:
        own.append(f"--temp-dir={imposed.temp_dir}")
    return [program, "--server", asked.letters, *asked.kept, *own, ".", f"{asked.path}/"]


def fetch_argv(argv: list[str], folder: str, program: str = "rsync") -> list[str]:
    """A sender of `folder` and all below, whatever path was asked; OptionsError for anything unknown."""
    if len(argv) < 6 or argv[:3] != ["rsync", "--server", "--sender"] or argv[-2] != ".":
        raise _refuse("expected rsync --server --sender OPTIONS . PATH")
    for word in argv[4:-2]:
        if not _FETCH.fullmatch(word):
            raise _refuse(f"option {word!r} is not one that drcm-sync uses to fetch")
    if not _FETCH_SHORT.fullmatch(argv[3]):
        raise _refuse(f"{argv[3]!r} is not a set of options that drcm-sync uses to fetch")
    return [program, *argv[1:-1], f"{folder}/"]
