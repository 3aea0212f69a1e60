"""The faults of a round: which, where, when; a pure function of the seed. And how each is made in the lab.

A schedule is a list of faults, each with a beginning and a length in seconds; several overlap. What a fault
needs may be gone when its time comes (the node is off): then nothing happens.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from drcm.clock import now
from tests.lab import LabError, Node
from tests.lab import services as boot_services
from tests.lab.campaign_client import TREE
from tests.lab.campaign_cluster import DISKS, KINDS, MEMBERS, NAME, Cluster
from tests.lab.campaign_watch import Watch
from tests.lab.host import BIN
from tests.lab.node import DAEMON

WINDOW_SECONDS = 6.0  # all faults begin within it
ROUNDS_PER_LAB = 5
BY_HAND_SECONDS = 8.0
PROGRAMS = ("bin/drcm-sync", "rsync", "sshd", "drcm-gate", "drcm.cluster.keeper", "campaign_client")
WHAT = (
    ("power", 5), ("cut", 3), ("one_way", 2), ("loss", 2), ("unplug", 2), ("kill_daemon", 4), ("kill", 6),
    ("pause", 3), ("pause_program", 2), ("clock", 2), ("unmount", 1), ("empty_disk", 1), ("full", 4),
    ("stop", 2), ("by_hand", 1), ("move", 2),
)  # fmt: skip
PARTICULARS: dict[str, tuple[Sequence[str], Sequence[float]]] = {  # what -> programs, amounts
    "kill": (PROGRAMS, ()),
    "pause_program": (PROGRAMS, ()),
    "loss": ((), range(10, 61)),
    "clock": ((), (-86400.0, -3600.0, 30.0, 7200.0, 4e8)),
    "full": ((*DISKS,), (0, 4, 64, 1024)),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault on `node` (and `other`, for a link); `what` is one of WHAT."""

    at: float
    seconds: float
    what: str
    node: str
    other: str = ""
    program: str = ""  # one of PROGRAMS, or of DISKS
    amount: float = 0.0  # percent of packets, seconds of the clock, or KiB left

    def __str__(self) -> str:
        more = " ".join(filter(None, (self.other, self.program, f"{self.amount:g}" if self.amount else "")))
        return f"{self.what} {self.node}{' ' if more else ''}{more} for {self.seconds:.2f} s"


def kind_of(seed: int) -> str:
    """Rounds of one lab follow each other."""
    return KINDS[seed // ROUNDS_PER_LAB % len(KINDS)]


def clock_node(seed: int) -> str:
    """Whose wall clock can be stepped in this lab; "" in every other one (it costs a node some speed)."""
    lab = seed // ROUNDS_PER_LAB
    return ("", "node2", "", "node1")[lab % 4]


def schedule(seed: int) -> tuple[Fault, ...]:
    """The faults of a round, in the order of their beginning."""
    dice, kind = random.Random(f"campaign {seed}"), kind_of(seed)
    names = [f"node{number}" for number in range(1, MEMBERS[kind] + 1)]
    members = names[:2] if kind == "witness" else names
    clock = clock_node(seed)
    what = [(one, weight) for one, weight in WHAT if one != "clock" or clock]
    faults = [_fault(dice, what, names, members) for _ in range(dice.choice((1, 2, 2, 3, 3, 4, 5)))]
    faults = [replace(fault, node=clock) if fault.what == "clock" else fault for fault in faults]
    emptied = [fault for fault in faults if fault.what == "empty_disk"]
    faults = [fault for fault in faults if fault not in emptied[1:]]  # of two empty disks nothing comes back
    return tuple(sorted(faults, key=lambda fault: fault.at))


def _fault(dice: random.Random, kinds: list[tuple[str, int]], names: list[str], members: list[str]) -> Fault:
    what = dice.choices([one for one, _ in kinds], [weight for _, weight in kinds])[0]
    on_copy = what in ("unmount", "empty_disk", "full", "by_hand", "kill", "move")
    node = dice.choice(members if on_copy else names)
    other = dice.choice([name for name in names if name != node])
    programs, amounts = PARTICULARS.get(what, ((), ()))
    return Fault(
        at=round(dice.uniform(0.0, WINDOW_SECONDS), 3),
        seconds=round(dice.choice((0.05, 0.4, 1.2, 2.5, 4.0)) * dice.uniform(0.8, 1.3), 3),
        what=what,
        node=node,
        other=other if what in ("cut", "one_way") else "",
        program=dice.choice(programs) if programs else "",
        amount=dice.choice(amounts) if amounts else 0.0,
    )


# -- in the lab ------------------------------------------------------------------------------------


class Faults:
    """Makes faults and ends them. `emptied`: when a node's disk was replaced (CLOCK_BOOTTIME)."""

    def __init__(self, cluster: Cluster, watch: Watch) -> None:
        self.cluster, self.watch = cluster, watch
        self.emptied: dict[str, float] = {}

    def begin(self, fault: Fault) -> None:
        self.watch.tell("FAULT", f"{fault} begins")
        self._do(f"begin_{fault.what}", fault)

    def end(self, fault: Fault) -> None:
        self.watch.tell("FAULT", f"{fault} ends")
        self._do(f"end_{fault.what}", fault)

    def _do(self, method: str, fault: Fault) -> None:
        act: Callable[[Fault, Node], None] | None = getattr(self, method, None)
        node = self.cluster.node(fault.node)
        if act is None or not (node.is_on or method in ALSO_OFF):
            return
        try:
            act(fault, node)
        except (LabError, TimeoutError) as error:  # it went off meanwhile
            self.watch.tell("FAULT", f"{fault}: {str(error).splitlines()[0]}")

    # -- power, links

    def begin_power(self, fault: Fault, node: Node) -> None:
        node.power_cut()

    def end_power(self, fault: Fault, node: Node) -> None:
        self.power_on(node)

    def power_on(self, node: Node) -> None:
        if not node.is_on:
            node.power_on()
            node.start_drcm(wait=0)

    def begin_cut(self, fault: Fault, node: Node) -> None:
        self.cluster.lab.cut(node, self.cluster.node(fault.other))

    def end_cut(self, fault: Fault, node: Node) -> None:
        self.cluster.lab.heal(node, self.cluster.node(fault.other))

    def begin_one_way(self, fault: Fault, node: Node) -> None:
        self.cluster.lab.cut_one_way(node, self.cluster.node(fault.other))

    end_one_way = end_cut

    def begin_loss(self, fault: Fault, node: Node) -> None:
        node.lose(fault.amount)

    def end_loss(self, fault: Fault, node: Node) -> None:
        node.lose(0)

    def begin_unplug(self, fault: Fault, node: Node) -> None:
        node.unplug()

    def end_unplug(self, fault: Fault, node: Node) -> None:
        node.plug()

    # -- processes

    def begin_kill_daemon(self, fault: Fault, node: Node) -> None:
        if DAEMON in node.services:
            node.kill_drcm()

    def end_kill_daemon(self, fault: Fault, node: Node) -> None:
        if DAEMON not in node.services:
            node.start_drcm(wait=0)

    def begin_kill(self, fault: Fault, node: Node) -> None:
        for pid in node.pids(fault.program):
            node.kill(pid, signal.SIGKILL)

    def end_kill(self, fault: Fault, node: Node) -> None:
        if fault.program == "sshd" and not boot_services.listens(node):
            boot_services.start_sshd(node)

    def begin_pause(self, fault: Fault, node: Node) -> None:
        node.pause()

    def end_pause(self, fault: Fault, node: Node) -> None:
        node.resume()

    def begin_pause_program(self, fault: Fault, node: Node) -> None:
        node.pause(fault.program)

    def end_pause_program(self, fault: Fault, node: Node) -> None:
        node.resume(fault.program)

    def begin_clock(self, fault: Fault, node: Node) -> None:
        node.step_clock(fault.amount)

    def end_clock(self, fault: Fault, node: Node) -> None:
        node.step_clock(0)

    # -- disks

    def begin_unmount(self, fault: Fault, node: Node) -> None:
        """An empty file system lies over the root, as if the real one were not mounted."""
        node.run(["mount", "-t", "tmpfs", "none", TREE])

    def end_unmount(self, fault: Fault, node: Node) -> None:
        uncover(node)

    def begin_empty_disk(self, fault: Fault, node: Node) -> None:
        """The power fails, and the disk of the root has to be replaced by an empty one."""
        if node.is_on:
            node.power_cut()
        root = node.path(TREE)
        for entry in root.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        self.emptied[node.name] = now()

    end_empty_disk = end_power

    def begin_full(self, fault: Fault, node: Node) -> None:
        node.fill_disk(fault.program, int(fault.amount * 1024))

    def end_full(self, fault: Fault, node: Node) -> None:
        node.free_disk(fault.program)

    # -- people

    def begin_stop(self, fault: Fault, node: Node) -> None:
        if DAEMON in node.services:
            node.daemon.terminate()

    def end_stop(self, fault: Fault, node: Node) -> None:
        """Started again; one that still leaves is killed, as systemd does after its time."""
        process = node.services.get(DAEMON)
        if process is not None and process.poll() is None:
            process.kill()
            process.wait(10.0)
        node.services.pop(DAEMON, None)
        node.start_drcm(wait=0)

    def begin_move(self, fault: Fault, node: Node) -> None:
        """A person moves what this node holds, and takes no notice of how it goes."""
        node.spawn([str(BIN / "drcm-sync"), NAME, "--failover", "--yes"])

    def end_move(self, fault: Fault, node: Node) -> None:
        for one in self.cluster.members:
            if one.is_on:
                one.spawn([str(BIN / "drcm-sync"), NAME, "--failback", "--yes"])

    def begin_by_hand(self, fault: Fault, node: Node) -> None:
        """No daemon, and a person who types the command all the same."""
        self.begin_kill_daemon(fault, node)

    def end_by_hand(self, fault: Fault, node: Node) -> None:
        if node.is_on:
            typed = node.spawn([str(BIN / "drcm-sync"), NAME])
            with contextlib.suppress(TimeoutError):
                self.watch.tell(node.name, f"drcm-sync {NAME} by hand: exit {typed.wait(BY_HAND_SECONDS)}")
            self.end_kill_daemon(fault, node)


def uncover(node: Node) -> None:
    """Take away what lies over the root. A boot did it, too: the node's own mount must stay."""
    mounts = Path(f"/proc/{node.init_pid}/mounts").read_text().splitlines()
    for _ in [line for line in mounts if line.startswith(f"none {TREE} tmpfs")]:
        node.run(["umount", "-l", TREE])


ALSO_OFF = {"end_power", "begin_empty_disk", "end_empty_disk", "begin_cut", "end_cut", "begin_one_way",
            "end_one_way", "begin_loss", "end_loss", "begin_clock", "end_clock", "begin_full",
            "end_full"}  # fmt: skip
