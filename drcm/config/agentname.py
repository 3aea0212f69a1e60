"""What the script column names: a script, an OCF agent with parameters, or a systemd unit. Pure.

/etc/drcm/resources/service.sh
ocf:heartbeat:IPaddr2 arp_count=3 iflabel="web"
systemd:nginx.service
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from drcm.config.model import Address, FileSystem, Resource, Service

EXPECTED = "a script, ocf:PROVIDER:AGENT name=value ..., or systemd:UNIT"
PROVIDER = "heartbeat"  # whose agents `ocf:IPaddr2` means
CHECK_LEVEL = "OCF_CHECK_LEVEL"  # no parameter of an agent: how deep its monitor looks (0, 10, 20)
UNIT_KINDS = ("service", "socket", "target", "timer", "mount", "path", "slice", "scope")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}")
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@\\-]{0,199}")

# Agents that want the service's name under a name of their own.
_SERVICE_PARAMETER = {"docker": "name", "podman": "name", "lxc": "container"}


@dataclass(frozen=True, slots=True)
class Script:
    """A program with the arguments of 1.41 (LEGACY.md)."""

    path: str


@dataclass(frozen=True, slots=True)
class Ocf:
    """An OCF resource agent and the parameters that cm.cfg gives it."""

    provider: str
    agent: str
    parameters: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"ocf:{self.provider}:{self.agent}"


@dataclass(frozen=True, slots=True)
class Unit:
    """A systemd unit, with its suffix."""

    name: str


AgentName = Script | Ocf | Unit


def is_ocf(text: str) -> bool:
    """Its parameters may hold commas, which stand between columns everywhere else."""
    return text.startswith("ocf:")


def parse(text: str) -> AgentName:
    """What `text` names; ValueError with what is wrong with it."""
    if is_ocf(text):
        return _ocf(text)
    if text.startswith("systemd:"):
        return _unit(text.removeprefix("systemd:"))
    return Script(text)


def _unit(name: str) -> Unit:
    if not _UNIT.fullmatch(name):
        raise ValueError("expected systemd:UNIT, as systemd:nginx.service")
    return Unit(name if name.rpartition(".")[2] in UNIT_KINDS else f"{name}.service")


def _ocf(text: str) -> Ocf:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{error}; write name='value' in quotes of one kind") from None
    names = [part for part in words[0].removeprefix("ocf:").split(":") if part]
    if len(names) not in (1, 2) or not all(_WORD.fullmatch(part) for part in names):
        raise ValueError("expected ocf:PROVIDER:AGENT, as ocf:heartbeat:IPaddr2")
    parameters: dict[str, str] = {}
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if not equals or not _PARAMETER.fullmatch(name):
            raise ValueError(f"'{word}': expected name=value, with quotes where the value has blanks")
        if name in parameters:
            raise ValueError(f"{name} is given twice")
        parameters[name] = value
    return Ocf(names[0] if len(names) == 2 else PROVIDER, names[-1], tuple(parameters.items()))


def from_columns(resource: Resource, agent: str, interface: str = "") -> dict[str, str]:
    """The parameters that the other columns of the row say already; those written out go before them.

    `interface`: the one that exists here, of an address's.
    """
    if isinstance(resource, Address):
        nic = {"nic": interface} if interface else {}
        return {"ip": resource.ip, "ipv6addr": resource.ip, "cidr_netmask": str(resource.prefix), **nic}
    if isinstance(resource, FileSystem):
        return {"device": resource.source, "directory": resource.target}
    if isinstance(resource, Service) and agent in _SERVICE_PARAMETER:
        return {_SERVICE_PARAMETER[agent]: resource.service}
    return {}
