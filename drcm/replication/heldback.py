"""Files that a cut run had brought whole, or in part, and not yet put in their places: FOLDER/.drcm-partial.

rsync goes on from them, and protects them from its own deletion. Standard library only: drcm-gate uses it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from drcm import state
from drcm.replication.roots import PARTIAL
from drcm.replication.rootstate import PRIVATE


def keep(root: Path, label: str) -> list[str]:
    """Move each folder/.drcm-partial/* of `root` to conflicts/LABEL/folder/*, and list them durably.

    An empty .drcm-partial goes, too: no later run could remove its folder.
    """
    place = root / PRIVATE / "conflicts" / label
    kept = []
    for folder, path in list(_folders(root)):
        for name in sorted(os.listdir(path)):
            target = place / folder / name
            target.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
            Path(path, name).rename(target)
            kept.append(os.path.normpath(os.path.join(folder, name)))
        Path(path).rmdir()
    if kept:
        listing = place.with_name(f"{label}.list")
        before = listing.read_bytes() if listing.exists() else b""
        state.write_bytes(listing, before + b"".join(os.fsencode(name) + b"\n" for name in kept))
    return kept


def drop(root: Path) -> None:
    """Remove what is left of them after a whole run of the same writer: the source has them no more.

    Else a folder that is gone at the source could never be removed here.
    """
    for _, path in list(_folders(root)):
        shutil.rmtree(path)


def _folders(root: Path) -> Iterator[tuple[str, str]]:
    """Folders of `root` that have a .drcm-partial, and the whole path of that. Symlinks are not followed."""
    for folder, folders, _ in os.walk(root):
        here = os.path.relpath(folder, root)
        if here == ".":
            folders[:] = [name for name in folders if name != PRIVATE]
        if PARTIAL in folders:
            folders.remove(PARTIAL)
            path = os.path.join(folder, PARTIAL)
            if not os.path.islink(path):
                yield here, path
