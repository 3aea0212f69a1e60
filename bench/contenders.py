"""Who is measured: drcm in its two profiles, and keepalived, which the same hosts run as their own process.

A contender keeps one floating address on the first of its nodes, and on another where that one is gone.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.lab import Lab, LabError, Node, make_cluster

IP = "10.77.0.100"
KEEPALIVED = "keepalived"
KEEPALIVED_DIRECTORY = "/etc/keepalived"
HIGHEST_PRIORITY = 101  # of the home; the backup has the default, each further node one less
STOP_SECONDS = 30.0
WITNESS = "cmwitness"


class Contender(Protocol):
    """One product with one set of timers: `name` for the command line, `title` for people."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def interval(self) -> float:
        """Seconds between two of its messages."""

    @property
    def largest(self) -> int:
        """The largest cluster that it is measured with."""

    def configure(self, lab: Lab, nodes: Sequence[Node]) -> None:
        """Write what the nodes need, on or off."""

    def start(self, node: Node) -> None: ...
    def stop(self, node: Node) -> None:
        """As an administrator does; returns when its process has ended."""

    def processes(self, node: Node) -> list[int]:
        """Numbers of its processes on that node, the one that speaks with the other nodes first."""


@dataclass(frozen=True)
class Drcm:
    """drcm, which calls a node dead after `count` keep alives, `interval` seconds apart."""

    name: str
    interval: float
    count: int
    largest: int = 32

    @property
    def title(self) -> str:
        return f"drcm {self.interval:g} x {self.count}"

    def configure(self, lab: Lab, nodes: Sequence[Node]) -> None:
        make_cluster(lab, self.config(nodes), nodes)

    def config(self, nodes: Sequence[Node]) -> str:
        """cm.cfg: the address lives on the first node, the second backs it up, the others vote."""
        head = f"[CM_SERVER]\nkeep_alive_interval = {self.interval:g}\ndead_node_count = {self.count}\n"
        head += "flap_limit = 1000\n"  # it moves with each run
        address = f"[CM_IPADDRS]\nweb, {IP}, 24, eth0, /etc/drcm/resources/ipv4addr.sh\n"
        more = {
            nodes[0].name: "node_floating_ip_addrs = web\n",
            nodes[1].name: f"node_backup_floating_ip_addrs = {nodes[0].name}:web\n",
            WITNESS: "witness = 1\n",
        }
        sections = [
            f"[CM_NODE]\nnodename = {node.name}\nhostname = {node.name}\nkeep_alive_ip = {node.ip}\n"
            f"{more.get(node.name, '')}"
            for node in nodes
        ]
        return "\n".join([head, address, *sections])

    def start(self, node: Node) -> None:
        node.start_drcm(wait=30.0)

    def stop(self, node: Node) -> None:
        node.stop_drcm(STOP_SECONDS)

    def processes(self, node: Node) -> list[int]:
        return [node.daemon.pid, *node.pids(r"drcm\.cluster\.keeper")]


@dataclass(frozen=True)
class Keepalived:
    """keepalived with one virtual address; `interval` is its advert_int (1 where nobody changes it)."""

    name: str
    interval: float
    largest: int = 32

    @property
    def title(self) -> str:
        return f"keepalived {self.interval:g}"

    def configure(self, lab: Lab, nodes: Sequence[Node]) -> None:
        for place, node in enumerate(nodes):
            node.write(f"{KEEPALIVED_DIRECTORY}/keepalived.conf", self.config(place))

    def config(self, place: int) -> str:
        """keepalived.conf of the node that comes at `place` (0: the home)."""
        version = "" if self.interval >= 1 else "    version 3\n"  # version 2 counts whole seconds
        state = "BACKUP" if place else "MASTER"
        return (
            f"vrrp_instance web {{\n{version}    state {state}\n    interface eth0\n"
            f"    virtual_router_id 51\n    priority {HIGHEST_PRIORITY - place}\n"
            f"    advert_int {self.interval:g}\n"
            f"    virtual_ipaddress {{\n        {IP}/24\n    }}\n}}\n"
        )

    def start(self, node: Node) -> None:
        node.services[KEEPALIVED] = node.spawn([KEEPALIVED, "--dont-fork", "--log-console"])

    def stop(self, node: Node) -> None:
        node.stop_service(KEEPALIVED, STOP_SECONDS)

    def processes(self, node: Node) -> list[int]:
        return node.pids(KEEPALIVED)[::-1]  # the first only looks after the second


TEMPLATE, FAST = Drcm("drcm-template", 0.1, 20), Drcm("drcm-fast", 0.02, 15, largest=8)
STOCK, QUICK = Keepalived("keepalived-stock", 1.0), Keepalived("keepalived-fast", 0.1)
CONTENDERS: tuple[Contender, ...] = (TEMPLATE, FAST, STOCK, QUICK)
RIVALS = {TEMPLATE.name: STOCK.name, FAST.name: QUICK.name}  # whose numbers are set against whose


def require(chosen: Sequence[Contender]) -> None:
    """LabError where a program is missing, with the command that installs it."""
    wanted = any(isinstance(one, Keepalived) for one in chosen)
    if wanted and shutil.which(KEEPALIVED, path="/usr/local/sbin:/usr/sbin:/usr/bin") is None:
        raise LabError(
            "keepalived is not installed: apt-get install --no-install-recommends keepalived; systemctl "
            "disable --now keepalived\nor measure without it: --contender drcm-template --contender drcm-fast"
        )
