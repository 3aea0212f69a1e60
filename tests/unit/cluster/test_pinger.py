"""Pings over loopback: an answer counts with the time at which its question was sent."""

from __future__ import annotations

import asyncio
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drcm import clock
from drcm.cluster.pinger import Pinger, echo_reply, echo_request


def pinged(hosts: tuple[str, ...], seconds: float, enough: int) -> list[tuple[float, float]]:
    """(sent, answered) of each answer that came within `seconds`, or of the first `enough`."""
    answers: list[tuple[float, float]] = []

    async def story() -> None:
        pinger = Pinger(hosts, 0.02, lambda sent: answers.append((sent, clock.now())))
        end = clock.now() + seconds
        while len(answers) < enough and clock.now() < end:
            await asyncio.sleep(0.01)
        pinger.close()
        await asyncio.sleep(0)

    asyncio.run(story())
    return answers


def test_answers_come_all_the_time() -> None:
    """Each with the moment of its own sending; the kernel answers on loopback."""
    answers = pinged(("127.0.0.1",), 5.0, 5)
    assert len(answers) >= 5
    assert all(0 <= came - sent < 1 for sent, came in answers)
    assert sorted({sent for sent, _ in answers}) == [sent for sent, _ in answers]


def test_one_that_answers_is_enough() -> None:
    """A host that is not there, or can't be reached at all, does not stop the pings to the next."""
    assert len(pinged(("127.0.0.1", "255.255.255.255", "not-an-address"), 5.0, 3)) >= 3


def test_others_answers_do_not_count(lan: object) -> None:
    """Who is pinged but does not answer gives nothing, whatever else comes in (10.9.0.1 answers here)."""
    assert pinged(("10.9.0.77",), 0.3, 1) == []
    assert len(pinged(("10.9.0.2",), 5.0, 2)) >= 2


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_checksum(ident: int, sequence: int) -> None:
    """The ones' complement sum over the whole packet is all ones (RFC 1071)."""
    total = sum(struct.unpack("!4H", echo_request(ident, sequence)))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF


def reply(ident: int, sequence: int, kind: int = 0, options: int = 0) -> bytes:
    header = bytes([0x40 | 5 + options]) + bytes(19 + 4 * options)
    return header + struct.pack("!BBHHH", kind, 0, 0, ident, sequence)


@pytest.mark.parametrize(
    ("packet", "sequence"),
    [
        (reply(7, 300), 300),
        (reply(7, 300, options=3), 300),
        (reply(8, 300), None),  # of another program's ping
        (reply(7, 300, kind=8), None),  # our own question, as loopback shows it
        (reply(7, 300)[:-1], None),
        (b"", None),
        (b"\x41" + reply(7, 300)[1:], None),  # a header of four bytes
    ],
)
def test_echo_reply(packet: bytes, sequence: int | None) -> None:
    """Only a whole echo reply to this process."""
    assert echo_reply(packet, 7) == sequence


@given(st.binary(max_size=80))
def test_any_packet_is_read(packet: bytes) -> None:
    """Whatever a raw socket gets is no error."""
    found = echo_reply(packet, os.getpid() & 0xFFFF)
    assert found is None or 0 <= found <= 0xFFFF
