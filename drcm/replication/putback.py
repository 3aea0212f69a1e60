"""Putting versions back into a root: each takes its place at once, and what was there is kept.

Folders are entered one by one and never through a symlink, so nothing outside the root is touched
whatever its users do meanwhile. Names are text as `os.fsdecode` gives it.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drcm.errors import EXIT_IO, DrcmError
from drcm.replication import process

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class PutBack:
    """For one root: `staged` holds the versions under their names, `keep` gets what they replace."""

    def __init__(self, root: Path, staged: Path, keep: Path) -> None:
        self.root, self.staged, self.keep = root, staged, keep

    def put(self, name: str) -> None:
        """Give `name` its staged version."""
        folder, base = os.path.split(name)
        with self._folder(folder) as inside:
            self._keep_present(inside, name, base)
            self._place(inside, name, base)

    def take_away(self, name: str) -> bool:
        """Move `name`, if it is there, to what is kept. An empty folder just goes, a full one stays."""
        folder, base = os.path.split(name)
        with self._folder(folder) as inside:
            status = _status(inside, base)
            if status is None:
                return False
            if not stat.S_ISDIR(status.st_mode):
                self._move(inside, name, base)
                return True
            try:
                os.rmdir(base, dir_fd=inside)
            except OSError:
                return False
            return True

    @contextmanager
    def _folder(self, name: str) -> Iterator[int]:
        """A descriptor of that folder; made, as the staged one is, where it is missing."""
        inside = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            parts = name.split("/") if name else []
            for depth, part in enumerate(parts, start=1):
                inside = self._enter(inside, "/".join(parts[:depth]), part)
            yield inside
        finally:
            os.close(inside)

    def _enter(self, inside: int, name: str, part: str) -> int:
        try:
            below = os.open(part, _FOLDER, dir_fd=inside)
        except FileNotFoundError:
            below = self._made(inside, name, part)
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            self._move(inside, name, part)  # a file or a link has taken the folder's place
            below = self._made(inside, name, part)
        os.close(inside)
        return below

    def _made(self, inside: int, name: str, part: str) -> int:
        os.mkdir(part, 0o700, dir_fd=inside)
        below = os.open(part, _FOLDER, dir_fd=inside)
        _look_like(self.staged / name, f"/proc/self/fd/{below}")
        return below

    def _keep_present(self, inside: int, name: str, base: str) -> None:
        """What is there now stays there until it is replaced, and has a second name in `keep`."""
        status = _status(inside, base)
        if status is None:
            return
        if stat.S_ISDIR(status.st_mode):
            self._move(inside, name, base)
            return
        target = self._target(name)
        try:
            os.link(base, target, src_dir_fd=inside, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
                raise
            _copy(f"/proc/self/fd/{inside}/{base}", target, inside)

    def _move(self, inside: int, name: str, base: str) -> None:
        target = self._target(name)
        try:
            os.rename(base, target, src_dir_fd=inside)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy(f"/proc/self/fd/{inside}/{base}", target, inside)
            _remove(inside, base)

    def _target(self, name: str) -> Path:
        """The place of `name` in `keep`, its folders as the tree's are."""
        folder = self.keep
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for part in Path(name).parts[:-1]:
            folder = folder / part
            if not folder.exists():
                folder.mkdir(mode=0o700)
                _look_like(self.root / folder.relative_to(self.keep), folder)
        return folder / os.path.basename(name)

    def _place(self, inside: int, name: str, base: str) -> None:
        try:
            os.rename(self.staged / name, base, dst_dir_fd=inside)
        except OSError as error:
            if error.errno != errno.EXDEV:  # another file system is mounted there
                raise
            beside = f".{base[:200]}.{secrets.token_hex(4)}"
            _copy(str(self.staged / name), f"/proc/self/fd/{inside}/{beside}", inside)
            os.rename(beside, base, src_dir_fd=inside, dst_dir_fd=inside)


def _status(inside: int, base: str) -> os.stat_result | None:
    try:
        return os.lstat(base, dir_fd=inside)
    except FileNotFoundError:
        return None


def _look_like(model: Path, path: Path | str) -> None:
    """Owner, mode, times and extended attributes of the folder `model`, if it is one."""
    try:
        status = model.lstat()
    except OSError:
        return
    if stat.S_ISDIR(status.st_mode):
        os.chown(path, status.st_uid, status.st_gid)
        shutil.copystat(model, path)


def _copy(source: str, target: Path | str, inside: int) -> None:
    """With all that a file has, over a border between file systems."""
    argv = [
        process.find_program("cp", "coreutils"),
        "--archive",
        "--no-target-directory",
        "--",
        source,
        str(target),
    ]
    ended = process.run(argv, keep=(inside,))
    if ended.code:
        raise DrcmError(f"{source} could not be copied: {ended.stderr.strip()}", "", EXIT_IO)


def _remove(inside: int, base: str) -> None:
    status = _status(inside, base)
    if status is not None and stat.S_ISDIR(status.st_mode):
        shutil.rmtree(base, dir_fd=inside)
    else:
        os.unlink(base, dir_fd=inside)
