"""The command line of drcm-sync, as drcm-sync(8) documents it. --help loads nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path

from drcm import __version__

OVERRIDES = (
    "mount",
    "mounts",
    "empty",
    "shrink",
    "room",
    "delete",
    "live",
)  # guards.OVERRIDES, imported late

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
  drcm-sync testfs --resolve keep=cmnode1 --dry-run
                                DIVERGED: show what the other node would lose (kept in .drcm/conflicts)
  drcm-sync testfs --promote --accept-loss
                                the node with the newest copy is gone for good: serve this one
  drcm-sync --failover --dry-run
                                show what would move from this node to its backup; without --dry-run, move it
  drcm-sync --failback          move it home again, from the node that holds it
  drcm-sync testfs --history    the runs; --show RUN names the files of one
  drcm-sync testfs --undo 40-1a2b3c4d a/file --dry-run
                                bring back what that run replaced or deleted
  drcm-sync testfs --conflicts  what was kept because no run describes it
  drcm-sync testfs --reinit     a new, empty disk: join the set again
"""


def parser() -> argparse.ArgumentParser:
    """The command line; documented in drcm-sync(8)."""
    made = argparse.ArgumentParser(
        prog="drcm-sync",
        description="Bring the other nodes of a sync set up to date from this node, its writer.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "name", metavar="NAME", nargs="?", default="",
        help="name of a [CM_SYNC] section; with --failover and --failback it may be a node, or be left out",
    )  # fmt: skip
    made.add_argument("-n", "--dry-run", action="store_true", help="show what would be done; change nothing")
    task = made.add_mutually_exclusive_group()
    task.add_argument("--init", action="store_true", help="begin the set with this node's files")
    task.add_argument("--resolve", metavar="keep=NODE", type=_keep,
                      help="end a divergence: NODE's tree is kept")  # fmt: skip
    task.add_argument(
        "--promote", action="store_true", help="with --accept-loss: serve this node's older copy"
    )
    task.add_argument("--history", action="store_true", help="the runs, and what is kept of each")
    task.add_argument("--show", metavar="RUN", default="", help="what a run created, replaced and deleted")
    task.add_argument("--undo", metavar=("RUN", "PATH"), nargs="+",
                      help="bring back what a run replaced and deleted, all or these paths")  # fmt: skip
    task.add_argument("--conflicts", action="store_true", help="what was kept because no run describes it")
    task.add_argument(
        "--tidy", action="store_true", help="drop trash that is past its days, as the daemon does"
    )
    task.add_argument("--watch", action="store_true", help="say what changes in the set, until ^C")
    task.add_argument("--reinit", action="store_true", help="join again with empty directories")
    task.add_argument("--failover", action="store_true", help="move what this node holds to a backup")
    task.add_argument("--failback", action="store_true", help="move what this node holds back to its home")
    task.add_argument("--hand-over", metavar="NODE", default="", help=argparse.SUPPRESS)
    made.add_argument("--wait-go", action="store_true", help=argparse.SUPPRESS)
    made.add_argument(
        "--accept-loss", action="store_true", help="with --promote: newer copies are gone for good"
    )
    made.add_argument(
        "--yes", action="store_true", help="with --promote, --failover, --failback: ask nothing"
    )
    made.add_argument("--created", action="store_true", help="with --undo: what the run created goes too")
    made.add_argument("--forget", metavar="ID", default="", help="with --conflicts: remove that one for good")
    made.add_argument("--from", dest="origin", metavar="NODE", default="", help="with --init: begin here")
    made.add_argument("--adopt", action="store_true", help="with --init: backups may hold files already")
    made.add_argument("--target", action="append", metavar="NODE", help="this node only; repeatable")
    made.add_argument("--override", action="append", metavar="GUARD", choices=OVERRIDES, default=[],
                      help=f"pass one guard once: {', '.join(OVERRIDES)}")  # fmt: skip
    made.add_argument("--json", action="store_true", help="one JSON document on standard output")
    made.add_argument("-q", "--quiet", action="store_true", help="print problems only")
    made.add_argument("-v", "--verbose", action="store_true", help="name the files")
    made.add_argument("--config", type=Path, metavar="FILE", help="default: /etc/drcm/cm.cfg")
    made.add_argument("--version", action="version", version=f"drcm-sync {__version__}")
    return made


def _keep(text: str) -> str:
    """NODE of `keep=NODE`."""
    word, _, node = text.partition("=")
    if word != "keep" or not node:
        raise argparse.ArgumentTypeError(f"expected keep=NODE, found {text!r}")
    return node


def checked(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments; what belongs to another option that was not given is a mistake, not ignored."""
    arguments = parser.parse_args()
    for wrong, text in _mistakes(arguments):
        if wrong:
            parser.error(text)
    return arguments


def _mistakes(given: argparse.Namespace) -> tuple[tuple[object, str], ...]:
    """What may not be given together, or not alone, and what to say of it."""
    moves = given.failover or given.failback
    plain = given.init or given.promote or given.reinit or given.conflicts or given.tidy or given.watch
    return (
        (
            given.promote and not given.accept_loss,
            "--promote needs --accept-loss: what a newer copy holds and this node does not is given up. "
            "Where nothing is lost, drcm-server promotes by itself",
        ),
        (given.accept_loss and not given.promote, "--accept-loss needs --promote"),
        (given.yes and not (given.promote or moves), "--yes needs --promote, --failover or --failback"),
        (not given.name and not moves, "the name of a set is missing: drcm-sync NAME"),
        ((given.origin or given.adopt) and not given.init, "--from and --adopt need --init"),
        (
            given.dry_run and plain,
            "--dry-run shows a run, --resolve, --undo, --failover or --failback; the others make none",
        ),
        (given.watch and given.json, "--watch says one line a change; there is no JSON of it"),
        (given.created and not given.undo, "--created needs --undo"),
        (given.forget and not given.conflicts, "--forget needs --conflicts"),
        (given.wait_go and not given.hand_over, "--wait-go needs --hand-over"),
    )
