"""A node's custody of a set, with two nodes' state and trees in a temporary directory."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from drcm.config.model import SyncSet
from drcm.errors import DrcmError, GuardError, LockedError, RoleError
from drcm.paths import Paths
from drcm.replication import custody, records, roots, transitions
from drcm.replication.generation import Generation, Position, Record, replace
from drcm.replication.verdict import judge


@dataclass
class Place:
    """One node: its state and its own root (on real nodes the paths are equal)."""

    name: str
    paths: Paths
    sync_set: SyncSet
    root: Path

    @property
    def who(self) -> tuple[Paths, SyncSet, str]:
        return self.paths, self.sync_set, self.name

    def record(self) -> Record:
        found = records.current(self.paths.sets, "testfs", self.sync_set.roots, self.name)
        assert found is not None
        return found

    def save(self, record: Record) -> None:
        with records.lock(self.paths.sets, "testfs", "a test"):
            records.save(self.paths.sets, record)


def place(base: Path, name: str) -> Place:
    root = base / name / "testfs"
    root.mkdir(parents=True)
    state = Paths(base / name / "cm.cfg", base / name / "auth", base / name / "state", base / name / "run")
    return Place(name, state, SyncSet("testfs", "A", ("B", "C"), mirror=(str(root),)), root)


@pytest.fixture
def a(tmp_path: Path) -> Place:
    node = place(tmp_path, "A")
    (node.root / "file").write_text("content")
    custody.init(*node.who)
    return node


@pytest.fixture
def b(a: Place, tmp_path: Path) -> Place:
    node = place(tmp_path, "B")
    custody.join(*node.who, a.record().set_uuid)
    return node


def run(writer: Place, target: Place) -> None:
    """A complete run: what the gate and drcm-sync do to the records."""
    source, tree = writer.record(), target.record()
    name = transitions.run_for(source, target.name, "0badcafe")
    source = transitions.begin_run(source, target.name, name)
    writer.save(source)
    tree = transitions.receive_begin(tree, source, name, judge(source, tree))
    target.save(tree)
    target.save(transitions.receive_commit(tree, name))
    writer.save(transitions.complete_run(source, target.name, name))


def test_not_begun(tmp_path: Path) -> None:
    """Where a set has not begun, the command that begins it is named."""
    node = place(tmp_path, "A")
    assert custody.look(*node.who) == custody.Custody(problem="not begun: drcm-sync testfs --init")
    with pytest.raises(RoleError, match="drcm-sync testfs --init"):
        custody.open_as_writer(*node.who, None, "aa")
    assert custody.hear(node.paths, "testfs", Generation(1, "aa", "B", "init")) is None


def test_init(a: Place) -> None:
    """The first node is the set's sole writer, and the tree carries the marker."""
    look = custody.look(*a.who)
    assert (look.begun, look.writer, look.sole, look.problem) == (True, True, True, "")
    assert look.head is not None
    assert (look.pos_n, look.pos_id, look.pos_run) == (1, look.head.id, "")
    assert roots.inspect(a.root).marker == a.record()


def test_a_writer_goes_above_what_was_made_in_vain(a: Place) -> None:
    """Voters that hold a vain generation of a higher number could never show this one."""
    known = a.record().head
    assert custody.open_as_writer(*a.who, known, "aa").head == known
    assert custody.open_as_writer(*a.who, known, "bb", above=3).head == Generation(
        4, "bb", "A", "promote", Position(known.id, "")
    )


def test_init_twice(a: Place) -> None:
    """A set begins once."""
    before = a.record()
    with pytest.raises(RoleError, match="has begun already"):
        custody.init(*a.who)
    assert a.record() == before


def test_init_cut_short(a: Place) -> None:
    """After a crash between record and marker, --init is simply given again."""
    shutil.rmtree(a.root / ".drcm")
    assert "not mounted" in custody.look(*a.who).problem
    custody.init(*a.who)
    assert custody.look(*a.who).problem == ""


def test_init_refuses_a_foreign_marker(a: Place, tmp_path: Path) -> None:
    """A tree that carries a marker already, as a copied one does, doesn't begin a set."""
    other = place(tmp_path, "C")
    shutil.copytree(a.root / ".drcm", other.root / ".drcm")
    with pytest.raises(GuardError, match="expected no marker"):
        custody.init(*other.who)


def test_init_needs_a_member_and_a_directory(a: Place, tmp_path: Path) -> None:
    """Only a node of the set begins it, on a directory that is there."""
    node = place(tmp_path, "C")
    with pytest.raises(RoleError, match="not one of its nodes"):
        custody.init(node.paths, node.sync_set, "X")
    node.root.rmdir()
    with pytest.raises(GuardError, match="does not exist"):
        custody.init(*node.who)


def test_join(a: Place, b: Place) -> None:
    """A joiner has no complete copy until its first run."""
    assert custody.look(*b.who).problem == "no complete copy yet"
    run(a, b)
    look = custody.look(*b.who)
    assert (look.problem, look.writer, look.pos_n) == ("", False, 1)
    assert custody.look(*a.who).complete_for == ("B",)
    assert not custody.look(*a.who).sole


def test_join_wants_an_empty_directory(a: Place, tmp_path: Path) -> None:
    """A backup's own files are refused, or adopted: then the first pass keeps them."""
    node = place(tmp_path, "C")
    (node.root / "own").touch()
    uuid = a.record().set_uuid
    with pytest.raises(GuardError, match="expected empty directories") as refusal:
        custody.join(*node.who, uuid)
    assert "--adopt" in refusal.value.cure
    assert not (node.root / ".drcm").exists()
    assert custody.join(*node.who, uuid, adopt=True).beyond


def test_join_again(a: Place, b: Place) -> None:
    """Joining is repeated without fault until a copy is complete; then it is refused."""
    custody.join(*b.who, a.record().set_uuid)
    run(a, b)
    with pytest.raises(RoleError, match="has begun already"):
        custody.join(*b.who, a.record().set_uuid)


def test_grow(a: Place, b: Place, tmp_path: Path) -> None:
    """A directory that cm.cfg got later joins the set, and nothing else is begun anew."""
    run(a, b)
    for node in (a, b):
        more = tmp_path / node.name / "more"
        more.mkdir()
        node.sync_set = replace(node.sync_set, mirror=(str(node.root), str(more)))
        assert "in cm.cfg, but not in the set's record" in custody.look(*node.who).problem
    before = a.record()
    assert custody.init(*a.who).chain == before.chain
    custody.join(*b.who, before.set_uuid)
    for node in (a, b):
        assert custody.look(*node.who).problem == ""
    run(a, b)


def test_unmounted(a: Place) -> None:
    """A root that is gone makes the node decline, for looking and for opening."""
    (a.root / ".drcm").rename(a.root.parent / "aside")
    assert "not mounted" in custody.look(*a.who).problem
    with pytest.raises(GuardError, match="not mounted"):
        custody.open_as_writer(*a.who, None, "aa")


def test_reinit(a: Place, b: Place) -> None:
    """An empty disk in place of the tree becomes a joiner; with its marker there is nothing to do."""
    run(a, b)
    with pytest.raises(GuardError, match="nothing to do"):
        custody.reinit(*b.who)
    shutil.rmtree(b.root)
    b.root.mkdir()
    (b.root / "something").touch()
    with pytest.raises(GuardError, match="expected empty"):
        custody.reinit(*b.who)
    (b.root / "something").unlink()
    after = custody.reinit(*b.who)
    assert (after.pos, after.newest) == (None, a.record().head)
    assert custody.look(*b.who).problem == "no complete copy yet"
    run(a, b)
    assert custody.look(*b.who).problem == ""


def test_restart_keeps_the_generation(a: Place) -> None:
    """A writer that comes back goes on in its generation, and drops a hand-over that was meant."""
    custody.intend(*a.who, "B")
    before = a.record()
    assert before.giving == "B"
    for known in (None, before.head):
        after = custody.open_as_writer(*a.who, known, "new")
        assert after.chain == before.chain
        assert after.giving == ""


def test_promotion(a: Place, b: Place) -> None:
    """A backup takes over, owes the set, and the old writer that hears of it is none any more."""
    run(a, b)
    known = a.record().head
    opened = custody.open_as_writer(*b.who, known, "bb")
    assert (opened.head.n, opened.head.writer, opened.head.started) == (2, "B", False)
    assert custody.open_as_writer(*b.who, known, "other").head.id == "bb"
    assert custody.open_as_writer(*b.who, opened.head, "other").head.id == "bb"
    look = custody.look(*b.who)
    assert (look.writer, look.failback, look.pos_id) == (True, "A", known.id)
    assert custody.start(*b.who).beyond
    assert custody.look(*b.who).pos_id == "bb"
    heard = custody.hear(a.paths, "testfs", opened.head)
    assert heard is not None
    assert not heard.is_writer
    assert custody.look(*a.who).head == opened.head
    alone = custody.go_alone(*b.who, "cc")
    with pytest.raises(RoleError, match="behind a whole generation"):
        custody.open_as_writer(*a.who, alone.head, "dd")


def test_hand_over(a: Place, b: Place) -> None:
    """The gift makes the taker the writer by adoption, in the generation that was made for it."""
    run(a, b)
    custody.intend(*a.who, "B")
    run(a, b)
    given = custody.give(*a.who, "B", "bb")
    assert not custody.look(*a.who).writer
    taken = custody.open_as_writer(*b.who, given.head, "unused")
    assert taken.head == given.head
    assert custody.start(*b.who).head.started
    run(b, a)
    assert custody.look(*a.who).problem == ""


def test_giver_goes_on_where_the_taker_is_dead(a: Place, b: Place) -> None:
    """A gift that nobody took doesn't leave the set without a writer."""
    run(a, b)
    custody.intend(*a.who, "B")
    given = custody.give(*a.who, "B", "bb")
    after = custody.open_as_writer(*a.who, given.head, "cc")
    assert [one.id for one in after.chain[:2]] == ["cc", "bb"]
    custody.hear(b.paths, "testfs", after.head)
    custody.start(*a.who)
    run(a, b)


def test_drop_intent_and_alone(a: Place) -> None:
    """A writer drops its intent, and goes on alone in a generation of its own."""
    custody.intend(*a.who, "B")
    assert custody.drop_intent(*a.who).giving == ""
    assert custody.go_alone(*a.who, "aa").head.why == "alone"
    assert custody.look(*a.who).sole


def test_restored_record_is_no_writer(a: Place, b: Place) -> None:
    """A node whose /var/lib was restored waits for a person or for a complete run (R23)."""
    old = (a.paths.sets / "testfs.json").read_bytes()
    run(a, b)
    run(a, b)
    (a.paths.sets / "testfs.json").write_bytes(old)
    look = custody.look(*a.who)
    assert not look.writer
    assert "restored" in look.problem
    with pytest.raises(RoleError, match="restored"):
        custody.open_as_writer(*a.who, look.head, "aa")
    assert custody.open_as_writer(*a.who, look.head, "aa", accept_loss=True).is_writer


def test_damaged_record_is_a_problem(a: Place) -> None:
    """A look never fails: what can't be read is the problem."""
    (a.paths.sets / "testfs.json").write_text("{")
    assert "testfs.json" in custody.look(*a.who).problem
    with pytest.raises(DrcmError):
        custody.start(*a.who)


def test_a_tree_that_is_not_there(a: Place, tmp_path: Path) -> None:
    """Nothing is started beside it. What merely wants a person, as a root that is new in cm.cfg or a marker
    that somebody deleted, stops no service."""
    assert not custody.look(*a.who).treeless
    more = replace(a.sync_set, mirror=(*a.sync_set.mirror, str(tmp_path)))
    look = custody.look(a.paths, more, "A")
    assert (look.treeless, "not in the set's record" in look.problem) == (False, True)
    marker = a.root / ".drcm" / "set.json"
    marker.rename(marker.with_name("elsewhere"))
    look = custody.look(*a.who)
    assert (look.treeless, look.writer, "expected the marker" in look.problem) == (False, True, True)
    a.root.rename(tmp_path / "unmounted")
    assert custody.look(*a.who).treeless
    a.root.symlink_to("/proc/self")  # a directory on another device
    assert custody.look(*a.who).treeless
    a.root.unlink()
    (tmp_path / "unmounted").rename(a.root)
    marker.with_name("elsewhere").rename(marker)
    assert (custody.look(*a.who).treeless, custody.look(*a.who).problem) == (False, "")


HOLD = """
import sys, time
from pathlib import Path
from drcm.replication import records
with records.lock(Path(sys.argv[1]), "testfs", "a push"):
    print("held", flush=True)
    time.sleep(60)
"""


def pushing(node: Place) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", HOLD, str(node.paths.sets)]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, process_group=0)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    child.stdout.close()
    return child


def test_lost_lease_ends_pushes(a: Place) -> None:
    """What pushes on a node that lost its lease is ended."""
    child = pushing(a)
    custody.end_pushes(a.paths, "testfs")
    assert child.wait(60) != 0


def test_only_a_newer_head_ends_a_receive(a: Place) -> None:
    """Hearing what is known touches no run; hearing a newer generation ends it (R9)."""
    child = pushing(a)
    custody.hear(a.paths, "testfs", a.record().head)
    assert child.poll() is None
    custody.hear(a.paths, "testfs", Generation(2, "bb", "B", "promote", Position(a.record().head.id, "")))
    assert child.wait(60) != 0
    assert not a.record().is_writer


def test_hearing_of_the_first_generation_waits_for_the_join(b: Place) -> None:
    """The beat that tells of a set's first generation may come while --init's join still holds the lock."""
    held = HOLD.replace("time.sleep(60)", "time.sleep(0.3)")
    child = subprocess.Popen(
        [sys.executable, "-c", held, str(b.paths.sets)], stdout=subprocess.PIPE, text=True, process_group=0
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    child.stdout.close()
    heard = custody.hear(b.paths, "testfs", Generation(1, "aa", "A", "init", started=True))
    assert child.wait(60) == 0
    assert heard is not None
    assert heard.head.id == "aa"


def test_promotion_takes_the_lock(a: Place) -> None:
    """A promotion ends a run that holds the lock."""
    child = pushing(a)
    custody.open_as_writer(*a.who, None, "aa")
    assert child.wait(60) != 0


def test_threads_of_one_daemon_wait_for_each_other(a: Place) -> None:
    """Two changes at once in one process come one after the other; neither is refused."""
    errors: list[DrcmError] = []

    def change(to: str) -> None:
        try:
            custody.intend(*a.who, to)
        except (LockedError, RoleError) as error:
            errors.append(error)

    before = a.record().serial
    threads = [threading.Thread(target=change, args=(to,)) for to in "BCBC"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert a.record().serial == before + 4


def test_held_back_files_are_kept(a: Place, b: Place) -> None:
    """What a cut run held back goes to conflicts with a list, and the tree holds none of it (R6)."""
    run(a, b)
    (b.root / "sub/.drcm-partial").mkdir(parents=True)
    (b.root / "sub/.drcm-partial/new").write_text("newest")
    (b.root / ".drcm-partial").mkdir()
    (b.root / ".drcm-partial/top").write_text("top")
    custody.open_as_writer(*b.who, a.record().head, "bb")
    custody.start(*b.who)
    assert sorted(custody.keep_partials(*b.who)) == ["sub/new", "top"]
    kept = b.root / ".drcm/conflicts/2-bb-held-back"
    assert (kept / "sub/new").read_text() == "newest"
    assert (kept / "top").read_text() == "top"
    assert sorted(kept.with_name("2-bb-held-back.list").read_text().split()) == ["sub/new", "top"]
    assert not list(b.root.rglob(".drcm-partial"))  # empty, it would keep its folder from ever being deleted
    assert custody.keep_partials(*b.who) == ()
