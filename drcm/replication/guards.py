"""The guards: what must be true of source and target before a file is touched. Pure.

Each refusal is a GuardError that says what was expected and found, the usual causes, the safe next
command, and the one-time override `--override=GUARD`. The marker itself has no override: what does
not carry it is not the set's tree.
"""

from __future__ import annotations

from collections.abc import Collection

from drcm.errors import GuardError
from drcm.replication.generation import Record, Root
from drcm.replication.rootstate import PRIVATE, RootState

OVERRIDES = ("mount", "mounts", "empty", "shrink", "room", "delete", "live")
ROOM_KEPT = 0.02  # of the needed bytes more, for folders and metadata


def check_root(record: Record, root: Root, state: RootState, overrides: Collection[str] = ()) -> None:
    """The root is the one that was recorded: there, marked, on its mount, mounts below it all there.

    The device number is not compared: it changes with the order in which disks are found. The marker
    lies in the tree itself, so an unmounted point does not have it.
    """
    if not state.is_dir:
        what = "there is something else" if state.exists else "there is nothing"
        raise _refusal(record, root, f"expected the directory, {what}", _GONE)
    if state.marker_fault:
        raise _refusal(record, root, f"its marker can't be read: {state.marker_fault}", _GONE)
    if state.marker is None:
        what = f"not mounted, or not the set's: expected the marker {_marker(root)}"
        raise _refusal(record, root, what, _GONE)
    if state.marker.set_uuid != record.set_uuid or state.uuid != root.uuid:
        found = f"{state.marker.name} on {state.marker.node} (root {state.uuid})"
        what = f"expected the marker of {record.name} (root {root.uuid}), found that of {found}"
        raise _refusal(record, root, what, _OTHER)
    _check_mounts(record, root, state, overrides)


def check_source(record: Record, root: Root, state: RootState, overrides: Collection[str] = ()) -> None:
    """`check_root`, and not empty though runs of it were completed."""
    check_root(record, root, state, overrides)
    if state.entries or "empty" in overrides or not _was_synced(record):
        return
    counted = f" ({root.files} files at the last complete run)" if root.files else ""
    raise _refusal(record, root, f"expected the files of the set{counted}, it is empty", _EMPTY, "empty")


def check_live(record: Record, root: Root, found: Collection[str], overrides: Collection[str] = ()) -> None:
    """No database is at work in the source; `found`: what is, in words."""
    if found and "live" not in overrides:
        what = f"expected files at rest, found at work: {', '.join(found)}"
        raise _refusal(record, root, what, _LIVE, "live")


def check_shrink(
    name: str, root: Root, files: int, max_shrink_percent: float, overrides: Collection[str] = ()
) -> None:
    """The source has not lost more than `max_shrink_percent` of its files since the last complete run.

    `files`: counted now. Nothing is refused before a first count.
    """
    least = root.files * (1 - max_shrink_percent / 100)
    if files >= least or "shrink" in overrides:
        return
    raise GuardError(
        f"{name}: {root.path}: expected at least {least:.0f} files ({root.files} at the last complete run, "
        f"less {max_shrink_percent:g} %), found {files}",
        _advice(name, "shrink", _EMPTY),
    )


def check_target(
    record: Record,
    root: Root,
    state: RootState,
    needed: int = 0,
    overrides: Collection[str] = (),
    files: int = 0,
) -> None:
    """`check_root`, writable, and room for `needed` bytes and `files` new names."""
    check_root(record, root, state, overrides)
    if state.read_only:
        raise _refusal(record, root, "expected to write, it is mounted read-only", _READ_ONLY)
    if "room" in overrides:
        return
    if state.free < needed * (1 + ROOM_KEPT):
        what = f"expected room for {needed} bytes, {state.free} are free"
        raise _refusal(record, root, what, _FULL, "room")
    if state.free_files is not None and state.free_files < files:
        what = f"expected room for {files} new files, {state.free_files} inodes are free"
        raise _refusal(record, root, what, _FULL, "room")


_GONE = "it is not mounted; it was replaced by an empty disk; it was deleted"
_OTHER = "another disk is mounted there; the tree was copied with its marker; two sets name one directory"
_MOUNT = "it is mounted elsewhere than before; fstab was changed; a bind mount is missing"
_EMPTY = "a file system is not mounted; the files were moved or deleted; the wrong directory is named"
_LIVE = (
    "a database keeps its files in the set, and a copy taken while it writes may be useless; give "
    "pre_sync and post_sync commands that make it consistent (a dump, a snapshot), or set allow_live = 1"
)
_READ_ONLY = "the disk has errors (see dmesg); it is mounted ro in fstab; a snapshot is mounted"
_FULL = (
    f"{PRIVATE}/trash in that directory holds what runs replaced (its oldest folders may go); "
    "the disk is smaller; something else grows"
)


def _check_mounts(record: Record, root: Root, state: RootState, overrides: Collection[str]) -> None:
    if root.mount and state.mount != root.mount and "mount" not in overrides:
        what = f"expected it on the mount {root.mount}, found it on {state.mount}"
        raise _refusal(record, root, what, _MOUNT, "mount")
    missing = [one for one in root.mounts if one not in state.mounts]
    if missing and "mounts" not in overrides:  # HISTORIES R26
        what = f"expected what is mounted below it: {', '.join(missing)} not mounted"
        raise _refusal(record, root, what, _MOUNT, "mounts")


def _was_synced(record: Record) -> bool:
    """Some run of this tree's history was completed: there is something to lose."""
    run = record.pos is not None and bool(record.pos.run)
    return run or len(record.chain) > 1 or any(given.complete for given in record.given.values())


def _marker(root: Root) -> str:
    return f"{root.path.rstrip('/')}/{PRIVATE}/set.json"


def _refusal(record: Record, root: Root, what: str, causes: str, override: str = "") -> GuardError:
    return GuardError(f"{record.name}: {root.path}: {what}", _advice(record.name, override, causes))


def _advice(name: str, override: str, causes: str) -> str:
    advice = f"Usual causes: {causes}. Nothing was changed. Look: findmnt; then drcm-sync {name} --dry-run."
    if override:
        advice += f" If it is meant so, once: drcm-sync {name} --override={override}"
    return advice
