"""A root that is sent several times, because files came and went on the live tree while it was sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from drcm.replication.again import patterns
from drcm.replication.generation import Record, Root
from drcm.replication.outcome import Outcome, judge
from drcm.replication.passes import PASSES
from drcm.replication.push import Push, TransferError
from drcm.replication.rsync import Change, Item
from drcm.replication.sources import Sources

GOOD, PARTIAL, VANISHED = 0, 23, 24


@dataclass(slots=True)
class Told(Push):
    """A push whose rsync ended as told: (exit code, names it mentioned), one for each try."""

    ends: list[tuple[int, Sequence[str]]] = field(default_factory=list)
    asked: list[Sequence[str]] = field(default_factory=list)
    touched: str = ""  # what it mentions is linked to another name in this tree, and changes meanwhile

    def _send_once(
        self, seen: Any, root: Any, link: Any, attempt: int, deletes: bool, sent: list[Item], only: Any = ()
    ) -> Outcome:
        code, names = self.ends.pop(0)
        self.asked.append(only)
        for name in names:
            sent.append(Item(Change.CREATED, "f", 1, name, linked=bool(self.touched)))
            if self.touched:
                (Path(self.touched) / name).chmod(0o600)
        return judge(code, "")


def send(tree: Path, *ends: tuple[int, Sequence[str]], planned: Sequence[str], touched: bool = False) -> Told:
    for name in planned:
        (tree / name).write_text("x")
    root = Root(str(tree), "mirror", "a" * 32, 0)
    names = {root.path: tuple(planned)}
    push = Told(cast(Any, None), "beta", cast(Record, None), Sources(), planned=names, ends=list(ends))
    push.touched = str(tree) if touched else ""
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
        send(tmp_path, *[(VANISHED, came)] * PASSES, planned=["one", "two"])


def test_a_planned_name_that_is_never_sent_is_asked_for_alone(tmp_path: Path) -> None:
    """rsync ended well twice, and said nothing of what is there (HISTORIES R1): for that name alone it must
    end well, too. Then it is in step: it was planned as a link to a name that went."""
    push = send(tmp_path, (GOOD, ["one"]), (GOOD, []), (GOOD, []), planned=["one", "two"])
    assert push.asked == [[], [], patterns(["two"])]
    with pytest.raises(TransferError, match="could not be transferred"):
        send(tmp_path, (GOOD, ["one"]), (GOOD, []), (PARTIAL, []), planned=["one", "two"])


def test_a_name_that_cannot_be_asked_for_fails_the_run(tmp_path: Path) -> None:
    """rsync writes it in a way of its own; all of the root was sent twice: the next run looks again."""
    with pytest.raises(TransferError, match=r"planned, still there and not sent: a.b"):
        send(tmp_path, (GOOD, []), (GOOD, []), planned=["a\\b"])


def test_what_is_linked_to_what_changes_is_sent_again_and_again(tmp_path: Path) -> None:
    """Not for ever: a name that changes under each pass fails the run, one that rests does not."""
    linked = [(GOOD, ["one"])] * PASSES
    push = send(tmp_path, *linked[:3], (GOOD, []), planned=["one"], touched=True)
    assert push.asked == [[], *[patterns(["one"])] * 3]
    with pytest.raises(TransferError, match=r"changed each time it was sent: one"):
        send(tmp_path, *linked, planned=["one"], touched=True)


def test_a_name_that_is_gone_is_not_missed(tmp_path: Path) -> None:
    """What was planned and deleted since is no fault of the run."""
    root = Root(str(tmp_path), "mirror", "a" * 32, 0)
    planned = {root.path: ("gone",)}
    push = Told(cast(Any, None), "beta", cast(Record, None), Sources(), planned=planned, ends=[(GOOD, [])])
    push._send_root(cast(Any, None), root, cast(Any, None), 1, True)
    assert push.ends == []
