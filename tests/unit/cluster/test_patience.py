"""How long a voter is silent after a boot, and which claims it gives a word at all."""

from __future__ import annotations

from one_node import Node
from small_cluster import KEY

from drcm.cluster import actions as ac
from drcm.cluster import events as ev
from drcm.cluster.lease import Ledger
from drcm.cluster.messages import HoldState
from drcm.cluster.patience import KEPT, LONGEST, Patience


def booted(durable: float = 0.0) -> tuple[Patience, Ledger]:
    ledger = Ledger("a", silent_until=102.0)
    patience = Patience(ledger, 100.0, booted=True)
    if durable:
        patience.stored(durable)
    return patience, ledger


def test_what_an_earlier_boot_gave_words_for_is_waited_for() -> None:
    """T_dead is 2 s here now, but a word for 4 s may have been given just before the power was cut."""
    assert booted(4.0)[1].silent_until == 104.0
    assert booted(1.0)[1].silent_until == 102.0


def test_a_restarted_daemon_remembers_its_words() -> None:
    """No silence for it."""
    ledger = Ledger("a")
    Patience(ledger, 100.0, booted=False).stored(4.0)
    assert ledger.silent_until < 0


def test_a_word_is_given_only_for_what_is_durable() -> None:
    """Longer: first it is stored."""
    patience, ledger = booted(2.0)
    assert patience.to_store(2.0, 110.0) is None
    assert patience.to_store(4.0, 110.0) == 4.0
    assert not patience.covers(4.0)
    assert patience.to_store(4.0, 110.1) is None  # under way
    patience.stored(4.0)
    assert patience.covers(4.0)
    assert ledger.silent_until == 102.0  # it was silent for what it had given before


def test_a_shorter_one_is_noted_when_nobody_has_needed_the_longer_for_long() -> None:
    """Else every boot would wait for what was once."""
    patience, _ = booted(4.0)
    assert patience.to_store(4.0, 110.0) is None
    assert patience.to_store(2.0, 110.0 + KEPT * 4.0) is None
    assert patience.to_store(2.0, 110.1 + KEPT * 4.0) == 2.0
    assert not patience.covers(4.0)
    assert patience.covers(2.0)


def test_nobody_waits_for_what_a_bug_says() -> None:
    """A claim for ages gets no word, and makes no boot wait for it."""
    patience, _ = booted(2.0)
    assert patience.to_store(1e9, 110.0) == LONGEST
    patience.stored(LONGEST)
    assert not patience.covers(1e9)


def test_the_engine_asks_for_it_and_then_gives_its_word() -> None:
    """The claim of a node whose cm.cfg says a longer T_dead."""
    node = Node("abc")
    for action in node.saw(ac.StorePatience):
        node.feed(ev.PatienceStored(action.seconds))
    node.hear("b", dead_seconds=4.0, claims={KEY: HoldState.RUNNING})
    (store,) = node.saw(ac.StorePatience)
    assert store.seconds == 4.0
    assert node.engine.ledger.holder(KEY, node.now) is None
    node.feed(ev.PatienceStored(4.0))
    node.feed(ev.Tick())
    assert node.engine.ledger.holder(KEY, node.now) == "b"
