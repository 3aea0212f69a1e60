"""Carries out what the engine wants done: one entry an action, each of which returns at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from drcm import clock, state
from drcm.cluster import actions as ac
from drcm.cluster import events as ev
from drcm.cluster import roll_file
from drcm.config.fence import parse_fence
from drcm.config.model import Address
from drcm.errors import DrcmError

if TYPE_CHECKING:
    from drcm.cluster.daemon import Daemon

log = logging.getLogger(__name__)

RENEW_SECONDS = 0.3  # addresses get their kernel lifetime again this often
LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Performer:
    """The hands of one daemon, whose parts are all made. For its main loop alone."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._renewed = 0.0
        sets = daemon.sets
        self._by_type: dict[type, Callable[[Any], None]] = {
            ac.SendBeat: lambda action: daemon.wire.send(action.beat),
            ac.StartMember: self._start_member,
            ac.StopMember: self._stop_member,
            ac.OpenSet: sets.open,
            ac.StoreHead: sets.store_head,
            ac.GoAlone: sets.go_alone,
            ac.StoreRoll: lambda action: daemon.aside(self._store_roll(action)),
            ac.StorePatience: lambda action: daemon.aside(self._store_patience(action)),
            ac.MarkDiverged: sets.mark_diverged,
            ac.Pass: sets.run_pass,
            ac.Intend: sets.step,
            ac.Prepare: sets.prepare,
            ac.DropIntent: sets.step,
            ac.Give: sets.step,
            ac.Lease: self._keep_lease,
            ac.Announce: lambda action: daemon.members.announce(action.group),
            ac.ProbeAddresses: self._probe,
            ac.Fence: lambda action: daemon.aside(self._fence(action)),
            ac.Note: _note,
            ac.Problem: daemon.alerting.problem,
            ac.Left: lambda action: daemon.left.set(),
        }

    def perform(self, actions: list[ac.Action]) -> None:
        for action in actions:
            self._by_type[type(action)](action)

    async def _store_roll(self, action: ac.StoreRoll) -> None:
        await asyncio.to_thread(roll_file.save, self._daemon.paths.roll, action)
        self._daemon.feed(ev.RollStored(action.roll, action.accepted))

    async def _store_patience(self, action: ac.StorePatience) -> None:
        await asyncio.to_thread(state.write_json, self._daemon.paths.patience, action.seconds)
        self._daemon.feed(ev.PatienceStored(action.seconds))

    def _start_member(self, action: ac.StartMember) -> None:
        is_set = action.member.startswith("set:")
        (self._daemon.sets.start_set if is_set else self._daemon.members.start)(action)

    def _stop_member(self, action: ac.StopMember) -> None:
        is_set = action.member.startswith("set:")
        (self._daemon.sets.stop_set if is_set else self._daemon.members.stop)(action)

    def _keep_lease(self, action: ac.Lease) -> None:
        self._daemon.lease_file.write(action.addresses, action.rest)
        now = clock.now()
        if action.groups and now - self._renewed >= RENEW_SECONDS:
            self._renewed = now
            self._daemon.members.renew(action.groups)

    def _probe(self, action: ac.ProbeAddresses) -> None:
        daemon = self._daemon
        groups = [group for group in daemon.engine.spec.groups if group.key in action.groups]
        for address in (one for group in groups for one in daemon.members.addresses(group)):
            daemon.aside(self._probe_address(action.node, address))

    async def _probe_address(self, node: str, address: Address) -> None:
        from drcm.cluster.agents import arp

        try:
            for interface in address.interfaces:
                if await arp.answers(address.ip, interface):
                    self._daemon.feed(ev.AddressAnswered(node))
                    return
            self._daemon.members.nobody_answers(address.ip)
        except DrcmError as error:
            log.debug("probing %s: %s", address.ip, error)

    async def _fence(self, action: ac.Fence) -> None:
        from drcm.cluster.fencer import fence

        error = ""
        try:
            command = self._daemon.cluster.node(action.node).fence_command
            await fence(parse_fence(command), action.node)
        except (DrcmError, ValueError, KeyError) as problem:  # the node or its command may just be gone
            error = str(problem)
        self._daemon.feed(ev.Fenced(action.node, action.op, error))


def _note(action: ac.Note) -> None:
    log.log(LEVELS[action.level], "%s: %s", action.subject, action.text, extra={"always": True})
