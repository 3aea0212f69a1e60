"""cm.cfg from the disk: whatever lies there, the answer is a cluster or clear faults."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from drcm.config.build import Draft
from drcm.config.faults import Fault, Faults, Severity, TooManyFaultsError, has_errors
from drcm.config.model import Cluster
from drcm.config.reading import Reading, read_text
from drcm.errors import EXIT_CONFIG, EXIT_NO_INPUT, EXIT_NO_PERMISSION, ConfigError

if TYPE_CHECKING:
    from drcm.config.hostchecks import Host

LARGEST = 1 << 20  # bytes; a cm.cfg for 64 nodes has some tens of thousands


@dataclass(frozen=True, slots=True)
class Loaded:
    """`cluster` is None where there is an ERROR among `faults`; `draft` is what could be read then."""

    cluster: Cluster | None
    faults: tuple[Fault, ...]
    draft: Cluster | None = None


def load_config(path: Path, host_checks: bool = True, host: Host | None = None) -> Loaded:
    """Read and check the file at `path`. ConfigError where it can't be opened; all else is in `faults`.

    `host_checks`: look at this machine too (names, scripts, templates), or at `host` in its place.
    """
    data = _read(path)
    text = _decoded(data, str(path))
    if isinstance(text, Fault):
        return Loaded(None, (text,))
    reading = read_text(text, str(path))
    faults = reading.faults
    if host_checks and reading.draft is not None:
        faults = _with_host_faults(reading, reading.draft, host, str(path))
    if reading.draft is None:
        return Loaded(None, faults)
    draft = reading.draft.cluster
    return Loaded(None if has_errors(faults) else draft, faults, draft)


def require_config(path: Path, host_checks: bool = True, host: Host | None = None) -> Cluster:
    """The cluster at `path`; ConfigError with every ERROR, one a line, where there is one."""
    loaded = load_config(path, host_checks, host)
    if loaded.cluster is None:
        errors = [str(fault) for fault in loaded.faults if fault.severity is Severity.ERROR]
        cure = "Correct the file, and look at it with: drcm-server --check-config"
        raise ConfigError("\n".join(errors), f"{cure} --config-file={path}", EXIT_CONFIG)
    return loaded.cluster


def _with_host_faults(reading: Reading, draft: Draft, host: Host | None, file: str) -> tuple[Fault, ...]:
    """Imported late: the daemon starts without, and need not keep what looks at agents in its memory."""
    from drcm.config.hostchecks import check_host, this_host

    faults = Faults(file, list(reading.faults))
    with suppress(TooManyFaultsError):  # the collector's last fault says so
        check_host(draft, host or this_host(), faults)
    return faults.in_order()


def _read(path: Path) -> bytes:
    """At most LARGEST + 1 bytes of the file; opened without waiting for a pipe's writer."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{path}: expected a file", "Name cm.cfg with --config-file=FILE.")
            return file.read(LARGEST + 1)
    except FileNotFoundError:
        what = f"{path}: there is no such file"
        cure = f"Write a template with: drcm-server --check-config --config-file={path}"
        raise ConfigError(what, cure, EXIT_NO_INPUT) from None
    except IsADirectoryError:
        raise ConfigError(
            f"{path}: expected a file, found a directory", f"Perhaps {path}/cm.cfg is meant."
        ) from None
    except PermissionError:
        raise ConfigError(
            f"{path}: permission denied", "Run as root, or make the file readable.", EXIT_NO_PERMISSION
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: can't be read: {error}", "Look at the path and at the disk.") from error


def _decoded(data: bytes, file: str) -> str | Fault:
    """The text, or the one fault that says why there is none."""
    if len(data) > LARGEST:
        text = f"more than {LARGEST >> 20} MiB: expected a cm.cfg of some kilobytes; name the right file"
        return Fault(file, 1, Severity.ERROR, text)
    nul = data.find(b"\0")
    if nul >= 0:
        line = data.count(b"\n", 0, nul) + 1
        return Fault(
            file, line, Severity.ERROR, "a NUL byte: expected text, this is a binary file; name another"
        )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        text = f"byte 0x{data[error.start]:02x} is not UTF-8: expected text; save the file as UTF-8"
        return Fault(file, line, Severity.ERROR, text)
