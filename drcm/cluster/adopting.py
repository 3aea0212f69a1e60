"""A daemon that was restarted goes on with what the former one on this kernel held (DESIGN.md rule 2). Pure.

Under a lease that has not ended. cm.cfg may have been edited meanwhile: what it no longer has here is
stopped as it is after a reload.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from drcm.cluster.messages import GroupKey, HoldState
from drcm.cluster.spec import Group

if TYPE_CHECKING:
    from drcm.cluster.care import Care
    from drcm.cluster.engine import Beginning


def adopt(care: Care, begin: Beginning, now: float) -> None:
    """Hold again what was held, as far as it still belongs here."""
    for key in (*begin.adopt, *begin.stopping) if begin.lease_until > now else ():
        group = _former(care, begin, key)
        if group is None:
            continue
        holding = care.claim(group, "this daemon was restarted and goes on", now)
        holding.lease_until, holding.adopted = begin.lease_until, True
        holding.enter(HoldState.STARTING, now)
        if key in begin.stopping:
            holding.begin_stop(now, "the daemon that ended was letting go of it")
        else:
            care.fit(holding, now)


def _former(care: Care, begin: Beginning, key: GroupKey) -> Group | None:
    """The group as the daemon that ended knew it; None where nothing of it can run."""
    group, members = care.engine.group(key), begin.members.get(key, ())
    if group is None:
        return Group(key, key.partition("/")[0], (care.engine.spec.me,), members) if members else None
    gone = tuple(member for member in members if member not in group.members)
    return replace(group, members=(*group.members, *gone)) if gone else group
