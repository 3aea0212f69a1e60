"""Every step in the life of a set, cut at every single step that it takes on a disk.

The life is told by STEPS: a set begins on A, B joins, A runs, B is promoted while A is dead, A comes back
and is brought on, B hands the set over, A takes it and runs again. Each step is what one process does on one
node (drcm-sync, drcm-gate, the daemon), by the same calls. It is killed, loses its power or finds the disk
full at its 1st, 2nd, ... step on the disk; then everybody goes on as their programs do: from the records.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from power import Disk, Fault

from drcm import state
from drcm.config.model import SyncSet
from drcm.paths import Paths
from drcm.replication import custody, gatecalls, receiving, records, transitions
from drcm.replication.generation import Generation, Given, Position, Record, run_number, to_json
from drcm.replication.verdict import VerdictKind, judge

RUNS = iter(range(1, 1 << 30))
STEPS_MAX = 100  # on the disk, of one step of the life


@dataclass(frozen=True)
class Place:
    """One node: its state and its root."""

    name: str
    base: Path

    @property
    def root(self) -> Path:
        return self.base / self.name / "testfs"

    @property
    def paths(self) -> Paths:
        here = self.base / self.name
        return Paths(here / "cm.cfg", here / "auth", here / "state", here / "run")

    @property
    def who(self) -> tuple[Paths, SyncSet, str]:
        return self.paths, SyncSet("testfs", "A", ("B",), mirror=(str(self.root),)), self.name

    @property
    def found(self) -> Record | None:
        return records.current(self.paths.sets, "testfs", [str(self.root)], self.name)

    @property
    def record(self) -> Record:
        found = self.found
        assert found is not None
        return found

    def save(self, change: Callable[[Record], Record]) -> None:
        """As drcm-sync does on the writer."""
        with records.lock(self.paths.sets, "testfs", "a run"):
            record = self.record
            changed = change(record)
            if changed is not record:
                records.save(self.paths.sets, changed)


@dataclass(frozen=True)
class Pair:
    """Both nodes, and what else there is: the heads that a majority knows."""

    a: Place
    b: Place


def _init(pair: Pair) -> None:
    if pair.a.found is None or not pair.a.root.joinpath(".drcm/set.json").exists():
        custody.init(*pair.a.who)


def _join(pair: Pair) -> None:
    custody.join(*pair.b.who, pair.a.record.set_uuid)


# -- a run, in the steps of push.py ----------------------------------------------------------------


def _begun(writer: Place, tree: Place) -> None:
    """drcm-sync: what was committed counts, then the run is durable here before it is begun there."""

    def change(record: Record) -> Record:
        record = transitions.catch_up(record, tree.record)
        run = transitions.run_for(record, tree.name, f"{next(RUNS):08x}")
        return transitions.begin_run(record, tree.name, run)

    writer.save(change)


def _request(writer: Place, tree: Place) -> dict[str, object]:
    run = writer.record.given[tree.name].begun
    return {"record": to_json(writer.record), "run": run, "roots": [str(tree.root)]}


def _applying(writer: Place, tree: Place) -> None:
    """drcm-gate begin."""
    gatecalls.begin(tree.paths, "testfs", _request(writer, tree))


def _whole(writer: Place, tree: Place) -> None:
    """drcm-gate receive: rsync ended well."""
    with records.lock(tree.paths.sets, "testfs", "receive"):
        note = gatecalls.begun_run(
            tree.paths, tree.record, writer.record.head.id, writer.record.given[tree.name].begun
        )
        receiving.write(tree.paths, "testfs", receiving.with_done(note, 0))


def _committed(writer: Place, tree: Place) -> None:
    """drcm-gate commit."""
    run = writer.record.given[tree.name].begun
    gatecalls.commit(tree.paths, "testfs", {"generation": writer.record.head.id, "run": run})


def _complete(writer: Place, tree: Place) -> None:
    """drcm-sync: the peer has said that it is committed."""
    writer.save(lambda record: transitions.catch_up(record, tree.record))


RUN = {
    "begun is durable at the writer": _begun,
    "applying is durable at the receiver": _applying,
    "a root is whole": _whole,
    "commit at the receiver": _committed,
    "complete at the writer": _complete,
}


def _whole_run(writer: Place, tree: Place) -> None:
    """All of them, from wherever the last run was cut; nothing where it had ended."""
    given = writer.record.given.get(tree.name, Given())
    at_rest = tree.record.applying is None and tree.record.pos is not None
    caught_up = given.begun and tree.record.pos == Position(writer.record.head.id, given.begun)
    if at_rest and caught_up:
        return _complete(writer, tree)
    for step in RUN.values():
        step(writer, tree)


# -- what the daemons do ---------------------------------------------------------------------------


def _known(pair: Pair) -> Generation:
    """The newest head, as a majority with a witness knows it."""
    heads = [one.record.newest for one in (pair.a, pair.b)]
    return max((one for one in heads if one), key=lambda one: (one.n, one.started))


def _opened(writer: Place, known: Generation | None) -> None:
    custody.open_as_writer(*writer.who, known, f"{next(RUNS):016x}")


def _promoted(pair: Pair) -> None:
    """B alone: A is dead, whatever it has."""
    _opened(pair.b, pair.b.record.newest)


def _started(place: Place) -> None:
    custody.start(*place.who)


def _heard(place: Place, other: Place) -> None:
    custody.hear(place.paths, "testfs", other.record.head)


def _intended(pair: Pair) -> None:
    if pair.b.record.is_writer:
        custody.intend(*pair.b.who, "A")


def _given(pair: Pair) -> None:
    if pair.b.record.is_writer:
        custody.give(*pair.b.who, "A", f"{next(RUNS):016x}")


def _taken(pair: Pair) -> None:
    if not pair.a.record.is_writer:
        _opened(pair.a, _known(pair))


# -- the life --------------------------------------------------------------------------------------

Step = Callable[[Pair], None]


def _steps_of_run(goal: str, writer: str, tree: str) -> dict[str, Step]:
    def bound(step: Callable[[Place, Place], None]) -> Step:
        return lambda pair: step(getattr(pair, writer), getattr(pair, tree))

    return {f"{goal}: {name}": bound(step) for name, step in RUN.items()}


STEPS: dict[str, Step] = {
    "--init: record and marker": _init,
    "--init: the backup joins": _join,
    **_steps_of_run("first run", "a", "b"),
    "promotion: the new generation at the backup": _promoted,
    "promotion: started at the backup": lambda pair: _started(pair.b),
    "return: the old writer hears of the new one": lambda pair: _heard(pair.a, pair.b),
    **_steps_of_run("bulk pass", "b", "a"),
    "hand-over: the intent at the giver": _intended,
    **_steps_of_run("hand-over: last pass", "b", "a"),
    "hand-over: the gift at the giver": _given,
    "hand-over: taken by the taker": _taken,
    "hand-over: started at the taker": lambda pair: _started(pair.a),
    "hand-over: the giver hears of the start": lambda pair: _heard(pair.b, pair.a),
    "first run home: all of it": lambda pair: _whole_run(pair.a, pair.b),
}


def _handed_over(pair: Pair) -> None:
    """From wherever it stands: who is the writer by the newest generation goes on."""
    if pair.b.record.is_writer:
        custody.drop_intent(*pair.b.who)
        custody.intend(*pair.b.who, "A")
        _whole_run(pair.b, pair.a)
        _given(pair)
    _taken(pair)
    _started(pair.a)
    _heard(pair.b, pair.a)


# How each goal goes on after an interruption of any of its steps, as its program or daemon does.
GOALS: dict[str, Step] = {
    "--init": lambda pair: (_init(pair), (pair.b.found and pair.b.record.pos) or _join(pair), None)[-1],
    "first run": lambda pair: _whole_run(pair.a, pair.b),
    "promotion": lambda pair: (_promoted(pair), _started(pair.b), None)[-1],
    "return": lambda pair: _heard(pair.a, pair.b),
    "bulk pass": lambda pair: _whole_run(pair.b, pair.a),
    "hand-over": _handed_over,
    "first run home": lambda pair: _whole_run(pair.a, pair.b),
}


def _goal(name: str) -> str:
    return name.partition(":")[0]


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What is durable is the Disk's to say: this machine's own disk need not be waited for."""
    folder = tmp_path_factory.mktemp("memory")
    subprocess.run(["mount", "-t", "tmpfs", "drcm-test", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def base(memory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(state, "RESERVE_BYTES", 64)
    folder = Path(tempfile.mkdtemp(dir=memory))
    yield folder
    shutil.rmtree(folder)


def rest_of_life(pair: Pair, name: str) -> None:
    goals = list(dict.fromkeys(_goal(one) for one in STEPS))
    for goal in goals[goals.index(_goal(name)) + 1 :]:
        GOALS[goal](pair)


def check_nothing_contradicts(pair: Pair) -> None:
    """No record is in doubt, and never do two that started say different things of one number."""
    there = [one for one in (pair.a.found, pair.b.found) if one is not None]
    assert not any(one.doubt for one in there)
    heads = {(one.head.n, one.head.id) for one in there if one.chain and one.head.started}
    assert len({n for n, _ in heads}) == len(heads)


def shape(place: Place) -> tuple[object, ...]:
    """What a node knows, without what is random, and without how often a thing was tried."""
    one = place.found
    if one is None or one.newest is None:
        return (one is None, one and (one.pos, one.applying))
    head = one.head
    where = one.pos and (one.pos.id == head.id, run_number(one.pos.run) > 0)
    given = [(peer, given.begun == given.complete) for peer, given in one.given.items()]
    return (head.writer, head.why, head.started, one.is_writer, where, one.applying, one.beyond, given,
            one.failback, one.giving)  # fmt: skip


def check_agreed(pair: Pair) -> None:
    """Both sides agree: A writes the newest generation, B has its last run, nothing is under way."""
    a, b = pair.a.record, pair.b.record
    assert a.head.id == b.head.id
    assert (a.head.writer, a.is_writer, b.is_writer) == ("A", True, False)
    assert (b.pos, b.applying, b.doubt, a.applying, a.doubt) == (a.pos, None, "", None, "")
    assert judge(a, b).kind is VerdictKind.BEHIND
    assert (a.failback, b.failback, a.giving, b.giving) == ("", "", "", "")


@pytest.fixture
def pair(base: Path) -> Pair:
    made = Pair(Place("A", base / "here"), Place("B", base / "here"))
    for one in (made.a, made.b):
        one.root.mkdir(parents=True)
        one.paths.state.mkdir()
        (one.paths.state / gatecalls.NODE_FILE).write_text(one.name)
    (made.a.root / "file").write_text("content")
    return made


def test_the_life_undisturbed(pair: Pair) -> None:
    """Without a fault both sides agree at its end."""
    for step in STEPS.values():
        step(pair)
    check_agreed(pair)


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("name", STEPS)
def test_cut_at_every_step_on_the_disk(pair: Pair, base: Path, name: str, fault: Fault) -> None:
    """Whatever stops it wherever: no record contradicts another, and it goes on to the same end."""
    here, before = base / "here", base / "before"
    for other, step in STEPS.items():
        if other == name:
            break
        step(pair)
    shutil.copytree(here, before)
    GOALS[_goal(name)](pair)
    wanted = shape(pair.a), shape(pair.b)
    for last in range(1, STEPS_MAX):
        shutil.rmtree(here)
        shutil.copytree(before, here)
        disk = Disk(fault, last)
        disk.run(lambda: STEPS[name](pair))
        check_nothing_contradicts(pair)
        GOALS[_goal(name)](pair)
        assert (shape(pair.a), shape(pair.b)) == wanted
        if disk.steps < last:
            break
    else:
        raise AssertionError("it never ends")
    assert last > 3, "it did nothing durable"
    rest_of_life(pair, name)
    check_agreed(pair)
