"""A run on its way into this node: what was begun, which roots arrived whole, where old versions go.

The note lies in STATE/receiving/NAME.json, durable, and is read and written only under the set's lock: a
run is committed when every root's rsync ended well, in whatever order and number of attempts.
Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from drcm import state
from drcm.paths import Paths
from drcm.replication.generation import Record, Root, RunId, run_tag

OWN_DIR = ".drcm"
LISTED = 1000  # names of kept files that go back to the writer


@dataclass(frozen=True, slots=True)
class Receiving:
    """The run that was begun. `attempt` is the first number whose folders are free."""

    generation: str
    number: int  # of the generation
    run: RunId
    attempt: int
    ahead: bool  # all that is replaced goes to conflicts, which never expire
    deletes: bool
    done: tuple[int, ...] = ()  # indexes of the roots that arrived whole
    goes_on: bool = False  # after one that was cut: that one may have held files back


def read(paths: Paths, name: str) -> Receiving | None:
    """What was begun last and not committed."""
    value = state.read_json(_path(paths, name))
    return None if value is None else Receiving(**{**value, "done": tuple(value["done"])})


def write(paths: Paths, name: str, receiving: Receiving) -> None:
    """Make it durable."""
    state.write_json(_path(paths, name), asdict(receiving))


def clear(paths: Paths, name: str) -> None:
    """The run is committed."""
    _path(paths, name).unlink(missing_ok=True)


def _path(paths: Paths, name: str) -> Path:
    return paths.state / "receiving" / f"{name}.json"


def without(receiving: Receiving, index: int) -> Receiving:
    """The root is being written to: it is no longer whole."""
    return replace(receiving, done=tuple(one for one in receiving.done if one != index))


def with_done(receiving: Receiving, index: int) -> Receiving:
    return replace(receiving, done=(*without(receiving, index).done, index))


# -- where old versions go -------------------------------------------------------------------------


def keep_dir(root: str, receiving: Receiving, attempt: int) -> Path:
    """The folder for what this attempt replaces: a new one each time (HISTORIES R4)."""
    kind = "conflicts" if receiving.ahead else "trash"
    return Path(root) / OWN_DIR / kind / f"{receiving.number}-{receiving.run}-{attempt}"


def list_file(kept: Path) -> Path:
    """rsync's own list of the attempt, beside the folder."""
    return kept.with_name(f"{kept.name}.list")


def manifest_file(kept: Path) -> Path:
    """The metadata of the root before an `ahead` pass, beside the folder."""
    return kept.with_name(f"{kept.name}.manifest")


def manifests(root: str, receiving: Receiving) -> list[Path]:
    """Those of all attempts of the run in that root."""
    folder = keep_dir(root, receiving, 1).parent
    return sorted(folder.glob(f"{_any_attempt(receiving)}.manifest"))


def labels(record: Record, receiving: Receiving) -> set[str]:
    """The folders of kept versions of this run, in any root."""
    return {
        kept.name
        for root in record.roots
        for kept in keep_dir(root.path, receiving, 1).parent.glob(_any_attempt(receiving))
        if kept.is_dir()
    }


def _any_attempt(receiving: Receiving) -> str:
    """The pattern of its folders, under the numbers that it had before it went on, too."""
    return f"{receiving.number}-*-{run_tag(receiving.run)}-*"


def next_attempt(record: Record, receiving: Receiving) -> int:
    """The first attempt number that no root has a folder or list of."""
    attempt = 1
    while any(_is_used(root, receiving, attempt) for root in record.roots):
        attempt += 1
    return attempt


def _is_used(root: Root, receiving: Receiving, attempt: int) -> bool:
    kept = keep_dir(root.path, receiving, attempt)
    return kept.exists() or list_file(kept).exists()


def tidy(kept: Path) -> None:
    """Forget the list of an attempt that replaced nothing."""
    if not kept.exists():
        list_file(kept).unlink(missing_ok=True)


def kept_names(record: Record, receiving: Receiving) -> list[str]:
    """The files of this run in the roots' conflict folders, whole paths, at most LISTED."""
    names: list[str] = []
    for root in record.roots:
        folder = keep_dir(root.path, receiving, 1).parent
        for kept in sorted(folder.glob(_any_attempt(receiving))):
            for name in _files_below(kept):
                if len(names) == LISTED:
                    return names
                names.append(name)
    return names


def _files_below(folder: Path) -> Iterator[str]:
    for where, _, files in os.walk(folder):
        yield from (os.path.join(where, name) for name in sorted(files))
