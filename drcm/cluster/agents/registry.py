"""Which agent serves a resource."""

from __future__ import annotations

from pathlib import Path

from drcm.cluster.agents.address import AddressAgent, lease_lifetime
from drcm.cluster.agents.agent import Agent, Lease, forever
from drcm.cluster.agents.application import ApplicationAgent
from drcm.cluster.agents.crontab import CrontabAgent
from drcm.cluster.agents.script import FileSystemAgent, ScriptAddressAgent, ScriptCrontabAgent, ServiceAgent
from drcm.config.model import Address, Application, Crontab, FileSystem, Resource, Server

# A shipped script has this line. The daemon then does its work in process; whoever edits the script
# takes the line out, and the script is run.
IN_PROCESS_LINE = "# drcm: done in process"
_SHIPPED = {"ipv4addr.sh", "ipv4addr_multi.sh", "crontab.sh"}


def agent_for(resource: Resource, server: Server, lease: Lease = forever) -> Agent:
    """The agent of `resource`. `lease()` says until when (clock.now()) this node may hold it."""
    if isinstance(resource, Address):
        if in_process(resource.script):
            return AddressAgent(resource, lease_lifetime(server.dead_seconds), lease)
        return ScriptAddressAgent(resource, server, lease)
    if isinstance(resource, Crontab):
        if in_process(resource.script):
            return CrontabAgent(resource, lease)
        return ScriptCrontabAgent(resource, server)
    if isinstance(resource, Application):
        return ApplicationAgent(resource, server)
    if isinstance(resource, FileSystem):
        return FileSystemAgent(resource, server)
    return ServiceAgent(resource, server)


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
