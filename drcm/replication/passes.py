"""The rsyncs that bring over one root of a live tree: all of it, then again what failed, vanished or changed
under way, until the root is whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from drcm.errors import EXIT_PROTOCOL
from drcm.replication import again, overlooked
from drcm.replication.outcome import Kind, Outcome
from drcm.replication.rsync import Item

PASSES = 5  # of one run; where files change faster than that, the next run goes on

Send = Callable[[int, Sequence[str], list[Item]], Outcome]


def until_whole(root: str, planned: Sequence[str], send: Send) -> Outcome | None:
    """None where the root is whole over there, else how it ended.

    `send`(number from 0 on, rsync's include patterns or () for all, sent) runs one rsync and adds to `sent`
    what it mentioned. `planned`: the names that a dry run had found to differ.
    """
    sent: list[Item] = []
    names: tuple[str, ...] = ()
    compared: set[str] = set()  # by an rsync for these names: in step, even where it says nothing of them
    for number in range(PASSES):
        since, before = overlooked.moment(root), len(sent)
        ended = send(number, again.patterns(names), sent)
        failed = again.paths_again(ended, root) if number == 0 else None
        if failed is None and not _stands(ended, number):
            return ended
        if ended.good:
            compared.update(names)
        missed = overlooked.missed(root, planned, sent, compared.union(failed or ()))
        parted = overlooked.parted(root, sent[before:], since)
        if failed is None and not missed and not parted:
            return None
        following = _next(number, failed, missed, parted, root)
        if following is None:
            break
        names = following
    return _not_whole(ended, missed, parted)


def _stands(ended: Outcome, number: int) -> bool:
    """A live tree always has files that come and go: after the first pass that is good."""
    return ended.good or (number > 0 and ended.kind is Kind.VANISHED)


def _next(
    number: int, failed: tuple[str, ...] | None, missed: tuple[str, ...], parted: tuple[str, ...], root: str
) -> tuple[str, ...] | None:
    """What one more rsync is for; () = all of the root, once: so it sees which names are one file.

    None = it can't be said, and all of it was sent twice.
    """
    if number == 0 and (failed == () or missed):
        return ()
    names = again.also(failed, (*missed, *parted), root)
    return names if names or number == 0 else None


def _not_whole(ended: Outcome, missed: tuple[str, ...], parted: tuple[str, ...]) -> Outcome:
    why = "planned, still there and not sent" if missed else "linked, and changed each time it was sent"
    names = missed or parted
    reason = f"{why}: {', '.join(names[:5])}"
    return Outcome(Kind.PARTIAL, reason, EXIT_PROTOCOL, ended.rsync_rc, names)
