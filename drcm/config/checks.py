"""One value of cm.cfg against another: everything that can be known without looking at a machine. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from drcm.config.build import Draft
from drcm.config.check_nodes import check_nodes
from drcm.config.check_policies import check_policies
from drcm.config.check_server import check_alerts, check_quorum, check_timing
from drcm.config.check_sets import check_sets
from drcm.config.faults import Faults
from drcm.config.model import Address, Resource


def check_cluster(draft: Draft, faults: Faults) -> None:
    """All cross-checks, each fault at the line that a person would change."""
    _check_resources(draft, faults)
    check_nodes(draft, faults)
    check_policies(draft, faults)
    check_quorum(draft, faults)
    check_timing(draft, faults)
    check_sets(draft, faults)
    check_alerts(draft, faults)


def _check_resources(draft: Draft, faults: Faults) -> None:
    _check_duplicate_nicknames(draft.cluster.resources, faults)
    _check_addresses(draft, faults)
    listed = {(ref.kind, ref.nickname) for node in draft.cluster.nodes for ref in node.resources}
    for resource in draft.cluster.resources:
        if resource.nickname and (resource.kind, resource.nickname) not in listed:
            faults.info(resource.line, f"no node lists {resource.kind}:{resource.nickname}: it never starts")


def _check_duplicate_nicknames(resources: Iterable[Resource], faults: Faults) -> None:
    first: dict[tuple[str, str], int] = {}
    for resource in resources:
        key = (resource.kind, resource.nickname)
        if resource.nickname and key in first:
            text = f"nickname {resource.nickname} stands in line {first[key]} already; give it another"
            faults.error(resource.line, text)
        first.setdefault(key, resource.line)


def _check_addresses(draft: Draft, faults: Faults) -> None:
    """Two holders of one address is what all of drcm is there to prevent; so is a floating heartbeat."""
    owner: dict[str, str] = {
        node.keep_alive_ip: f"the keep alive IP of {node.name}" for node in draft.cluster.nodes
    }
    for address in draft.cluster.resources:
        if not isinstance(address, Address) or not address.ip:
            continue
        if address.ip in owner:
            text = f"{address.ip} is {owner[address.ip]} already: a floating address is nobody else's"
            faults.error(address.line, text)
        owner.setdefault(address.ip, f"the address in line {address.line}")
        _check_netmask(address, faults)


def _check_netmask(address: Address, faults: Faults) -> None:
    four = "." in address.ip and ":" not in address.ip
    if four and address.prefix > 32:
        faults.error(
            address.line, f"netmask {address.netmask}: expected at most 32 for {address.ip}; correct it"
        )
    if not four and "." in address.netmask:
        text = f"netmask {address.netmask} with {address.ip}: expected a prefix length, as 64; correct it"
        faults.error(address.line, text)
