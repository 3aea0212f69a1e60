"""Clusters without a sync set: voters, a floating address and a program that only one of them may run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.integration.cluster import ask, logged
from tests.lab import Lab, Node, make_cluster, wait_until
from tests.lab.watch import Watch, has_address, runs

IP = "10.77.0.100"
PID_FILE = "/tmp/worker.pid"  # private to each host
SETTLE_SECONDS = 45.0  # of a busy machine; it takes 3 to 8
INTERVAL, COUNT = 0.1, 20  # the template's
DEAD_SECONDS = INTERVAL * COUNT
LATE_STOP = 1.0  # seconds

SERVER = f"""
[CM_SERVER]
keep_alive_interval = {INTERVAL}
dead_node_count = {COUNT}
flap_limit = 1000
boot_wait = 5
"""
RESOURCES = f"""
[CM_IPADDRS]
web, {IP}, 24, eth0, /etc/drcm/resources/ipv4addr.sh

[CM_APPLICATIONS]
worker, nobody:nogroup, sleep 4343 & echo $! >{PID_FILE}, pkill -f '[s]leep 4343' || true

[CM_NODE]
nodename = cmnode1
hostname = cmnode1
keep_alive_ip = 10.77.0.1
node_floating_ip_addrs = web
node_applications = worker

[CM_NODE]
nodename = cmnode2
hostname = cmnode2
keep_alive_ip = 10.77.0.2
node_backup_floating_ip_addrs = cmnode1:web
node_backup_applications = cmnode1:worker
"""
WITNESS = """
[CM_NODE]
nodename = cmnode3
hostname = cmnode3
keep_alive_ip = 10.77.0.3
witness = 1
"""


@dataclass(frozen=True)
class Voters:
    """cmnode1 is home of everything, cmnode2 its backup; others only vote."""

    lab: Lab
    nodes: tuple[Node, ...]

    def watch(self) -> Watch:
        """Looks every 5 ms whether two have the address, or two run the program."""
        return Watch(self.nodes, {"address": has_address(IP), "program": runs(PID_FILE)})

    def place(self) -> tuple[list[str], list[str]]:
        """Who has the address, and who runs the program."""
        address, program = has_address(IP), runs(PID_FILE)
        names = [[node.name for node in self.nodes if has(node)] for has in (address, program)]
        return names[0], names[1]

    def wait_place(self, node: Node, timeout: float = SETTLE_SECONDS) -> None:
        """Wait until both are on `node`, and nowhere else."""
        wanted = ([node.name], [node.name])
        wait_until(
            lambda: self.place() == wanted,
            timeout,
            lambda: f"all on {node.name}: {self.place()}\n{self.logs()}",
        )

    def settle(self) -> None:
        """End every fault, start what is down, wait until all hear each other and everything is at home."""
        self.lab.heal_all()
        for node in self.nodes:
            if not node.is_on:
                node.power_on()
            node.plug()
            if "drcm-server" not in node.services:
                node.start_drcm(wait=30.0)
        self.wait_place(self.nodes[0])
        wait_until(self.is_whole, SETTLE_SECONDS, lambda: f"all nodes UP\n{self.logs()}")

    def cut_power_and_come_home(self) -> None:
        """The home node dies and the backup takes over; when it is back, all goes home."""
        home, backup = self.nodes[:2]
        home.power_cut()
        self.wait_place(backup)
        home.power_on()
        home.start_drcm(wait=30.0)
        self.wait_place(home)

    def is_whole(self) -> bool:
        return all(up(node) == {one.name for one in self.nodes} for node in self.nodes)

    def marks(self) -> dict[str, int]:
        """Where each log ends now."""
        return {node.name: len(node.daemon_log()) for node in self.nodes}

    def told(self, pattern: str, marks: dict[str, int]) -> list[str]:
        """What any of them logged since."""
        return [line for node in self.nodes for line in logged(node, pattern, marks[node.name])]

    def logs(self) -> str:
        return "".join(f"--- {node.name}\n{node.daemon_log()[-3000:]}\n" for node in self.nodes)


def up(node: Node) -> set[str]:
    """Whom the node hears, itself too."""
    told = ask(node, op="status").get("nodes", ())
    return {one["name"] for one in told if one["state"] == "UP"}


@contextmanager
def never_two(voters: Voters) -> Iterator[None]:
    """At no look, every 5 ms, do two nodes have the address, or two run the program.

    The program is ended by a command of its own (there is no cgroup in the lab to kill it with): on a busy
    machine that comes late.
    """
    with voters.watch() as watch:
        yield
    assert watch.looks > 20  # some hundreds on an idle machine
    assert [double for double in watch.doubles if double.what == "address"] == []
    late = [double.moment for double in watch.doubles]
    assert not late or late[-1] - late[0] < LATE_STOP, watch.doubles


@contextmanager
def running_voters(config: str, count: int) -> Iterator[Voters]:
    """A cluster of `count` nodes, all daemons under way; `settle` waits for it."""
    with Lab() as lab:
        nodes = [lab.add_node(f"cmnode{n}", f"10.77.0.{n}") for n in range(1, count + 1)]
        make_cluster(lab, config, nodes)
        lab.power_on()
        for node in nodes:
            node.start_drcm(wait=0)
        yield Voters(lab, tuple(nodes))


def ring(count: int, homes: int, backups: int) -> str:
    """`count` nodes; each of the first `homes` has an address, which the `backups` next ones back up."""
    numbers = range(1, count + 1)
    text = "[CM_IPADDRS]\n" + "".join(
        f"web{n}, {ring_address(n)}, 24, eth0, /etc/drcm/resources/ipv4addr.sh\n" for n in numbers[:homes]
    )
    for n in numbers:
        text += f"[CM_NODE]\nnodename = cmnode{n}\nhostname = cmnode{n}\nkeep_alive_ip = 10.77.0.{n}\n"
        text += f"node_floating_ip_addrs = web{n}\n" if n <= homes else ""
        before = [(n - step - 1) % count + 1 for step in range(1, backups + 1)]
        backed = [f"cmnode{home}:web{home}" for home in before if home <= homes]
        text += f"node_backup_floating_ip_addrs = {', '.join(backed)}\n" if backed else ""
    return text


def ring_address(number: int) -> str:
    return f"10.77.0.{100 + number}"


def holders(nodes: Sequence[Node], number: int) -> list[str]:
    """Who has the address of that node."""
    has = has_address(ring_address(number))
    return [node.name for node in nodes if has(node)]
