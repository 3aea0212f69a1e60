"""drcm-sync: run a set from its writer to its other nodes, begin it, or show what a run would do."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from drcm import __version__
from drcm.errors import EXIT_CONFIG, EXIT_DIVERGED, EXIT_OK, DivergedError, DrcmError, RoleError

if TYPE_CHECKING:
    from drcm.config.model import Cluster, SyncSet
    from drcm.paths import Paths
    from drcm.replication.job import Job
    from drcm.replication.role import Role

EXIT_TERMINATED = 128 + signal.SIGTERM
NAMES_SHOWN = 20
OVERRIDES = ("mount", "mounts", "empty", "shrink", "room", "delete")  # guards.OVERRIDES, imported late

EPILOG = """\
exit codes:
  0   done, or nothing to do here
  1   some files could not be transferred (they are named)
  2   wrong arguments
  4   deletion guard: more would be deleted than the set allows; nothing was deleted
  5   DIVERGED: both sides changed since they last agreed; nothing was changed
  6   this node is not the set's writer, or the set has not begun
  66  a source or target is not what was recorded (not mounted, empty, another disk)
  69  the other node can't be reached; it is tried again at the next run
  74  no space left, or a damaged record
  75  another run of the set is under way; try again later
  76  the other node runs another drcm
  77  not allowed: SSH key, host key, or a path that is not the set's
  78  cm.cfg or rsync must be corrected first

examples:
  drcm-sync testfs --init       begin the set with this node's files, once
  drcm-sync testfs --dry-run    show what a run would do; changes nothing on either side
  drcm-sync testfs              run it now, as the scheduler does
"""

NOTHING_TO_DO = """\
Checking to see if failback sync flag exists
We have no sync flag for {name} files
No file sync to primary cluster node will be performed"""


def main() -> int:
    """The console script."""
    from drcm.console import run_command

    arguments = parser().parse_args()
    signal.signal(signal.SIGTERM, _terminated)
    return run_command(lambda: _run_told(arguments))


def _terminated(number: int, frame: object) -> NoReturn:
    raise SystemExit(EXIT_TERMINATED)  # unwinds: every child is ended on the way


def parser() -> argparse.ArgumentParser:
    """The command line; documented in drcm-sync(8)."""
    made = argparse.ArgumentParser(
        prog="drcm-sync",
        description="Bring the other nodes of a sync set up to date from this node, its writer.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("name", metavar="NAME", help="name of a [CM_SYNC] section")
    made.add_argument("-n", "--dry-run", action="store_true", help="show what would be done; change nothing")
    made.add_argument("--init", action="store_true", help="begin the set with this node's files")
    made.add_argument("--from", dest="origin", metavar="NODE", default="", help="with --init: begin here")
    made.add_argument("--adopt", action="store_true", help="with --init: backups may hold files already")
    made.add_argument("--target", action="append", metavar="NODE", help="this node only; repeatable")
    made.add_argument("--override", action="append", metavar="GUARD", choices=OVERRIDES, default=[],
                      help=f"pass one guard once: {', '.join(OVERRIDES)}")  # fmt: skip
    made.add_argument("--json", action="store_true", help="one JSON document on standard output")
    made.add_argument("-q", "--quiet", action="store_true", help="print problems only")
    made.add_argument("-v", "--verbose", action="store_true", help="name the files")
    made.add_argument("--config", type=Path, metavar="FILE", help="default: /etc/drcm/cm.cfg")
    made.add_argument("--hand-over", metavar="NODE", default="", help=argparse.SUPPRESS)
    made.add_argument("--version", action="version", version=f"drcm-sync {__version__}")
    return made


def _run_told(arguments: argparse.Namespace) -> int:
    """With --json a program learns of an error there too; a person reads it on standard error."""
    try:
        return _run(arguments)
    except DrcmError as error:
        if arguments.json:
            document = {"schema": 1, "ok": False, "exit_code": error.exit_code, "name": arguments.name}
            _print_json({**document, "error": error.what, "cure": error.cure, "targets": []})
        raise


def _run(arguments: argparse.Namespace) -> int:
    from drcm.config.load import require_config
    from drcm.paths import paths
    from drcm.replication.role import this_node

    here = paths()
    cluster = require_config(arguments.config or here.config, host_checks=False)
    sync_set = _set(cluster, arguments.name)
    node = this_node(cluster, here)
    if node not in sync_set.nodes:
        nodes = ", ".join(sync_set.nodes)
        raise RoleError(f"{sync_set.name}: {node} is none of its nodes ({nodes})", "Run it on one of them")
    job = _job(arguments, cluster, sync_set, here, node)
    return _begin(job, arguments) if arguments.init else _sync(job, arguments)


def _set(cluster: Cluster, name: str) -> SyncSet:
    try:
        return cluster.set(name)
    except KeyError:
        known = ", ".join(one.name for one in cluster.sets) or "none"
        raise DrcmError(
            f"{cluster.path}: no [CM_SYNC] has name = {name}", f"Sets: {known}", EXIT_CONFIG
        ) from None


def _job(arguments: argparse.Namespace, cluster: Cluster, sync_set: SyncSet, here: Paths, node: str) -> Job:
    from drcm.replication.job import Job
    from drcm.replication.progress import Quiet, Shown

    silent = arguments.quiet or arguments.json
    return Job(
        cluster=cluster,
        sync_set=sync_set,
        paths=here,
        node=node,
        dry_run=arguments.dry_run,
        hand_over=bool(arguments.hand_over),
        override=tuple(arguments.override),
        progress=(lambda title: Quiet()) if silent else Shown,
    )


# -- beginning -------------------------------------------------------------------------------------


def _begin(job: Job, arguments: argparse.Namespace) -> int:
    from drcm.replication.begin import begin

    done = begin(job, arguments.origin, arguments.adopt)
    if arguments.json:
        _print_json(done.to_json())
        return done.exit_code
    if not arguments.quiet:
        print(f"{done.name} {'begins' if done.fresh else 'has begun already'} with the files of {done.node}.")
    for one in done.backups:
        if one.exit_code or not arguments.quiet:
            print(f"{one.node}: {one.said}")
    return done.exit_code


# -- a run -----------------------------------------------------------------------------------------


def _sync(job: Job, arguments: argparse.Namespace) -> int:
    from drcm.replication import role
    from drcm.replication.run import sync

    mine = role.ask(job.cluster, job.sync_set, job.paths, job.node)
    if not mine.may_write:
        return _not_writer(job, mine, arguments)
    result = sync(job, _targets(job, arguments), mine.heard)
    if arguments.json:
        _print_json(result.to_json())
    else:
        from drcm.replication.report import show

        show(result, arguments.quiet, arguments.verbose)
    return result.exit_code


def _targets(job: Job, arguments: argparse.Namespace) -> tuple[str, ...]:
    others = tuple(name for name in job.sync_set.nodes if name != job.node)
    asked = [arguments.hand_over] if arguments.hand_over else arguments.target or others
    for name in asked:
        if name not in others:
            raise DrcmError(
                f"{name!r} is not another node of {job.sync_set.name}: {', '.join(others)}", "", 2
            )
    return tuple(asked)


def _not_writer(job: Job, mine: Role, arguments: argparse.Namespace) -> int:
    """A backup with nothing to do says 1.41's three lines; anything else is for a person."""
    name = job.sync_set.name
    if mine.name == "replica":
        if arguments.json:
            document = {"schema": 1, "ok": True, "exit_code": EXIT_OK, "name": name, "node": job.node}
            _print_json({**document, "role": mine.name, "reason": mine.reason, "targets": []})
        elif not arguments.quiet:
            print(NOTHING_TO_DO.format(name=name))
        return EXIT_OK
    if mine.name == "diverged":
        cure = f"Look: drcm-sync {name} --resolve keep=NODE --dry-run"
        raise DivergedError(f"{name} DIVERGED: {mine.reason}", cure, EXIT_DIVERGED)
    cure = f"Begin it, on {job.sync_set.primary}: drcm-sync {name} --init" if mine.name == "none" else ""
    raise RoleError(f"{name}: {mine.reason}" if name not in mine.reason else mine.reason, cure)


def _print_json(document: dict[str, Any]) -> None:
    json.dump(document, sys.stdout, indent=1, ensure_ascii=True)
    print()
