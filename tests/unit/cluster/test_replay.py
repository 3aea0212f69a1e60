import random

from hypothesis import given
from hypothesis import strategies as st

from drcm.cluster.transport.datagram import BOOTS_KEPT, WINDOW, Opener, Reason, Sealer
from drcm.cluster.transport.keys import Key

KEY = Key(random.Random(1).randbytes(2048))


def opener() -> Opener:
    return Opener([KEY], {"cmnode1"})


def boot(number: int) -> bytes:
    return number.to_bytes(16, "big")


def datagrams(count: int, boot_number: int = 1) -> list[bytes]:
    seal = Sealer(KEY, "cmnode1", boot(boot_number))
    return [seal.seal(b"beat") for _ in range(count)]


def test_recorded_datagram_is_dropped() -> None:
    """A datagram that was recorded and is sent again, at once or later, is dropped (fault 4 of 1.41)."""
    sent = datagrams(300)
    listen = opener()
    assert all(listen.open(datagram) for datagram in sent)
    assert not any(listen.open(datagram) for datagram in sent)
    assert listen.rejected == {Reason.REPLAYED: 300}


@given(st.permutations(range(60)), st.integers(0, 2**60))
def test_overtaking_is_no_replay(order: list[int], start: int) -> None:
    """Datagrams may overtake each other: each counts exactly once, in any order, at any number."""
    seal = Sealer(KEY, "cmnode1", boot(1))
    seal._sequence = start
    sent = [seal.seal(b"") for _ in range(60)]
    listen = opener()
    assert all(listen.open(sent[index]) for index in order)
    assert not any(listen.open(sent[index]) for index in order)


@given(st.lists(st.integers(1, 3 * WINDOW), max_size=200))
def test_window_agrees_with_a_set(sequences: list[int]) -> None:
    """No sequence is accepted twice, and every new one inside the window is accepted."""
    sent = dict(enumerate(ALL_SENT, 1))
    listen, seen = opener(), set[int]()
    for sequence in sequences:
        accepted = listen.open(sent[sequence]) is not None
        newest = max(seen, default=0)
        assert accepted == (sequence not in seen and sequence > newest - WINDOW)
        if accepted:
            seen.add(sequence)


ALL_SENT = datagrams(3 * WINDOW)


def test_older_than_the_window_is_dropped() -> None:
    """What is older than the window is dropped even if it was never seen."""
    sent = datagrams(WINDOW + 2)
    listen = opener()
    assert listen.open(sent[-1])
    assert listen.open(sent[0]) is None
    assert listen.open(sent[1]) is None
    assert listen.open(sent[2])


def test_boots_are_bounded() -> None:
    """However often a member starts anew, a fixed number of windows is kept, the live one among them."""
    listen = opener()
    live = datagrams(3 * BOOTS_KEPT, boot_number=0)
    for number in range(3 * BOOTS_KEPT):
        assert listen.open(datagrams(1, boot_number=number + 1)[0])
        assert listen.open(live[number])
    assert len(listen._streams["cmnode1"]) == BOOTS_KEPT
    assert not any(listen.open(datagram) for datagram in live)


def test_windows_outlive_a_reload() -> None:
    """A changed list of members keeps the windows of those that stay, and forgets the others."""
    first, second = datagrams(2)
    listen = opener()
    assert listen.open(first)
    listen.set_members({"cmnode1", "cmnode9"})
    assert listen.open(first) is None
    listen.set_members({"cmnode9"})
    assert listen.open(second) is None
    assert listen.rejected == {Reason.REPLAYED: 1, Reason.SENDER: 1}
