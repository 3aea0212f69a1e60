"""The newest generation of each set that this voter has durably: `heads.json` in the state directory.

A witness has nothing else of a set. Several worker threads write it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from drcm.cluster.messages import Head
from drcm.state import read_json, write_json


class HeadsFile:
    """What is stored, and what is to be. OSError, and DrcmError of `state`, where it can't be."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._heads: dict[str, Head] = {}
        self._lock = threading.RLock()

    def load(self) -> None:
        self._heads = {name: Head(**head) for name, head in (read_json(self._path) or {}).items()}

    @property
    def heads(self) -> Mapping[str, Head]:
        return self._heads

    def note(self, name: str, head: Head) -> None:
        """At the start: a record, durable itself, names one that was not written here before a crash."""
        if self.is_news(name, head):
            self._heads = {**self._heads, name: head}

    def learn(self, name: str, head: Head) -> bool:
        """Make it durable where it is newer than what is stored; was it?"""
        with self._lock:
            news = self.is_news(name, head)
            if news:
                self._write(name, head)
            return news

    def store(self, name: str, head: Head) -> None:
        """Make it durable, unless a higher number is: it may have become another of the same number."""
        with self._lock:
            known = self._heads.get(name)
            if known is None or head.n >= known.n:
                self._write(name, head)

    def take_back(self, name: str, head: Head, me: str) -> bool:
        """`me` has gone back to `head` from a generation of its own that never started, and never will be:
        only its maker could start it, and has it no more. Durable; was there one?"""
        with self._lock:
            known = self._heads.get(name)
            if known is None or known.started or known.writer != me or known.n <= head.n:
                return False
            self._write(name, head)
            return True

    def is_news(self, name: str, head: Head) -> bool:
        """Newer than what is stored."""
        known = self._heads.get(name)
        return known is None or known.n < head.n

    def _write(self, name: str, head: Head) -> None:
        heads = {**self._heads, name: head}
        write_json(self._path, {one: asdict(newest) for one, newest in heads.items()})
        self._heads = heads  # not before: what could not be written is tried again at the next look
