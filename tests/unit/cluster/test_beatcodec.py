import random
import zlib
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drcm.cluster.messages import Beat, Echo, Head, HoldState, SetView
from drcm.cluster.transport.assembler import BOOTS_KEPT, Assembler
from drcm.cluster.transport.beatcodec import (
    LENGTH,
    MAX_NUMBER,
    MAX_PARTS,
    MAX_REASON,
    MAX_STATE,
    PART,
    encode,
)
from drcm.cluster.transport.datagram import body_room
from drcm.errors import DrcmError

BOOT = b"boot-of-cmnode1!"
SMALL = Beat("cmnode1", BOOT, 1, 2.0, 1, echo={"cmnode2": Echo(b"b" * 16, 7)})


def big(nodes: int, groups: int, sets: int) -> Beat:
    names = [f"cmnode{number}" for number in range(1, nodes + 1)]
    keys = [f"{names[number % nodes]}/ip:web{number}" for number in range(groups)]
    dice = random.Random(4)
    head = Head(3, "0123456789abcdef", names[0], "fedcba9876543210", "40-1a2b3c4d", started=True)
    view = SetView(3, "0123456789abcdef", "40-1a2b3c4d", True, False, tuple(names[1:2]))
    return replace(
        SMALL,
        echo={name: Echo(dice.randbytes(16), 100_000) for name in names[1:]},
        claims=dict.fromkeys(keys[::nodes], HoldState.RUNNING),
        grants={key: names[index % nodes] for index, key in enumerate(keys)},
        heads={f"set{number}": head for number in range(sets)},
        sets={f"set{number}": view for number in range(sets)},
    )


names = st.text(min_size=1, max_size=20)
counts = st.integers(0, MAX_NUMBER)
heads = st.builds(Head, counts, names, names, names, names, st.booleans())
views = st.builds(
    SetView, counts, names, names, st.booleans(), st.booleans(), st.lists(names).map(tuple), names, names
)
beats = st.builds(
    Beat,
    sender=names,
    boot=st.just(BOOT),
    number=counts,
    dead_seconds=st.floats(0, 1e6),
    epoch=counts,
    resumes=st.sampled_from([b"", b"r" * 16]),
    echo=st.dictionaries(names, st.builds(Echo, st.binary(min_size=16, max_size=16), counts)),
    unheard=st.lists(names).map(tuple),
    claims=st.dictionaries(names, st.sampled_from(HoldState)),
    released=st.dictionaries(names, st.text(max_size=20)),
    declines=st.dictionaries(names, names),
    grants=st.dictionaries(names, names, max_size=60),
    heads=st.dictionaries(names, heads),
    sets=st.dictionaries(names, views),
    digest=names,
    version=names,
    uptime=st.floats(0, 1e9),
    leaving=st.booleans(),
)


def add_all(assembler: Assembler, bodies: list[bytes], boot: bytes = BOOT) -> list[Beat]:
    return [beat for body in bodies if (beat := assembler.add("cmnode1", boot, body))]


@settings(suppress_health_check=[HealthCheck.too_slow])  # of a busy machine
@given(beats, st.randoms())
def test_beat_survives_the_wire(beat: Beat, dice: random.Random) -> None:
    """Every beat arrives as it was sent, whatever the order of its parts, and exactly once."""
    bodies = encode(beat)
    assert all(len(body) <= body_room(beat.sender) for body in bodies)
    dice.shuffle(bodies)
    assembler = Assembler()
    got = [assembler.add(beat.sender, BOOT, body) for body in bodies * 2]
    assert [found for found in got if found] == [beat]
    assert (assembler.malformed.total(), assembler.outdated) == (0, len(bodies))


def test_sizes() -> None:
    """Two nodes take one datagram; 32 nodes with 60 groups and 10 sets take at most two."""
    assert len(encode(big(2, 4, 1))) == 1
    assert len(encode(big(32, 60, 10))) <= 2


def test_state_that_did_not_change_is_decoded_once() -> None:
    """Of a beat that only says that its sender lives, the pulse alone is looked at."""
    beat = big(32, 60, 10)
    later = replace(beat, number=2, uptime=9.0, echo={k: Echo(e.boot, 100_001) for k, e in beat.echo.items()})
    assembler = Assembler()
    (first,) = add_all(assembler, encode(beat))
    (second,) = add_all(assembler, encode(later))
    assert second == later
    assert second.grants is first.grants


def test_state_that_inflates_beyond_all_bounds_is_malformed() -> None:
    """A few hundred bytes that would be megabytes are not unpacked."""
    pulse = b"\x92\x00\x90"
    bomb = LENGTH.pack(len(pulse)) + pulse + zlib.compress(bytes(100 * MAX_STATE))
    assembler = Assembler()
    assert assembler.add("cmnode1", BOOT, PART.pack(b"b", 1, 0, 1) + bomb[:1000]) is None
    assert assembler.malformed.total() == 1


def test_lost_part_gives_no_beat() -> None:
    """A beat of which a part is lost does not count: absent is not released (E12)."""
    bodies = encode(big(32, 60, 10))
    assert len(bodies) > 1
    for lost in range(len(bodies)):
        assert add_all(Assembler(), bodies[:lost] + bodies[lost + 1 :]) == []


def test_only_newer_beats_count() -> None:
    """After beat 5 the beats 4 and 5 of that boot say nothing any more (E13)."""
    assembler = Assembler()
    beats = {number: encode(replace(SMALL, number=number)) for number in (4, 5, 6)}
    assert len(add_all(assembler, beats[5])) == 1
    assert add_all(assembler, beats[5] + beats[4]) == []
    assert assembler.outdated == 2
    assert [beat.number for beat in add_all(assembler, beats[6])] == [6]


def test_newer_beat_ends_an_unfinished_one() -> None:
    """Parts of two beats are never mixed, and an unfinished beat yields to a newer one."""
    beat = big(32, 60, 10)
    old, new = encode(replace(beat, number=8)), encode(replace(beat, number=9, epoch=2))
    assembler = Assembler()
    assert add_all(assembler, old[:-1] + new[:1] + old[-1:]) == []
    assert [beat.epoch for beat in add_all(assembler, new[1:])] == [2]


def test_new_boot_counts_from_the_beginning() -> None:
    """A boot has its own numbers: a restarted node is not outdated by its former life."""
    assembler = Assembler()
    assert len(add_all(assembler, encode(replace(SMALL, number=500_000)))) == 1
    assert len(add_all(assembler, encode(replace(SMALL, number=3)), b"another boot id.")) == 1


def test_memory_is_bounded() -> None:
    """However many boots a member has, a few unfinished beats are kept."""
    assembler = Assembler()
    part = encode(big(32, 60, 10))[0]
    for number in range(1000):
        assembler.add("cmnode1", number.to_bytes(16, "big"), part)
    assert len(assembler._senders["cmnode1"]) == BOOTS_KEPT


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_malformed_bodies_are_counted(rubbish: bytes) -> None:
    """Whatever a member with a bug says, nothing is raised and no beat comes out."""
    assembler = Assembler()
    assert assembler.add("cmnode1", BOOT, rubbish) is None
    assert assembler.add("cmnode1", BOOT, PART.pack(b"b", 1, 0, 1) + rubbish) is None
    assert assembler.malformed.total() == 2


@pytest.mark.parametrize(
    "body",
    [
        PART.pack(b"x", 1, 0, 1),
        PART.pack(b"b", 1, 1, 1),
        PART.pack(b"b", 1, 0, 0),
        PART.pack(b"b", 1, 0, MAX_PARTS + 1),
        PART.pack(b"b", 2**64 - 1, 0, 1),
    ],
)
def test_bad_parts_are_counted(body: bytes) -> None:
    """A part that can't be one of a beat is counted and makes no state."""
    assembler = Assembler()
    assert assembler.add("cmnode1", BOOT, body + b"x") is None
    assert (assembler.malformed.total(), assembler._senders) == (1, {})


def test_parts_must_agree_on_their_number() -> None:
    """A beat whose parts disagree on how many they are is malformed."""
    assembler = Assembler()
    assert assembler.add("cmnode1", BOOT, PART.pack(b"b", 1, 0, 3) + b"x") is None
    assert assembler.add("cmnode1", BOOT, PART.pack(b"b", 1, 1, 2) + b"x") is None
    assert assembler.malformed.total() == 1


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 1e9])
def test_impossible_times_are_malformed(seconds: float) -> None:
    """A T_dead that is no time is not believed: it would keep a grant for ever."""
    assembler = Assembler()
    assert add_all(assembler, encode(replace(SMALL, dead_seconds=seconds))) == []
    assert assembler.malformed.total() == 1


def test_long_reasons_are_cut() -> None:
    """A reason is cut to its first characters, and half characters of a file name do no harm."""
    beat = replace(SMALL, declines={"cmnode1/set:x": "no tree \udcff" + "x" * 1000})
    (got,) = add_all(Assembler(), encode(beat))
    assert got.declines["cmnode1/set:x"] == "no tree ?" + "x" * (MAX_REASON - 9)


def test_too_large_a_state_is_an_error() -> None:
    """A state that does not fit the largest number of parts is refused, not cut."""
    grants = {f"cmnode1/ip:{number:0>40}": "cmnode1" for number in range(MAX_STATE // 50)}
    with pytest.raises(DrcmError, match="divided in two") as caught:
        encode(replace(SMALL, grants=grants))
    assert "at most" in caught.value.what


def test_older_and_newer_nodes_understand_each_other() -> None:
    """Fields that a newer version appends are ignored by this one."""
    import msgspec

    (body,) = encode(SMALL)
    start = PART.size + LENGTH.size + LENGTH.unpack_from(body, PART.size)[0]
    fields = msgspec.msgpack.decode(zlib.decompress(body[start:]))
    longer = zlib.compress(msgspec.msgpack.encode([*fields, "of version 3"]))
    assert add_all(Assembler(), [body[:start] + longer]) == [SMALL]
