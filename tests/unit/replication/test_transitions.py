"""Each way in which a record changes, and what it refuses."""

from __future__ import annotations

import pytest
from set_histories import SET_UUID, World, at, generation, record, writing

from drcm.errors import RoleError
from drcm.replication import transitions
from drcm.replication.generation import CHAIN_KEPT, Generation, Given, Record, replace
from drcm.replication.verdict import VerdictKind, judge

G5 = generation(5)
G6 = generation(6, "B", at("g5", "40-aa"))
BACKUP = record("B", G5, pos=at("g5", "40-aa"))


def started(node: Record) -> Record:
    return transitions.start(node)


def test_initial() -> None:
    """A set begins as its node's: sole writer, whose tree no run describes."""
    first = transitions.initial("testfs", SET_UUID, "A", record("A").roots, "aa")
    assert first.is_writer
    assert first.is_sole
    assert first.beyond
    assert first.head == Generation(1, "aa", "A", "init", started=True)


def test_joiner_is_no_writer() -> None:
    """A joiner knows no generation and can't be promoted, whatever a person accepts."""
    blank = transitions.joiner("testfs", SET_UUID, "B", record("B").roots)
    assert not blank.is_writer
    assert blank.newest is None
    for accept_loss in (False, True):
        with pytest.raises(RoleError, match="no complete copy yet"):
            transitions.promote(blank, G5, "aa", accept_loss=accept_loss)


def test_promote() -> None:
    """A backup's new generation goes on the known chain and owes the set to the primary."""
    after = transitions.promote(BACKUP, G5, "g6", primary="A")
    assert after.head == Generation(6, "g6", "B", "promote", at("g5", "40-aa"))
    assert after.is_writer
    assert after.failback == "A"
    assert not after.beyond
    assert transitions.promote(record("A", G5, pos=at("g5", "40-aa")), G5, "g6", primary="A").failback == ""


def test_promote_at_the_origin_of_the_known() -> None:
    """A copy where a generation began that never started goes on after it, with a higher number."""
    after = transitions.promote(BACKUP, replace(G6, writer="C", started=False), "g7", primary="A")
    assert [one.id for one in after.chain] == ["g7", "g6", "g5"]
    assert after.head.origin == at("g5", "40-aa")


def test_promote_at_the_origin_of_one_that_started() -> None:
    """Its writer may have gone on for days: this copy waits for it, or for a person (R11)."""
    with pytest.raises(RoleError, match="behind a whole generation"):
        transitions.promote(BACKUP, replace(G6, writer="C", started=True), "g7", primary="A")


@pytest.mark.parametrize("pos", [at("g5", "39-aa"), at("g4", "9-aa")])
def test_promote_behind_a_generation(pos) -> None:
    """A copy behind a whole generation declines, and says what a person may do."""
    node = record("C", G5, generation(4), pos=pos)
    with pytest.raises(RoleError, match="behind a whole generation") as refusal:
        transitions.promote(node, G6, "g7")
    assert "--promote --accept-loss" in refusal.value.cure


def test_accept_loss() -> None:
    """A person may go on with an older copy: what was written since is ahead when it returns."""
    node = record("C", G5, pos=at("g5", "39-aa"))
    after = started(transitions.promote(node, G6, "g7", accept_loss=True))
    returned = record("B", G6, G5, pos=at("g6", "3-aa"), beyond=True)
    assert judge(after, returned).kind is VerdictKind.AHEAD


def test_accept_loss_over_another_history() -> None:
    """Also where this node has a history of its own: the other's is kept when it returns."""
    alone = generation(6, "A", at("g5", "40-aa"), id="g6a")
    after = started(transitions.promote(writing(alone, G5), G6, "g7", accept_loss=True))
    assert after.head.merged == ("g6",)
    assert judge(after, record("B", G6, G5, pos=at("g6"), beyond=True)).kind is VerdictKind.AHEAD


def test_own_generation_in_vain_is_dropped() -> None:
    """What this node made and never started is not on the chain that the others know."""
    vain = transitions.promote(BACKUP, G5, "gx")
    other = generation(6, "C", at("g5", "40-aa"), started=False)
    after = transitions.promote(vain, other, "g7")
    assert [one.id for one in after.chain] == ["g7", "g6", "g5"]
    assert after.head.origin == at("g5", "40-aa")


def test_number_is_above_all_seen() -> None:
    """A voter takes one id for a number: a second attempt has a higher one."""
    vain = transitions.promote(BACKUP, G5, "gx")
    assert transitions.promote(vain, G5, "gy").head.n == 7


def test_doubt_declines() -> None:
    """A record that may not describe its tree is not promoted by itself (R23)."""
    doubted = replace(BACKUP, doubt="restored from a backup")
    with pytest.raises(RoleError, match="restored from a backup"):
        transitions.promote(doubted, G5, "g6")
    assert transitions.promote(doubted, G5, "g6", accept_loss=True).is_writer


def test_start() -> None:
    """From its start on, the tree may hold what no run describes, and a cut run is history."""
    middle = replace(BACKUP, applying=at("g5", "41-aa"))
    opened = transitions.promote(middle, G5, "g6")
    assert opened.applying == at("g5", "41-aa")
    assert not opened.head.started
    after = started(opened)
    assert after.head.started
    assert after.beyond
    assert after.applying is None
    with pytest.raises(RoleError, match="not the writer"):
        transitions.start(BACKUP)


def test_work_after_start_is_kept_when_skipped() -> None:
    """What a promoted node wrote, before it crashed without a run, is ahead to whom follows it."""
    world = World.begun()
    for peer in "BC":
        world.push("A", peer)
    assert world.promote("B", {"A"})
    world.start("B")
    world.work("B")
    world.hear("C", "B")
    world.nodes["C"].record = replace(world.nodes["C"].record, pos=world.nodes["B"].record.head.origin)
    assert not world.promote("C", {"B"})
    assert world.promote("C", {"B"}, accept_loss=True)
    world.start("C")
    assert world.verdict("C", "B").kind is VerdictKind.AHEAD


def test_unstarted_generation_gives_nothing() -> None:
    """Nothing is sent or given before a majority has the generation and it has started."""
    opened = transitions.promote(BACKUP, G5, "g6")
    for step in (
        lambda: transitions.begin_run(opened, "A", "1-aa"),
        lambda: transitions.intend(opened, "A"),
        lambda: transitions.go_alone(opened, "g7"),
    ):
        with pytest.raises(RoleError, match="has not started"):
            step()


def test_hand_over() -> None:
    """The writer gives after the last complete run; the taker's copy is where the new one begins."""
    world = World.begun()
    world.push("A", "B")
    assert world.hand_over("A", "B")
    giver, taker = world.nodes["A"].record, world.nodes["B"].record
    assert giver.head == taker.head
    assert giver.head.origin == giver.pos
    assert not giver.beyond
    assert not giver.is_writer
    assert taker.is_writer
    assert judge(taker, giver).kind is VerdictKind.EQUAL
    assert judge(started(taker), giver).kind is VerdictKind.BEHIND


def test_give_clears_only_its_own_debt() -> None:
    """The failback is paid by the gift to whom it is owed, to nobody else."""
    for to, left in (("A", ""), ("C", "A")):
        node = writing(G6, G5, run="3-aa", given={to: Given("3-aa", "3-aa")})
        node = transitions.intend(replace(node, failback="A"), to)
        assert transitions.give(node, to, "g7").failback == left


def lost_debts() -> list[str]:
    """Ends of a failback to A that was tried and failed, after which it is owed no longer."""
    owing = replace(writing(G6, G5, run="3-aa", given={"A": Given("3-aa", "3-aa")}), failback="A")
    meant = transitions.intend(owing, "A")
    cut = transitions.begin_run(meant, "A", "4-bb")
    ends = {
        "refused, timed out, or its rsync failed": transitions.drop_intent(meant),
        "cut in the last pass": transitions.drop_intent(cut),
        "both died in it, and the writer is back": transitions.start(transitions.drop_intent(cut)),
        "A died": transitions.go_alone(transitions.drop_intent(cut), "g7"),
        "the writer died, and was promoted again": transitions.promote(cut, G6, "g7", primary="A"),
    }
    return [how for how, record in ends.items() if record.failback != "A"]


def test_a_failed_failback_stays_due() -> None:
    """LEGACY 2: only the gift itself pays it."""
    assert lost_debts() == []


@pytest.mark.parametrize("step", ["drop_intent", "go_alone", "begin_run"])
def test_a_flag_that_is_cleared_on_failure_is_seen(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug, in each step that such a failure takes: the test above would fail."""
    right = getattr(transitions, step)
    monkeypatch.setattr(transitions, step, lambda *given: replace(right(*given), failback=""))
    assert lost_debts()


def test_a_gift_lies_above_what_was_made_in_vain() -> None:
    """A taker that once promoted itself in vain, under the next number, takes the gift all the same."""
    node = writing(G6, G5, run="3-aa", given={"A": Given("3-aa", "3-aa")})
    gift = transitions.give(transitions.intend(node, "A"), "A", "g8", above=7)
    assert gift.head.n == 8
    vain = generation(7, "A", at("g5", "1-aa"), started=False)
    taker = transitions.hear(record("A", vain, G6, G5, pos=at("g6", "3-aa")), gift.head)
    assert taker.newest == gift.head


def test_a_vain_generation_that_is_overtaken_leaves_the_position_known() -> None:
    """Its own never started, a rival under the same number did: the tree is at the origin of its own."""
    vain = generation(7, "A", at("g6", "3-aa"), id="vain", started=False)
    rival = generation(7, "B", at("g6", "3-aa"), id="rival")
    heard = transitions.hear(record("A", vain, G6, G5, pos=at("vain")), rival)
    assert heard.pos == at("g6", "3-aa")
    assert heard.chain == (rival, G6, G5)


@pytest.mark.parametrize("given", [Given(), Given("4-aa", ""), Given("4-aa", "3-aa")])
def test_give_needs_a_complete_last_run(given: Given) -> None:
    """Nothing is given while the taker lacks a run."""
    node = transitions.intend(writing(G6, G5, run="3-aa", given={"A": given}), "A")
    with pytest.raises(RoleError, match="not complete"):
        transitions.give(node, "A", "g7")


def test_give_needs_the_intent() -> None:
    """A gift without the durable intent is a mistake of the caller."""
    with pytest.raises(RoleError):
        transitions.give(writing(G5), "B", "g6")


@pytest.mark.parametrize(
    "change",
    [
        {"pos": at("g5", "39-aa")},
        {"applying": at("g5", "41-aa")},
        {"node": "C"},
        {"doubt": "restored"},
        {"pos": None},
    ],
)
def test_adopt_only_what_was_given(change: dict[str, object]) -> None:
    """A gift is taken only by its taker, whose copy is exactly where it begins."""
    offered = generation(6, "B", at("g5", "40-aa"), why="handover", started=False)
    assert transitions.adopt(BACKUP, offered).is_writer
    with pytest.raises(RoleError):
        transitions.adopt(replace(BACKUP, **change), offered)


def test_hear() -> None:
    """A newer head ends being the writer of an older one; an older head changes nothing."""
    writer = writing(G5)
    after = transitions.hear(writer, G6)
    assert not after.is_writer
    assert [one.id for one in after.chain] == ["g6", "g5"]
    assert transitions.hear(after, G6) is after
    assert transitions.hear(after, G5) is after
    assert transitions.hear(transitions.joiner("t", "u", "C", ()), G6).head == G6


def test_hear_across_a_gap() -> None:
    """A head whose origin is unknown here ends being the writer all the same."""
    after = transitions.hear(writing(G5), generation(9, "C", at("g8", "3-aa")))
    assert not after.is_writer
    assert after.head.id == "g9"


def test_hear_drops_rivals() -> None:
    """A head of another history is not put on a rival that was heard before."""
    node = transitions.hear(BACKUP, generation(6, "C", at("g5", "39-aa"), id="rival"))
    after = transitions.hear(node, generation(7, "A", at("g5", "41-aa")))
    assert [one.id for one in after.chain] == ["g7", "g5"]


def test_hear_the_start() -> None:
    """That a known generation of another has started is worth keeping; of one's own nobody else knows."""
    unstarted = replace(G6, started=False)
    heard = transitions.hear(BACKUP, replace(unstarted, writer="C"))
    assert transitions.hear(heard, replace(G6, writer="C")).head.started
    own = transitions.promote(BACKUP, G5, "g6")
    assert transitions.hear(own, G6) is own


def test_go_alone() -> None:
    """A writer without its peer begins a generation from which the peer has had nothing."""
    after = transitions.go_alone(writing(G5), "g6")
    assert after.is_sole
    assert after.head == Generation(6, "g6", "A", "alone", at("g5", "40-aa"), started=True)
    assert judge(after, BACKUP).kind is VerdictKind.BEHIND


def test_resolve() -> None:
    """A person's decision is above both histories, and the loser's is ahead."""
    alone = generation(6, "A", at("g5", "40-aa"), id="g6a")
    loser = record("B", generation(7, "B", at("g6")), G6, G5, pos=at("g7"), beyond=True)
    after = started(transitions.resolve(writing(alone, G5), [loser], "g8"))
    assert (after.head.n, after.head.merged) == (8, ("g7", "g6"))
    assert judge(after, loser).kind is VerdictKind.AHEAD


def test_resolve_of_several() -> None:
    """One generation above all histories, with what any of the losers had; a foreign copy is none."""
    alone = generation(6, "A", at("g5", "40-aa"), id="g6a")
    losers = [
        record("B", G6, G5, pos=at("g6"), beyond=True),
        record("C", generation(9, "C", at("g6")), G6, G5, pos=at("g9"), beyond=True),
    ]
    after = started(transitions.resolve(writing(alone, G5), losers, "g10"))
    assert (after.head.n, after.head.merged) == (10, ("g6", "g9"))
    assert {judge(after, loser).kind for loser in losers} == {VerdictKind.AHEAD}
    with pytest.raises(RoleError, match="no complete copy"):
        transitions.resolve(writing(alone, G5), [*losers, replace(losers[0], set_uuid="other")], "g10")


def test_catch_up() -> None:
    """A commit whose answer was lost is complete; a run that is still applied, or another's, is not."""
    node = started(transitions.promote(BACKUP, G5, "g6"))
    run = transitions.run_for(node, "A", "aaaaaaaa")
    begun = transitions.begin_run(node, "A", run)
    tree = replace(record("A", begun.head, G5, pos=at("g6", run)), name=node.name)
    after = transitions.catch_up(begun, tree)
    assert after.given["A"] == Given(run, run)
    assert after.pos == at("g6", run)
    assert transitions.run_for(after, "A", "bbbbbbbb") == "2-bbbbbbbb"
    assert transitions.catch_up(after, tree) is after
    for other in (
        replace(tree, applying=at("g6", run)),
        replace(tree, pos=at("g5", run)),
        replace(tree, node="C"),
    ):
        assert transitions.catch_up(begun, other) is begun


def test_runs() -> None:
    """A run is begun before it is given, goes on under its id until it is complete, then the next."""
    node = started(transitions.promote(BACKUP, G5, "g6"))
    first = transitions.run_for(node, "A", "aaaaaaaa")
    assert first == "1-aaaaaaaa"
    node = transitions.begin_run(node, "A", first)
    assert transitions.run_for(node, "A", "bbbbbbbb") == first
    assert transitions.run_for(node, "C", "cccccccc") == "2-cccccccc"
    assert transitions.begin_run(node, "A", first).given["A"].begun == first
    assert node.pos == at("g6")
    node = transitions.complete_run(node, "A", first)
    assert node.pos == at("g6", first)
    assert transitions.run_for(node, "A", "dddddddd") == "2-dddddddd"
    for run in (first, "1-eeeeeeee"):
        with pytest.raises(RoleError, match="not later"):
            transitions.begin_run(node, "A", run)
    with pytest.raises(RoleError, match="not begun"):
        transitions.complete_run(node, "A", "2-dddddddd")


def test_a_run_that_goes_on_after_anothers_is_later_than_that_one() -> None:
    """HISTORIES R14: C's run began before B's, was cut, and brought the newest files when it went on.

    By its first number B, once promoted, would take C for behind, and throw those files away.
    """
    world = World.begun()
    world.push("A", "C")
    world.push("A", "B")
    world.work("A")
    world.push("A", "C", commit=False)
    world.push("A", "B")
    world.work("A")
    world.push("A", "C")
    assert world.nodes["C"].tree > world.nodes["B"].tree
    assert world.promote("B", {"C"})
    world.start("B")
    assert world.push("B", "C") is VerdictKind.AHEAD


def test_a_run_keeps_its_tag_and_takes_a_later_number() -> None:
    node = started(transitions.promote(BACKUP, G5, "g6"))
    node = transitions.begin_run(node, "A", "1-aaaaaaaa")
    node = transitions.begin_run(node, "C", "2-cccccccc")
    assert transitions.run_for(node, "A", "dddddddd") == "3-aaaaaaaa"
    assert transitions.run_for(node, "C", "dddddddd") == "2-cccccccc"
    node = transitions.begin_run(node, "A", "3-aaaaaaaa")
    assert transitions.complete_run(node, "A", "3-aaaaaaaa").pos == at("g6", "3-aaaaaaaa")


def test_a_later_run_elsewhere_is_not_forgotten() -> None:
    """The writer's own position is the highest complete run, whichever peer had it."""
    node = transitions.begin_run(writing(G5), "B", "41-bb")
    node = transitions.begin_run(node, "C", "42-cc")
    node = transitions.complete_run(node, "C", "42-cc")
    assert transitions.complete_run(node, "B", "41-bb").pos == at("g5", "42-cc")


def test_measured() -> None:
    """The counts of a complete run are kept with the root."""
    (root,) = transitions.measured(BACKUP, [("/testfs", 12, 3456), ("/other", 1, 1)]).roots
    assert (root.files, root.size) == (12, 3456)


def begun(run: str = "41-aa") -> Record:
    return transitions.begin_run(writing(G5), "B", run)


def test_receive() -> None:
    """The receiver notes the run before it is applied; only its commit moves the position."""
    writer = begun()
    tree = transitions.receive_begin(BACKUP, writer, "41-aa", judge(writer, BACKUP))
    assert (tree.pos, tree.applying) == (at("g5", "40-aa"), at("g5", "41-aa"))
    done = transitions.receive_commit(tree, "41-aa")
    assert (done.pos, done.applying) == (at("g5", "41-aa"), None)
    for wrong in (tree, done):
        with pytest.raises(RoleError, match="not the one being applied"):
            transitions.receive_commit(wrong, "42-aa")


def test_a_newer_head_ends_a_receive() -> None:
    """A run that was overtaken by a newer generation can't be committed (R9)."""
    writer = begun()
    tree = transitions.receive_begin(BACKUP, writer, "41-aa", judge(writer, BACKUP))
    with pytest.raises(RoleError, match="not the one being applied"):
        transitions.receive_commit(transitions.hear(tree, replace(G6, writer="C")), "41-aa")


def test_receive_needs_what_was_begun() -> None:
    """A run that the writer's record doesn't say was begun is not taken, nor one against the verdict."""
    writer = begun()
    with pytest.raises(RoleError, match="was begun"):
        transitions.receive_begin(BACKUP, writer, "42-aa", judge(writer, BACKUP))
    with pytest.raises(RoleError, match="has not begun"):
        transitions.receive_begin(BACKUP, writer, "41-aa", judge(writer, None))


def test_ahead_lasts_until_the_commit() -> None:
    """A cut first pass onto an ahead tree is followed by another that keeps, not by an ordinary one."""
    after_fork = record("A", G5, pos=at("g5", "40-aa"), applying=at("g5", "41-aa"))
    writer = transitions.begin_run(writing(G6, G5, run=""), "A", "1-aa")
    for _ in range(2):
        found = judge(writer, after_fork)
        assert found.kind is VerdictKind.AHEAD
        after_fork = transitions.receive_begin(after_fork, writer, "1-aa", found)
    done = transitions.receive_commit(after_fork, "1-aa")
    assert judge(writer, done).kind is VerdictKind.BEHIND


def test_receive_forgets_a_generation_in_vain() -> None:
    """A generation that never started is gone once the tree takes another's chain."""
    vain = transitions.promote(BACKUP, G5, "gx")
    writer = begun()
    tree = transitions.receive_begin(vain, writer, "41-aa", judge(writer, vain))
    assert tree.pos == at("g5", "40-aa")
    assert tree.chain == writer.chain


def test_receive_ends_being_the_writer() -> None:
    """What an old writer gave, owed and meant to give is not its any more."""
    old = replace(writing(G5), failback="C", giving="C")
    writer = transitions.begin_run(writing(G6, G5, run=""), "A", "1-aa")
    tree = transitions.receive_begin(old, writer, "1-aa", judge(writer, old))
    assert (tree.given, tree.failback, tree.giving) == ({}, "", "")
    assert not tree.is_writer


def test_chain_is_bounded() -> None:
    """256 generations are kept."""
    node = writing(G5)
    for number in range(CHAIN_KEPT + 5):
        node = transitions.go_alone(node, f"x{number}")
    assert len(node.chain) == CHAIN_KEPT
