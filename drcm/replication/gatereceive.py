"""The receiving end of rsync on this node: a dry run, or one root of the run that was begun.

Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
from pathlib import Path

from drcm.errors import EXIT_NO_PERMISSION, EXIT_OK, EXIT_PROTOCOL, DrcmError
from drcm.paths import Paths
from drcm.replication import receiving, records, rsyncserver
from drcm.replication.gatecalls import LOCK_SECONDS, begun, begun_run, environment
from drcm.replication.gaterequest import INDEX, NAME, checked, malformed
from drcm.replication.generation import Record, Root

ATTEMPT = re.compile(r"[0-9]{1,6}")
WHOLE = (EXIT_OK, 24)  # 24: files vanished at the source; the writer decides whether that was all
INTERRUPTED = 20  # rsync's own code for "ended by a signal"


def _server(arguments: list[str], count: int) -> tuple[list[str], rsyncserver.Asked]:
    words, command = server_words(arguments, count)
    return words, rsyncserver.parse(command)


def server_words(arguments: list[str], count: int) -> tuple[list[str], list[str]]:
    """The gate's own words, and rsync's command line after the `--`."""
    if len(arguments) <= count or arguments[count] != "--":
        raise malformed(f"expected {count} words, --, and rsync's command line")
    return arguments[:count], arguments[count + 1 :]


def _root(record: Record, index: str, asked: rsyncserver.Asked) -> Root:
    """The root that is written to: the set's own, and whole (guards)."""
    from drcm.replication import guards, roots

    number = int(checked(INDEX, index, "number of a root"))
    if number >= len(record.roots):
        raise malformed(f"{record.name} has no root {number}")
    root = record.roots[number]
    if asked.path != os.path.normpath(root.path):
        raise DrcmError(
            f"{asked.path} is not {record.name}'s root {root.path}", "Is cm.cfg the same?", EXIT_NO_PERMISSION
        )
    guards.check_root(record, root, roots.inspect(root.path))
    return root


def plan(here: Paths, arguments: list[str]) -> int:
    """A dry run against one root. It writes nothing and holds no lock."""
    (name, index), asked = _server(arguments, 2)
    if not asked.dry_run:
        raise rsyncserver.OptionsError("a plan is a dry run", "", EXIT_NO_PERMISSION)
    record = begun(here, checked(NAME, name, "name of a set"), (asked.path,))
    _root(record, index, asked)
    return child(rsyncserver.plan_argv(asked))


def receive(here: Paths, arguments: list[str]) -> int:
    """One root of the run that was begun. The lock lives as long as rsync does, whatever becomes of me."""
    (name, index, generation, run, attempt), asked = _server(arguments, 5)
    checked(NAME, name, "name of a set")
    number = int(checked(ATTEMPT, attempt, "attempt"))
    with records.lock(here.sets, name, f"run {run}", LOCK_SECONDS, inheritable=True):
        record = begun(here, name)
        root = _root(record, index, asked)
        note = begun_run(here, record, generation, run)
        _check_asked(root, note, asked)
        receiving.write(here, name, receiving.without(note, int(index)))
        kept, code = _run_rsync(root, note, number, asked)
        if code in WHOLE:
            _note_end(here, record, root, note, int(index))
        receiving.tidy(kept)
    return code


def _check_asked(root: Root, note: receiving.Receiving, asked: rsyncserver.Asked) -> None:
    if asked.dry_run:
        raise rsyncserver.OptionsError("a dry run would count as a whole one", "", EXIT_NO_PERMISSION)
    if asked.deletes and not note.deletes:
        raise rsyncserver.OptionsError("a first run never deletes", "", EXIT_NO_PERMISSION)
    if asked.deletes and root.mode != "mirror":
        raise rsyncserver.OptionsError(f"{root.path} is a copy: nothing is deleted", "", EXIT_NO_PERMISSION)


def _run_rsync(
    root: Root, note: receiving.Receiving, attempt: int, asked: rsyncserver.Asked
) -> tuple[Path, int]:
    kept = receiving.keep_dir(root.path, note, attempt)
    listed = receiving.list_file(kept)
    if kept.exists() or listed.exists():
        raise DrcmError(f"{kept} exists: an attempt has its own folder", "", EXIT_PROTOCOL)
    temporary = os.path.join(root.path, receiving.OWN_DIR, "tmp")
    for folder in (temporary, str(kept.parent)):
        _own_folder(folder)
    _clear(temporary)
    imposed = rsyncserver.Imposed(str(kept), str(listed), "" if root.mounts else temporary)
    return kept, child(rsyncserver.receive_argv(asked, imposed))


def _own_folder(folder: str) -> None:
    """It is there, and is no symlink that a sender planted: what is in it may be deleted, or written over."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    if not stat.S_ISDIR(os.lstat(folder).st_mode):
        raise DrcmError(f"{folder} is not a directory of drcm's own", "", EXIT_NO_PERMISSION)


def _clear(temporary: str) -> None:
    """Half-written files of a killed rsync; whole ones it held back lie in .drcm-partial and are used."""
    with os.scandir(temporary) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)


def child(argv: list[str]) -> int:
    """Run rsync in my group with the lock's descriptor; its exit code, 20 where a signal ended it."""
    pid = os.posix_spawnp(argv[0], argv, environment())

    def pass_on(number: int, frame: object) -> None:
        os.kill(pid, number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, pass_on)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else INTERRUPTED


def _note_end(here: Paths, record: Record, root: Root, note: receiving.Receiving, index: int) -> None:
    """The root is whole, and still carries the marker (an old sender could have deleted it)."""
    marker = os.path.join(root.path, receiving.OWN_DIR, "set.json")
    if not os.path.exists(marker):
        raise DrcmError(
            f"the run removed {marker}",
            f"It is in {root.path}/.drcm/trash; drcm-sync(8), REINIT",
            EXIT_PROTOCOL,
        )
    receiving.write(here, record.name, receiving.with_done(note, index))
