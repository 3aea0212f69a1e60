"""Hard links that parted while rsync was at work.

rsync sends one name of a file and links the others to it. Where that name became another file since rsync
looked (a program replaced it by rename), the others get that one's content, and rsync calls it a success.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
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


def _changed(path: str, since: int) -> bool:
    try:
        return os.lstat(path).st_ctime_ns >= since
    except OSError:  # gone: the next run sees to it
        return False
