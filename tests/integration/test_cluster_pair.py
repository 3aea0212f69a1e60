"""Two nodes without a witness: ping_hosts tell which one is cut off; a cut that they can't see ends well."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.voters import RESOURCES, SERVER, Voters, never_two, running_voters, up
from tests.lab import Host, wait_until

pytestmark = pytest.mark.lab

GATEWAY = "10.77.0.254"
CONFIG = f"{SERVER}quorum = two_node\nping_hosts = {GATEWAY}\n{RESOURCES}"


@pytest.fixture(scope="module")
def running() -> Iterator[Voters]:
    with running_voters(CONFIG, 2) as voters:
        voters.lab.add_host("gateway", GATEWAY).power_on()
        yield voters


@pytest.fixture
def voters(running: Voters) -> Voters:
    running.settle()
    return running


@pytest.fixture
def gateway(running: Voters) -> Host:
    return running.lab.hosts["gateway"]


def test_backup_without_its_gateway_takes_nothing(voters: Voters, gateway: Host) -> None:
    """The backup loses peer and gateway: it takes nothing, the home node goes on."""
    a, b = voters.nodes
    marks = voters.marks()
    with never_two(voters):
        b.unplug()
        wait_until(
            lambda: voters.told("cmnode2/ip:web|cmnode1/ip:web: not taken: no ping_hosts", marks),
            20.0,
            voters.logs,
        )
        wait_until(lambda: up(a) == {"cmnode1"}, 20.0, voters.logs)
        assert voters.place() == (["cmnode1"], ["cmnode1"])
    assert voters.told("claiming|releas", marks) == []


def test_cut_between_the_two_alone_ends_at_home(voters: Voters, gateway: Host) -> None:
    """Both see the gateway and not each other: without a witness both may hold, as README says. After the
    heal the home node keeps all of it, and the other lets go."""
    a, b = voters.nodes
    voters.lab.cut(a, b)
    wait_until(lambda: "cmnode2" in voters.place()[0], 30.0, voters.logs)
    voters.lab.heal_all()
    voters.wait_place(a)
    wait_until(voters.is_whole, 20.0, voters.logs)
