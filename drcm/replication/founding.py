"""`drcm-sync NAME --init` over all nodes: the set begins here, and the backups that can be reached join.

What each node does for itself is in `beginning`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from drcm.errors import EXIT_OK, DrcmError, PeerError, RoleError
from drcm.replication import beginning, records
from drcm.replication.generation import Record
from drcm.replication.job import Job


@dataclass(frozen=True, slots=True)
class Joined:
    """What became of one backup."""

    node: str
    said: str
    exit_code: int = EXIT_OK


@dataclass(frozen=True, slots=True)
class Founded:
    """The set has begun on `node`."""

    name: str
    node: str
    fresh: bool  # by this call
    backups: tuple[Joined, ...]

    @property
    def exit_code(self) -> int:
        return next((one.exit_code for one in self.backups if one.exit_code != EXIT_OK), EXIT_OK)

    def to_json(self) -> dict[str, Any]:
        return {"schema": 1, "ok": self.exit_code == EXIT_OK, "exit_code": self.exit_code, **asdict(self)}


def found(job: Job, origin: str = "", adopt: bool = False) -> Founded:
    """Begin the set with this node's tree, and make every reachable backup a joiner.

    Run again it joins those that were away. `adopt`: backups may hold files (the first pass keeps what
    it replaces). RoleError on another node than `origin`, or where the set began elsewhere already.
    """
    sync_set = job.sync_set
    wanted = origin or sync_set.primary
    if wanted != job.node:
        cure = f"Run it on {wanted}, or name this node: drcm-sync {sync_set.name} --init --from {job.node}"
        raise RoleError(f"{sync_set.name} begins with the files of {wanted}; this is {job.node}", cure)
    record = records.current(job.paths.sets, sync_set.name, sync_set.roots, job.node)
    others = [name for name in sync_set.nodes if name != job.node]
    answers = {name: _probe(job, name) for name in others}
    fresh = record is None
    if record is None:
        _need_unknown(sync_set.name, answers)
        record = beginning.init(job.paths, sync_set, job.node)
    elif not record.is_writer:
        raise RoleError(f"{sync_set.name} has begun, and {job.node} is not its writer")
    joined = tuple(_join(job, record, name, answers[name], adopt) for name in others)
    return Founded(sync_set.name, job.node, fresh, joined)


def _probe(job: Job, name: str) -> dict[str, Any] | DrcmError:
    try:
        return job.peer(name).call("probe", job.sync_set.name, {"roots": list(job.sync_set.roots)})
    except DrcmError as error:
        return error


def _need_unknown(name: str, answers: dict[str, dict[str, Any] | DrcmError]) -> None:
    """HISTORIES R21: no node that can be reached knows the set's name."""
    for node, answer in answers.items():
        if isinstance(answer, dict) and answer.get("record") is not None:
            raise RoleError(
                f"{name} has begun already: {node} knows it", "Run --init on its writer to join others"
            )


def _join(job: Job, record: Record, node: str, answer: dict[str, Any] | DrcmError, adopt: bool) -> Joined:
    if isinstance(answer, DrcmError):
        return _not_joined(node, answer)
    theirs = answer.get("record")
    if theirs is not None and theirs.get("set_uuid") == record.set_uuid:
        return Joined(node, "joined already")
    sync_set = job.sync_set
    request = {
        "node": node,
        "set_uuid": record.set_uuid,
        "primary": sync_set.primary,
        "backups": list(sync_set.backups),
        "mirror": list(sync_set.mirror),
        "copy": list(sync_set.copy),
        "adopt": adopt,
    }
    try:
        job.peer(node).call("join", sync_set.name, request)
    except DrcmError as error:
        return _not_joined(node, error)
    return Joined(node, f"joined: the first drcm-sync {sync_set.name} copies everything there")


def _not_joined(node: str, error: DrcmError) -> Joined:
    later = " Later: the same command again." if isinstance(error, PeerError) else ""
    return Joined(node, f"NOT joined: {error.what}. {error.cure}{later}", error.exit_code)
