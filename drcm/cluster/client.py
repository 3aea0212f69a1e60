"""The console: `drcm-server --client`, a prompt or one command, from any node that holds the auth key.

It asks all nodes at once over TLS and needs no daemon on this node. Answers go to standard output,
errors to standard error.
"""

from __future__ import annotations

import importlib
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from drcm.cluster.stat import cm_stat_text, rstats_text
from drcm.config.load import require_config
from drcm.config.model import Cluster, Node
from drcm.control import TIMEOUT, Answer, ask_all, ask_local, ask_remote
from drcm.errors import EXIT_OK, EXIT_UNAVAILABLE, EXIT_USAGE, DrcmError, PeerError
from drcm.paths import Paths

if TYPE_CHECKING:
    import ssl

PROMPT = "DRCM> "
PING_SECONDS = 0.2  # between two pings
MAX_PINGS = 10_000

HELP = """\
cm_stat        the state of the cluster: members, resources, health
rstats [NODE]  what each node runs, one line a resource, for scripts
ping [NODE]    ask every node, or one, for a sign of life (-cN: N times)
agents [NAME]  what this node has for the script column of cm.cfg; parameters of one agent
cleanup [KIND:NICKNAME]        it was mended: forget its failures, moves and refusals, on every node
confirm-stopped KIND:NICKNAME  it could not be stopped here, and is down now: others may start it
printcfg       every setting of cm.cfg as it is understood here (-nNODE: there)
help           this text
exit, quit     leave the prompt (so does Ctrl-D)
NODE is a nodename, a hostname, a keep alive IP or localhost.
"""


class Client:
    """The commands of the console. Each returns an exit code: 0, or 69 where nobody answered."""

    def __init__(self, cluster: Cluster, paths: Paths, hostname: str, out: TextIO) -> None:
        """`hostname` (uname -n) tells which node localhost is."""
        self._cluster = cluster
        self._paths = paths
        self._hostname = hostname
        self._out = out

    def run(self, command: str, node: str = "", count: int = 1) -> int:
        """One command as typed, such as `rstats cmnode2`; `node` where the text names none."""
        words = _split(command)
        if not words:
            return EXIT_OK
        name, *arguments = words
        if name not in self._commands or len(arguments) > 1:
            raise DrcmError(
                f"{command}: expected one of {', '.join(self._commands)}", "See: help", EXIT_USAGE
            )
        return self._commands[name](arguments[0] if arguments else node, count)

    @cached_property
    def _commands(self) -> dict[str, Callable[[str, int], int]]:
        return {
            "cm_stat": self._cm_stat,
            "rstats": self._rstats,
            "ping": self._ping,
            "printcfg": self._printcfg,
            "agents": self._agents,
            "cleanup": self._cleanup,
            "confirm-stopped": self._confirm_stopped,
            "help": self._help,
        }

    def _nodes(self, target: str) -> Sequence[Node]:
        """The active nodes, or the one that `target` names."""
        if not target:
            return self._cluster.voters
        return [find_node(self._cluster, target, self._hostname)]

    def _cm_stat(self, _target: str, _count: int) -> int:
        """Always the whole cluster: a part of it has no health."""
        answers = self._ask(self._cluster.voters, "status")
        self._print(cm_stat_text(self._cluster, answers))
        return _code(any(isinstance(answer, dict) for answer in answers.values()))

    def _rstats(self, target: str, _count: int) -> int:
        nodes = self._nodes(target)
        answers = self._ask(nodes, "rstats")
        self._print(rstats_text(nodes, answers))
        return _code(any(isinstance(answer, dict) for answer in answers.values()))

    def _ping(self, target: str, count: int) -> int:
        """All of the nodes must answer all pings for a 0: this is what scripts ask for."""
        nodes, answered = self._nodes(target), 0
        with ThreadPoolExecutor(max_workers=max(1, len(nodes))) as pool:
            for turn in range(count):
                time.sleep(PING_SECONDS if turn else 0)
                for good, line in pool.map(self._ping_once, nodes):
                    answered += good
                    self._print(line + "\n")
        if count > 1:
            self._print(f"{answered} of {count * len(nodes)} answered\n")
        return _code(answered == count * len(nodes))

    def _ping_once(self, node: Node) -> tuple[bool, str]:
        name = f"{node.name} ({node.keep_alive_ip})"
        start = time.monotonic()
        try:
            answer = ask_remote(*self._address(node), self._context, {"op": "ping"})
        except PeerError as error:
            return False, f"{name}: no answer: {error.what}"
        took = 1000 * (time.monotonic() - start)
        return True, f"{name}: answers in {took:.1f} ms, drcm {answer.get('version', 'of unknown version')}"

    def _printcfg(self, target: str, _count: int) -> int:
        """The file as this node reads it, or as the daemon of `target` does."""
        if target:
            (node,) = self._nodes(target)
            text = str(ask_remote(*self._address(node), self._context, {"op": "printcfg"})["text"])
        else:
            from drcm.config.report import printcfg_text

            text = printcfg_text(self._cluster)
        self._print(text)
        return EXIT_OK

    def _cleanup(self, resource: str, _count: int) -> int:
        """Each node has its own memory of what failed: all are asked."""
        answers = self._ask(self._cluster.voters, "cleanup", resource=resource)
        for name, answer in answers.items():
            self._print(f"{name}: {answer['text'] if isinstance(answer, dict) else answer.what}\n")
        return _code(all(isinstance(answer, dict) for answer in answers.values()))

    def _confirm_stopped(self, resource: str, _count: int) -> int:
        """Only on the node that could not stop it, by root: somebody must have looked."""
        answer = ask_local(self._paths.socket, {"op": "confirm-stopped", "resource": resource})
        self._print(f"{answer['text']}\n")
        return EXIT_OK

    def _agents(self, name: str, _count: int) -> int:
        """Of this node alone: what lies on its disk. No daemon is asked."""
        from drcm.cluster.agents import catalogue

        self._print(catalogue.about(name) if name else catalogue.listing())
        return EXIT_OK

    def _help(self, _target: str, _count: int) -> int:
        self._print(HELP)
        return EXIT_OK

    def _ask(self, nodes: Sequence[Node], op: str, **more: str) -> dict[str, Answer | PeerError]:
        addresses = {node.name: self._address(node) for node in nodes}
        return ask_all(addresses, self._context, {"op": op, **more}, TIMEOUT)

    def _address(self, node: Node) -> tuple[str, int]:
        return node.keep_alive_ip, self._cluster.server.tcpport

    @cached_property
    def _context(self) -> ssl.SSLContext:
        from drcm.cluster.transport.keys import load
        from drcm.cluster.transport.tls import client_context

        return client_context(load(self._paths.auth))

    def _print(self, text: str) -> None:
        from drcm.console import clean

        lines = (clean(line) for line in text.split("\n"))
        self._out.write("\n".join(lines))
        self._out.flush()


def _code(good: bool) -> int:
    return EXIT_OK if good else EXIT_UNAVAILABLE


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise DrcmError(f"{command}: {error}", "See: help", EXIT_USAGE) from error


def find_node(cluster: Cluster, text: str, hostname: str) -> Node:
    """The node that `text` names: a nodename, hostname, keep alive IP or localhost (DrcmError if none)."""
    wanted = hostname if text == "localhost" else text
    for node in cluster.nodes:
        if wanted in (node.name, node.hostname, node.keep_alive_ip):
            return node
    known = ", ".join(node.name for node in cluster.nodes)
    raise DrcmError(f"{text}: expected a node of {cluster.path} ({known})", "See: help", EXIT_USAGE)


def run_client(paths: Paths, config: Path, command: str, node: str, count: int) -> int:
    """What `drcm-server --client` does: one command, or the prompt where `command` is empty."""
    client = Client(require_config(config, host_checks=False), paths, os.uname().nodename, sys.stdout)
    if command:
        return client.run(command, node, count)
    return prompt(client, sys.stdin, node, count)


def prompt(client: Client, source: TextIO, node: str = "", count: int = 1) -> int:
    """Read commands until exit or the end, and run each. From a pipe there is no prompt, only answers.

    The exit code is that of the last command.
    """
    from drcm.console import report_error

    read = _from_person if source.isatty() else _from_pipe(source)
    code = EXIT_OK
    while (line := read()) is not None and line.strip() not in ("exit", "quit"):
        try:
            code = client.run(line, node, count)
        except DrcmError as error:
            code = report_error(error)
    return code


def _from_person() -> str | None:
    importlib.import_module("readline")  # gives input() its history and editing
    try:
        return input(PROMPT)
    except EOFError:
        print()
        return None


def _from_pipe(source: TextIO) -> Callable[[], str | None]:
    return lambda: source.readline() or None
