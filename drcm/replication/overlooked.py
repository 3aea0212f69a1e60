"""What an rsync that ended well, or nearly, did not bring over, and says nothing of.

- A name that was moved to where rsync had looked already (HISTORIES R1).
- The other names of a file with hard links, where the one that rsync sends it under vanished meanwhile.
- Those names where that one was replaced meanwhile: they get the content of what came in its place.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from drcm.replication.roots import MARKER
from drcm.replication.rootstate import PRIVATE
from drcm.replication.rsync import Item


def moment(root: str) -> int:
    """Now, in nanoseconds by the file system's own clock; 0 where nothing can be written."""
    marker = Path(root, PRIVATE, MARKER)
    try:
        marker.chmod(marker.stat().st_mode & 0o7777)  # its ctime changes, and nothing else
        return marker.stat().st_ctime_ns
    except OSError:
        return 0


def parted(root: str, sent: Iterable[Item], since: int) -> tuple[str, ...]:
    """The names that rsync linked to another, and whose file changed, or lost a name, since then."""
    return tuple(item.name for item in sent if item.linked and _changed(os.path.join(root, item.name), since))


def missed(
    root: str, planned: Iterable[str], sent: Iterable[Item], known: Collection[str] = ()
) -> tuple[str, ...]:
    """Planned names that are still at the source, and that the run did not mention; `known` ones aside."""
    mentioned = {item.name for item in sent}.union(known)
    names = [name for name in planned if name not in mentioned]
    return tuple(name for name in names if os.path.lexists(os.path.join(root, name)))


def _changed(path: str, since: int) -> bool:
    try:
        return os.lstat(path).st_ctime_ns >= since
    except OSError:  # gone: the next run sees to it
        return False
