"""`pre_sync` and `post_sync`: a person's commands round a run, to make a database's files consistent."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from drcm.errors import DrcmError
from drcm.replication import process
from drcm.replication.job import Job

HOOK_SECONDS = 600.0


@contextmanager
def around(job: Job) -> Iterator[None]:
    """Run pre_sync, then the block, then post_sync, whatever came of the others.

    Nothing in a dry run, nor in the last pass of a hand-over: the services are stopped then.
    DrcmError where pre_sync fails: the block is not run. A failure of post_sync is told, and is no more.
    """
    if job.dry_run or job.hand_over:
        yield
        return
    try:
        _run("pre_sync", job.sync_set.pre_sync)
        yield
    finally:
        try:
            _run("post_sync", job.sync_set.post_sync)
        except DrcmError as error:
            print(f"drcm-sync: WARNING - {job.sync_set.name}: {error.what}", file=sys.stderr)


def _run(key: str, command: str) -> None:
    """No shell: the command's words, the first of them a program."""
    if not command:
        return
    words = shlex.split(command)
    ended = process.run([process.find_program(words[0]), *words[1:]], seconds=HOOK_SECONDS)
    if ended.code or ended.timed_out:
        how = f"did not end within {HOOK_SECONDS:.0f} s" if ended.timed_out else f"ended with {ended.code}"
        said = ended.stderr.strip().split("\n")[-1][:200]
        what = f"{key} '{command}': expected it to end with 0, it {how}{': ' if said else ''}{said}"
        raise DrcmError(what, "Nothing was synced. Try it by hand, then run drcm-sync again.")
