"""The first step of a run: ask the peer what it has, and judge it. Nothing is changed by it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from drcm.errors import EXIT_CONFIG, EXIT_DIVERGED, EXIT_PROTOCOL, DivergedError, DrcmError, RoleError
from drcm.replication import process, rsync, verdict
from drcm.replication.generation import Record, Root, from_json
from drcm.replication.job import Job
from drcm.replication.link import Link
from drcm.replication.verdict import STALE_CURE, Verdict, VerdictKind


@dataclass(frozen=True, slots=True)
class Seen:
    """What the peer says of its copy, and what may be done to it."""

    tree: Record
    verdict: Verdict
    warnings: tuple[str, ...]

    def index(self, root: Root) -> int:
        """The number of `root` in the peer's record."""
        paths = [os.path.normpath(one.path) for one in self.tree.roots]
        try:
            return paths.index(os.path.normpath(root.path))
        except ValueError:
            raise DrcmError(
                f"{self.tree.node} has no root {root.path} of {self.tree.name}",
                "Is cm.cfg the same on both nodes?",
                EXIT_CONFIG,
            ) from None


def look(job: Job, record: Record, node: str, link: Link) -> Seen:
    """Ask the peer for its copy and judge it; raises where it may not be written to."""
    tree = ask(job, node, link)
    found = verdict.judge(record, tree)
    if not found.may_write:
        raise _no(record.name, found)
    return Seen(tree, found, link.warnings or ())


def ask(job: Job, node: str, link: Link) -> Record:
    """What the peer says of its copy; raises where that can't be used at all."""
    name = job.sync_set.name
    answer = link.call("probe", name, {"roots": list(job.sync_set.roots), "rsync": link.warnings is None})
    said = answer.get("node", "")
    if said and said != node:
        what = f"{job.server(node).address} says that it is {said}, expected {node}"
        raise DrcmError(what, "Compare keep_alive_ip in cm.cfg", EXIT_CONFIG)
    if link.warnings is None:
        theirs = str(answer.get("rsync", ""))
        link.warnings = _check_rsync(job.node, _own_rsync()) + _check_rsync(node, theirs)
    if answer.get("record") is None:
        cure = f"Join it: drcm-sync {name} --init (its directories there must be empty)"
        raise RoleError(f"{name} has not begun on {node}", cure)
    try:
        return from_json(answer["record"])
    except (KeyError, TypeError, ValueError) as error:
        raise DrcmError(f"{node} sent a record that can't be read: {error!r}", "", EXIT_PROTOCOL) from error


def _own_rsync() -> str:
    return process.output([process.find_program("rsync"), "--version"])[1]


def _check_rsync(node: str, text: str) -> tuple[str, ...]:
    program = rsync.parse_version(text)
    if program is None:
        raise DrcmError(f"rsync is not installed on {node}", f"On {node}: apt install rsync", EXIT_CONFIG)
    if program.refused:
        raise DrcmError(f"{node}: {program.refused}", f"Upgrade rsync on {node}", EXIT_CONFIG)
    if not (program.acls and program.xattrs):
        what = f"{node}: rsync {program.text} was built without ACLs or extended attributes"
        raise DrcmError(what, "Install the distribution's own rsync there", EXIT_CONFIG)
    return (f"{node}: {program.warning}",) if program.warning else ()


def _no(name: str, found: Verdict) -> DrcmError:
    if found.kind is VerdictKind.DIVERGED:
        cure = f"Nothing was changed. Look: drcm-sync {name} --resolve keep=NODE --dry-run"
        return DivergedError(f"{name} DIVERGED: {found.reason}", cure, EXIT_DIVERGED)
    if found.kind is VerdictKind.STALE_WRITER:
        return RoleError(f"{name}: {found.reason}", STALE_CURE)
    return DrcmError(f"{name}: {found.reason}", "Nothing was changed.")
