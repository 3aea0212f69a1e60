"""Which agent serves a resource."""

from __future__ import annotations

from pathlib import Path

from drcm.cluster.agents.address import AddressAgent, lease_lifetime
from drcm.cluster.agents.agent import Agent, Lease, forever
from drcm.cluster.agents.application import ApplicationAgent
from drcm.cluster.agents.crontab import CrontabAgent
from drcm.cluster.agents.limits import USUAL, Limits
from drcm.cluster.agents.script import (
    BroughtAddressAgent,
    FileSystemAgent,
    Script,
    ScriptAgent,
    ScriptCrontabAgent,
    ServiceAgent,
)
from drcm.config.agentname import AgentName, Ocf, Unit, parse
from drcm.config.model import Address, Application, Crontab, FileSystem, Resource, Server, Service

# A shipped script has this line. The daemon then does its work in process; whoever edits the script
# takes the line out, and the script is run.
IN_PROCESS_LINE = "# drcm: done in process"
_SHIPPED = {"ipv4addr.sh", "ipv4addr_multi.sh", "crontab.sh"}


def agent_for(
    resource: Resource, server: Server, lease: Lease = forever, limits: Limits = USUAL, node: str = ""
) -> Agent:
    """The agent of `resource`. `lease()` says until when (clock.now()) this node may hold it."""
    if isinstance(resource, Application):
        return ApplicationAgent(resource, server, limits)
    name = parse(resource.script)
    if isinstance(resource, Address):
        return _address(resource, name, server, lease, limits, node)
    if not isinstance(name, Ocf | Unit):
        return _scripted(resource, server, lease, limits)
    return _foreign(resource, name, server, limits, node=node)


def _address(
    address: Address, name: AgentName, server: Server, lease: Lease, limits: Limits, node: str
) -> AddressAgent:
    lifetime = lease_lifetime(server.dead_seconds)
    if in_process(address.script):
        return AddressAgent(address, lifetime, lease)

    def by(interface: str) -> Agent:
        if isinstance(name, Ocf | Unit):
            return _foreign(address, name, server, limits, interface.partition(":")[0], node)
        netmask = address.netmask or str(address.prefix)
        arguments = (address.ip, netmask, interface)
        return ScriptAgent(
            Script.of(address.script, arguments, server, f"ip-{address.nickname}"), server, limits
        )

    return BroughtAddressAgent(address, lifetime, by, lease)


def _scripted(
    resource: Crontab | Service | FileSystem, server: Server, lease: Lease, limits: Limits
) -> Agent:
    if isinstance(resource, FileSystem):
        return FileSystemAgent(resource, server, limits)
    if isinstance(resource, Service):
        return ServiceAgent(resource, server, limits)
    if in_process(resource.script):
        return CrontabAgent(resource, lease)
    return ScriptCrontabAgent(resource, server, limits)


def _foreign(
    resource: Resource, name: Ocf | Unit, server: Server, limits: Limits, interface: str = "", node: str = ""
) -> Agent:
    """Loaded late: who has no such resource starts without them (HISTORIES E8)."""
    if isinstance(name, Unit):
        from drcm.cluster.agents.systemd import UnitAgent

        return UnitAgent(resource, name.name, server, limits)
    from drcm.cluster.agents.ocf import OcfAgent

    return OcfAgent(resource, name, server, limits, interface, node)


def in_process(script: str) -> bool:
    """Whether drcm's own agent stands for `script`: none named, or a shipped one that nobody made his own."""
    path = Path(script)
    if not script or path.is_dir():
        return True
    if path.name not in _SHIPPED:
        return False
    try:
        return IN_PROCESS_LINE in path.read_text(errors="replace")
    except FileNotFoundError:
        return True
    except OSError:
        return False
