"""Two real nodes with a floating IP, a crontab and a sync set in the lab, and how a test looks at them."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drcm.control import ask_local
from drcm.errors import DrcmError
from tests.lab import Client, Lab, Node, wait_until

IP = "10.77.0.100"
CRONTAB = "/etc/cron.d/system_crons"
TREE = "/testfs"
OWN = ".drcm"
HOME, BACKUP = "cmnode1", "cmnode2"
SETTLE_SECONDS = 30.0  # of a busy machine; it takes 3 to 8
Facts = tuple[int, int, int, int, str]  # mode, inode, mtime, ctime, hash ("" for what is no file)
UNIX_SOCKET = "run/drcm/drcm.sock"

# The template's own times but boot_wait, which would only make each lab wait.
SERVER = """
[CM_SERVER]
keep_alive_interval = 0.1
dead_node_count = 20
flap_limit = 1000
boot_wait = 5
quorum = two_node
"""
RESOURCES = f"""
[CM_CRONTABS]
system, /etc/drcm/crontabs/system_crons, /etc/cron.d, /etc/drcm/resources/crontab.sh

[CM_IPADDRS]
web, {IP}, 24, eth0, /etc/drcm/resources/ipv4addr.sh

[CM_NODE]
nodename = cmnode1
hostname = cmnode1
keep_alive_ip = 10.77.0.1
crontabs_check = 1
ipaddrs_check = 1
node_crontabs = system
node_floating_ip_addrs = web

[CM_NODE]
nodename = cmnode2
hostname = cmnode2
keep_alive_ip = 10.77.0.2
node_backup_crontabs = cmnode1:system
node_backup_floating_ip_addrs = cmnode1:web
"""
SET = f"""
[CM_SYNC]
name = testfs
primary = cmnode1
backups = cmnode2
mirror = {TREE}
every = 1s
"""


def slower(text: str) -> str:
    """cm.cfg with twice the T_dead: who restarts a daemon on a busy machine may need it."""
    return text.replace("dead_node_count = 20", "dead_node_count = 40")


SLOWER = slower(SERVER)


def config(*, server: str = "", sync_set: str = "", more: str = "") -> str:
    """cm.cfg of the two nodes; the arguments are lines more for these sections, or sections more."""
    return SERVER + server + RESOURCES + SET + sync_set + more


@dataclass(frozen=True)
class Cluster:
    """cmnode1 (home of everything) and cmnode2, and a client outside."""

    lab: Lab
    a: Node
    b: Node
    client: Client

    @property
    def nodes(self) -> tuple[Node, Node]:
        return self.a, self.b

    def holders(self) -> list[str]:
        """Who has the floating address."""
        return self.lab.holders(IP)

    def crontabs(self) -> list[str]:
        """Who has the crontab in the /etc/cron.d that cron reads."""
        return [node.name for node in self.nodes if node.is_on and node.path(CRONTAB).exists()]

    def wait_place(self, node: Node, timeout: float = SETTLE_SECONDS) -> None:
        """Wait until address, crontab and writer are all on `node`, and nowhere else."""
        wanted = [node.name]
        wait_until(
            lambda: self.holders() == wanted and self.crontabs() == wanted and role(node) == "writer",
            timeout,
            lambda: f"all on {node.name}: {self.holders()} {self.crontabs()}\n{self.logs()}",
        )

    def settle(self, timeout: float = SETTLE_SECONDS) -> None:
        """Start what is down; wait until all is at home and cmnode2 has a whole copy of it."""
        for node in self.nodes:
            if not node.is_on:
                node.power_on()
            if "drcm-server" not in node.services:
                node.start_drcm()
        self.wait_place(self.a, timeout)
        wait_until(self._in_step, timeout, lambda: f"equal trees\n{self.logs()}")

    def _in_step(self) -> bool:
        told = status(self.a)
        up = [node["name"] for node in told.get("nodes", ()) if node["state"] == "UP"]
        complete = [t["complete"] for s in told.get("sets", ()) for t in s["targets"]]
        return (
            up == [HOME, BACKUP] and complete == [True] and role(self.b) == "replica" and self.same_contents()
        )

    def wait_run(self, node: Node, runs: int = 2) -> None:
        """Wait for so many scheduled runs more of `node`: whatever was under way is over then."""
        for _ in range(runs):
            before = last_good(node)
            wait_until(lambda was=before: last_good(node) not in ("", was), SETTLE_SECONDS, self.logs)

    def same_contents(self) -> bool:
        return contents(self.a) == contents(self.b)

    def wait_same(self, timeout: float = SETTLE_SECONDS) -> None:
        wait_until(self.same_contents, timeout, lambda: f"equal trees\n{self.logs()}")

    def logs(self) -> str:
        """The ends of both daemons' logs, for a failed test."""
        return "".join(f"--- {node.name}\n{node.daemon_log()[-3000:]}\n" for node in self.nodes)


@contextmanager
def running_cluster(
    text: str = "", files: int = 20, prepare: Callable[[Cluster], None] = lambda cluster: None
) -> Iterator[Cluster]:
    """A cluster of two, at home, with `files` files in a set that was begun and run.

    `prepare` comes before the daemons start.
    """
    with Lab() as lab:
        cluster = make(lab, text or config())
        prepare(cluster)
        for number in range(files):
            cluster.a.write(f"{TREE}/d{number % 5}/f{number}", f"content {number}\n")
        bring_up(cluster)
        yield cluster


def make(lab: Lab, text: str) -> Cluster:
    """The hosts with their files, switched on; no daemon runs."""
    from tests.lab import make_cluster

    a = lab.add_node(HOME, "10.77.0.1", directories=[TREE])
    b = lab.add_node(BACKUP, "10.77.0.2", directories=[TREE])
    made = Cluster(lab, a, b, lab.add_client())
    make_cluster(lab, text, made.nodes)
    lab.power_on()
    return made


def bring_up(cluster: Cluster) -> None:
    """Start both daemons, begin the set, wait until all is in step."""
    for node in cluster.nodes:
        node.start_drcm()
    wait_until(lambda: cluster.holders() == [HOME], SETTLE_SECONDS, cluster.logs)
    cluster.a.sync("testfs", "--init")
    cluster.settle()


# -- what a node says ------------------------------------------------------------------------------


def ask(node: Node, **request: Any) -> dict[str, Any]:
    """The daemon's answer on its control socket; {} while nobody answers."""
    if not node.is_on:
        return {}
    try:
        return dict(ask_local(Path(f"/proc/{node.init_pid}/root/{UNIX_SOCKET}"), request, 2.0))
    except DrcmError:
        return {}


def status(node: Node) -> dict[str, Any]:
    return ask(node, op="status")


def role(node: Node) -> str:
    """writer, replica, waiting, diverged or none; "" while nobody answers."""
    return str(ask(node, op="set", name="testfs").get("role", ""))


def last_good(node: Node) -> str:
    """When a run of the set last ended well, "" where none did."""
    return next((one["last_good"] or "" for one in status(node).get("sets", ())), "")


def generation(node: Node) -> int:
    return int(ask(node, op="set", name="testfs").get("generation", 0))


def settled_facts(node: Node) -> dict[str, Any]:
    """What `status` says of nodes, resources and sets, without what time alone changes."""
    told = status(node)
    nodes = [{k: v for k, v in one.items() if k != "heard_seconds_ago"} for one in told["nodes"]]
    sets = [
        {k: v for k, v in one.items() if k not in ("last_good", "lag_seconds", "run")} for one in told["sets"]
    ]
    return {"nodes": nodes, "resources": told["resources"], "running": told["running"], "sets": sets}


def logged(node: Node, pattern: str, start: int = 0) -> list[str]:
    """Lines of the daemon's log that match, from the offset `start` on."""
    return [line for line in node.daemon_log()[start:].splitlines() if re.search(pattern, line)]


def wait_logged(node: Node, pattern: str, timeout: float, start: int = 0) -> str:
    """Wait for a line of the daemon's log; that line."""
    found = wait_until(
        lambda: logged(node, pattern, start),
        timeout,
        lambda: f"{pattern!r} in the log of {node.name}:\n{node.daemon_log()[start:][-4000:]}",
    )
    return found[0]


# -- what lies on its disk -------------------------------------------------------------------------


def contents(node: Node, path: str = TREE) -> dict[str, str]:
    """Relative name -> hash of every file of a tree; drcm's own folder is left out."""
    return {name: facts[-1] for name, facts in listing(node, path, private=False).items() if facts[-1]}


def listing(
    node: Node, path: str = TREE, *, private: bool = True
) -> dict[str, tuple[int, int, int, int, str]]:
    """Relative name -> facts of everything in a tree, read without touching it."""
    root = node.path(path)
    found = {}
    for folder, folders, files in os.walk(root):
        if not private:
            folders[:] = [name for name in folders if name != OWN]
        for name in (*folders, *files):
            one = Path(folder, name)
            facts = _facts(one)
            if facts is not None:
                found[str(one.relative_to(root))] = facts
    return found


def _facts(path: Path) -> Facts | None:
    try:
        status = path.lstat()
        whole = stat.S_ISREG(status.st_mode)
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if whole else ""
    except FileNotFoundError:  # gone while we looked
        return None
    return status.st_mode, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, digest


def conflicts(node: Node) -> dict[str, str]:
    """Relative name -> hash of what is kept in .drcm/conflicts, below the folder of its run."""
    kept = contents_of_own(node, "conflicts")
    return {name.partition("/")[2]: digest for name, digest in kept.items() if "/" in name}


def contents_of_own(node: Node, folder: str) -> dict[str, str]:
    where = f"{TREE}/{OWN}/{folder}"
    if not node.path(where).is_dir():
        return {}
    return contents(node, where)
