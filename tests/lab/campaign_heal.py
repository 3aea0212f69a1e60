"""After the faults: everything is mended, an operator does what drcm asks for, and all copies must agree."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from drcm.clock import now
from drcm.errors import EXIT_OK
from tests.lab import LabError, Node, wait_until
from tests.lab import services as boot_services
from tests.lab.campaign_client import JOURNAL, OWN, REST, digest, read
from tests.lab.campaign_cluster import NAME, Cluster, record, the_set, tree
from tests.lab.campaign_faults import Faults, uncover
from tests.lab.node import DAEMON

AGREE_SECONDS = 300.0  # of a machine that starves; it takes 3 to 15
WORK_SECONDS = 60.0  # of a busy machine for the client's next operation
WORKS_BYTES = 500  # of journal: more than the line that it works again
ASK_SECONDS = 0.5  # between two looks
OPERATOR_SECONDS = 4.0  # an operator leaves drcm some time to go on by itself
Fact = tuple[str, int, str, int, tuple[str, ...]]  # kind, mode, hash or target, mtime, all its names


def mend(faults: Faults) -> None:
    """All links, powers, processes, clocks, disks and mounts are right again."""
    cluster = faults.cluster
    cluster.lab.heal_all()
    for node in cluster.nodes:
        for path in node.small:
            node.free_disk(path)
        if node.is_on:
            _mend_running(node)
        else:
            node.power_on()
        node.step_clock(0) if node._clock_faked else None
        if DAEMON in node.services and node.daemon.poll() is not None:
            node.services.pop(DAEMON)
        if DAEMON not in node.services:
            node.start_drcm(wait=0)


def _mend_running(node: Node) -> None:
    node.plug()
    for matching in list(node._paused):
        node.resume(matching)
    node.resume()
    if not boot_services.listens(node):
        boot_services.start_sshd(node)
    uncover(node)


class Operator:
    """Does what drcm's messages ask a person for, once it has had time to go on by itself."""

    def __init__(self, faults: Faults) -> None:
        self.faults, self.cluster, self.watch = faults, faults.cluster, faults.watch
        self._since: dict[str, float] = {}

    def look(self) -> None:
        said = {node.name: the_set(node) for node in self.cluster.members}
        for node in self.cluster.members:
            self._look(node, said)

    def _look(self, node: Node, said: dict[str, dict[str, object]]) -> None:
        writers = [name for name, one in said.items() if one.get("role") == "writer"]
        one = said[node.name]
        if node.name in self.faults.emptied and not _marker(node).exists():
            if len(writers) == 1 and self._is_late(f"reinit {node.name}"):
                self._type(node, "--reinit")
        elif one.get("role") == "diverged" and len(writers) == 1:
            if self._is_late("resolve"):
                self._type(self.cluster.node(writers[0]), "--resolve", f"keep={writers[0]}")
        elif self.faults.emptied and not writers and one.get("role") == "waiting":
            if self._is_late(f"promote {node.name}", 3 * OPERATOR_SECONDS):
                self._type(node, "--promote", "--accept-loss", "--yes")
        else:
            return

    def _is_late(self, what: str, seconds: float = OPERATOR_SECONDS) -> bool:
        since = self._since.setdefault(what, now())
        if now() - since < seconds:
            return False
        del self._since[what]
        return True

    def _type(self, node: Node, *words: str) -> None:
        done = node.sync(NAME, *words, check=False)
        said = (done.stderr or done.stdout).strip().replace("\n", " / ")
        ended = "done" if done.returncode == EXIT_OK else f"exit {done.returncode}: {said[-300:]}"
        self.watch.tell("OPERATOR", f"{node.name}: drcm-sync {NAME} {' '.join(words)}: {ended}")


def _marker(node: Node) -> Path:
    return tree(node) / ".drcm" / "set.json"


def agree(faults: Faults, patience: float = AGREE_SECONDS) -> None:
    """Wait until one node writes, all others are complete, and all trees are equal; LabError if not in time.

    The client rests from the moment there is a writer again.
    """
    operator = Operator(faults)
    last = [0.0]

    def agreed() -> bool:
        if now() - last[0] < ASK_SECONDS:
            return False
        last[0] = now()
        operator.look()
        return not disagreement(faults.cluster)

    wait_until(agreed, patience, lambda: f"all copies to agree: {disagreement(faults.cluster)}")


def rest(cluster: Cluster) -> None:
    """The client shall stand still, wherever it runs."""
    for node in cluster.members:
        node.write(REST, "")


def work(cluster: Cluster) -> None:
    """The client works again, wherever it runs; LabError if nobody does: faults would meet nothing."""
    before = _journalled(cluster)
    for node in cluster.members:
        node.path(REST).unlink(missing_ok=True)
    wait_until(lambda: _journalled(cluster) > before + WORKS_BYTES, WORK_SECONDS, "the client to work")


def _journalled(cluster: Cluster) -> int:
    """Bytes of all journals."""
    return sum(one.stat().st_size for node in cluster.members for one in node.path(JOURNAL).glob("*.jsonl"))


def disagreement(cluster: Cluster) -> str:
    """Why the cluster does not stand as it should; "" = it does."""
    said = {node.name: the_set(node) for node in cluster.members}
    roles = {name: one.get("role", "silent") for name, one in said.items()}
    writers = [name for name, role in roles.items() if role == "writer"]
    if len(writers) != 1 or sorted(roles.values()) != sorted(["writer"] + ["replica"] * (len(roles) - 1)):
        return f"roles {roles}, because {[one.get('problem') or one.get('reason') for one in said.values()]}"
    incomplete = [one["node"] for one in said[writers[0]]["targets"] if not one["complete"]]
    if incomplete:
        return f"{incomplete} not complete"
    try:
        return _differing(cluster, cluster.node(writers[0]))
    except FileNotFoundError as error:  # a run is under way
        return f"{error.filename!r} went while it was looked at"


def _differing(cluster: Cluster, writer: Node) -> str:
    if not _rests(writer):
        return f"the client on {writer.name} does not rest"
    first = facts(writer)
    for node in cluster.members:
        found = facts(node)
        differing = sorted(path for path in first.keys() | found.keys() if first.get(path) != found.get(path))
        if differing:
            path = differing[0]
            return (
                f"{len(differing)} names differ on {node.name}: {path!r}: {found.get(path)}, "
                f"on {writer.name}: {first.get(path)}"
            )
    known = [record(node) for node in cluster.members]
    heads = {one.head.id for one in known if one is not None and one.chain}
    return "" if len(heads) == 1 else "their records name different generations"


def _rests(node: Node) -> bool:
    """The last session there says that it stands still."""
    journals = sorted(node.path(JOURNAL).glob("*.jsonl"), key=lambda path: int(path.stem.rpartition("-")[2]))
    if not journals:
        return False
    return b'"e": "rest"' in journals[-1].read_bytes().rpartition(b"\n{")[2]


def facts(node: Node) -> dict[str, Fact]:
    """Everything in the visible tree but times of folders: kind, mode, content, mtime, hard links."""
    root = tree(node)
    found: dict[str, tuple[int, os.stat_result]] = {}
    for path in _everything(root):
        status = os.lstat(os.path.join(root, path))
        found[path] = (status.st_ino, status)
    names: dict[int, list[str]] = {}
    for path, (inode, _) in sorted(found.items()):
        names.setdefault(inode, []).append(path)
    return {path: _fact(root, path, status, names[inode]) for path, (inode, status) in found.items()}


def _fact(root: Path, path: str, status: os.stat_result, names: list[str]) -> Fact:
    whole = os.path.join(root, path)
    if stat.S_ISLNK(status.st_mode):
        return "link", 0, os.readlink(whole), 0, ()
    if stat.S_ISDIR(status.st_mode):
        return "folder", status.st_mode, "", 0, ()
    return "file", status.st_mode, digest(read(whole)), status.st_mtime_ns, tuple(names)


def _everything(root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(os.fsencode(root)):
        folders[:] = [name for name in folders if os.fsdecode(name) not in OWN]
        for name in (*folders, *names):
            yield os.fsdecode(os.path.relpath(os.path.join(folder, name), os.fsencode(root)))


__all__ = ["LabError", "agree", "disagreement", "facts", "mend", "rest", "work"]
