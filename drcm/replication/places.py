"""Where a set must not lie: the system's own places, drcm's, and inside another set.

A path says little, for a symlink or a bind mount may lead anywhere: file systems and places in them are
compared. cm.cfg's check compares the paths alone, on any machine. Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from drcm.config.systemplaces import CRON_PREFIX, OURS, of_the_system
from drcm.errors import DrcmError, GuardError
from drcm.paths import Paths
from drcm.replication import mounts, records


def check(paths: Paths, name: str, roots: Collection[str]) -> None:
    """GuardError where a root of the set `name` is, holds or lies in what no set may."""
    mounted = mounts.read()
    for root in roots:
        real = os.path.realpath(root)
        reason = _reserved(real, paths, mounted) or _other_set(paths, name, real, mounted)
        if reason:
            led = "" if real == os.path.normpath(root) else f"leads to {real} and "
            raise GuardError(
                f"{name}: {root}: expected a directory of the set's own, but it {led}{reason}",
                "Usual causes: a symlink or a bind mount was put there; the wrong directory is named. "
                "Nothing was changed. Look: findmnt; drcm-server --check-config.",
            )


def _reserved(real: str, paths: Paths, mounted: list[mounts.Mount]) -> str:
    if of_the_system(real):
        return "belongs to the system"
    if real.startswith(CRON_PREFIX):
        return "holds crontabs, which would run on the standby too"
    mine = mounts.tree_of(real, mounted)
    for place in (*OURS, *map(str, (paths.state, paths.auth, paths.run))):
        if os.path.isdir(place) and mounts.meet(mine, mounts.tree_of(os.path.realpath(place), mounted)):
            return f"overlaps {place}, which is each node's own"
    return ""


def _other_set(paths: Paths, name: str, real: str, mounted: list[mounts.Mount]) -> str:
    mine = mounts.tree_of(real, mounted)
    for other, root in _recorded(paths, name):
        if mounts.meet(mine, mounts.tree_of(os.path.realpath(root), mounted)):
            return f"overlaps {root} of the set {other}: each would delete the other's files"
    return ""


def _recorded(paths: Paths, name: str) -> list[tuple[str, str]]:
    """(set, root) of all other sets that have begun here. A record that can't be read stops its own set."""
    found: list[tuple[str, str]] = []
    for other in sorted(place.stem for place in paths.sets.glob("*.json")):
        try:
            record = records.load(paths.sets, other) if other != name else None
        except DrcmError:
            continue
        found += [(other, root.path) for root in record.roots] if record else []
    return found
