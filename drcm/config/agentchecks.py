"""OCF agents and systemd units that cm.cfg names, against the machine that would run them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from drcm.config import ocf, ocfmeta
from drcm.config.agentname import CHECK_LEVEL, Ocf, Unit, from_columns
from drcm.config.model import Address, Resource
from drcm.config.settings import hint

SYSTEMD = Path("/run/systemd/system")
REFUSALS = {2: "wrong parameters", 4: "no permission", 5: "something is not installed", 6: "wrong parameters"}
ASK_SECONDS = 10.0

Told = tuple[bool, str]  # is it an error; the text


@dataclass(frozen=True, slots=True)
class Agents:
    """What is asked of a machine about its agents."""

    ocf_agents: Callable[[str], list[str]]  # of a provider
    meta_data: Callable[[str, str], ocfmeta.MetaData]  # ValueError where it can't be had
    validate: Callable[[Ocf, Mapping[str, str]], tuple[int, str]]  # validate-all: exit code, output
    unit: Callable[[str], tuple[str, str] | None]  # LoadState, UnitFileState; None: no systemd runs


def these_agents() -> Agents:
    """Those of the machine that this runs on."""
    return Agents(ocf.agents, ocf.meta_data, _validate, _unit)


def check_agent(
    resource: Resource, name: Ocf | Unit, agents: Agents, interfaces: frozenset[str]
) -> Iterator[Told]:
    """What is wrong with the agent of a resource on this machine, cure included."""
    if isinstance(name, Unit):
        yield from _check_unit(resource, name, agents)
        return
    there = agents.ocf_agents(name.provider)
    if name.agent not in there:
        cure = hint(name.agent, there) or "; Debian: apt-get install resource-agents"
        yield True, f"there is no OCF agent {name} on this machine{cure}; see: --command=agents"
        return
    nic = _nic(resource, interfaces)
    given, columns = dict(name.parameters), from_columns(resource, name.agent, nic)
    try:
        found = list(ocfmeta.faults(agents.meta_data(name.provider, name.agent), given, columns))
    except ValueError as error:
        yield False, f"{name}: {error}"
        return
    yield from ((bad, f"{name} {text}; see: --command='agents {name.agent}'") for bad, text in found)
    if not any(bad for bad, _ in found):
        yield from _validated(name, agents, columns | given)


def _nic(resource: Resource, interfaces: frozenset[str]) -> str:
    if not isinstance(resource, Address):
        return ""
    names = (name.partition(":")[0] for name in resource.interfaces)
    return next((name for name in names if name in interfaces), "")


def _validated(name: Ocf, agents: Agents, parameters: Mapping[str, str]) -> Iterator[Told]:
    """Only a warning: what it wants may lie on a disk that is mounted elsewhere at this moment."""
    try:
        code, output = agents.validate(name, parameters)
    except (OSError, subprocess.TimeoutExpired) as error:
        yield False, f"{name}: its validate-all came to no end: {error}"
        return
    if code in REFUSALS:
        last = [line.strip() for line in output.splitlines() if line.strip()][-1:]
        yield (
            False,
            f"{name} says of these parameters: {REFUSALS[code]}: {''.join(last) or 'no reason given'}",
        )


def _check_unit(resource: Resource, unit: Unit, agents: Agents) -> Iterator[Told]:
    if isinstance(resource, Address):
        yield True, f"systemd:{unit.name} can't bring an address; use ipv4addr.sh"
        return
    state = agents.unit(unit.name)
    if state is None:
        yield True, f"systemd does not run on this machine, so no {unit.name}; use service.sh"
    elif state[0] not in ("loaded", ""):
        yield True, f"systemd knows no unit {unit.name} here ({state[0]}); install it or correct the name"
    elif state[1] in ("enabled", "enabled-runtime"):
        yield False, f"{unit.name} starts at boot beside drcm, on every node: systemctl disable {unit.name}"


def _validate(name: Ocf, parameters: Mapping[str, str]) -> tuple[int, str]:
    if os.geteuid() != 0:
        return 0, ""
    extra = {f"OCF_RESKEY_{key}": value for key, value in parameters.items() if key != CHECK_LEVEL}
    return ocf.ask(name.provider, name.agent, "validate-all", extra)


def _unit(name: str) -> tuple[str, str] | None:
    if not SYSTEMD.is_dir():
        return None
    argv = ["systemctl", "show", "--property=LoadState,UnitFileState", name]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ASK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    told = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    return told.get("LoadState", ""), told.get("UnitFileState", "")
