"""A real service that does as files beside cm.cfg tell it, which each node has of its own."""

from __future__ import annotations

from dataclasses import dataclass

from tests.lab import Node

PATH = "/etc/drcm/resources/obedient.sh"
# What the file NAME.ACTION says is done before the action; the service is a process that sleeps.
SCRIPT = """#!/bin/sh
here=/etc/drcm/$1
alive() { grep -qs 987654 "/proc/$(cat "$here.pid" 2>/dev/null)/cmdline"; }
[ ! -e "$here.$2" ] || . "$here.$2"
case $2 in
start) alive || { setsid sleep 987654 </dev/null >/dev/null 2>&1 & echo $! >"$here.pid"; } ;;
stop) ! alive || kill "$(cat "$here.pid")"; rm -f "$here.pid" ;;
status | watch) alive ;;
esac
"""
HANG = "trap '' TERM; sleep 765432"  # only KILL ends it
HANGING = "sleep 765432"


@dataclass(frozen=True)
class Obedient:
    """The service `name` wherever it runs."""

    name: str

    @property
    def pid_file(self) -> str:
        return f"/etc/drcm/{self.name}.pid"

    def row(self) -> str:
        """Its line in [CM_SERVICES]."""
        return f"{self.name}, {self.name}, {PATH}"

    def pid(self, node: Node) -> int:
        """Of its process there; 0 where it does not run."""
        try:
            found = int(node.read(self.pid_file))
        except (FileNotFoundError, ValueError):
            return 0
        return found if node.is_on and found in node.pids("sleep 987654") else 0

    def kill(self, node: Node) -> int:
        """As a crash would; its pid until now."""
        former = self.pid(node)
        node.kill(former)
        return former

    def forget(self, node: Node) -> None:
        """Before a boot: the number of its process may be another's then."""
        node.path(self.pid_file).unlink(missing_ok=True)

    def tell(self, node: Node, action: str, command: str) -> None:
        """Have it do this (shell) before each such action on `node`."""
        node.write(f"/etc/drcm/{self.name}.{action}", command + "\n")

    def mend(self, node: Node) -> None:
        """It does nothing but its duty again."""
        for action in ("start", "stop", "watch"):
            node.path(f"/etc/drcm/{self.name}.{action}").unlink(missing_ok=True)


def install(node: Node) -> None:
    node.write(PATH, SCRIPT, 0o755)
