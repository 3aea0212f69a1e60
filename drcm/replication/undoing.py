"""`drcm-sync NAME --undo RUN [PATH ...]`: kept versions come back into the writer's tree (HISTORIES R30).

On the writer, because what is put back on a replica the next run would revert. The versions are fetched
beside the tree first; nothing is changed before all of them are here and durable.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from drcm.errors import EXIT_NO_INPUT, EXIT_OK, DrcmError
from drcm.history import History, RunRow
from drcm.replication import archive, kept, outcome, past, process, records, rsync, trash
from drcm.replication.archive import Meant, Place
from drcm.replication.diary import RUN_NAMES
from drcm.replication.generation import Record
from drcm.replication.job import Job
from drcm.replication.outcome import Kind
from drcm.replication.putback import PutBack
from drcm.replication.rootstate import PRIVATE
from drcm.replication.run import own_record
from drcm.replication.sources import check_sources
from drcm.replication.trash import Entry

LOCK_SECONDS = 30.0  # runs of a busy set follow one another closely
STAGING = "undo"  # in ROOT/.drcm: versions on their way


@dataclass(frozen=True, slots=True)
class Version:
    """One name and the kept version that it gets. `now`: what is in its place, in words."""

    name: str
    root: str
    node: str
    label: str
    size: int
    mtime_ns: int
    now: str  # "missing", "replaced", "same"


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo did, or with `dry_run` would do. `kept_in`: what it replaced, relative to the roots."""

    name: str
    node: str
    run: str
    dry_run: bool
    versions: tuple[Version, ...]
    removed: tuple[str, ...] = ()  # whole paths of what the run created, asked to go
    kept_in: str = ""
    notes: tuple[str, ...] = ()

    def count(self, now: str) -> int:
        return sum(one.now == now for one in self.versions)

    def to_json(self) -> dict[str, Any]:
        """Stable: additions only."""
        return {"schema": 1, "ok": True, "exit_code": EXIT_OK, **asdict(self)}


def undo(job: Job, wanted: str, paths: Iterable[str], with_created: bool = False) -> Undone:
    """Bring back what run `wanted` replaced and deleted: all, or `paths` and what is below them.

    `with_created`: what it created goes (and is kept). DrcmError where this node may not, or nothing is kept.
    """
    record = own_record(job)
    check_sources(job, record)
    seen = archive.survey(job)
    rows = past.rows_meant(job, wanted) if with_created else []
    found = archive.meant(job, seen, wanted) if rows else archive.need_meant(job, seen, wanted)
    chosen = _Chosen(job, record, found, tuple(paths))
    versions = chosen.versions()
    created, note = chosen.created(rows) if with_created else ((), "")
    _need_something(job, wanted, versions, created, chosen.paths)
    notes = tuple(filter(None, [note, _not_whole(seen)]))
    key = found[0].key if found else rows[0].run
    done = Undone(job.sync_set.name, job.node, key, job.dry_run, versions, created, notes=notes)
    return done if job.dry_run else _Undoing(job, record, done, found, chosen.paths).go()


def _not_whole(seen: archive.Archive) -> str:
    if not seen.silent:
        return ""
    return f"not asked: {', '.join(seen.silent)}; what they keep of other runs is not touched"


def _need_something(
    job: Job, wanted: str, versions: tuple[Version, ...], created: tuple[str, ...], paths: Iterable[str]
) -> None:
    if versions or created:
        return
    of = f" of {', '.join(paths)}" if paths else ""
    raise DrcmError(
        f"{job.sync_set.name}: nothing{of} is kept of {wanted}",
        f"What it replaced and deleted: drcm-sync {job.sync_set.name} --show {wanted}",
        EXIT_NO_INPUT,
    )


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What a person chose of what is kept."""

    job: Job
    record: Record
    found: list[Meant]
    asked: tuple[str, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(self._relative(path) for path in self.asked)

    def _relative(self, path: str) -> str:
        """`path` as its root has it: given with the root in front, or relative to it."""
        clean = os.path.normpath(path)
        for root in self.record.roots:
            if clean == root.path or clean.startswith(f"{root.path}/"):
                return clean[len(root.path) + 1 :]
        if clean.startswith("/") or not kept.is_plain(clean):
            roots = ", ".join(root.path for root in self.record.roots)
            raise DrcmError(f"{path} is not in {roots}", "Name it from there, or with the whole path", 2)
        return clean

    def versions(self) -> tuple[Version, ...]:
        """For each name the version from before the run: that of its first attempt, on the first node."""
        first: dict[tuple[str, str], Version] = {}
        paths = self.paths or ("",)
        for one in self.found:
            for place in one.places:
                root = self._root(place)
                for entry in archive.entries(self.job, place):
                    if kept.is_plain(entry.name) and any(kept.is_below(entry.name, path) for path in paths):
                        first.setdefault((root, entry.name), _version(root, place, entry))
        return tuple(first[key] for key in sorted(first))

    def _root(self, place: Place) -> str:
        """This node's root of the same path; a set's roots are called alike everywhere."""
        if any(root.path == place.path for root in self.record.roots):
            return place.path
        raise DrcmError(
            f"{place.id} is kept in {place.path}, which is no root of the set here", "", EXIT_NO_INPUT
        )

    def created(self, rows: list[RunRow]) -> tuple[tuple[str, ...], str]:
        """Whole paths of what the run created, by the receivers' lists, else by the history; and a note."""
        names, whole = self._listed() if self.found else self._remembered(rows)
        paths = [os.path.join(root.path, path) for root in self.record.roots for path in self.paths]
        there = [name for name in names if not paths or any(kept.is_below(name, path) for path in paths)]
        note = (
            ""
            if whole
            else f"it created more files than the {len(names)} whose names are known: the rest stays"
        )
        return tuple(name for name in there if os.path.lexists(name)), note

    def _listed(self) -> tuple[list[str], bool]:
        names: dict[str, None] = {}
        whole = True
        for place in (place for one in self.found for place in one.places):
            listed, all_there = archive.created(self.job, place)
            plain = (name for name in listed if kept.is_plain(name))
            names.update(dict.fromkeys(os.path.join(self._root(place), name) for name in plain))
            whole = whole and all_there
        return list(names), whole

    def _remembered(self, rows: list[RunRow]) -> tuple[list[str], bool]:
        """The history does not say in which root a name is: it can only be asked where there is one."""
        if len(self.record.roots) != 1:
            return [], False
        names: dict[str, None] = {}
        for row in rows:
            names.update(dict.fromkeys(row.detail.get("names", {}).get("created", ())))
        root = self.record.roots[0].path
        return [os.path.join(root, name) for name in names], all(row.created <= RUN_NAMES for row in rows)


def _version(root: str, place: Place, entry: Entry) -> Version:
    now = "missing"
    try:
        status = os.lstat(os.path.join(root, entry.name))
        same = (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime_ns)
        now = "same" if same else "replaced"
    except (FileNotFoundError, NotADirectoryError):
        pass
    return Version(entry.name, root, place.node, place.label, entry.size, entry.mtime_ns, now)


@dataclass(frozen=True, slots=True)
class _Undoing:
    """The undo itself."""

    job: Job
    record: Record
    done: Undone
    found: list[Meant]
    paths: tuple[str, ...]

    def go(self) -> Undone:
        own = f"{os.getpid()}-{secrets.token_hex(4)}"
        staged = {root.path: Path(root.path) / PRIVATE / STAGING / own for root in self.record.roots}
        try:
            for place in (place for one in self.found for place in one.places):
                self._fetch(place, staged[place.path])
            os.sync()  # nothing takes its place that a power cut could empty
            done = self._put_all(staged)
        finally:
            for folder in staged.values():
                shutil.rmtree(folder, ignore_errors=True)
        History(self.job.paths.history).record_event("undo", done.name, _told(done))
        return done

    def _wanted(self, place: Place) -> list[Version]:
        return [
            one
            for one in self.done.versions
            if (one.node, one.label, one.root) == (place.node, place.label, place.path) and one.now != "same"
        ]

    def _fetch(self, place: Place, staging: Path) -> None:
        """The versions that are wanted of one folder, into a folder of its own in `staging`."""
        wanted = self._wanted(place)
        if not wanted:
            return
        target = staging / place.label
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(mode=0o700, parents=True)
        rules = staging / f"{place.label}.rules"
        rules.write_bytes(b"\0".join(map(os.fsencode, kept.filter_rules(self.paths))))
        chosen = str(rules) if self.paths else ""
        self._run(place, rsync.Fetch(self._source(place), str(target), rules=chosen))
        missing = [one.name for one in wanted if not os.path.lexists(target / one.name)]
        if missing:
            raise DrcmError(
                f"{place.id}: {len(missing)} of {len(wanted)} versions did not arrive: {missing[0]}",
                "Nothing was changed. The same command again.",
            )

    def _source(self, place: Place) -> str:
        return str(trash.Folder(place.path, place.kind, place.label, place.since).path)

    def _run(self, place: Place, fetch: rsync.Fetch) -> None:
        program = process.find_program("rsync")
        if place.node == self.job.node:
            return self._follow(place, rsync.fetch_argv(fetch, program))
        with self.job.link(place.node) as link:
            link.wait()
            server = self.job.server(place.node)
            where = (self.record.name, str(place.root), place.kind, place.label)
            remote = ("drcm-gate", "fetch", *where, "--", "rsync")
            fetch = replace(
                fetch,
                address=server.address,
                user=server.user,
                shell=link.shell,
                remote=remote,
                bwlimit=self.job.sync_set.bwlimit,
            )
            return self._follow(place, rsync.fetch_argv(fetch, program))

    def _follow(self, place: Place, argv: list[str]) -> None:
        lines = rsync.Lines()
        with (
            process.Child(argv) as child,
            self.job.progress(f"{self.record.name} from {place.node}") as shown,
        ):

            def take(data: bytes) -> None:
                for line in lines.feed(data):
                    position = rsync.parse_progress(line)
                    if position is not None:
                        shown.update(position)

            ended = child.follow(take)
        judged = outcome.judge(ended.code, ended.stderr)
        if judged.kind is not Kind.GOOD:
            cure = "Nothing was changed. The same command again."
            raise DrcmError(f"{place.id} could not be fetched: {judged.reason}", cure, judged.exit_code)

    def _put_all(self, staged: dict[str, Path]) -> Undone:
        """Under the set's lock: no last pass is under way, and this node is the writer still."""
        job = self.job
        with records.lock(job.paths.sets, self.record.name, f"--undo {self.done.run}", LOCK_SECONDS):
            check_sources(job, own_record(job))
            label = self._free_label()
            for one in self.done.versions:
                if one.now != "same":
                    self._putting(one.root, staged[one.root] / one.label, label).put(one.name)
            for path in sorted(self.done.removed, reverse=True):  # what is in a folder before the folder
                root = next(r.path for r in self.record.roots if kept.is_below(path, r.path))
                self._putting(root, staged[root], label).take_away(os.path.relpath(path, root))
        return replace(self.done, kept_in=f"{PRIVATE}/{kept.TRASH}/{label}" if self._was_kept(label) else "")

    def _putting(self, root: str, staged: Path, label: str) -> PutBack:
        return PutBack(Path(root), staged, trash.Folder(root, kept.TRASH, label, 0.0).path)

    def _was_kept(self, label: str) -> bool:
        return any(trash.find(self.record, root.path, kept.TRASH, label) for root in self.record.roots)

    def _free_label(self) -> str:
        number = 1
        while self._was_kept(label := f"undo-{self.done.run}-{number}"):
            number += 1
        return label


def _told(done: Undone) -> str:
    names = ", ".join(one.name for one in done.versions[:RUN_NAMES] if one.now != "same")
    counts = f"{done.count('missing')} came back, {done.count('replaced')} were replaced"
    return f"of run {done.run} {counts}: {names}"
