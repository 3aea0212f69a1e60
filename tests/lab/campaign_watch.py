"""The campaign's eyes: a thread that looks at all nodes from outside, some twenty times a second.

It tells the story (each daemon's log, faults, runs), stamped with CLOCK_BOOTTIME, which no fault touches; it
notes runs and writers from the durable records; and it opens each file that changed in a visible tree: a
partial one shows by itself (campaign_client).
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from drcm.clock import now
from drcm.replication.generation import Record
from tests.lab import Node
from tests.lab.campaign_client import IN_PLACE, TEMPORARY, digest, read, scan, signature
from tests.lab.campaign_cluster import Cluster, record, tree
from tests.lab.watch import Looking

LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Run:
    """A run that was completed. What `source` held from `before` to `after` is on `target` since `after`."""

    source: str
    target: str
    generation: str
    run: str
    before: float  # the run had not begun
    after: float  # it was complete


@dataclass(slots=True)
class Eye:
    """What was last seen of one node."""

    node: Node
    record: Record | None = None
    looked: float = 0.0
    log_read: int = 0
    files: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    begun: dict[tuple[str, str, str], float] = field(default_factory=dict)  # generation, peer, run -> before
    complete: set[tuple[str, str, str]] = field(default_factory=set)


class Watch(Looking):
    """`story`, `runs`, `partials` and `writers` grow while it runs; read them at any time."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__()
        self.story: list[tuple[float, str, str]] = []  # when, who, what
        self.runs: list[Run] = []
        self.partials: list[str] = []
        self.writers: dict[
            str, list[tuple[float, str]]
        ] = {}  # node -> (when, writer of its newest generation)
        self.started: dict[int, set[str]] = {}  # number -> ids of generations that started
        self.fault = ""  # why the watch itself ended
        self._eyes = [Eye(node) for node in cluster.nodes]
        self._members = {node.name for node in cluster.members}

    def tell(self, who: str, what: str) -> None:
        self.story.append((now(), who, what))

    def _run(self) -> None:
        try:
            while not self._end.wait(LOOK_SECONDS):
                for eye in self._eyes:
                    self._look(eye)
        except Exception as error:
            self.fault = f"the watch ended: {error!r}"
            raise

    def _look(self, eye: Eye) -> None:
        self._read_log(eye)
        if eye.node.name not in self._members:
            return
        moment = now()
        found = record(eye.node)
        if found is not None and found != eye.record:
            self._note_runs(eye, found)
            self._note_writer(eye, found, moment)
            eye.record = found
        eye.looked = moment
        self._look_for_partials(eye)

    def _read_log(self, eye: Eye) -> None:
        path = eye.node.log("drcm-server")
        with contextlib.suppress(FileNotFoundError), path.open("rb") as log:
            log.seek(eye.log_read)
            whole, newline, _ = log.read().rpartition(b"\n")
            eye.log_read += len(whole) + len(newline)
            for line in whole.decode(errors="replace").splitlines():
                self.tell(eye.node.name, line)

    # -- records

    def _note_runs(self, eye: Eye, found: Record) -> None:
        if not found.is_writer:
            return
        for peer, given in found.given.items():
            # Not seen before: it had not begun at the last look.
            eye.begun.setdefault((found.head.id, peer, given.begun), eye.looked)
            done = (found.head.id, peer, given.complete)
            if given.complete and done in eye.begun and done not in eye.complete:
                eye.complete.add(done)
                run = Run(eye.node.name, peer, found.head.id, given.complete, eye.begun[done], now())
                self.runs.append(run)
                self.tell(eye.node.name, f"run {run.run} to {peer} is complete")

    def _note_writer(self, eye: Eye, found: Record, moment: float) -> None:
        newest = found.newest
        if newest is None:
            return
        for one in found.chain[:8]:
            if one.started:
                self.started.setdefault(one.n, set()).add(one.id)
        seen = self.writers.setdefault(eye.node.name, [])
        if not seen or seen[-1][1] != newest.writer:
            seen.append((moment, newest.writer))
            self.tell(eye.node.name, f"record: generation {newest.n} ({newest.why}) is {newest.writer}'s")

    def reign_end(self, node: str, since: float) -> float:
        """When the node's record first named another writer after `since`; infinity if it never did."""
        others = (when for when, writer in self.writers.get(node, []) if when > since and writer != node)
        return min(others, default=float("inf"))

    # -- trees

    def _look_for_partials(self, eye: Eye) -> None:
        with contextlib.suppress(OSError):  # the disk was replaced while we looked
            root = tree(eye.node)
            found = dict(_changed(root, eye.files))
            for path in found:
                if not is_whole(root, path):
                    self.partials.append(f"{eye.node.name}: {path!r} is partial")
                    self.tell(eye.node.name, f"PARTIAL {path!r}")
            eye.files.update(found)


def _changed(root: Path, known: dict[str, tuple[int, int, int]]) -> list[tuple[str, tuple[int, int, int]]]:
    found = []
    for path in scan(str(root)):
        with contextlib.suppress(FileNotFoundError):
            seen = signature(os.path.join(root, path))
            if known.get(path) != seen:
                found.append((path, seen))
    return found


def is_whole(root: Path, path: str) -> bool:
    """The file is as a client wrote it in one go; what may be written in place is not looked at."""
    if path.startswith(IN_PLACE) or os.path.basename(path).startswith(TEMPORARY):
        return True
    try:
        first, newline, rest = read(os.path.join(root, path)).partition(b"\n")
    except FileNotFoundError:
        return True  # replaced or deleted meanwhile
    return bool(newline) and first.decode("ascii", "replace") == digest(rest)
