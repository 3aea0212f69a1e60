"""Planted bug, 1.41's own: a failback whose push failed counts as done, and the old tree is served."""

from drcm.cluster.setruns import SetRuns
from drcm.replication import transitions
from drcm.replication.generation import Generation, Given, Position, Record, replace

_give, _hand_over = transitions.give, SetRuns.hand_over


async def prepare(self: SetRuns, name: str, to: str) -> str:
    return ""


async def hand_over(self: SetRuns, name: str, to: str, last: bool) -> str:
    await _hand_over(self, name, to, last)
    return ""


def give(record: Record, to: str, generation_id: str) -> Record:
    done = {**record.given, to: Given("1-failed", "1-failed")}
    return _give(replace(record, given=done), to, generation_id)


def adopt(record: Record, head: Generation, *, primary: str = "") -> Record:
    chain = (head, *(one for one in record.chain if one.id != head.id))
    return replace(record, chain=chain, pos=Position(head.id, ""), given={}, giving="", failback="")


vars(transitions).update(give=give, adopt=adopt)
setattr(SetRuns, "prepare", prepare)  # noqa: B010 - a method can't be assigned to in typed code
setattr(SetRuns, "hand_over", hand_over)  # noqa: B010
