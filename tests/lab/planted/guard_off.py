"""Planted bug: no guard looks at a root: one that is not mounted counts as a source that was emptied."""

import os

from drcm.replication import guards
from drcm.replication.generation import Root
from drcm.replication.sources import Sources


def anything_goes(*arguments: object) -> None:
    return None


def hold(self: Sources, name: str, root: Root) -> None:
    self._open[root.path] = os.open(root.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


for name in ("check_root", "check_source", "check_target", "check_shrink"):
    vars(guards)[name] = anything_goes
setattr(Sources, "_hold", hold)  # noqa: B010 - a method can't be assigned to in typed code
