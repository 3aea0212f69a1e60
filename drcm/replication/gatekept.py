"""What drcm-gate shows of the versions kept on its node: `kept` lists, `fetch` sends a folder. Read only.

Nothing outside the set's own .drcm/trash and .drcm/conflicts is ever named: a client says a root's number,
one of the two kinds and a folder's name. It takes no lock. Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from itertools import islice
from typing import TypeVar

from drcm.errors import EXIT_NO_INPUT, DrcmError
from drcm.paths import Paths
from drcm.replication import kept, rsyncserver, trash
from drcm.replication.gatecalls import begun, node_name
from drcm.replication.gatereceive import child, server_words
from drcm.replication.gaterequest import INDEX, NAME, Answer, Request, checked, malformed, strings
from drcm.replication.generation import Record
from drcm.replication.rsync import Change

FOLDERS_SENT = 2000  # the newest of each kind
PAGE = 4000  # versions in one answer
PAGE_BYTES = 1 << 20  # of names, as JSON may have to write them: remote.REPLY_MAX bounds an answer
ESCAPED = 6  # characters of JSON for one of a name

T = TypeVar("T")


def listing(here: Paths, name: str, request: Request) -> Answer:
    """The folders of kept versions; with `label`, `kind` and `root` (its number) what one of them holds.

    A folder's answer is a page: `skip` so many versions; `more` is true where others follow.
    """
    record = begun(here, name, strings(request, "roots"))
    if "label" in request:
        return _contents(record, request)
    found = {kind: trash.folders(record, kind) for kind in kept.KINDS}
    paths = [root.path for root in record.roots]
    return {
        "node": node_name(here) or record.node,
        "folders": [
            {
                "kind": one.kind,
                "label": one.label,
                "root": paths.index(one.root),
                "path": one.root,
                "since": one.since,
            }
            for some in found.values()
            for one in some[:FOLDERS_SENT]
        ],
        "more": sum(max(0, len(some) - FOLDERS_SENT) for some in found.values()),
    }


def _contents(record: Record, request: Request) -> Answer:
    folder = _folder(record, request.get("kind"), str(request.get("root")), request.get("label"))
    skip = request.get("skip", 0)
    if not isinstance(skip, int) or skip < 0:
        raise malformed(f"{str(skip)[:80]!r} is no number of versions")
    found, more = _page(islice(trash.entries(folder), skip, None), lambda one: len(one.name))
    answer: Answer = {"entries": [asdict(one) for one in found], "more": more}
    if not skip:
        created, others = _page(_created(folder), len)
        answer |= {"created": created, "created_whole": not others}
        answer["metadata"] = trash.noted(folder)
    return answer


def _page(items: Iterable[T], length: Callable[[T], int]) -> tuple[list[T], bool]:
    """The first of them that fit into one answer, and whether others follow."""
    page: list[T] = []
    size = 0
    for item in items:
        size += ESCAPED * length(item)
        if len(page) == PAGE or (page and size > PAGE_BYTES):
            return page, True
        page.append(item)
    return page, False


def _created(folder: trash.Folder) -> Iterable[str]:
    return (name for change, name in trash.listed(folder) if change is Change.CREATED)


def _folder(record: Record, kind: object, index: str, label: object) -> trash.Folder:
    number = int(checked(INDEX, index, "number of a root"))
    if kind not in kept.KINDS or number >= len(record.roots):
        raise malformed(f"no such place in {record.name}: {str(kind)[:80]!r}, root {number}")
    text = checked(kept.LABEL, label, "name of a folder of kept versions")
    found = trash.find(record, record.roots[number].path, str(kind), text)
    if found is None:
        raise DrcmError(
            f"{record.name}: {record.node} has no .drcm/{kind}/{text} any more",
            f"What there is: drcm-sync {record.name} --history",
            EXIT_NO_INPUT,
        )
    return found


def fetch(here: Paths, arguments: list[str]) -> int:
    """rsync as sender of one folder. Its path is this gate's own, whatever the client names."""
    (name, index, kind, label), words = server_words(arguments, 4)
    record = begun(here, checked(NAME, name, "name of a set"))
    folder = _folder(record, kind, index, label)
    return child(rsyncserver.fetch_argv(words, str(folder.path)))
