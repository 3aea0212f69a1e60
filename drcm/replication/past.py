"""What became of a set: its runs as this node's history tells them, and what is kept of each."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from drcm.errors import EXIT_NO_INPUT, EXIT_OK, DrcmError
from drcm.history import History, RunRow
from drcm.replication import archive, kept, records
from drcm.replication.archive import Archive, Place
from drcm.replication.generation import Record, run_number
from drcm.replication.job import Job

RUNS_READ = 2000  # of the history; most of a quiet set's had nothing to do
NOTHING, GONE, UNKNOWN = "nothing replaced", "gone", "not asked"


@dataclass(frozen=True, slots=True)
class PastRun:
    """One run to one node. `when`: RFC 3339, UTC. Where only its trash tells of it, `outcome` is empty."""

    when: str
    source: str
    target: str
    generation: int
    run: str
    outcome: str
    created: int = 0
    changed: int = 0
    deleted: int = 0
    failed: int = 0
    seconds: float = 0.0
    kept: str = ""  # "trash", "conflicts", or why there is nothing
    error: str = ""


@dataclass(frozen=True, slots=True)
class Past:
    """The newest first. `idle`: runs that had nothing to do, and are not listed."""

    name: str
    runs: tuple[PastRun, ...]
    idle: int = 0
    silent: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Stable: additions only."""
        return {"schema": 1, "ok": True, "exit_code": EXIT_OK, **asdict(self)}


def look_back(job: Job) -> Past:
    """Every run that did something or failed, and every run of another writer that left something kept."""
    seen = archive.survey(job)
    record = _record(job)
    rows = History(job.paths.history).runs(job.sync_set.name, RUNS_READ)
    told = [row for row in rows if row.run or row.outcome != "good"]
    runs = [_told(row, record, seen) for row in told]
    known = {row.run for row in told}
    found = [
        _found(place, record) for place in _first_of_each(seen) if kept.read(place.label).run not in known
    ]
    return Past(job.sync_set.name, _newest_first(runs, found), len(rows) - len(told), seen.silent)


def _newest_first(told: list[PastRun], found: list[PastRun]) -> tuple[PastRun, ...]:
    """By generation, and `told` within one as the history has them: wall clocks step, and differ by node."""
    newest, dated = 0, []
    for one in reversed(told):  # a run that failed before it had a generation belongs to the one before
        newest = max(newest, one.generation)
        dated.append((newest, one))
    dated += [(one.generation, one) for one in sorted(found, key=lambda one: run_number(one.run))]
    return tuple(one for _, one in reversed(sorted(dated, key=lambda pair: pair[0])))


def _record(job: Job) -> Record | None:
    return records.current(job.paths.sets, job.sync_set.name, job.sync_set.roots, job.node)


def _first_of_each(seen: Archive) -> list[Place]:
    """One folder for each run and node."""
    first: dict[tuple[str, str], Place] = {}
    for place in seen.places:
        label = kept.read(place.label)
        if label.run:
            first.setdefault((place.node, label.run), place)
    return list(first.values())


def _told(row: RunRow, record: Record | None, seen: Archive) -> PastRun:
    generation = record.generation(row.generation) if record else None
    return PastRun(
        when=_rfc3339(row.started.timestamp()),
        source=row.node,
        target=row.target,
        generation=generation.n if generation else 0,
        run=row.run,
        outcome=row.outcome,
        created=row.created,
        changed=row.changed,
        deleted=row.deleted,
        failed=len(row.detail.get("failed", ())),
        seconds=row.seconds,
        kept=_kept_of(row, seen),
        error=str(row.detail.get("error", "")),
    )


def _kept_of(row: RunRow, seen: Archive) -> str:
    kinds = {
        one.kind for one in seen.places if one.node == row.target and kept.read(one.label).run == row.run
    }
    if kinds:
        return ", ".join(sorted(kinds))
    if not row.run or not row.changed + row.deleted:
        return NOTHING
    return UNKNOWN if row.target in seen.silent else GONE


def _found(place: Place, record: Record | None) -> PastRun:
    label = kept.read(place.label)
    writer = next((one.writer for one in record.chain if one.n == label.number), "") if record else ""
    return PastRun(_rfc3339(place.since), writer, place.node, label.number, label.run, "", kept=place.kind)


def _rfc3339(timestamp: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def rows_meant(job: Job, wanted: str) -> list[RunRow]:
    """The history's rows of run `wanted` (RUN or GEN-RUN); none where it knows no such run."""
    record = _record(job)
    found = []
    for row in History(job.paths.history).runs(job.sync_set.name, RUNS_READ):
        generation = record.generation(row.generation) if record and row.run else None
        text = f"{generation.n if generation else 0}-{row.run}-0"
        if row.run and kept.read(text).means(wanted):
            found.append(row)
    return found


# -- one run ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Name:
    """One name that a run touched. `place`: the folder that has its old version, "" = none."""

    what: str  # created | replaced | deleted
    name: str
    node: str
    place: str = ""
    size: int = 0
    mtime: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """A run, or a folder of kept versions, in detail. `more`: names that nobody noted."""

    name: str
    run: str
    runs: tuple[PastRun, ...]
    names: tuple[Name, ...]
    more: int = 0
    silent: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"schema": 1, "ok": True, "exit_code": EXIT_OK, **asdict(self)}


def show(job: Job, wanted: str) -> Shown:
    """What run `wanted` created, replaced and deleted; DrcmError where neither history nor trash knows it."""
    seen = archive.survey(job)
    rows = rows_meant(job, wanted)
    found = archive.meant(job, seen, wanted)
    if len({(row.generation, row.run) for row in rows}) > 1:
        some = ", ".join(sorted({row.run for row in rows}, key=run_number))
        raise DrcmError(f"{wanted} may mean {some}", f"Name one: drcm-sync {job.sync_set.name} --show RUN", 2)
    if not rows and not found:
        raise DrcmError(
            f"{job.sync_set.name}: neither the history of {job.node} nor any trash knows run {wanted}",
            f"The runs: drcm-sync {job.sync_set.name} --history",
            EXIT_NO_INPUT,
        )
    names = [name for one in found for name in _names_kept(job, one)]
    nodes = {one.node for one in found}
    names += [name for row in rows if row.target not in nodes for name in _names_noted(row)]
    expected = sum(row.created + row.changed + row.deleted for row in rows if row.target not in nodes)
    noted = sum(one.node not in nodes for one in names)
    record = _record(job)
    runs = [_told(row, record, seen) for row in rows]
    runs += [_found(one.places[0], record) for one in found if one.node not in {row.target for row in rows}]
    key = found[0].key if found else rows[0].run
    return Shown(job.sync_set.name, key, tuple(runs), tuple(names), max(0, expected - noted), seen.silent)


def _names_kept(job: Job, one: archive.Meant) -> list[Name]:
    names = []
    for place in one.places:
        names += [Name("created", name, place.node) for name in archive.created(job, place)[0]]
        for entry in archive.entries(job, place):
            what = "deleted" if entry.deleted else "replaced"
            mtime = _rfc3339(entry.mtime_ns / 1e9)
            names.append(Name(what, entry.name, place.node, f"{place.kind}/{place.label}", entry.size, mtime))
    return names


def _names_noted(row: RunRow) -> list[Name]:
    noted = row.detail.get("names", {})
    words = {"created": "created", "changed": "replaced", "deleted": "deleted"}
    return [Name(word, str(name), row.target) for kind, word in words.items() for name in noted.get(kind, ())]
