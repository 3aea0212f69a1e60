"""drcm-sync: run a set from its writer to its other nodes, begin it, or show what a run would do."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from drcm.errors import EXIT_CONFIG, EXIT_DIVERGED, EXIT_FAILED, EXIT_OK, DivergedError, DrcmError, RoleError
from drcm.replication.arguments import checked, parser

if TYPE_CHECKING:
    from drcm.config.model import Cluster, SyncSet
    from drcm.paths import Paths
    from drcm.replication.job import Job
    from drcm.replication.link import Link
    from drcm.replication.result import SyncResult
    from drcm.replication.role import Role

EXIT_TERMINATED = 128 + signal.SIGTERM
NOTHING_TO_DO = """\
Checking to see if failback sync flag exists
We have no sync flag for {name} files
No file sync to primary cluster node will be performed"""


def main() -> int:
    """The console script."""
    from drcm.console import run_command

    arguments = checked(parser())
    signal.signal(signal.SIGTERM, _terminated)
    return run_command(lambda: _run_told(arguments))


def _terminated(number: int, frame: object) -> NoReturn:
    raise SystemExit(EXIT_TERMINATED)  # unwinds: every child is ended on the way


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
    node = this_node(cluster, here)
    if arguments.failover or arguments.failback:
        return _move(arguments, cluster, here, node)
    sync_set = _set(cluster, arguments.name)
    if node not in sync_set.nodes:
        nodes = ", ".join(sync_set.nodes)
        raise RoleError(f"{sync_set.name}: {node} is none of its nodes ({nodes})", "Run it on one of them")
    job = _job(arguments, cluster, sync_set, here, node)
    if arguments.init:
        return _begin(job, arguments)
    if arguments.promote:
        return _promote(job, arguments)
    if arguments.reinit:
        return _reinit(job, arguments)
    if arguments.tidy:
        return _tidy(job, arguments)
    if arguments.watch:
        return _watch(sync_set)
    if arguments.history or arguments.show or arguments.undo or arguments.conflicts:
        return _past(job, arguments)
    return _resolve(job, arguments) if arguments.resolve else _sync(job, arguments)


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
    from drcm.replication.founding import found

    done = found(job, arguments.origin, arguments.adopt)
    if arguments.json:
        _print_json(done.to_json())
        return done.exit_code
    if not arguments.quiet:
        print(f"{done.name} {'begins' if done.fresh else 'has begun already'} with the files of {done.node}.")
    for one in done.backups:
        if one.exit_code or not arguments.quiet:
            print(f"{one.node}: {one.said}")
    return done.exit_code


# -- moving ----------------------------------------------------------------------------------------


def _move(arguments: argparse.Namespace, cluster: Cluster, here: Paths, node: str) -> int:
    from drcm.replication import movecommand
    from drcm.replication.moves import Moves
    from drcm.replication.run import sync

    name = arguments.name
    if name and name not in {one.name for one in cluster.nodes}:
        _set(cluster, name)  # says which there are

    def plan(set_name: str, target: str) -> SyncResult:
        job = _job(arguments, cluster, _set(cluster, set_name), here, node)
        return sync(job, (target,))

    direction = "failover" if arguments.failover else "failback"
    return movecommand.run(Moves(here, direction, name), arguments, plan)


# -- a person's decisions --------------------------------------------------------------------------


def _promote(job: Job, arguments: argparse.Namespace) -> int:
    from drcm.replication import deciding

    explained = deciding.explain_promotion(job)
    if not (arguments.yes and (arguments.quiet or arguments.json)):  # who is asked must know what
        print(explained, flush=True)
    if not deciding.need_consent(f"Promote {job.node}?", arguments.yes):
        print("Nothing was changed.")
        return EXIT_FAILED
    return _say(job, deciding.promote(job), arguments)


def _reinit(job: Job, arguments: argparse.Namespace) -> int:
    from drcm.replication import deciding

    return _say(job, deciding.reinit(job), arguments)


def _say(job: Job, text: str, arguments: argparse.Namespace) -> int:
    if arguments.json:
        document = {"schema": 1, "ok": True, "exit_code": EXIT_OK, "name": job.sync_set.name}
        _print_json({**document, "node": job.node, "text": text})
    elif not arguments.quiet:
        print(text)
    return EXIT_OK


def _resolve(job: Job, arguments: argparse.Namespace) -> int:
    from drcm.replication import resolving, role
    from drcm.replication.run import sync

    mine = role.ask(job.cluster, job.sync_set, job.paths, job.node)
    resolving.need_holder(job, arguments.resolve, mine)
    targets = _targets(job, arguments)
    change = partial(resolving.resolve, job, targets, mine.heard)
    return _show(sync(job, targets, mine.heard, change=change), arguments)


def _tidy(job: Job, arguments: argparse.Namespace) -> int:
    """What drcm-server starts once a day that it has counted."""
    from drcm.console import size
    from drcm.replication import records, tidying

    name, sync_set = job.sync_set.name, job.sync_set
    record = records.current(job.paths.sets, name, sync_set.roots, job.node)
    if record is None:
        raise RoleError(
            f"{name} has not begun on {job.node}", f"drcm-sync {name} --init, on {sync_set.primary}"
        )
    tidying.be_nice()
    done = tidying.tidy(job.paths, name, record, sync_set.trash_days, sync_set.trash_size)
    held = f", {size(done.size)}" if sync_set.trash_size else ""
    text = f"{name}: {len(done.dropped)} folders of trash dropped, {done.left} are kept{held}"
    return _say(job, text, arguments)


def _watch(sync_set: SyncSet) -> int:
    from drcm.replication.watching import watch

    watch(sync_set.name, sync_set.roots, lambda text: print(text, flush=True))
    return EXIT_OK


# -- what was ---------------------------------------------------------------------------------------


def _past(job: Job, arguments: argparse.Namespace) -> int:
    from drcm.replication import past, pastview

    if arguments.history:
        runs = past.look_back(job)
        return _told(arguments, runs.to_json(), lambda: pastview.history(runs, arguments.verbose))
    if arguments.show:
        found = past.show(job, arguments.show)
        return _told(arguments, found.to_json(), lambda: pastview.shown(found))
    return _undo(job, arguments) if arguments.undo else _conflicts(job, arguments)


def _undo(job: Job, arguments: argparse.Namespace) -> int:
    from drcm.replication import pastview, role, undoing

    mine = role.ask(job.cluster, job.sync_set, job.paths, job.node)
    if not mine.may_write:
        name = job.sync_set.name
        what = f"{name}: {job.node} is not its writer: {mine.reason}. The next run would revert an undo here"
        raise RoleError(what, "Run it on the writer (drcm-report tells which node that is)")
    run, *paths = arguments.undo
    done = undoing.undo(job, run, paths, arguments.created)
    return _told(arguments, done.to_json(), lambda: pastview.undone(done, arguments.quiet))


def _conflicts(job: Job, arguments: argparse.Namespace) -> int:
    from drcm.replication import conflicts, pastview

    name = job.sync_set.name
    if arguments.forget:
        gone = "\n".join(
            f"{name}: {path} is gone for good" for path in conflicts.forget(job, arguments.forget)
        )
        return _say(job, gone, arguments)
    found, silent = conflicts.survey(job)
    document = {"schema": 1, "ok": True, "exit_code": EXIT_OK, "name": name, "silent": silent}
    document["conflicts"] = [asdict(one) for one in found]
    return _told(arguments, document, lambda: pastview.conflicts(name, found, silent))


def _told(arguments: argparse.Namespace, document: dict[str, Any], tell: Callable[[], None]) -> int:
    if arguments.json:
        _print_json(document)
    else:
        tell()
    return EXIT_OK


# -- a run -----------------------------------------------------------------------------------------


def _sync(job: Job, arguments: argparse.Namespace) -> int:
    from drcm.replication import role
    from drcm.replication.run import sync

    mine = role.ask(job.cluster, job.sync_set, job.paths, job.node)
    if not mine.may_write:
        return _not_writer(job, mine, arguments)
    targets = _targets(job, arguments)
    if not arguments.wait_go:
        return _show(sync(job, targets, mine.heard), arguments)
    with ExitStack() as stack:
        links = {node: stack.enter_context(job.link(node)) for node in targets}
        if not _told_to_go(job, links):
            return EXIT_OK
        mine = role.ask(job.cluster, job.sync_set, job.paths, job.node)
        if not mine.may_write:
            return _not_writer(job, mine, arguments)
        return _show(sync(job, targets, mine.heard, links=links), arguments)


def _told_to_go(job: Job, links: Mapping[str, Link]) -> bool:
    """Have all connections open, say `ready`, and wait for the line `go`; False on anything else.

    So the daemon starts this process before it stops the services: what follows is down time.
    """
    from drcm.replication import looking

    for node, link in links.items():
        looking.ask(job, node, link)
        link.wait()
    print("ready", flush=True)
    return sys.stdin.readline().strip() == "go"


def _show(result: SyncResult, arguments: argparse.Namespace) -> int:
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
    cures = {
        "none": f"Begin it, on {job.sync_set.primary}: drcm-sync {name} --init",
        "waiting": f"It starts when the node with the newest copy is back. If that is gone for good: "
        f"drcm-sync {name} --promote --accept-loss",
    }
    cure = cures.get(mine.name, "")
    raise RoleError(f"{name}: {mine.reason}" if name not in mine.reason else mine.reason, cure)


def _print_json(document: dict[str, Any]) -> None:
    json.dump(document, sys.stdout, indent=1, ensure_ascii=True)
    print()
