"""The kept versions of a set on all its nodes: this one's own, and the others' by their gates' word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from drcm.errors import EXIT_NO_INPUT, EXIT_USAGE, DrcmError
from drcm.replication import gatekept, kept
from drcm.replication.job import Job
from drcm.replication.trash import Entry


@dataclass(frozen=True, slots=True)
class Place:
    """One folder of kept versions. `root`: the number of its root there, `path` that root."""

    node: str
    kind: str
    label: str
    root: int
    path: str
    since: float

    @property
    def id(self) -> str:
        """What a person calls it."""
        return f"{self.node}:{self.label}"


@dataclass(frozen=True, slots=True)
class Archive:
    """Every folder that was seen. `silent`: nodes that could not be asked, and why."""

    places: tuple[Place, ...]
    silent: dict[str, str]

    def of(self, node: str, labels: list[str]) -> list[Place]:
        """That node's folders of these names, in this order."""
        here = [one for one in self.places if one.node == node]
        return [one for label in labels for one in here if one.label == label]


@dataclass(frozen=True, slots=True)
class Meant:
    """What a person means by RUN: `key` its full name, on one node, the first attempt first."""

    key: str
    node: str
    places: tuple[Place, ...]


def survey(job: Job) -> Archive:
    """Ask every node of the set."""
    places: list[Place] = []
    silent: dict[str, str] = {}
    for node in job.sync_set.nodes:
        try:
            answer = _ask(job, node, {"roots": list(job.sync_set.roots)})
        except DrcmError as error:
            silent[node] = error.what
            continue
        places += [
            Place(node, one["kind"], one["label"], int(one["root"]), one["path"], float(one["since"]))
            for one in answer["folders"]
        ]
    return Archive(tuple(places), silent)


def meant(job: Job, archive: Archive, wanted: str) -> list[Meant]:
    """The folders of the run (or the folder) that `wanted` means, by node; DrcmError where several may be."""
    node, colon, label = wanted.partition(":")
    asked = [one for one in archive.places if not colon or one.node == node]
    runs = kept.runs_meant((one.label for one in asked), label if colon else wanted)
    if len(runs) > 1:
        raise DrcmError(
            f"{wanted} may mean {', '.join(sorted(runs))}",
            f"Name one of them: drcm-sync {job.sync_set.name} --show {min(runs)}",
            EXIT_USAGE,
        )
    found = []
    for key, labels in runs.items():
        for holder in dict.fromkeys(one.node for one in asked):
            places = archive.of(holder, labels)
            if places:
                found.append(Meant(key, holder, tuple(places)))
    return found


def need_meant(job: Job, archive: Archive, wanted: str) -> list[Meant]:
    """As `meant`; DrcmError where nothing of it is kept, and what may be the reason."""
    found = meant(job, archive, wanted)
    if found:
        return found
    unasked = "; ".join(f"{node} could not be asked: {why}" for node, why in archive.silent.items())
    raise DrcmError(
        f"{job.sync_set.name}: no node has anything kept of {wanted}" + (f" ({unasked})" if unasked else ""),
        f"Runs and whether their trash is still there: drcm-sync {job.sync_set.name} --history",
        EXIT_NO_INPUT,
    )


def entries(job: Job, place: Place) -> Iterator[Entry]:
    """Every version in the folder."""
    skip = 0
    while True:
        answer = _page(job, place, skip)
        for one in answer["entries"]:
            yield Entry(
                str(one["name"]),
                str(one["type"]),
                int(one["size"]),
                int(one["mtime_ns"]),
                one["deleted"] is True,
            )
        skip += len(answer["entries"])
        if not answer["more"] or not answer["entries"]:
            return


def created(job: Job, place: Place) -> tuple[list[str], bool]:
    """Names that the attempt created, by the receiver's own list, and whether that is all of them."""
    answer = _page(job, place, 0)
    return [str(name) for name in answer["created"]], answer["created_whole"] is True


def metadata(job: Job, place: Place) -> int:
    """How many names differed there, by the manifest beside the folder."""
    return int(_page(job, place, 0).get("metadata", 0))


def _page(job: Job, place: Place, skip: int) -> dict[str, Any]:
    request = {"kind": place.kind, "label": place.label, "root": str(place.root), "skip": skip}
    return _ask(job, place.node, {**request, "roots": list(job.sync_set.roots)})


def _ask(job: Job, node: str, request: dict[str, Any]) -> dict[str, Any]:
    if node == job.node:
        return gatekept.listing(job.paths, job.sync_set.name, request)
    return job.peer(node).call("kept", job.sync_set.name, request)
