"""What the metadata of a tree was before a pass that keeps all it replaces (HISTORIES R24).

A version is content: rsync keeps no owner, mode, ACL or time that it changes alone. On an `ahead` tree they
may be the only trace of what a dead primary's users did, so they are written down before the first pass:
one JSON object a line, for all names; when the pass is whole, what is as it was is left out again.
Standard library only. It walks the tree.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from drcm import state
from drcm.replication.rootstate import PRIVATE


def write(root: str, place: Path) -> None:
    """List all of `root` in `place`, durably. One that is there stays: it tells of an earlier state."""
    if place.exists():
        return
    beside = place.with_name(f".{place.name}.new")
    with beside.open("w", encoding="ascii") as lines:
        for path, name in _names(root):
            lines.write(json.dumps(_facts(path, name), sort_keys=True) + "\n")
        lines.flush()
        os.fsync(lines.fileno())
    beside.rename(place)
    state.sync_directory(place.parent)


def trim(root: str, place: Path) -> int:
    """Leave in `place` only what differs now or is gone; how many that is. An empty one goes."""
    if not place.exists():
        return 0
    beside = place.with_name(f".{place.name}.new")
    count = 0
    with place.open(encoding="ascii") as lines, beside.open("w", encoding="ascii") as left:
        for line in lines:
            if _differs(root, json.loads(line)):
                left.write(line)
                count += 1
    if count:
        beside.rename(place)
    else:
        beside.unlink()
        place.unlink()
    return count


def _differs(root: str, facts: dict[str, Any]) -> bool:
    try:
        now = _facts(os.path.join(root, facts["name"]), facts["name"])
    except (FileNotFoundError, NotADirectoryError):
        return True
    ignored = {"ctime_ns", *(("mtime_ns", "size") if facts["type"] == now["type"] == "d" else ())}
    return any(now[key] != value for key, value in facts.items() if key not in ignored)


def _names(root: str) -> Iterator[tuple[str, str]]:
    """(path, name relative to the root) of everything but drcm's own folder."""
    for where, folders, files in os.walk(root):
        if where == root and PRIVATE in folders:
            folders.remove(PRIVATE)
        folders.sort()
        for one in sorted([*folders, *files]):
            path = os.path.join(where, one)
            yield path, os.path.relpath(path, root)


def _facts(path: str, name: str) -> dict[str, Any]:
    """Mode as in chmod; ACLs are the extended attribute system.posix_acl_access, in base64 as all of them."""
    status = os.lstat(path)
    kinds = {stat.S_ISREG: "f", stat.S_ISDIR: "d", stat.S_ISLNK: "l"}
    return {
        "name": name,
        "type": next((kind for test, kind in kinds.items() if test(status.st_mode)), "o"),
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "uid": status.st_uid,
        "gid": status.st_gid,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
        "xattrs": _attributes(path),
    }


def _attributes(path: str) -> dict[str, str]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return {
            one: base64.b64encode(os.getxattr(path, one, follow_symlinks=False)).decode() for one in names
        }
    except OSError:  # a file system without them, or gone while we looked
        return {}
