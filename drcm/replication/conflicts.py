"""The conflict list: what a run found that no run describes, and kept. It never expires (HISTORIES R20)."""

from __future__ import annotations

from dataclasses import dataclass

from drcm.errors import EXIT_NO_INPUT, DrcmError, RoleError
from drcm.history import History
from drcm.replication import archive, kept, records, trash
from drcm.replication.archive import Place
from drcm.replication.beginning import HELD_BACK
from drcm.replication.job import Job

LOCK_SECONDS = 30.0  # for a run of the set to end


@dataclass(frozen=True, slots=True)
class Conflict:
    """One folder of it. `when`: RFC 3339, UTC."""

    id: str  # NODE:FOLDER
    node: str
    path: str
    when: str
    files: int
    size: int
    metadata: int  # names in the manifest beside it, PATH.manifest
    why: str


def survey(job: Job) -> tuple[list[Conflict], dict[str, str]]:
    """All that are on nodes which can be asked, the newest first; and the nodes that can't."""
    seen = archive.survey(job)
    found = [_conflict(job, one) for one in seen.places if one.kind == kept.CONFLICTS]
    return sorted(found, key=lambda one: one.when, reverse=True), seen.silent


def _conflict(job: Job, place: Place) -> Conflict:
    from datetime import UTC, datetime

    sizes = [entry.size for entry in archive.entries(job, place)]
    when = datetime.fromtimestamp(place.since, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    path = f"{place.path}/.drcm/{place.kind}/{place.label}"
    differ = archive.metadata(job, place)
    return Conflict(place.id, place.node, path, when, len(sizes), sum(sizes), differ, _why(place.label))


def _why(text: str) -> str:
    label = kept.read(text)
    if label.run:
        return f"never sent: run {label.run} found it there"
    return "held back by a cut run" if text.endswith(HELD_BACK) else ""


def forget(job: Job, wanted: str) -> list[str]:
    """Remove the conflict for good, on this node; the paths. No gate has such a verb."""
    node, colon, label = wanted.rpartition(":")
    name = job.sync_set.name
    if colon and node != job.node:
        raise RoleError(
            f"{wanted} is on {node}; this is {job.node}",
            f"On {node}: drcm-sync {name} --conflicts --forget {wanted}",
        )
    with records.lock(job.paths.sets, name, f"--forget {label}", LOCK_SECONDS):
        record = records.current(job.paths.sets, name, job.sync_set.roots, job.node)
        roots = record.roots if record else ()
        found = [trash.find(record, root.path, kept.CONFLICTS, label) for root in roots if record]
        folders = [one for one in found if one]
        if not folders:
            raise DrcmError(
                f"{name}: {job.node} has no conflict {wanted}",
                f"What there is: drcm-sync {name} --conflicts",
                EXIT_NO_INPUT,
            )
        for one in folders:
            trash.drop(one)
    paths = [str(one.path) for one in folders]
    History(job.paths.history).record_event("forget", name, f"conflict {label}: {', '.join(paths)}")
    return paths
