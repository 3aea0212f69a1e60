"""Carries out StartMember and StopMember with the resource agents, and watches what runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from drcm import clock
from drcm.cluster import actions as ac
from drcm.cluster import events as ev
from drcm.cluster.agents.address import AddressAgent
from drcm.cluster.agents.agent import Agent, Release
from drcm.cluster.agents.leftover import LeftoverAgent
from drcm.cluster.agents.limits import Limits
from drcm.cluster.agents.registry import agent_for
from drcm.cluster.holding import Holding
from drcm.cluster.lease_file import LeaseFile
from drcm.cluster.messages import GroupKey
from drcm.cluster.spec import Group, MemberKey, build_groups
from drcm.config.model import Address, Cluster, Kind, Node
from drcm.errors import AgentError, DrcmError

log = logging.getLogger(__name__)

ADDRESS_WATCH = 1.0  # seconds; addresses are also watched over netlink
CLEANING_LIMIT = 10.0  # seconds for the first act of a start
ADDRESSES = f"{Kind.ADDRESS}:"
UNUSED_FOR = 0.25  # seconds that a probe without an answer counts: another's would cost as much outage

Feed = Callable[[ev.Event], None]
Place = tuple[GroupKey, MemberKey]


@dataclass(slots=True)
class Running:
    """One member that was started here."""

    kind: Kind
    agent: Agent
    since: datetime
    task: asyncio.Task[None] | None = None  # starting, stopping or watching it
    up: bool = False
    warning: str = ""  # what an operator should hear of, though it works


@dataclass(slots=True)
class Members:
    """The resources of this node.

    `lease_until(group)` says until when a group may be held, `may_repair(group)` whether a `watch`, which may
    start it again, may run: not while the tree of one of its sets is not there.
    """

    cluster: Cluster
    node: Node
    feed: Feed
    lease_file: LeaseFile
    lease_until: Callable[[GroupKey], float]
    problem: Callable[[ac.Problem], None] = lambda problem: None
    may_repair: Callable[[GroupKey], bool] = lambda group: True
    running: dict[Place, Running] = field(default_factory=dict)
    unused_at: dict[str, float] = field(default_factory=dict)  # address -> when nobody had answered for it
    former: dict[Place, list[Release]] = field(default_factory=dict)  # of the daemon before this one

    def __post_init__(self) -> None:
        for release in self.lease_file.former_held:
            place = str(release.get("group")), str(release.get("member"))
            self.former.setdefault(place, []).append(release)

    def start(self, action: ac.StartMember) -> None:
        known = self.running.get((action.group, action.member))
        member = known or self._new(action.group, action.member)
        self.running[action.group, action.member] = member
        self.former.pop((action.group, action.member), None)
        self._write_held()
        if isinstance(member.agent, AddressAgent):
            member.agent.known_free = action.handed or self._was_unused(member.agent.address.ip)
        self._replace_task(member, self._start(action, member))

    def stop(self, action: ac.StopMember) -> None:
        member = self.running.get((action.group, action.member)) or self._new(action.group, action.member)
        self.running[action.group, action.member] = member
        self._replace_task(member, self._stop(action, member))

    def renew(self, groups: tuple[GroupKey, ...]) -> None:
        """Give the addresses of `groups` their kernel lifetime again (rule 3)."""
        for (group, key), member in list(self.running.items()):
            if group in groups and member.up and isinstance(member.agent, AddressAgent):
                try:
                    member.agent.renew()
                except DrcmError as error:
                    self._failed(group, key, member, error)

    async def go_on(self, holdings: Iterable[Holding]) -> None:
        """The addresses of a daemon that just ended live on: their kernel lifetime is too short for what an
        order of starting puts before them. All else runs on by itself."""
        groups = [holding.group for holding in holdings if not holding.is_going_down]
        for place in [(group.key, m) for group in groups for m in group.members if m.startswith(ADDRESSES)]:
            member = self._new(*place)
            try:
                if await member.agent.running():
                    await member.agent.start()
                    member.up, self.running[place] = True, member
            except DrcmError as error:
                log.warning("%s %s: %s", *place, error)

    def nobody_answers(self, ip: str) -> None:
        """A probe for the address of a silent node has just ended in vain: it is free."""
        self.unused_at[ip] = clock.now()

    def _was_unused(self, ip: str) -> bool:
        return clock.now() - self.unused_at.get(ip, float("-inf")) <= UNUSED_FOR

    def announce(self, group: GroupKey) -> None:
        for (owner, _), member in self.running.items():
            if owner == group and member.up and isinstance(member.agent, AddressAgent):
                member.agent.announce()

    async def release_strays(self, groups: tuple[Group, ...], kept: frozenset[str]) -> None:
        """The first act of any start: stop what runs here without a lease (rule 4), but for `kept` kinds."""
        left_alone = kept | {Kind.SET.value}
        here = [g for g in groups if self.node.name in g.candidates]
        keys = [(g.key, m) for g in here for m in reversed(g.members)]
        strays = [(group, m) for group, m in keys if m.partition(":")[0] not in left_alone]
        gone = [place for place in self.former if self._is_gone(*place)]
        jobs = [self._release_stray(group, member) for group, member in (*gone, *strays)]
        try:
            async with asyncio.timeout(CLEANING_LIMIT):
                await asyncio.gather(*jobs)
        except TimeoutError:
            log.error("what runs here without a lease could not all be looked at in %.0f s", CLEANING_LIMIT)
        self.former.clear()
        self._write_held()

    async def _release_stray(self, group: GroupKey, member: MemberKey) -> None:
        agent = self._new(group, member).agent
        try:
            if await agent.running():
                log.warning("%s %s may run here without a lease: stopping it", group, member)
                await agent.stop()
        except DrcmError as error:
            log.error("%s %s: %s", group, member, error)

    def _new(self, group: GroupKey, member: MemberKey) -> Running:
        kind, _, nickname = member.partition(":")
        if self._is_gone(group, member):
            report = Path(self.cluster.server.run_dir) / "leftovers.json"
            left = LeftoverAgent(member, self.former[group, member], report)
            return Running(Kind(kind), left, clock.wall())
        resource = self.cluster.resource(Kind(kind), nickname)
        said = self.cluster.policy(resource.kind, nickname)
        limits = Limits(said.start_timeout, said.stop_timeout, said.monitor_timeout)
        lease = partial(self.lease_until, group)
        agent = agent_for(resource, self.cluster.server, lease, limits, self.node.name)
        return Running(resource.kind, agent, clock.wall())

    def _is_gone(self, group: GroupKey, member: MemberKey) -> bool:
        """The daemon before had it here, and cm.cfg no longer does."""
        here = (g for g in build_groups(self.cluster) if g.key == group and self.node.name in g.candidates)
        return (group, member) in self.former and not any(member in g.members for g in here)

    def _replace_task(self, member: Running, job: Coroutine[Any, Any, None]) -> None:
        member.task = asyncio.get_running_loop().create_task(_after(member.task, job))

    async def _start(self, action: ac.StartMember, member: Running) -> None:
        try:
            await member.agent.start()
        except DrcmError as error:
            told = (str(error), _futile(error))
            self.feed(ev.MemberStarted(action.group, action.member, action.op, *told))
            return
        member.up, member.since = True, clock.wall()
        self.feed(ev.MemberStarted(action.group, action.member, action.op))
        await self._watch(action.group, action.member, member)

    async def _stop(self, action: ac.StopMember, member: Running) -> None:
        member.up = False
        error = ""
        try:
            await member.agent.stop()
            self.running.pop((action.group, action.member), None)
            self.former.pop((action.group, action.member), None)
            self._write_held()
        except DrcmError as problem:
            error = str(problem)
        self.feed(ev.MemberStopped(action.group, action.member, action.op, error))

    async def _watch(self, group: GroupKey, key: MemberKey, member: Running) -> None:
        period = self._period(member.kind)
        while True:
            await asyncio.sleep(period)
            if not self.may_repair(group):
                continue
            try:
                warning = await member.agent.watch()
            except DrcmError as error:
                self._failed(group, key, member, error)
                return
            self._warn(group, key, member, warning)

    def _warn(self, group: GroupKey, key: MemberKey, member: Running, warning: str) -> None:
        """Told when it comes and when it is over."""
        if warning != member.warning:
            member.warning = warning
            text = warning or "all is well again"
            self.problem(ac.Problem(f"resource-warning:{group}:{key}", f"{key}: {text}", over=not warning))

    def _failed(self, group: GroupKey, key: MemberKey, member: Running, error: DrcmError) -> None:
        member.up = False
        event = ev.MemberFailed(group, key, str(error), _futile(error))
        asyncio.get_running_loop().call_soon(self.feed, event)

    def _period(self, kind: Kind) -> float:
        node = self.node
        return {
            Kind.ADDRESS: min(ADDRESS_WATCH, node.ipaddrs_check),
            Kind.FILESYSTEM: node.filesystems_check,
            Kind.SERVICE: node.services_check,
            Kind.CRONTAB: node.crontabs_check,
            Kind.APPLICATION: node.applications_check,
        }[kind]

    def _write_held(self) -> None:
        """What the keeper must release if this daemon no longer can, and whose each release is."""
        held = {place: member.agent.releases() for place, member in self.running.items()}
        told = [
            {**release, "group": group, "member": key}
            for (group, key), releases in (self.former | held).items()
            for release in releases
        ]
        self.lease_file.write_held(told)

    def addresses(self, group: Group) -> list[Address]:
        refs = [m.partition(":") for m in group.members]
        found = [self.cluster.resource(Kind(kind), nick) for kind, _, nick in refs if kind == Kind.ADDRESS]
        return [resource for resource in found if isinstance(resource, Address)]


async def _after(former: asyncio.Task[None] | None, job: Coroutine[Any, Any, None]) -> None:
    """End `former`, then do `job`. One that is replaced meanwhile still sees `former` off: its successor
    waits for both, for what a cancelled `watch` does last must not come after a stop."""
    if former is not None:
        former.cancel()
        try:
            await asyncio.wait([former])
        except asyncio.CancelledError:
            job.close()
            await asyncio.wait([former])
            raise
    await job


def _futile(error: DrcmError) -> bool:
    return isinstance(error, AgentError) and error.futile
