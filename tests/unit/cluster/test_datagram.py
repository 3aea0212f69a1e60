import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drcm.cluster.transport.datagram import HEADER, MAX_DATAGRAM, Opened, Opener, Reason, Sealer, body_room
from drcm.cluster.transport.keys import Key

KEY = Key(random.Random(1).randbytes(2048))
OTHER = Key(random.Random(2).randbytes(2048))
BOOT = b"boot-of-cmnode1!"


def sealer(key: Key = KEY, sender: str = "cmnode1", boot: bytes = BOOT) -> Sealer:
    return Sealer(key, sender, boot)


def opener(*keys: Key) -> Opener:
    return Opener(keys or (KEY,), {"cmnode1", "cmnode3"})


@given(st.binary(max_size=1000))
def test_what_is_sealed_is_opened(body: bytes) -> None:
    """A member's body arrives as it was sent, with its sender, boot and sequence."""
    datagram = sealer().seal(body)
    assert opener().open(datagram) == Opened("cmnode1", BOOT, 1, body, KEY.id)
    assert len(body) < 8 or body not in datagram


def test_one_counter_for_all_datagrams() -> None:
    """Every datagram has its own sequence, and so its own nonce, even with the same body (W1)."""
    seal = sealer()
    datagrams = [seal.seal(b"same") for _ in range(1000)]
    listen = opener()
    opened = [listen.open(datagram) for datagram in datagrams]
    assert [item.sequence for item in opened if item] == list(range(1, 1001))
    assert len({datagram[-20:] for datagram in datagrams}) == 1000


def test_largest_body() -> None:
    """A body of `body_room` bytes makes a datagram of 1400; one more is refused."""
    seal, room = sealer(), body_room("cmnode1")
    assert len(seal.seal(bytes(room))) == MAX_DATAGRAM
    with pytest.raises(ValueError, match="at most"):
        seal.seal(bytes(room + 1))


@pytest.mark.parametrize(("sender", "boot"), [("", BOOT), ("x" * 256, BOOT), ("a", b"short")])
def test_sealer_refuses_what_has_no_header(sender: str, boot: bytes) -> None:
    """A name or boot that does not fit the header is refused when the sealer is made."""
    with pytest.raises(ValueError, match="a boot has"):
        sealer(sender=sender, boot=boot)


def test_every_flipped_bit_is_noticed() -> None:
    """A datagram with any one bit flipped is dropped, and leaves no state behind."""
    datagram = sealer().seal(b"I hold ip:web")
    listen = opener()
    for bit in range(8 * len(datagram)):
        flipped = bytearray(datagram)
        flipped[bit // 8] ^= 1 << bit % 8
        assert listen.open(bytes(flipped)) is None
    assert listen.rejected.total() == 8 * len(datagram)
    assert listen.rejected[Reason.REPLAYED] == 0
    assert listen.open(datagram) is not None


def test_every_length_is_survived() -> None:
    """A datagram that was cut off anywhere, or is too long, is dropped."""
    datagram = sealer().seal(b"body")
    listen = opener()
    for cut in (*(datagram[:size] for size in range(len(datagram))), datagram + b"x", datagram + bytes(1400)):
        assert listen.open(cut) is None
    assert listen.rejected[Reason.SIZE] > HEADER.size


def test_random_datagrams_change_nothing() -> None:
    """100,000 random datagrams, half of them behind a good header, are dropped, and leave no state."""
    dice = random.Random(3)
    listen = opener()
    header = sealer().seal(b"")[: HEADER.size + 7]
    for _ in range(50_000):
        assert listen.open(dice.randbytes(dice.randrange(200))) is None
        assert listen.open(header[: dice.randrange(60)] + dice.randbytes(dice.randrange(100))) is None
    assert listen.rejected.total() == 100_000
    assert listen.rejected[Reason.FORGED] > 1000
    assert all(not streams for streams in listen._streams.values())
    assert set(listen.foreign_keys) <= {"cmnode1", "cmnode3"}


@given(st.binary(max_size=1500))
def test_opening_never_raises(datagram: bytes) -> None:
    """No bytes whatever make the opener raise."""
    listen = opener()
    assert listen.open(datagram) is None
    assert listen.open(b"DRCM\x01" + KEY.id + datagram) is None


def test_unknown_key_is_named() -> None:
    """A member with another key is dropped, and the opener tells which one it speaks with (W8)."""
    listen = opener()
    assert listen.open(sealer(OTHER).seal(b"x")) is None
    assert listen.rejected == {Reason.KEY: 1}
    assert listen.foreign_keys == {"cmnode1": OTHER.id}
    assert listen.open(sealer().seal(b"x")) is not None
    assert listen.foreign_keys == {}


def test_strangers_leave_no_trace() -> None:
    """Who is no member of the cluster is counted and not remembered, whatever its key."""
    listen = opener()
    assert listen.open(sealer(sender="cmnode2").seal(b"x")) is None
    assert listen.open(sealer(OTHER, sender="mallory").seal(b"x")) is None
    assert listen.rejected == {Reason.SENDER: 2}
    assert listen.foreign_keys == {}


def test_a_name_in_the_header_is_authentic() -> None:
    """The header can't be made to name another sender or boot: the seal covers it."""
    datagram = sealer().seal(b"x")
    listen = opener()
    assert listen.open(datagram.replace(b"cmnode1", b"cmnode3")) is None
    assert listen.open(datagram.replace(BOOT, BOOT[::-1])) is None
    assert listen.rejected == {Reason.FORGED: 2}


def test_two_keys_live_at_once() -> None:
    """While two keys live both are opened; the counter goes on over the change."""
    seal = sealer()
    listen = opener(KEY, OTHER)
    first = listen.open(seal.seal(b"old"))
    seal.use(OTHER)
    second = listen.open(seal.seal(b"new"))
    assert first is not None
    assert second is not None
    assert (first.key_id, second.key_id) == (KEY.id, OTHER.id)
    assert (first.sequence, second.sequence) == (1, 2)


def test_other_version_is_counted() -> None:
    """A datagram of another protocol version is dropped and counted as such."""
    datagram = bytearray(sealer().seal(b"x"))
    datagram[4] = 2
    listen = opener()
    assert listen.open(bytes(datagram)) is None
    assert listen.rejected == {Reason.VERSION: 1}


def test_own_datagrams_come_back_in_vain() -> None:
    """A datagram that is reflected to its sender is dropped: a node is no peer of itself."""
    own = Opener([KEY], {"cmnode2"})
    assert own.open(sealer().seal(b"x")) is None
    assert own.rejected == {Reason.SENDER: 1}


def test_boot_is_random_enough_for_a_key() -> None:
    """The same body under the same sequence in two boots has nothing in common after the header."""
    one, two = sealer(boot=os.urandom(16)).seal(bytes(64)), sealer(boot=os.urandom(16)).seal(bytes(64))
    assert one[-80:-16] != two[-80:-16]
