"""What drcm-gate answers on the receiving node: probe, join, begin, commit; changes under the lock only.

Standard library only; what one call alone needs is imported in it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from drcm import __version__
from drcm.errors import (
    EXIT_DIVERGED,
    EXIT_NO_PERMISSION,
    EXIT_WRONG_ROLE,
    DrcmError,
    RoleError,
)
from drcm.paths import Paths
from drcm.replication import receiving, records
from drcm.replication.gaterequest import (
    GENERATION,
    NAME,
    RUN,
    Answer,
    Request,
    checked,
    malformed,
    numbers,
    paths_of,
    strings,
    writer_record,
)
from drcm.replication.generation import Record, to_json
from drcm.replication.verdict import STALE_CURE, Verdict, VerdictKind

LOCK_SECONDS = 1.0
TIGHT, TIGHT_FILES = 4 << 20, 100  # bytes and inodes that should be free beside what a run needs
NODE_FILE = "node"  # in the state folder: this node's name, where uname -n is not its hostname
SET_UUID = re.compile(r"[0-9a-fA-F-]{8,64}")


def node_name(here: Paths) -> str:
    """This node's name as setup or the daemon wrote it; empty where nobody did."""
    try:
        return (here.state / NODE_FILE).read_text().strip()
    except FileNotFoundError:
        return ""


def hello(here: Paths, request: Request) -> Answer:
    return {"version": __version__, "node": node_name(here), "hostname": os.uname().nodename}


def begun(here: Paths, name: str, named: Collection[str] = ()) -> Record:
    """The set's record here. `named`: where the markers are looked for if the record itself is lost."""
    stored = records.load(here.sets, name)
    paths = [root.path for root in stored.roots] if stored else named
    record = records.current(here.sets, name, paths, node_name(here))
    if record is None:
        node = node_name(here) or os.uname().nodename
        raise RoleError(f"{name} has not begun on {node}", f"On the writer: drcm-sync {name} --init")
    return record


def probe(here: Paths, name: str, request: Request) -> Answer:
    """What is here of the set: record, roots (of the record, else those named), rsync."""
    from drcm.replication import roots

    stored = records.load(here.sets, name)
    asked = [root.path for root in stored.roots] if stored else list(paths_of(request, "roots"))
    record = records.current(here.sets, name, asked, node_name(here))
    states = [roots.inspect(path) for path in asked]
    return {
        **hello(here, request),
        "node": record.node if record else node_name(here),
        "record": to_json(record) if record else None,
        "roots": [
            {
                "path": one.path,
                "is_dir": one.is_dir,
                "entries": one.entries,
                "uuid": one.uuid,
                "free": one.free,
                "read_only": one.read_only,
            }
            for one in states
        ],
        "rsync": _rsync_version() if request.get("rsync", True) else "",
    }


def _rsync_version() -> str:
    import subprocess

    try:
        ended = subprocess.run(
            ["rsync", "--version"], capture_output=True, text=True, timeout=5, check=False, env=environment()
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ended.stdout


def join(here: Paths, name: str, request: Request) -> Answer:
    """Make this node's roots part of a set that began elsewhere: empty ones, or adopted by name."""
    from drcm.config.model import SyncSet
    from drcm.replication import beginning

    node = checked(NAME, request.get("node"), "name of a node")
    own = node_name(here)
    if own and own != node:
        raise malformed(f"this is {own}, not {node}")
    sync_set = SyncSet(
        name,
        primary=checked(NAME, request.get("primary"), "name of a node"),
        backups=strings(request, "backups"),
        mirror=paths_of(request, "mirror"),
        copy=paths_of(request, "copy"),
    )
    set_uuid = checked(SET_UUID, request.get("set_uuid"), "uuid of a set")
    record = beginning.join(here, sync_set, node, set_uuid, adopt=request.get("adopt") is True)
    return {"record": to_json(record)}


def begin(here: Paths, name: str, request: Request) -> Answer:
    """Judge the writer under the lock, and mark durably that its run is being applied."""
    from drcm.replication import tidying, transitions, verdict

    writer = writer_record(request, name)
    run = checked(RUN, request.get("run"), "run")
    with records.lock(here.sets, name, f"begin of run {run} from {writer.node}", LOCK_SECONDS):
        tree = begun(here, name, paths_of(request, "roots"))
        found = verdict.judge(writer, tree)
        if not found.may_write:
            raise _refusal(name, found)
        if tree.applying is not None and tree.applying.id == writer.head.id:
            _make_room(tree, request)
        _check_targets(here, tree, request)
        if found.kind is not VerdictKind.AHEAD:  # what such a pass replaces is no trash
            tidying.need_room(here, tree)
        _keep_held_back(here, tree, writer, found)
        cut = tree.applying is not None
        tree = records.save(here.sets, transitions.receive_begin(tree, writer, run, found))
        attempt = _note_begin(here, tree, writer, run, found, cut)
    return {"row": found.row, "kind": str(found.kind), "reason": found.reason, "attempt": attempt}


def _make_room(tree: Record, request: Request) -> None:
    """Where it is tight, what the cut run held back goes: it may never be wanted again, else it is sent anew.

    A large file that filled the disk, and then was removed at the source, would stop the set for good.
    """
    from drcm.replication import heldback, roots

    sizes, counts = numbers(request, "sizes"), numbers(request, "counts")
    for root in tree.roots:
        found, path = roots.inspect(root.path), root.path
        tight = found.free < sizes.get(path, 0) * 1.1 + TIGHT
        few = found.free_files is not None and found.free_files < counts.get(path, 0) + TIGHT_FILES
        if found.uuid == root.uuid and (tight or few):
            heldback.drop(Path(path))


def _keep_held_back(here: Paths, tree: Record, writer: Record, found: Verdict) -> None:
    """What a cut run of another writer held back may be the only copy of its newest files (HISTORIES R6)."""
    from drcm.config.model import SyncSet
    from drcm.replication import beginning

    cut = tree.applying is not None and tree.applying.id != writer.head.id
    if cut and found.kind is VerdictKind.AHEAD:
        paths = tuple(root.path for root in tree.roots)
        beginning.keep_partials(here, SyncSet(tree.name, tree.node, (), mirror=paths), tree.node)


def _note_begin(here: Paths, tree: Record, writer: Record, run: str, found: Verdict, cut: bool) -> int:
    note = receiving.Receiving(
        generation=writer.head.id,
        number=writer.head.n,
        run=run,
        attempt=1,
        ahead=found.kind is VerdictKind.AHEAD,
        deletes=found.kind is not VerdictKind.JOINING,
        goes_on=cut,
    )
    attempt = receiving.next_attempt(tree, note)
    note = replace(note, attempt=attempt)
    if note.ahead:
        _write_manifests(tree, note)
    receiving.write(here, tree.name, note)
    return attempt


def _write_manifests(tree: Record, note: receiving.Receiving) -> None:
    """Metadata that the pass changes alone is kept nowhere else (HISTORIES R24)."""
    from drcm.replication import manifest

    for root in tree.roots:
        place = receiving.manifest_file(receiving.keep_dir(root.path, note, note.attempt))
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        manifest.write(root.path, place)


def _refusal(name: str, found: Verdict) -> DrcmError:
    if found.kind is VerdictKind.DIVERGED:
        cure = f"Look: drcm-sync {name} --resolve keep=NODE --dry-run"
        return DrcmError(f"{name} DIVERGED: {found.reason}", cure, EXIT_DIVERGED)
    if found.kind is VerdictKind.STALE_WRITER:
        return DrcmError(f"{name}: {found.reason}", STALE_CURE, EXIT_WRONG_ROLE)
    return DrcmError(f"{name}: {found.reason}", "", EXIT_NO_PERMISSION)


def _check_targets(here: Paths, tree: Record, request: Request) -> None:
    from drcm.replication import guards, places, roots

    places.check(here, tree.name, [root.path for root in tree.roots])
    overrides = strings(request, "override")
    sizes, counts = numbers(request, "sizes"), numbers(request, "counts")
    for root in tree.roots:
        found = roots.inspect(root.path)
        path = root.path
        guards.check_target(tree, root, found, sizes.get(path, 0), overrides, counts.get(path, 0))


def commit(here: Paths, name: str, request: Request) -> Answer:
    """The run becomes this tree's position, if the rsync of every root ended well."""
    from drcm.replication import tidying, transitions

    generation = checked(GENERATION, request.get("generation"), "generation")
    run = checked(RUN, request.get("run"), "run")
    with records.lock(here.sets, name, f"commit of run {run}", LOCK_SECONDS):
        tree = begun(here, name)
        note = begun_run(here, tree, generation, run)
        missing = [root.path for index, root in enumerate(tree.roots) if index not in note.done]
        if missing:
            raise RoleError(f"{name}: run {run} is not whole: {', '.join(missing)}", "drcm-sync tries again")
        records.save(here.sets, transitions.receive_commit(tree, run))
        if note.goes_on:
            _drop_held_back(tree)
        kept = receiving.kept_names(tree, note) if note.ahead else []
        answer: Answer = {"kept": kept, "metadata": _trim_manifests(tree, note) if note.ahead else 0}
        tidying.note_run(here, tree, receiving.labels(tree, note))
        receiving.clear(here, name)
    return answer


def _drop_held_back(tree: Record) -> None:
    from drcm.replication import heldback

    for root in tree.roots:
        heldback.drop(Path(root.path))


def _trim_manifests(tree: Record, note: receiving.Receiving) -> int:
    """How many names differ from what they were before the run."""
    from drcm.replication import manifest

    count = 0
    for root in tree.roots:
        for place in receiving.manifests(root.path, note):
            found = manifest.trim(root.path, place)
            if found:  # so that the conflict has an id, if nothing but metadata differed
                place.with_suffix("").mkdir(mode=0o700, exist_ok=True)
            count = max(count, found)
    return count


def begun_run(here: Paths, tree: Record, generation: str, run: str) -> receiving.Receiving:
    """The note of the run, if it is the one that was begun and nothing newer is known here."""
    note = receiving.read(here, tree.name)
    applying = tree.applying
    if note is None or applying is None or (note.generation, note.run) != (applying.id, applying.run):
        raise RoleError(f"{tree.name}: no run is begun here", "drcm-sync begins it first")
    if (note.generation, note.run) != (generation, run):
        raise RoleError(f"{tree.name}: run {note.run} is begun here, not {run}", "drcm-sync begins it first")
    newest = tree.newest
    if newest is None or newest.id != generation:
        raise RoleError(f"{tree.name}: a newer generation is known here", "The writer steps down")
    return note


def environment() -> dict[str, str]:
    """RSYNC_* and what else a client may set stay outside."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C.UTF-8",
        "HOME": os.environ.get("HOME", "/"),
    }
