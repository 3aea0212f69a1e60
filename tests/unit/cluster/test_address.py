"""The address agent against a real kernel: taken, kept, put back, let go."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from dataclasses import replace

import pytest

from drcm import clock
from drcm.cluster.agents import address as module
from drcm.cluster.agents import netlink
from drcm.cluster.agents.address import AddressAgent, lease_lifetime
from drcm.config.model import Address
from drcm.errors import AgentError

WEB = Address("web", "10.9.0.50", 24, ("nothere", "va"), "")


def _agent(address=WEB, lifetime=30, **options):
    return AddressAgent(address, lifetime, **options)


def _lifetime(ip="10.9.0.50"):
    return next((a.valid_seconds for a in netlink.addresses() if a.ip == ip), -1)


async def _until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(("dead", "lifetime"), [(0.3, 1), (1.0, 1), (2.0, 2), (2.9, 2), (60.0, 60)])
def test_the_kernels_lifetime_is_t_dead_in_whole_seconds_and_at_least_one(dead, lifetime):
    assert lease_lifetime(dead) == lifetime


def test_starting_adds_the_address_with_a_lifetime_on_the_first_interface_that_exists(lan):
    async def story():
        agent = _agent()
        await agent.start()
        assert await agent.running()
        assert 28 <= _lifetime() <= 30
        await agent.stop()
        assert not await agent.running()

    asyncio.run(story())


def test_a_start_takes_little_longer_than_its_probe(lan):
    async def story():
        agent = _agent()
        began = time.monotonic()
        await agent.start()
        took = time.monotonic() - began
        await agent.stop()
        return took

    assert asyncio.run(story()) < 2.0  # 0.1 on an idle machine


@pytest.mark.parametrize("ip", ["10.9.0.50", "fd00::50"])
def test_an_address_that_another_machine_has_is_refused_and_its_mac_named(lan, ip):
    lan.there(f"ip address add {ip}/64 dev vb nodad" if ":" in ip else f"ip address add {ip}/24 dev vb")

    async def story():
        with pytest.raises(AgentError, match=lan.mac("vb")):
            await _agent(replace(WEB, ip=ip, prefix=24)).start()

    asyncio.run(story())
    assert ip not in lan.addresses()


def test_a_start_teaches_the_neighbour_the_new_mac_while_its_cache_holds_the_old(lan):
    lan.there("ip neigh replace 10.9.0.50 lladdr 02:00:00:00:00:99 dev vb nud stale")

    async def story():
        agent = _agent()
        await agent.start()
        await _until(lambda: lan.mac("va") in lan.there("ip neigh show 10.9.0.50"))
        await agent.stop()

    asyncio.run(story())


def test_announcements_repeat_on_their_schedule_and_end_with_the_address(lan, monkeypatch):
    sent = []
    announce = module.arp.announce
    monkeypatch.setattr(
        module.arp, "announce", lambda ip, link: (sent.append(clock.now()), announce(ip, link))
    )

    async def story():
        agent = _agent(announce_seconds=(0.0, 0.05, 0.1, 0.15, 30.0))
        await agent.start()
        await _until(lambda: len(sent) == 4)
        agent.announce()  # after a heal
        await _until(lambda: len(sent) == 6)
        await agent.stop()
        count = len(sent)
        await asyncio.sleep(0.2)
        assert len(sent) == count

    asyncio.run(story())


def test_an_address_that_is_here_already_is_adopted_with_a_lifetime_and_without_a_probe(lan):
    lan.here("ip address add 10.9.0.50/32 dev va")

    async def story():
        agent = _agent(probe_seconds=30.0)
        await asyncio.wait_for(agent.start(), 1.0)
        assert 28 <= _lifetime() <= 30
        assert lan.addresses().count("10.9.0.50") == 1
        await agent.stop()

    asyncio.run(story())
    assert "10.9.0.50" not in lan.addresses()


def test_renewing_keeps_it_beyond_its_lifetime(lan):
    async def story():
        agent = _agent(lifetime=1)
        await agent.start()
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            agent.renew()
            assert await agent.running()
            await asyncio.sleep(0.1)
        await agent.stop()

    asyncio.run(story())


def test_without_renewal_the_kernel_drops_it_and_nothing_puts_it_back_after_the_lease(lan):
    async def story():
        deadline = clock.now() + 0.7
        agent = _agent(lifetime=1, lease=lambda: deadline)
        await agent.start()
        await _until(lambda: _lifetime() == -1)
        agent.renew()
        await agent.watch()
        await asyncio.sleep(0.1)
        assert not await agent.running()
        await agent.stop()

    asyncio.run(story())


def test_what_the_keeper_took_after_the_lease_is_not_put_back_by_a_daemon_that_wakes_up(lan):
    async def story():
        deadline = clock.now() + 0.3
        agent = _agent(lease=lambda: deadline)
        await agent.start()
        select.select([], [], [], 0.35)  # the daemon hangs, and its lease ends
        assert netlink.delete_address("10.9.0.50", 24, socket.if_nametoindex("va"))
        await asyncio.sleep(0.1)
        assert not await agent.running()
        await agent.stop()

    asyncio.run(story())


def test_a_start_that_stalled_beyond_its_lease_adds_nothing(lan):
    async def story():
        deadline = clock.now() + 0.02
        with pytest.raises(AgentError, match="lease has ended"):
            await _agent(lease=lambda: deadline).start()
        assert _lifetime() == -1

    asyncio.run(story())


@pytest.mark.parametrize(("ip", "prefix"), [("10.9.0.50", 24), ("fd00::50", 64)])
def test_an_address_that_somebody_removes_is_back(lan, ip, prefix):
    async def story():
        agent = _agent(replace(WEB, ip=ip, prefix=prefix))
        await agent.start()
        for _ in range(3):
            lan.here(f"ip address del {ip}/{prefix} dev va")
            await _until(lambda: _lifetime(ip) > 0)
        await agent.stop()
        await asyncio.sleep(0.05)
        assert _lifetime(ip) == -1

    asyncio.run(story())


def test_who_removes_it_again_and_again_wins_and_the_agent_says_so(lan):
    async def story():
        agent = _agent()
        await agent.start()
        for _ in range(module.PUT_BACK_LIMIT):
            lan.here("ip address del 10.9.0.50/24 dev va")
            await _until(lambda: _lifetime() > 0)
        lan.here("ip address del 10.9.0.50/24 dev va")
        await asyncio.sleep(0.05)
        with pytest.raises(AgentError, match="removed 10 times"):
            agent.renew()
        with pytest.raises(AgentError, match="KeepConfiguration"):
            await agent.watch()
        assert _lifetime() == -1
        await agent.start()  # a new start is a new trial
        await agent.watch()
        await agent.stop()

    asyncio.run(story())


def test_stopping_spares_the_other_addresses_of_its_subnet(lan):
    """Deleting the first address of a subnet deletes the rest of it unless the kernel is told not to."""

    async def story():
        lan.here("ip address flush dev va")
        agent = _agent()
        await agent.start()
        lan.here("ip address add 10.9.0.51/24 dev va")
        await agent.stop()

    asyncio.run(story())
    assert "10.9.0.51" in lan.addresses()


def test_an_interface_that_is_down_or_absent_is_named(lan):
    async def story():
        with pytest.raises(AgentError, match="no interface ens1 or ens2"):
            await _agent(replace(WEB, interfaces=("ens1", "ens2"))).start()
        agent = _agent()
        await agent.start()
        lan.here("ip link set va down")
        with pytest.raises(AgentError, match="interface va is down"):
            await agent.watch()
        await agent.stop()

    asyncio.run(story())


def test_a_stop_of_what_is_not_here_is_success(lan):
    asyncio.run(_agent().stop())


def test_a_sub_interface_keeps_its_label(lan):
    async def story():
        agent = _agent(replace(WEB, interfaces=("va:7",)))
        await agent.start()
        assert "va:7" in lan.addresses()
        await agent.stop()

    asyncio.run(story())
    assert "va:7" not in lan.addresses()


def test_a_daemon_ended_without_a_stop_leaves_the_address_to_the_next_one(lan):
    async def story():
        agent = _agent()
        await agent.start()
        agent.let_go()

    asyncio.run(story())
    assert 28 <= _lifetime() <= 30


def test_the_keepers_instruction_removes_what_was_started(lan):
    async def story():
        agent = _agent()
        await agent.start()
        (release,) = agent.releases()
        assert release["phase"] == "address"
        agent.let_go()
        assert netlink.remove_everywhere(release["ip"], tuple(release["devices"])) == 1

    asyncio.run(story())


def test_renewing_takes_less_than_a_millisecond(lan):
    async def story():
        agent = _agent()
        await agent.start()
        began = time.process_time()  # of the processor: the machine is shared
        for _ in range(100):
            agent.renew()
        took = (time.process_time() - began) / 100
        await agent.stop()
        return took

    assert asyncio.run(story()) < 0.001
