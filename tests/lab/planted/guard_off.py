"""Planted bug: no guard looks at a root: one that is not mounted counts as a source that was emptied."""

from drcm.replication import guards


def anything_goes(*arguments: object) -> None:
    return None


for name in ("check_root", "check_source", "check_target", "check_shrink"):
    vars(guards)[name] = anything_goes
