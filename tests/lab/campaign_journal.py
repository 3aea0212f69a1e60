"""What the client's journals say: which versions there were, where, when, and which the client took away.

A version is a content, known by its SHA-256 (the client makes each one unique, but for the empty file).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EMPTY = hashlib.sha256(b"").hexdigest()
ALWAYS = float("inf")
Pair = tuple[str, str]  # (path below the tree, hash)


@dataclass(slots=True)
class Held:
    """One path had this content from `since` (it was done) until `until` (its end was begun)."""

    path: str
    content: str
    since: float
    until: float = ALWAYS


@dataclass(slots=True)
class Session:
    """One life of the client on `node`. Times are CLOCK_BOOTTIME."""

    node: str
    name: str
    start: float = 0.0
    held: list[Held] = field(default_factory=list)
    written: dict[str, float] = field(default_factory=dict)  # content -> when it was completely written
    taken: set[str] = field(default_factory=set)  # contents that lost their last name, or perhaps did
    taken_pairs: set[Pair] = field(default_factory=set)  # what was replaced, removed or renamed, perhaps
    meant: set[str] = field(default_factory=set)  # contents that were written, perhaps
    foreign: list[tuple[float, str]] = field(default_factory=list)
    operations: int = 0
    rests: list[float] = field(default_factory=list)


def read(node: str, folder: Path) -> list[Session]:
    """The sessions on a node, oldest first."""
    sessions = [_session(node, path) for path in folder.glob("*.jsonl")]
    return sorted((one for one in sessions if one.start), key=lambda one: one.start)


def _session(node: str, path: Path) -> Session:
    session, now = Session(node, path.stem), _Now()
    for line in _lines(path):
        now.take(session, line)
    now.end(session)
    return session


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield json.loads(line)


def lines_about(folder: Path, content: str) -> Iterator[tuple[float, str]]:
    """(when, what) of all lines of all sessions that name this content, their beginnings and ends, and what
    became of each try."""
    for path in sorted(folder.glob("*.jsonl")):
        tried = False
        for line in _lines(path):
            named = content in json.dumps(line)
            if named or tried or line["e"] in ("open", "rest", "work", "close"):
                yield line["t"], f"{path.stem}: {_in_short(line, content)}"
            tried = named and line["e"] == "try"


def _in_short(line: dict[str, Any], content: str) -> str:
    pairs = [
        f"{key} {path!r}"
        for key in ("found", "takes", "gives")
        for path, one in line.get(key, ())
        if one == content
    ]
    return " ".join([line["e"], line.get("op", ""), line.get("why", ""), *pairs])


class _Now:
    """The tree as the session knows it while its journal is read."""

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}
        self.trying: dict[str, Any] | None = None

    def take(self, session: Session, line: dict[str, Any]) -> None:
        match line["e"]:
            case "open":
                session.start = line["t"]
                for path, content in line["found"]:
                    self._put(session, path, content, line["t"])
            case "try":
                self._try(session, line)
            case "did":
                self._did(session, line["t"])
            case "failed":
                self._in_doubt(session)
            case "foreign":
                session.foreign.append((line["t"], f"{line['path']!r} {line['why']}"))
            case "rest":
                session.rests.append(line["t"])

    def _try(self, session: Session, line: dict[str, Any]) -> None:
        self.trying = line
        session.operations += 1
        session.taken_pairs.update((path, content) for path, content in line["takes"])
        session.meant.update(content for _, content in line["gives"])
        for path, _ in line["takes"]:
            if path in self.held:
                self.held[path].until = line["t"]

    def _did(self, session: Session, moment: float) -> None:
        if self.trying is None:
            return
        tried, self.trying = self.trying, None
        for path, _ in tried["takes"]:
            self.held.pop(path, None)
        for path, content in tried["gives"]:
            self._put(session, path, content, moment)
            session.written.setdefault(content, moment)
        left = {one.content for one in self.held.values()}
        session.taken.update(content for _, content in tried["takes"] if content not in left)

    def _in_doubt(self, session: Session) -> None:
        """It was stopped half way: what it meant to take may be gone, what it meant to give may be there."""
        if self.trying is None:
            return
        tried, self.trying = self.trying, None
        session.taken.update(content for _, content in tried["takes"])
        for path, _ in (*tried["takes"], *tried["gives"]):
            self.held.pop(path, None)

    def end(self, session: Session) -> None:
        self._in_doubt(session)

    def _put(self, session: Session, path: str, content: str, since: float) -> None:
        self.held[path] = Held(path, content, since)
        session.held.append(self.held[path])


def taken(sessions: Iterable[Session]) -> set[str]:
    return set().union(*(one.taken for one in sessions))


def taken_pairs(sessions: Iterable[Session]) -> set[Pair]:
    return set().union(*(one.taken_pairs for one in sessions))


def meant(sessions: Iterable[Session]) -> set[str]:
    """Every content that the client ever began to write."""
    return set().union(*(one.meant for one in sessions))
