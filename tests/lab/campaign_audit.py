"""What drcm promises of files, and how exactly the campaign checks it after each round.

A *version* is a content that the client wrote completely. It is *on a disk* when the client wrote it there,
or when it lay under one name at the source during the whole of a run that was completed there. The client
may replace and remove what it likes: that is its wish, and ends the version on that disk. drcm may not. So:

1. **Nothing is lost.** For each disk that survived: every version that was on it, and that the client did not
   take away on that very disk, is on it still: in the tree, the trash or the conflicts.
2. **Nobody's last word expires.** A version that the client took away on no disk is in a tree or in
   conflicts: the trash is emptied in time.
3. **The trash holds only what the client wished away.** What a run deleted, the client had deleted, replaced
   or renamed, (name, content) by (name, content); what it replaced, too, or the content is kept in a tree or
   conflicts (rsync puts a file aside that it sends again for its time, or links anew).
4. **No partial file** is under its final name, ever, in any tree.
5. **Nobody else writes on the writer**: the client finds each file as it left it, as long as it runs.
6. **One history**: of one number one generation started (in a cluster of two without a witness a split may
   make two: then a person decides, and 1 to 3 hold for the loser's files too).
7. **All agree in the end** (campaign_heal): one writer, equal trees with links, modes and times.

What is not promised: a file in place/ that a kill cut in the middle of a write is what the kernel made of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from drcm.replication.rsync import unescape
from tests.lab import Node
from tests.lab import campaign_journal as journal
from tests.lab.campaign_client import IN_PLACE, JOURNAL, TEMPORARY, digest, read, scan
from tests.lab.campaign_cluster import Cluster, tree
from tests.lab.campaign_journal import EMPTY, Held, Pair, Session
from tests.lab.campaign_watch import Run, Watch, is_whole

DELETING = re.compile(rb"^\S+ \S+ \[\d+\] \*deleting +\d+ (.+)$", re.MULTILINE)  # its log's lines
SHOWN = 8  # findings of a kind


@dataclass(slots=True)
class Disk:
    """What lies on one node: contents in the tree, in conflicts, and (name, content) in the trash."""

    node: str
    tree: set[str] = field(default_factory=set)
    conflicts: set[str] = field(default_factory=set)
    trash: set[Pair] = field(default_factory=set)
    deleted: set[Pair] = field(default_factory=set)  # of the trash: what was deleted, not replaced

    @property
    def all(self) -> set[str]:
        return self.tree | self.conflicts | {content for _, content in self.trash}


@dataclass(slots=True)
class Audit:
    """The findings of a round; empty where all promises were kept."""

    cluster: Cluster
    watch: Watch
    emptied: dict[str, float]  # node -> when its disk was replaced
    findings: list[str] = field(default_factory=list)
    versions: int = 0  # that were looked for

    def go(self) -> None:
        sessions = [one for node in self.cluster.members for one in sessions_of(node)]
        disks = {node.name: read_disk(node) for node in self.cluster.members}
        lived = {name: self._lived_on(name, sessions) for name in disks}
        kept = set().union(*(one.tree | one.conflicts for one in disks.values()))
        for name, disk in disks.items():
            self._nothing_lost(disk, lived[name], [one for one in sessions if one.node == name])
            self._trash_is_wished(disk, kept, sessions)
        self._last_words(kept, lived, sessions)
        self._trees_are_whole()
        self._nobody_else_wrote(sessions)
        self._one_history()
        self.findings += self.watch.partials
        self.findings += [self.watch.fault] if self.watch.fault else []
        self.versions = sum(map(len, lived.values()))

    def _lived_on(self, name: str, sessions: list[Session]) -> dict[str, str]:
        """Content -> how it came onto this disk, since the disk is there."""
        since = self.emptied.get(name, 0.0)
        found: dict[str, str] = {}
        for session in sessions:
            if session.node == name:
                found.update(_written(session, since))
        for run in self.watch.runs:
            # One that began before may have been committed before, and be heard of later.
            if run.target == name and run.before > since:
                for held in self._sent(run, sessions):
                    story = f"{held.path!r} from {held.since:.3f} to {held.until:.3f}"
                    when = f"between {run.before:.3f} and {run.after:.3f}"
                    found.setdefault(held.content, f"({story}) given by {run.source} in run {run.run} {when}")
        found.pop(EMPTY, None)
        return found

    def _sent(self, run: Run, sessions: list[Session]) -> Iterator[Held]:
        """What lay under one name during the whole run, as far as a session's journal can tell."""
        for session in sessions:
            if session.node != run.source or session.start > run.before:
                continue
            if self.watch.reign_end(session.node, session.start) <= run.after:
                continue
            later = [one.start for one in sessions if one.node == run.source and one.start > session.start]
            if later and min(later) < run.after:
                continue  # the next session has found what was left, and says so
            for held in session.held:
                if held.since < run.before and held.until > run.after:
                    yield held

    # -- the promises

    def _nothing_lost(self, disk: Disk, lived: dict[str, str], sessions: list[Session]) -> None:
        gone = lived.keys() - journal.taken(sessions) - disk.all
        self._found(f"lost on {disk.node}", (f"{one[:12]} {lived[one]}" for one in gone))
        for one in gone:
            self._tell_all(one)

    def _tell_all(self, content: str) -> None:
        """What all journals say of a version that is lost goes into the story."""
        for node in self.cluster.members:
            for moment, what in journal.lines_about(node.path(JOURNAL), content):
                self.watch.story.append((moment, f"{node.name}, client", what))

    def _last_words(self, kept: set[str], lived: dict[str, dict[str, str]], sessions: list[Session]) -> None:
        there = {content: how for one in lived.values() for content, how in one.items()}
        gone = there.keys() - journal.taken(sessions) - kept
        self._found("in no tree and no conflicts", (f"{one[:12]} {there[one]}" for one in gone))

    def _trash_is_wished(self, disk: Disk, kept: set[str], sessions: list[Session]) -> None:
        client = Wish(sessions)
        wrong = [pair for pair in disk.trash if client.is_against(pair, kept, pair in disk.deleted)]
        shown = (f"{path!r} {content[:12]}{client.how(content)}" for path, content in wrong)
        self._found(f"in the trash of {disk.node}, but the client never took it away", shown)

    def _trees_are_whole(self) -> None:
        for node in self.cluster.members:
            root = tree(node)
            partial = [path for path in scan(str(root)) if not is_whole(root, path)]
            self._found(f"partial on {node.name}", map(repr, partial))

    def _nobody_else_wrote(self, sessions: list[Session]) -> None:
        for session in sessions:
            self._found(
                f"somebody else changed it under {session.name}", (what for _, what in session.foreign)
            )

    def _one_history(self) -> None:
        for number, ids in self.watch.started.items():
            if len(ids) > 1 and self.cluster.kind != "two":
                self._found(f"generation {number} started more than once", ids)

    def _found(self, what: str, which: Iterable[str]) -> None:
        found = sorted(which)
        if found:
            more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            self.findings.append(f"{what}: {len(found)}: {'; '.join(found[:SHOWN])}{more}")


class Wish:
    """What the client had, and what of it it took away, on all nodes."""

    def __init__(self, sessions: list[Session]) -> None:
        self._known = journal.meant(sessions)
        self._had = {(held.path, held.content) for one in sessions for held in one.held}
        self._taken, self._taken_pairs = journal.taken(sessions), journal.taken_pairs(sessions)

    def is_against(self, pair: Pair, kept: set[str], deleted: bool) -> bool:
        """Whether this (name, content) in the trash is there against the client's wish."""
        path, content = pair
        if content == EMPTY or pair in self._taken_pairs:
            return False
        if content not in self._known:  # a reader saw the middle of a write in place
            return not (path.startswith(IN_PLACE) or os.path.basename(path).startswith(TEMPORARY))
        if deleted and pair in self._had:
            return True
        # A name that moved while it was read may have got another's content for the time of one run.
        return content not in kept and (pair in self._had or content not in self._taken)

    def how(self, content: str) -> str:
        return "" if content in self._known else " (nobody wrote that)"


def _written(session: Session, since: float) -> Iterator[tuple[str, str]]:
    """(content, by whom and when) of what a session wrote itself."""
    for content, when in session.written.items():
        if when > since:
            yield content, f"written by {session.name} at {when:.3f}"


def sessions_of(node: Node) -> list[Session]:
    return journal.read(node.name, node.path(JOURNAL))


def read_disk(node: Node) -> Disk:
    """Everything that is kept on a node."""
    root, disk = tree(node), Disk(node.name)
    disk.tree = {digest(read(os.path.join(root, path))) for path in scan(str(root))}
    for folder in _folders(root / ".drcm" / "conflicts"):
        disk.conflicts |= {digest(read(os.path.join(folder, path))) for path in scan(str(folder))}
    for folder in _folders(root / ".drcm" / "trash"):
        replaced = {(path, digest(read(os.path.join(folder, path)))) for path in scan(str(folder))}
        deleted = _deleted(folder.with_name(f"{folder.name}.list"))
        disk.trash |= replaced
        disk.deleted |= {pair for pair in replaced if pair[0] in deleted}
    return disk


def _deleted(listing: Path) -> set[str]:
    """Names that the receiver's rsync says it deleted."""
    return {unescape(name) for name in DELETING.findall(listing.read_bytes())}


def _folders(place: Path) -> list[Path]:
    return [one for one in place.iterdir() if one.is_dir()] if place.is_dir() else []
