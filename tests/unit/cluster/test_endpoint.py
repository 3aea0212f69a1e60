import asyncio
import socket

import pytest

from drcm.cluster.transport.endpoint import BURST, Endpoint, open_endpoint


async def until(condition: object) -> None:
    """Wait at most a minute for `condition()`."""
    assert callable(condition)
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def heard_by(ip: str) -> tuple[Endpoint, list[bytes]]:
    heard: list[bytes] = []
    return open_endpoint(ip, 0, lambda datagram, _: heard.append(datagram)), heard


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
def test_datagrams_arrive(ip: str) -> None:
    """What one endpoint sends another hears, over IPv4 and IPv6."""

    async def story() -> None:
        one, _ = heard_by(ip)
        two, heard = heard_by(ip)
        assert one.send(b"beat", two.address)
        await until(lambda: heard == [b"beat"])
        one.close()
        two.close()
        two.close()

    asyncio.run(story())


def test_dead_peer_does_no_harm() -> None:
    """Sending to a port where nobody listens neither raises nor stops the endpoint."""

    async def story() -> None:
        one, heard = heard_by("127.0.0.1")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.bind(("127.0.0.1", 0))
            nobody = gone.getsockname()
        for _ in range(10):
            one.send(b"x", nobody)
            await asyncio.sleep(0)
        one.send(b"to myself", one.address)
        await until(lambda: heard == [b"to myself"])
        one.close()

    asyncio.run(story())


def test_unreachable_is_counted() -> None:
    """What the kernel refuses to send is counted, and raises nothing."""

    async def story() -> None:
        one, _ = heard_by("127.0.0.1")
        assert not one.send(b"x", ("203.0.113.1", 1))  # from loopback: no way out
        assert not one.send(bytes(70_000), one.address)
        assert (one.sent, one.unsent) == (0, 2)
        one.close()

    asyncio.run(story())


def test_address_may_come_later() -> None:
    """An endpoint can be bound to an address that this machine does not have yet."""

    async def story() -> None:
        one, _ = heard_by("192.0.2.77")
        assert one.address[0] == "192.0.2.77"
        one.close()

    asyncio.run(story())


def test_taken_port_is_an_error() -> None:
    """A port that another program has is an error at once."""

    async def story() -> None:
        one, _ = heard_by("127.0.0.1")
        with pytest.raises(OSError, match="in use"):
            open_endpoint("127.0.0.1", one.address[1], lambda *_: None)
        one.close()

    asyncio.run(story())


def test_flood_leaves_time_for_others() -> None:
    """One turn of the loop reads a bounded number of datagrams, however many wait."""

    async def story() -> None:
        one, heard = heard_by("127.0.0.1")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
            for _ in range(2 * BURST):
                flood.sendto(b"x", one.address)
        one._read()
        assert len(heard) == BURST
        await until(lambda: one.received == 2 * BURST)
        one.close()

    asyncio.run(story())
