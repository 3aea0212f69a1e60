"""drcm-server: the daemon, the config check, the keys and the console.

Only the standard library is imported before it is known what is wanted: the daemon must beat within
150 ms of its start (HISTORIES E8).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drcm import __version__
from drcm.errors import EXIT_OK
from drcm.paths import Paths, paths

if TYPE_CHECKING:
    from drcm.config.model import Server

EPILOG = """\
examples:
  drcm-server --check-config                 check cm.cfg, or write a commented template
  drcm-server --generate-authkey             make the key that all nodes share
  drcm-server                                run the daemon in the foreground
  drcm-server --client                       open the prompt DRCM>
  drcm-server --client --command=cm_stat     the state of the cluster
  drcm-server --client --command=rstats -ncmnode2
  drcm-server --client --command=ping -ncmnode2 -c5
  drcm-server --client --command="cleanup service:web"    it was mended: its failures are forgotten
  drcm-server --client --command="agents IPaddr2"    what can run a resource here, and its parameters

exit codes: 0 good, 1 failed (--check-config: errors), 2 usage (--check-config: warnings only, or a
template was written), 69 no answer, 77 auth key, 78 cm.cfg has errors. See drcm-server(8).
"""


@dataclass(frozen=True)
class Options:
    """What the command line says to the daemon; it goes before cm.cfg, also after a reload."""

    config: Path
    log_file: str = ""
    log_level: int | None = None
    log_clear: bool = False
    log_disable: bool = False
    debug: bool = False
    debug_level: int | None = None
    verbose: bool = False
    verbose_level: int | None = None

    def applied_to(self, server: Server) -> Server:
        """`server` of cm.cfg with what the command line changes."""
        levels = {
            name: level
            for name in ("log_level", "debug_level", "verbose_level")
            if (level := getattr(self, name)) is not None
        }
        return replace(
            server,
            **levels,
            **self._log_file(),
            enable_logging=server.enable_logging and not self.log_disable,
            clear_log=server.clear_log or self.log_clear,
            debug=server.debug or self.debug or self.debug_level is not None,
            verbose=server.verbose or self.verbose or self.verbose_level is not None,
        )

    def _log_file(self) -> dict[str, Any]:
        """--log-file takes a name in log_dir, as cm.cfg does, or a path."""
        if not self.log_file:
            return {}
        path = Path(self.log_file)
        return {"logfile": path.name} | ({"log_dir": str(path.parent)} if "/" in self.log_file else {})


def main(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    from drcm.console import run_command

    arguments = _checked(_parser(), argv)
    return run_command(lambda: _run(arguments, paths()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="drcm-server",
        description="Keep services alive on a few Linux servers. Without an option: run the daemon.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"drcm-server {__version__}")
    parser.add_argument(
        "--config-file", type=Path, metavar="F", help="cm.cfg (default: $DRCM_CONFIG or /etc/drcm/cm.cfg)"
    )
    _add_tasks(parser)
    _add_client(parser.add_argument_group("console, with --client"))
    _add_logging(parser.add_argument_group("logging of the daemon; goes before cm.cfg"))
    return parser


def _add_tasks(parser: argparse.ArgumentParser) -> None:
    tasks = parser.add_mutually_exclusive_group()
    tasks.add_argument("--check-config", action="store_true", help="print every setting and fault of cm.cfg")
    tasks.add_argument("--client", action="store_true", help="ask the cluster: a prompt, or --command")
    tasks.add_argument("--generate-authkey", action="store_true", help="make the key that all nodes share")
    tasks.add_argument("--setup-ssh", action="store_true", help="make the SSH key and learn the host keys")
    parser.add_argument("--force", action="store_true", help="with --generate-authkey: replace the key")
    parser.add_argument("--yes", action="store_true", help="with --setup-ssh: ask nothing")
    parser.add_argument(
        "--host-key",
        action="append",
        metavar="NODE=KEY",
        type=_host_key,
        default=[],
        help="with --setup-ssh: the host key of NODE, known by hand; repeatable",
    )


def _add_client(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--command",
        metavar="C",
        default="",
        help="cm_stat, rstats, ping, printcfg, agents, cleanup, confirm-stopped or help",
    )
    group.add_argument(
        "-n", dest="node", metavar="NODE", default="", help="nodename, hostname, keep alive IP or localhost"
    )
    group.add_argument("-c", dest="count", metavar="N", type=_count, default=1, help="pings to send")


def _add_logging(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--log-file", metavar="F", default="", help="a name in log_dir, or a path")
    group.add_argument("--log-level", metavar="N", type=_level, help="0 to 5")
    group.add_argument("--log-file-clear", action="store_true", help="begin with an empty log file")
    group.add_argument("--log-disable", action="store_true", help="write no log file")
    group.add_argument("--debug", action="store_true")
    group.add_argument("--debug-level", metavar="N", type=_level, help="0 to 5; implies --debug")
    group.add_argument("--verbose", action="store_true")
    group.add_argument("--verbose-level", metavar="N", type=_level, help="0 to 5; implies --verbose")


def _level(text: str) -> int:
    return _integer(text, 0, 5)


def _count(text: str) -> int:
    return _integer(text, 1, 10_000)


def _host_key(text: str) -> tuple[str, str]:
    """NODE=KEY; whether it is a key, and whose, is told by --setup-ssh."""
    node, equals, key = text.partition("=")
    if not (node and equals and key.strip()):
        raise argparse.ArgumentTypeError(f"expected NODE=KEY, found {text!r}")
    return node, key


def _integer(text: str, lowest: int, highest: int) -> int:
    if not (text.isascii() and text.isdigit() and lowest <= int(text[:9]) <= highest):
        raise argparse.ArgumentTypeError(f"expected a number from {lowest} to {highest}, found {text!r}")
    return int(text)


def _checked(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments; what belongs to another option that was not given is a mistake, not ignored."""
    arguments = parser.parse_args(argv)
    if (arguments.command or arguments.node or arguments.count != 1) and not arguments.client:
        parser.error("--command, -n and -c need --client")
    if arguments.force and not arguments.generate_authkey:
        parser.error("--force needs --generate-authkey")
    if arguments.yes and not arguments.setup_ssh:
        parser.error("--yes needs --setup-ssh")
    if arguments.host_key and not arguments.setup_ssh:
        parser.error("--host-key needs --setup-ssh")
    return arguments


def _run(arguments: argparse.Namespace, here: Paths) -> int:
    config = arguments.config_file or here.config
    if arguments.check_config:
        return _check_config(config)
    if arguments.generate_authkey:
        return _generate_authkey(here, arguments.force)
    if arguments.setup_ssh:
        return _setup_ssh(config, here, arguments.yes, dict(arguments.host_key))
    if arguments.client:
        return _client(arguments, config, here)
    return _daemon(arguments, config)


def _check_config(config: Path) -> int:
    from drcm.config.report import check_config

    return check_config(config, sys.stdout)


def _generate_authkey(here: Paths, force: bool) -> int:
    from drcm.cluster.transport.keys import generate

    path = generate(here.auth, force)
    print(f"{path}: made")
    print("Copy it to every other node, with its modes:")
    print(f"  scp -pr {here.auth} NODE:{here.auth.parent}/")
    return EXIT_OK


def _setup_ssh(config: Path, here: Paths, yes: bool, host_keys: dict[str, str]) -> int:
    from drcm.config.load import require_config
    from drcm.replication.sshsetup import setup_ssh

    cluster = require_config(config, host_checks=False)
    return setup_ssh(cluster, here, sys.stdout, yes, host_keys=host_keys)


def _client(arguments: argparse.Namespace, config: Path, here: Paths) -> int:
    from drcm.cluster.client import run_client

    return run_client(here, config, arguments.command, arguments.node, arguments.count)


def _daemon(arguments: argparse.Namespace, config: Path) -> int:
    from drcm.cluster.service import run

    return run(_options(arguments, config))


def _options(arguments: argparse.Namespace, config: Path) -> Options:
    return Options(
        config=config,
        log_file=arguments.log_file,
        log_level=arguments.log_level,
        log_clear=arguments.log_file_clear,
        log_disable=arguments.log_disable,
        debug=arguments.debug,
        debug_level=arguments.debug_level,
        verbose=arguments.verbose,
        verbose_level=arguments.verbose_level,
    )
