"""A root that is sent twice, because files came and went on the live tree while it was sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from drcm.replication.generation import Record, Root
from drcm.replication.outcome import Outcome, judge
from drcm.replication.push import Push, TransferError
from drcm.replication.rsync import Change, Item
from drcm.replication.sources import Sources

GOOD, VANISHED = 0, 24


@dataclass(slots=True)
class Told(Push):
    """A push whose rsync ended as told: (exit code, names it mentioned), one for each try."""

    ends: list[tuple[int, Sequence[str]]] = field(default_factory=list)

    def _send_once(
        self, seen: Any, root: Any, link: Any, attempt: int, deletes: bool, sent: list[Item], only: Any = ()
    ) -> Outcome:
        code, names = self.ends.pop(0)
        sent.extend(Item(Change.CREATED, "f", 1, name) for name in names)
        return judge(code, "")


def send(tree: Path, *ends: tuple[int, Sequence[str]], planned: Sequence[str]) -> Told:
    for name in planned:
        (tree / name).write_text("x")
    root = Root(str(tree), "mirror", "a" * 32, 0)
    names = {root.path: tuple(planned)}
    push = Told(cast(Any, None), "beta", cast(Record, None), Sources(), planned=names, ends=list(ends))
    push._send_root(cast(Any, None), root, cast(Any, None), 1, True)
    return push


def test_what_the_first_try_sent_counts(tmp_path: Path) -> None:
    """After vanished files the second try mentions only the rest: nothing is missing."""
    push = send(tmp_path, (VANISHED, ["one", "two"]), (GOOD, ["three"]), planned=["one", "two", "three"])
    assert push.ends == []


def test_a_planned_name_that_was_not_sent_is_tried_once_more(tmp_path: Path) -> None:
    """It was moved away and back under rsync's eyes: the second try sends it."""
    push = send(tmp_path, (GOOD, ["one"]), (GOOD, ["two"]), planned=["one", "two"])
    assert push.ends == []


def test_what_came_meanwhile_hides_nothing(tmp_path: Path) -> None:
    """A client goes on writing: more was sent than was planned, and yet one planned name was not."""
    came = ["one", "new 1", "new 2", "new 3"]
    push = send(tmp_path, (GOOD, came), (GOOD, ["two"]), planned=["one", "two"])
    assert push.ends == []
    with pytest.raises(TransferError, match=r"planned, still there and not sent: two"):
        send(tmp_path, (VANISHED, came), (VANISHED, came), planned=["one", "two"])


def test_a_planned_name_that_is_never_sent_fails_the_run(tmp_path: Path) -> None:
    """rsync ended well twice, but did not send what is there (HISTORIES R1): the run is not whole."""
    with pytest.raises(TransferError, match=r"planned, still there and not sent: two"):
        send(tmp_path, (GOOD, ["one"]), (GOOD, []), planned=["one", "two"])


def test_a_name_that_is_gone_is_not_missed(tmp_path: Path) -> None:
    """What was planned and deleted since is no fault of the run."""
    root = Root(str(tmp_path), "mirror", "a" * 32, 0)
    planned = {root.path: ("gone",)}
    push = Told(cast(Any, None), "beta", cast(Record, None), Sources(), planned=planned, ends=[(GOOD, [])])
    push._send_root(cast(Any, None), root, cast(Any, None), 1, True)
    assert push.ends == []
