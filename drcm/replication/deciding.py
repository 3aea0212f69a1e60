"""What a person decides for a set that can't go on by itself: `--promote --accept-loss` and `--reinit`."""

from __future__ import annotations

import sys

from drcm import control
from drcm.errors import EXIT_USAGE, DrcmError, RoleError
from drcm.replication import custody
from drcm.replication.job import Job
from drcm.replication.role import ASK_SECONDS

EXPLAINED = """\
{name}: {node} would become the writer with the copy that it has: {copy}.
Now: {role}: {reason}
What a newer copy holds beyond that is no longer served. Nothing is deleted for it: a node that comes back
with a newer copy keeps all that it loses in .drcm/conflicts.
Do it only if the node with the newest copy is gone for good; otherwise start that node."""


def explain_promotion(job: Job) -> str:
    """What --promote --accept-loss would do here. RoleError where there is nothing to promote."""
    name = job.sync_set.name
    answer = _ask(job, "set")
    role, reason = str(answer.get("role")), str(answer.get("reason"))
    if role == "writer":
        raise RoleError(f"{name}: {job.node} is its writer already: {reason}", f"drcm-sync {name}")
    mine = custody.look(job.paths, job.sync_set, job.node)
    if not mine.pos_id:
        why = mine.problem or "no complete copy yet"
        raise RoleError(
            f"{name}: {job.node} has nothing to promote: {why}", "Run it on a node that has a copy"
        )
    copy = f"generation {mine.pos_n or mine.pos_id}, run {mine.pos_run or '0'}"
    return EXPLAINED.format(name=name, node=job.node, copy=copy, role=role, reason=reason)


def need_consent(question: str, yes: bool) -> bool:
    """Whether a person agrees: asked on a terminal, said by --yes elsewhere."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise DrcmError(
            "nobody can be asked here: nothing was changed", "The same command with --yes", EXIT_USAGE
        )
    print(f"{question} [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def promote(job: Job) -> str:
    """Tell the daemon that the loss is accepted; its answer."""
    return str(_ask(job, "promote").get("text", ""))


def _ask(job: Job, operation: str) -> control.Answer:
    name = job.sync_set.name
    try:
        return control.ask_local(job.paths.socket, {"op": operation, "name": name}, ASK_SECONDS)
    except control.NotRunningError as error:
        raise control.NotRunningError(
            f"{name}: expected drcm-server on this node, it does not run: only the daemon promotes",
            control.START,
        ) from error


def reinit(job: Job) -> str:
    """Empty directories in place of marked ones that are gone: this node joins again (HISTORIES R22)."""
    name = job.sync_set.name
    if custody.look(job.paths, job.sync_set, job.node).sole:
        raise RoleError(
            f"{name}: {job.node} has the only copy: no other node ever got a run of it to copy back",
            "Mount or restore the directories with their marker .drcm/set.json",
        )
    record = custody.reinit(job.paths, job.sync_set, job.node)
    paths = ", ".join(root.path for root in record.roots)
    kept = (
        "what they hold already and the run replaces is kept in .drcm/conflicts" if record.beyond else "empty"
    )
    return (
        f"{name}: {job.node} joins again with {paths} ({kept}). "
        f"The next run of its writer copies everything here and deletes nothing."
    )
