"""Quorum, timing and alerts: settings that are fine one by one and not together. Pure."""

from __future__ import annotations

from drcm.config.build import Draft
from drcm.config.faults import Faults
from drcm.config.model import Quorum

SHORTEST_DEAD_SECONDS = 0.3  # DESIGN.md's fast profile; below it a busy host's scheduling delay is a death
FEWEST_LOST = 5  # keep alives: at 40 % loss five in a row are lost each 1/0.4^5 = 98 beats
LONGEST_DEAD_SECONDS = 30.0

# Carriers whose mail-to-SMS gateway has ended: mail is accepted, and no SMS arrives (PEERS 61).
DEAD_GATEWAYS = {
    "vtext.com": "Verizon",
    "vzwpix.com": "Verizon",
    "txt.att.net": "AT&T",
    "mms.att.net": "AT&T",
    "pcs.rogers.com": "Rogers",
    "sms.rogers.com": "Rogers",
    "txt.bell.ca": "Bell",
    "txt.bellmobility.ca": "Bell",
}


def check_quorum(draft: Draft, faults: Faults) -> None:
    """Who may act alone, and what that means with this number of voters (DESIGN.md rule 9)."""
    voters, quorum = len(draft.cluster.voters), draft.cluster.server.quorum
    line = draft.server.at("quorum")
    cure = "add a third [CM_NODE] with witness = 1"
    if voters == 2 and quorum is Quorum.AUTO:
        faults.warning(line, f"two voters have no majority: in a split each may act alone; {cure}")
    if voters == 2 and quorum is Quorum.MAJORITY:
        faults.warning(line, f"quorum majority with two voters: when one dies, the other stops; {cure}")
    if voters > 2 and quorum is Quorum.TWO_NODE:
        text = f"quorum two_node: expected two voters, found {voters}; write quorum = auto"
        faults.error(line, text)
    if voters > 1 and quorum is Quorum.NONE:
        faults.warning(line, "quorum none: in a split both sides hold everything; write quorum = auto")
    if voters > 2 and voters % 2 == 0 and quorum in (Quorum.AUTO, Quorum.MAJORITY):
        faults.info(line, f"{voters} voters: cut into halves, both stop; a witness more decides that")
    _check_ping_hosts(draft, faults)


def _check_ping_hosts(draft: Draft, faults: Faults) -> None:
    cluster = draft.cluster
    hosts = cluster.server.ping_hosts
    two_node = len(cluster.voters) == 2 and cluster.server.quorum in (Quorum.AUTO, Quorum.TWO_NODE)
    if two_node and not hosts:
        text = (
            "no ping_hosts: a node that has lost its own network takes over too; name your router's address"
        )
        faults.warning(draft.server.at("ping_hosts"), text)
    mine = {node.keep_alive_ip: node.name for node in cluster.nodes}
    for index, host in enumerate(hosts):
        if host in mine:
            text = f"ping_hosts: {host} is {mine[host]} itself, which proves nothing; name a router"
            faults.warning(draft.server.at("ping_hosts", index), text)


def check_timing(draft: Draft, faults: Faults) -> None:
    """dead_node_count x keep_alive_interval is the time in which nothing may be taken over."""
    server = draft.cluster.server
    line = draft.server.at("dead_node_count")
    dead = f"a node is dead after {server.dead_seconds:g} s"
    if server.dead_seconds < SHORTEST_DEAD_SECONDS:
        text = f"{dead}: expected {SHORTEST_DEAD_SECONDS:g} s or more, or a busy host counts as dead"
        faults.warning(line, text)
    if server.dead_node_count < FEWEST_LOST:
        text = f"dead_node_count {server.dead_node_count}: so few lost keep alives are soon a death; take 20"
        faults.warning(line, text)
    if server.dead_seconds > LONGEST_DEAD_SECONDS:
        text = f"{dead}; keep_alive_interval = 0.1 with dead_node_count = 20 makes it two"
        faults.info(line, text)


def check_alerts(draft: Draft, faults: Faults) -> None:
    """Somebody must hear, by a way that still works."""
    alerts = draft.cluster.alerts
    if not alerts.email and not alerts.sms:
        faults.info(
            draft.alerts.at("email"), "[CM_ALERTS] names nobody: trouble is only logged; add email = ..."
        )
    for index, address in enumerate(alerts.sms):
        line = draft.alerts.at("sms", index)
        domain = address.rpartition("@")[2].lower()
        if "@" not in address:
            faults.error(line, f"sms: '{address}': expected NUMBER@GATEWAY; correct it")
        elif domain in DEAD_GATEWAYS:
            text = f"sms: {DEAD_GATEWAYS[domain]} has ended {domain}, no SMS arrives; use another way"
            faults.warning(line, text)
