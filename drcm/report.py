"""drcm-report: nodes, resources, sets and open alerts in one screen.

The daemon of this node is asked; where it doesn't run, the other nodes are, all at once. A cm.cfg with errors
is no obstacle as long as the local daemon answers.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drcm import __version__
from drcm.clock import wall
from drcm.config.model import Alerts, Cluster, Node
from drcm.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, DrcmError, PeerError
from drcm.paths import Paths, paths
from drcm.reportview import Health, Item, Source, document, headline, tables

if TYPE_CHECKING:
    from rich.console import Console

    from drcm.control import Answer

EXIT_UNKNOWN = 3  # as Nagios plug-ins say it; no node answered
CODES = {Health.HEALTHY: EXIT_OK, Health.DEGRADED: EXIT_FAILED, Health.UNKNOWN: EXIT_UNKNOWN}
STATUS = {"op": "status"}
EPILOG = "exit codes: 0 healthy, 1 degraded, 2 usage, 3 unknown: no node answered. See drcm-report(8)."


@dataclass(frozen=True, slots=True)
class Asked:
    """What a daemon answered, None where none did, and what was in the way."""

    status: Answer | None
    troubles: tuple[str, ...] = ()


def main(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    from drcm.console import run_command

    arguments = _parser().parse_args(argv)
    return run_command(lambda: _watch(arguments) if arguments.watch else _once(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="drcm-report", description="Show nodes, resources, sets and alerts.", epilog=EPILOG
    )
    parser.add_argument("--version", action="version", version=f"drcm-report {__version__}")
    parser.add_argument("--config", type=Path, help="cm.cfg (default: $DRCM_CONFIG or /etc/drcm/cm.cfg)")
    parser.add_argument("--json", action="store_true", help="one JSON document (a line each with --watch)")
    parser.add_argument("--watch", action="store_true", help="again and again, until ^C")
    parser.add_argument("--interval", type=_seconds, default=2.0, metavar="S", help="of --watch (default: 2)")
    parser.add_argument("--node", metavar="N", help="ask this node: its nodename, hostname or keep alive IP")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError("expected 0.1 to 86400 seconds")
    return seconds


def _once(arguments: argparse.Namespace) -> int:
    told = gather(_paths(arguments), arguments.node)
    if arguments.json:
        print(json.dumps(told, indent=1))
    else:
        show(told)
    return CODES[told["health"]]


def _watch(arguments: argparse.Namespace) -> int:
    from drcm.console import console

    here, screen = _paths(arguments), None if arguments.json else console()
    while True:
        told = gather(here, arguments.node)
        if screen is None:
            print(json.dumps(told), flush=True)
        else:
            screen.clear()  # nothing where the output is no terminal
            show(told, screen)
            sys.stdout.flush()
        time.sleep(arguments.interval)


def _paths(arguments: argparse.Namespace) -> Paths:
    return paths() if arguments.config is None else replace(paths(), config=arguments.config)


# -- asking ----------------------------------------------------------------------------------------


def gather(here: Paths, node: str | None = None) -> Item:
    """The report as a document. PeerErrors become "unknown"; a wrong `node` is a DrcmError."""
    asked = _ask_node(here, node) if node else _ask_any(here)
    alerts, unsent = _alerts(here)
    moment = f"{wall():%Y-%m-%dT%H:%M:%SZ}"
    return document(Source(moment, asked.status, alerts, unsent, asked.troubles))


def _ask_any(here: Paths) -> Asked:
    """This node's daemon, else the first of the others that answers."""
    asked = _ask_here(here)
    if asked.status is not None:
        return asked
    try:
        cluster = _cluster(here)
        others = [node for node in cluster.voters if node.hostname != _hostname()]
        return _ask_remote(here, cluster, others, asked.troubles)
    except DrcmError as error:
        return Asked(None, (*asked.troubles, error.what.splitlines()[0]))


def _ask_node(here: Paths, name: str) -> Asked:
    cluster = _cluster(here)
    node = next((n for n in cluster.nodes if name in (n.name, n.hostname, n.keep_alive_ip)), None)
    if node is None and name != "localhost":
        known = ", ".join(n.name for n in cluster.nodes)
        raise DrcmError(f"{name}: no such node in {here.config}", f"It names: {known}.", EXIT_USAGE)
    if node is not None and node.hostname != _hostname():
        return _ask_remote(here, cluster, [node], ())
    return _ask_here(here)


def _ask_here(here: Paths) -> Asked:
    from drcm.control import TIMEOUT, ask_local

    try:
        return Asked(ask_local(here.socket, STATUS, TIMEOUT))
    except PeerError as error:
        return Asked(None, (error.what,))


def _ask_remote(here: Paths, cluster: Cluster, nodes: Sequence[Node], troubles: tuple[str, ...]) -> Asked:
    from drcm.cluster.transport.keys import load
    from drcm.cluster.transport.tls import client_context
    from drcm.control import TIMEOUT, ask_all

    where = {node.name: (node.keep_alive_ip, cluster.server.tcpport) for node in nodes}
    answers = ask_all(where, client_context(load(here.auth)), STATUS, TIMEOUT)
    failed = tuple(f"{name}: {a.what}" for name, a in answers.items() if isinstance(a, PeerError))
    good = next((answer for answer in answers.values() if not isinstance(answer, PeerError)), None)
    return Asked(good, troubles if good else (*troubles, *failed))


def _cluster(here: Paths) -> Cluster:
    from drcm.config.load import require_config

    return require_config(here.config, host_checks=False)


def _hostname() -> str:
    from os import uname

    return uname().nodename


def _alerts(here: Paths) -> tuple[list[dict[str, Any]], int]:
    """Open alerts of this node's ledger, and how many messages wait; nothing where only root may look."""
    from drcm.alerts.dispatcher import open_problems, waiting

    try:
        config = _cluster(here).alerts
    except DrcmError:
        config = Alerts()
    try:
        return [asdict(problem) for problem in open_problems(here, config)], waiting(here)
    except PermissionError:
        return [], 0


# -- showing ---------------------------------------------------------------------------------------


def show(told: Item, screen: Console | None = None) -> None:
    """Print the report for a person."""
    from drcm.console import clean, console, table

    screen = screen or console()
    for line in headline(told):
        screen.print(clean(line))
    for part in tables(told):
        screen.print()
        table(screen, part.title, part.columns, part.rows)
    if told["unsent_messages"]:
        screen.print(f"\n{told['unsent_messages']} alert messages could not be sent yet: drcm-alert flush")
