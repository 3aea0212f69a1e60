"""The address agent: a floating IP, in process.

Asked for before it is added (PEERS 34), added with a lifetime after which the kernel drops it by itself
(HISTORIES E7), announced for a minute (PEERS 35), put back when a network manager takes it (PEERS 33).
Every addition first looks at the lease: a daemon that wakes up late must not put back what the keeper
or the kernel took away because the lease had ended.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from drcm import clock
from drcm.cluster.agents import arp, netlink
from drcm.cluster.agents.agent import Lease, Release, forever
from drcm.config.model import Address
from drcm.errors import AgentError

ANNOUNCE_SECONDS = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # after the address came
PUT_BACK_LIMIT, PUT_BACK_SECONDS = 10, 60.0  # more removals than this in that time is a fight: give up


def lease_lifetime(dead_seconds: float) -> int:
    """The kernel's lifetime of a floating address, whole seconds: T_dead, but at least 1 (HISTORIES E7)."""
    return max(1, int(dead_seconds))


class AddressAgent:
    """One floating IP on the first of its interfaces that exists here."""

    def __init__(
        self,
        address: Address,
        lifetime: int,
        lease: Lease = forever,
        probe_seconds: float = arp.PROBE_SECONDS,
        announce_seconds: Sequence[float] = ANNOUNCE_SECONDS,
    ) -> None:
        self.address = address
        self._lifetime = lifetime
        self._lease = lease
        self._probe_seconds = probe_seconds
        self._announce_seconds = announce_seconds
        self._prefix = address.prefix
        self.known_free = False  # its former holder has just let go: no probe is needed, and no time is lost
        self._holding = False
        self._place: tuple[netlink.Link, str] | None = None  # where it was put last
        self._trouble = ""
        self._put_backs: deque[float] = deque()
        self._monitor: netlink.AddressMonitor | None = None
        self._announcing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Probe, add, announce. An address that is here already is adopted: lifetime only, no probe."""
        self.let_go()
        self._trouble = ""
        self._put_backs.clear()
        link, _ = self._interface()
        here = self._here()
        self._prefix = here.prefix if here else self.address.prefix
        if here is None and not self.known_free:
            await self._refuse_if_taken(link)
        if here is None:
            await self._bring()
        self._put()
        self._hold()
        self.announce()

    async def stop(self) -> None:
        """Delete it from all its interfaces, whoever added it."""
        self.let_go()
        self._delete()

    async def running(self) -> bool:
        return self._here() is not None

    async def watch(self) -> str:
        """Put it back if it is gone; AgentError if it was taken away too often, or the interface is down."""
        self._raise_trouble()
        self._interface()
        if self._here() is None:
            self._put_back()
            self._raise_trouble()
        return ""

    def releases(self) -> list[Release]:
        devices = [netlink.device_of(name) for name in self.address.interfaces]
        return [{"phase": "address", "do": "delete-address", "ip": self.address.ip, "devices": devices}]

    def renew(self) -> None:
        """Give it its whole lifetime again, if the lease still runs. About 0.1 ms; AgentError as `watch`."""
        if self._holding:
            self._put(quietly=True)
        self._raise_trouble()

    def announce(self) -> None:
        """Tell the LAN now and for a minute: after a start, and again after a cut has healed."""
        self._end_announcing()
        self._announcing = asyncio.get_running_loop().create_task(self._announce())

    async def _bring(self) -> None:
        """A place for a custom script to add it by its own means."""

    async def _refuse_if_taken(self, link: netlink.Link) -> None:
        mac = await arp.probe(self.address.ip, link.name, self._probe_seconds)
        if mac is not None:
            raise AgentError(
                f"{self.address.ip} is in use on {link.name} by {mac}: not added",
                f"Find that machine: arping -I {link.name} {self.address.ip}",
            )

    def _interface(self) -> tuple[netlink.Link, str]:
        """The first interface that exists here, and its name as written (maybe a 1.41 label)."""
        for name in self.address.interfaces:
            link = netlink.link(netlink.device_of(name))
            if link is None:
                continue
            if not link.up:
                raise AgentError(
                    f"{self.address.ip}: interface {link.name} is down", f"ip link set {link.name} up"
                )
            return link, name
        wanted = " or ".join(self.address.interfaces)
        raise AgentError(
            f"{self.address.ip}: no interface {wanted} on this node", "See: ip link; then cm.cfg"
        )

    def _devices(self) -> set[int]:
        links = (netlink.link(netlink.device_of(name)) for name in self.address.interfaces)
        return {link.index for link in links if link}

    def _here(self) -> netlink.Assigned | None:
        """The address on one of its interfaces. On another device it is somebody else's: AgentError."""
        found = [a for a in netlink.addresses() if netlink.same_ip(a.ip, self.address.ip)]
        devices = self._devices()
        mine = next((a for a in found if a.index in devices), None)
        if found and mine is None:
            raise AgentError(
                f"{self.address.ip} is on another interface of this node (number {found[0].index})"
            )
        return mine

    def _put(self, quietly: bool = False) -> None:
        """Add it or renew its lifetime, only within the lease."""
        if clock.now() >= self._lease():
            if quietly:
                return
            raise AgentError(f"{self.address.ip}: not added, the lease has ended meanwhile")
        place, self._place = self._place if quietly else None, None
        with suppress(OSError):  # the interface is gone, or another one now
            if place is not None:
                self._put_on(*place)
                return
        link, name = self._interface()
        try:
            self._put_on(link, name)
        except OSError as error:
            raise AgentError(f"{self.address.ip}: can't be added to {name}: {error.strerror}") from error

    def _put_on(self, link: netlink.Link, name: str) -> None:
        label = name if ":" in name else ""
        netlink.put_address(self.address.ip, self._prefix, link.index, self._lifetime, label)
        self._place = link, name

    def _delete(self) -> None:
        try:
            netlink.remove_everywhere(self.address.ip, self.address.interfaces)
        except OSError as error:
            raise AgentError(f"{self.address.ip}: can't be deleted: {error.strerror}") from error

    def _hold(self) -> None:
        """From now on, hear when somebody removes it."""
        self._keep_secondaries()
        self._monitor = netlink.AddressMonitor()
        asyncio.get_running_loop().add_reader(self._monitor.fileno(), self._on_change)
        self._holding = True

    def let_go(self) -> None:
        """Watch and announce no more. The address itself stays, until its lifetime ends."""
        self._holding = False
        self._end_announcing()
        if self._monitor is not None:
            asyncio.get_running_loop().remove_reader(self._monitor.fileno())
            self._monitor.close()
            self._monitor = None

    def _keep_secondaries(self) -> None:
        """Deleting the first address of a subnet must not take the others with it, which is the default."""
        link, _ = self._interface()
        with suppress(OSError):
            Path(f"/proc/sys/net/ipv4/conf/{link.name}/promote_secondaries").write_text("1\n")

    def _on_change(self) -> None:
        if self._monitor is None:
            return
        gone, lost = self._monitor.removed()
        if lost or any(netlink.same_ip(a.ip, self.address.ip) for a in gone if a.ip):
            with suppress(AgentError):  # said by the next renew or watch, when it is still so
                self._put_back()

    def _put_back(self) -> None:
        """Somebody took it: add it again, a bounded number of times (PEERS 33)."""
        now = clock.now()
        while self._put_backs and self._put_backs[0] < now - PUT_BACK_SECONDS:
            self._put_backs.popleft()
        if len(self._put_backs) >= PUT_BACK_LIMIT:
            self._trouble = (
                f"{self.address.ip}: removed {PUT_BACK_LIMIT} times within a minute by somebody else"
            )
            self.let_go()
            return
        self._put_backs.append(now)
        self._put(quietly=True)
        self.announce()

    def _raise_trouble(self) -> None:
        if self._trouble:
            raise AgentError(
                self._trouble,
                "Tell the network manager to leave it: KeepConfiguration=yes and ManageForeignRoutes=no "
                "(systemd-networkd), or unmanaged (NetworkManager).",
            )

    async def _announce(self) -> None:
        began = clock.now()
        for seconds in self._announce_seconds:
            await asyncio.sleep(max(0.0, began + seconds - clock.now()))
            if clock.now() >= self._lease():  # woken late: it may be another node's by now
                return
            with suppress(AgentError, OSError):  # a device that went down for a moment
                arp.announce(self.address.ip, self._interface()[0])

    def _end_announcing(self) -> None:
        if self._announcing is not None:
            self._announcing.cancel()
            self._announcing = None
