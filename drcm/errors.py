"""The one exception tree. An error is a record: what happened, what was expected, and the cure.

One place (`drcm.console.report_error`) turns it into text and an exit code.
"""

from __future__ import annotations

from dataclasses import dataclass

# Exit codes shared by all commands; documented in each man page. 1, 2 are the usual ones,
# 64.. are those of sysexits.h, 3..6 are drcm's own.
EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_DIFFERENCES = 3
EXIT_DELETE_GUARD = 4
EXIT_DIVERGED = 5
EXIT_WRONG_ROLE = 6
EXIT_NO_INPUT = 66
EXIT_UNAVAILABLE = 69
EXIT_IO = 74
EXIT_LOCKED = 75
EXIT_PROTOCOL = 76
EXIT_NO_PERMISSION = 77
EXIT_CONFIG = 78


@dataclass
class DrcmError(Exception):
    """Something that a person must be told: `what` failed, and the `cure` as a safe next step."""

    what: str
    cure: str = ""
    exit_code: int = EXIT_FAILED

    def __str__(self) -> str:
        return f"{self.what}\n  {self.cure}" if self.cure else self.what


@dataclass
class ConfigError(DrcmError):
    """cm.cfg can't be used. `what` holds every fault, one a line."""

    exit_code: int = EXIT_CONFIG


@dataclass
class KeyFileError(DrcmError):
    """The auth key is missing, malformed or readable by others."""

    exit_code: int = EXIT_NO_PERMISSION


@dataclass
class AgentError(DrcmError):
    """A resource could not be started, stopped or looked at.

    `futile`: trying it again on this node is no use until a person has corrected something.
    """

    futile: bool = False


@dataclass
class PeerError(DrcmError):
    """Another node could not be reached, or answered something else than was asked."""

    exit_code: int = EXIT_UNAVAILABLE


@dataclass
class GuardError(DrcmError):
    """A guard stopped a sync before anything was changed."""

    exit_code: int = EXIT_NO_INPUT


@dataclass
class DeleteGuardError(GuardError):
    """The plan would delete more than the set allows."""

    exit_code: int = EXIT_DELETE_GUARD


@dataclass
class DivergedError(DrcmError):
    """Both sides changed since they last agreed; a person must choose."""

    exit_code: int = EXIT_DIVERGED


@dataclass
class RoleError(DrcmError):
    """This node is not the writer of the set."""

    exit_code: int = EXIT_WRONG_ROLE


@dataclass
class LockedError(DrcmError):
    """Somebody else works on the set; try again later."""

    exit_code: int = EXIT_LOCKED
