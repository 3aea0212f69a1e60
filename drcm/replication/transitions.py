"""Every way in which a set's record changes: Record -> Record, ids passed in.

Pure. Each returns a new record and raises RoleError where the step is not this node's to make.
The caller holds the set's lock and makes the result durable before it acts on it (HISTORIES R7).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from drcm.errors import RoleError
from drcm.replication.generation import (
    ACCEPT_LOSS,
    CHAIN_KEPT,
    Generation,
    Given,
    Position,
    Record,
    Root,
    RunId,
    replace,
    run_number,
    run_tag,
    settled,
)
from drcm.replication.verdict import Verdict, VerdictKind


def initial(name: str, set_uuid: str, node: str, roots: tuple[Root, ...], generation_id: str) -> Record:
    """The first record of a set, on the node whose tree it begins with (HISTORIES R21)."""
    return Record(
        name=name,
        set_uuid=set_uuid,
        node=node,
        chain=(Generation(1, generation_id, node, "init", started=True),),
        roots=roots,
        pos=Position(generation_id, ""),
        beyond=True,
    )


def joiner(name: str, set_uuid: str, node: str, roots: tuple[Root, ...], *, adopted: bool = False) -> Record:
    """A tree that never was complete. `adopted`: it holds files already, so the first pass keeps them."""
    return Record(name=name, set_uuid=set_uuid, node=node, chain=(), roots=roots, beyond=adopted)


def unfit(record: Record, known: Generation | None) -> str:
    """Why this copy may not be promoted by itself where `known` is the majority's head; "" = it may."""
    if record.doubt:
        return f"this copy is in doubt: {record.doubt}"
    top = known or record.newest
    if record.pos is None or top is None:
        return "no complete copy yet"
    here = settled(record, record.pos)
    ungiven = top.origin is not None and here == top.origin and not top.started
    if top.id in (record.pos.id, here and here.id) or ungiven:
        return ""
    own = record.generation(record.pos.id)
    return (
        f"behind a whole generation: this copy is in generation {own.n if own else record.pos.id}, "
        f"run {record.pos.run or '0'}; the newest known is {top.n} of {top.writer}"
    )


def promote(
    record: Record,
    known: Generation | None,
    generation_id: str,
    why: str = "promote",
    *,
    primary: str = "",
    accept_loss: bool = False,
    above: int = 0,
) -> Record:
    """This node becomes the writer, by a new generation on the chain that the majority knows.

    `primary`: whom the set is owed to from now on, unless it is this node. `accept_loss`: a person
    said `--promote --accept-loss`, which only a tree that never was complete still refuses. `above`: as of
    `give`.
    The generation starts nothing before a majority has it durable; then `start`.
    """
    reason = unfit(record, known)
    if record.pos is None or (reason and not accept_loss):
        raise RoleError(
            f"{record.name}: {record.node} can't become the writer: {reason}",
            f"Start the node that has the newest copy. If it is gone for good: "
            f"drcm-sync {record.name} --promote --accept-loss",
        )
    here = settled(record, record.pos) or record.pos
    base = _base(replace(record, pos=here), known)
    merged: tuple[str, ...] = ()
    if known is not None and all(one.id != here.id for one in base):
        base = record.chain  # --accept-loss on another history: what the others wrote is kept as `ahead`
        merged = () if record.knows(known.id) else (known.id,)
    number = max(above, *(one.n for one in (*base, *record.chain, *filter(None, [known])))) + 1
    new = Generation(number, generation_id, record.node, ACCEPT_LOSS if reason else why, here, merged=merged)
    return _as_writer(record, (new, *base), primary or record.failback)


def start(record: Record) -> Record:
    """The writer's generation starts: durable before its first resource does."""
    _need_writer(record, "start it")
    head = replace(record.head, started=True)
    return replace(record, chain=(head, *record.chain[1:]), beyond=True, applying=None)


def go_alone(record: Record, generation_id: str, above: int = 0) -> Record:
    """A running writer goes on without its peer past T_dead (two_node); `above` as of `give`."""
    _need_started(record, "go on alone")
    new = Generation(
        max(record.head.n, above) + 1, generation_id, record.node, "alone", record.pos, started=True
    )
    return replace(
        record, chain=_kept((new, *record.chain)), pos=Position(generation_id, ""), given={}, giving=""
    )


def resolve(record: Record, losers: Collection[Record], generation_id: str) -> Record:
    """A person decided for this tree: the losers' generations are merged, their trees become `ahead`."""
    foreign = any(loser.set_uuid != record.set_uuid for loser in losers)
    if record.pos is None or foreign or not record.chain:
        raise RoleError(f"{record.name}: {record.node} has no complete copy of the set to keep")
    theirs = [one for loser in losers for one in loser.chain]
    merged = tuple(dict.fromkeys(one.id for one in theirs if not record.knows(one.id)))
    number = max(one.n for one in (*record.chain, *theirs)) + 1
    new = Generation(number, generation_id, record.node, "resolve", record.pos, merged=merged)
    return _as_writer(record, (new, *record.chain), record.failback)


def intend(record: Record, to: str) -> Record:
    """Hand-over step 1: the writer means to give the set to `to`."""
    _need_started(record, f"give it to {to}")
    return replace(record, giving=to)


def drop_intent(record: Record) -> Record:
    """The hand-over does not happen: the writer goes on."""
    return replace(record, giving="") if record.giving else record


def give(record: Record, to: str, generation_id: str, above: int = 0) -> Record:
    """Hand-over step 4: a new generation whose writer is `to`, from the last run given to it.

    `above`: the highest number known anywhere. A generation that was made in vain may have the next one,
    and no voter would take a second that has not started yet under one number.
    """
    _need_started(record, f"give it to {to}")
    given = record.given.get(to, Given())
    if record.giving != to or not given.complete or given.begun != given.complete:
        raise RoleError(
            f"{record.name}: can't be given to {to}: its last run there is not complete "
            f"(begun {given.begun or 'none'}, complete {given.complete or 'none'})"
        )
    last = Position(record.head.id, given.complete)
    new = Generation(max(record.head.n, above) + 1, generation_id, to, "handover", last)
    return replace(
        record,
        chain=_kept((new, *record.chain)),
        pos=last,
        beyond=False,
        given={},
        giving="",
        failback="" if record.failback == to else record.failback,
    )


def adopt(record: Record, head: Generation, *, primary: str = "") -> Record:
    """Hand-over step 6: this node takes the generation that was given to it."""
    here = settled(record, record.pos)
    if head.writer != record.node or here is None or head.origin != here or record.applying:
        raise RoleError(
            f"{record.name}: generation {head.n} was not given to {record.node} as its copy stands: "
            f"it begins at {head.origin}, the copy is at {here}"
        )
    if record.doubt:
        raise RoleError(f"{record.name}: {record.node} can't take it: {record.doubt}")
    return _as_writer(record, _base(replace(record, pos=here), head), primary or record.failback)


def hear(record: Record, head: Generation) -> Record:
    """A newer head was learned from a peer: it goes on the chain and ends being the writer of an older.

    Unchanged (the same object) where the head is not newer.
    """
    if not record.chain:
        return replace(record, chain=(head,))
    if head.id == record.head.id and head.started and head.writer != record.node and not record.head.started:
        return replace(record, chain=(replace(record.head, started=True), *record.chain[1:]))
    # Of two with one number only one can have started: a majority had it, so the other never will.
    rival = head.n == record.head.n and head.id != record.head.id
    overtaken = rival and head.started and not record.head.started
    if head.n <= record.head.n and not overtaken:
        return record
    if overtaken:  # no chain has two of one number: the tree is where its own, which never starts, began
        record = replace(record, pos=settled(record, record.pos))
    return replace(record, chain=_kept((head, *_ancestors(record, head))), giving="")


def run_for(record: Record, peer: str, tag: str) -> RunId:
    """The id of the next run to `peer`: a run that was begun and not completed goes on.

    `tag`: 4 random bytes in hex, of a new run. Each peer's runs have numbers of their own (R14), in the
    order in which they sent: one that goes on after another peer's has newer files than that one, so it
    keeps its tag and takes a later number.
    """
    given, last = record.given.get(peer, Given()), _last_number(record)
    if given.begun and given.begun != given.complete:
        return given.begun if run_number(given.begun) == last else f"{last + 1}-{run_tag(given.begun)}"
    return f"{last + 1}-{tag}"


def begin_run(record: Record, peer: str, run: RunId) -> Record:
    """The writer is about to give `run` to `peer`: durable before the peer may apply it."""
    _need_started(record, f"send to {peer}")
    given = record.given.get(peer, Given())
    again = run == given.begun and run != given.complete
    if not again and run_number(run) <= _last_number(record):
        raise RoleError(f"{record.name}: run {run} is not later than run {_last_number(record)}")
    return replace(record, given={**record.given, peer: Given(run, given.complete)})


def complete_run(record: Record, peer: str, run: RunId) -> Record:
    """`peer` has committed `run`."""
    _need_started(record, f"complete a run to {peer}")
    given = record.given.get(peer, Given())
    if run != given.begun:
        raise RoleError(f"{record.name}: run {run} was not begun with {peer} (begun {given.begun or 'none'})")
    position = record.pos
    if position is None or run_number(run) > run_number(position.run):
        position = Position(record.head.id, run)
    return replace(record, pos=position, given={**record.given, peer: Given(run, run)})


def catch_up(record: Record, tree: Record) -> Record:
    """The peer committed the last run, but its answer was lost: that run is complete here too.

    Else the next run would be given under an id whose run is over (HISTORIES R13).
    """
    given = record.given.get(tree.node, Given())
    committed = tree.applying is None and tree.pos == Position(record.head.id, given.begun)
    if not committed or not given.begun or given.begun == given.complete:
        return record
    return complete_run(record, tree.node, given.begun)


def measured(record: Record, counts: Iterable[tuple[str, int, int]]) -> Record:
    """Remember (root path, files, bytes) of a complete run, for the shrink guard."""
    found = {path: (files, size) for path, files, size in counts}
    roots = tuple(
        replace(root, files=found[root.path][0], size=found[root.path][1]) if root.path in found else root
        for root in record.roots
    )
    return replace(record, roots=roots)


def receive_begin(tree: Record, writer: Record, run: RunId, verdict: Verdict) -> Record:
    """The receiver is about to apply `run` of `writer` (a gate's step, after `judge`)."""
    begun = writer.given.get(tree.node, Given()).begun
    if not verdict.may_write or run != begun:
        raise RoleError(
            f"{tree.name}: {tree.node} takes no run {run} from {writer.node}: "
            + (
                verdict.reason
                if not verdict.may_write
                else f"its record says that {begun or 'none'} was begun"
            )
        )
    position = tree.pos
    if position is not None and not writer.knows(position.id):
        position = settled(tree, position)
    return replace(
        tree,
        chain=writer.chain,
        pos=position,
        applying=Position(writer.head.id, run),
        beyond=tree.beyond or verdict.kind is VerdictKind.AHEAD,
        given={},
        giving="",
        failback="",
    )


def receive_commit(tree: Record, run: RunId) -> Record:
    """`run` is wholly applied: the tree is what the run describes."""
    newest = tree.newest
    if newest is None or tree.applying != Position(newest.id, run):
        raise RoleError(
            f"{tree.name}: run {run} is not the one being applied on {tree.node} ({tree.applying or 'none'})"
        )
    return replace(tree, pos=tree.applying, applying=None, beyond=False, doubt="")


def _need_writer(record: Record, to_do: str) -> None:
    if not record.is_writer:
        newest = record.newest
        whose = f"generation {newest.n} is {newest.writer}'s" if newest else "no generation is known"
        raise RoleError(
            f"{record.name}: {record.node} is not the writer, so it can't {to_do}: {record.doubt or whose}"
        )


def _need_started(record: Record, to_do: str) -> None:
    _need_writer(record, to_do)
    if not record.head.started:
        raise RoleError(
            f"{record.name}: generation {record.head.n} has not started, so {record.node} can't {to_do}",
            "It starts once a majority of the voters has it.",
        )


def _as_writer(record: Record, chain: tuple[Generation, ...], owed: str) -> Record:
    """`record` in its new generation chain[0]. A run cut in the middle stays noted until `start`."""
    return replace(
        record,
        chain=_kept(chain),
        pos=Position(chain[0].id, ""),
        given={},
        giving="",
        failback="" if owed == record.node else owed,
        doubt="",
    )


def _base(record: Record, known: Generation | None) -> tuple[Generation, ...]:
    """The chain up to `known`, which the majority has; what this node made in vain is not on it."""
    if known is None:
        return record.chain
    ids = [one.id for one in record.chain]
    if known.id not in ids:
        return (known, *_ancestors(record, known))
    index = ids.index(known.id)
    own = record.chain[index]  # it may say more than a head that was heard: why, merged
    return (replace(own, started=own.started or known.started), *record.chain[index + 1 :])


def _ancestors(record: Record, head: Generation) -> tuple[Generation, ...]:
    """What of `record`'s chain lies below `head`: no rival of it that began elsewhere or never started.

    The generation of the record's own tree stays in any case: a position names what is known.
    """
    needed = {one.id for one in (record.pos, record.applying) if one is not None}
    below = [one for one in record.chain if one.n < head.n]
    ids = [one.id for one in below]
    if head.origin is None or head.origin.id not in ids:
        return tuple(below)
    fork = ids.index(head.origin.id)
    between = [one for one in below[:fork] if one.id in needed or one.origin == head.origin]
    return (*between, *below[fork:])


def _kept(chain: tuple[Generation, ...]) -> tuple[Generation, ...]:
    return chain[:CHAIN_KEPT]


def _last_number(record: Record) -> int:
    """The highest run number of the newest generation so far."""
    runs = [run for given in record.given.values() for run in (given.begun, given.complete)]
    if record.pos is not None and record.pos.id == record.head.id:
        runs.append(record.pos.run)
    return max((run_number(run) for run in runs), default=0)
