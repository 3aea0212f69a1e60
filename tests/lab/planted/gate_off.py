"""Planted bug: the gate doesn't compare generations: any writer's run counts as the next one."""

from drcm.replication import verdict
from drcm.replication.generation import Record
from drcm.replication.verdict import Verdict, VerdictKind


def judge(writer: Record, tree: Record | None) -> Verdict:
    return Verdict(4, VerdictKind.BEHIND, "nobody looked")


vars(verdict)["judge"] = judge
