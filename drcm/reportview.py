"""The whole cluster as one document and as rows for one screen. Pure.

What a daemon answers may come from another version: whatever is missing is None or empty, whatever is unknown
is passed on in the document and not shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from drcm.alerts.message import span
from drcm.cluster.stat import failures_text

SCHEMA = 1
Item = dict[str, Any]

NODE: Item = {"name": "", "state": "UNKNOWN", "heard_seconds_ago": None, "witness": False}
RESOURCE: Item = {
    "home": "",
    "kind": "",
    "nickname": "",
    "holder": None,
    "state": "",
    "backup": False,
    "reason": "",
    "failures": None,
}
SET: Item = {
    "name": "",
    "primary": "",
    "backups": [],
    "role": "",
    "writer": None,
    "generation": None,
    "generation_id": None,
    "run": None,
    "position": None,
    "failback": None,
    "problem": "",
    "last_good": None,
    "lag_seconds": None,
    "targets": [],
}
GOOD_STATES = ("", "running", "OK")


class Health(StrEnum):
    """The whole in a word."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows for the screen."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a status comes from: whose daemon was asked, and what was wrong on the way to it."""

    time: str  # RFC 3339, UTC
    status: Mapping[str, Any] | None
    alerts: Sequence[Mapping[str, Any]] = ()
    unsent: int = 0
    troubles: Sequence[str] = field(default_factory=tuple)


def document(source: Source) -> Item:
    """The report as `drcm-report --json` prints it."""
    status = source.status or {}
    told: Item = {
        "schema": SCHEMA,
        "time": source.time,
        "cluster": status.get("cluster"),
        "node": status.get("node"),
        "address": status.get("address"),
        "quorum": status.get("quorum"),
        "nodes": _items(status, "nodes", NODE),
        "resources": _items(status, "resources", RESOURCE),
        "running": _items(status, "running", {}),
        "sets": _items(status, "sets", SET),
        "explain": status.get("explain") or {},
        "alerts": [dict(alert) for alert in source.alerts],
        "unsent_messages": source.unsent,
    }
    reasons = [*source.troubles, *_reasons(told)]
    health = Health.DEGRADED if reasons else Health.HEALTHY
    return {**told, "health": Health.UNKNOWN if source.status is None else health, "reasons": reasons}


def _items(status: Mapping[str, Any], name: str, defaults: Item) -> list[Item]:
    found = status.get(name)
    kept = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    return [{**defaults, **item} for item in kept]


# -- what is not as it should be -------------------------------------------------------------------


def _reasons(told: Item) -> list[str]:
    nodes = [f"node {n['name']} is {n['state']}" for n in told["nodes"] if n["state"] != "UP"]
    resources = [reason for item in told["resources"] if (reason := _resource_reason(item))]
    sets = [reason for item in told["sets"] for reason in _set_reasons(item)]
    alerts = [
        f"open alert {a.get('key')}: {a.get('subject')}"
        for a in told["alerts"]
        if not str(a.get("key")).startswith("custom:")  # what a script said once is no state of the cluster
    ]
    quorum = [] if has_quorum(told["quorum"]) else ["this node has no quorum"]
    return [*quorum, *nodes, *resources, *sets, *alerts]


def has_quorum(quorum: Any) -> bool:
    """Whether the node that was asked may hold resources; an older one that doesn't say so counts as yes."""
    if isinstance(quorum, Mapping):
        quorum = quorum.get("has", quorum.get("ok"))
    return quorum is not False


def _resource_reason(item: Item) -> str:
    name = f"{item['kind']}:{item['nickname']}"
    why = f" ({item['reason']})" if item["reason"] else ""
    if not item["holder"]:
        return f"{name} of {item['home']} runs nowhere{why}"
    if item["backup"]:
        return f"{name} of {item['home']} runs on its backup {item['holder']}"
    return "" if item["state"] in GOOD_STATES else f"{name} on {item['holder']} is {item['state']}{why}"


def _set_reasons(item: Item) -> list[str]:
    name, found = f"set {item['name']}", []
    if item["problem"]:
        found.append(f"{name}: {item['problem']}")
    if item["failback"]:
        found.append(f"{name}: failback to {item['failback']} is due")
    if item["role"] in ("diverged", "waiting") and not item["problem"]:
        found.append(f"{name} is {item['role']}")
    diverged = (t.get("node") for t in _targets(item) if "DIVERGED" in str(t.get("verdict")).upper())
    return [*found, *(f"{name} has DIVERGED on {node}" for node in diverged)]


def _targets(item: Item) -> list[Item]:
    targets = item["targets"]
    return [t for t in targets if isinstance(t, dict)] if isinstance(targets, list) else []


# -- rows ------------------------------------------------------------------------------------------


def headline(told: Item) -> list[str]:
    """The first lines: the whole in a word, from whom, and why it isn't healthy."""
    name = told["cluster"] or "of this node"
    seen = f"seen from {told['node']} at {told['time']}" if told["node"] else f"at {told['time']}"
    lines = [f"Cluster {name}: {told['health'].upper()} ({seen})"]
    return [*lines, *(f"  - {reason}" for reason in told["reasons"])]


def tables(told: Item) -> list[Table]:
    """What there is to show, in the order of the screen; empty parts are left out."""
    found = (_nodes(told), _resources(told), _sets(told), _alerts(told))
    return [table for table in found if table.rows]


def _nodes(told: Item) -> Table:
    rows = [
        (node["name"], node["state"], _heard(node, told["node"]), "witness" if node["witness"] else "member")
        for node in told["nodes"]
    ]
    return Table("NODES", ("NODE", "STATE", "HEARD", "ROLE"), rows)


def _heard(node: Item, here: Any) -> str:
    if node["name"] == here:
        return "asked"
    ago = node["heard_seconds_ago"]
    return f"{ago:.1f} s ago" if isinstance(ago, int | float) else "never"


def _resources(told: Item) -> Table:
    rows = [
        (
            f"{r['kind']}:{r['nickname']}",
            str(r["home"]),
            str(r["holder"] or "-"),
            _place(r),
            _state(r),
        )
        for r in told["resources"]
    ]
    return Table("RESOURCES", ("RESOURCE", "HOME", "RUNS ON", "PLACE", "STATE"), rows)


def _state(resource: Item) -> str:
    state, failures = str(resource["state"] or "-"), resource["failures"]
    return f"{state}, {failures_text(failures)}" if isinstance(failures, Mapping) else state


def _place(resource: Item) -> str:
    if not resource["holder"]:
        return "DOWN"
    return "OK-Backup" if resource["backup"] else "OK-Normal"


def _sets(told: Item) -> Table:
    columns = ("SET", "ROLE", "WRITER", "GENERATION", "RUN", "LAG", "LAST GOOD SYNC", "FAILBACK", "COPIES")
    return Table("SETS", columns, [_set_row(item) for item in told["sets"]])


def _set_row(item: Item) -> tuple[str, ...]:
    lag = item["lag_seconds"]
    return (
        str(item["name"]),
        str(item["role"] or "-"),
        str(item["writer"] or "-"),
        str(item["generation"] or "-"),
        str(item["run"] or "-"),
        span(lag) if isinstance(lag, int | float) else "-",
        str(item["last_good"] or "never"),
        f"due to {item['failback']}" if item["failback"] else "-",
        _copies(item),
    )


def _copies(item: Item) -> str:
    """What is known of the copies; only the writer knows."""
    told = _targets(item) if item["role"] == "writer" else []
    return ", ".join(_copy(target) for target in told) or "-"


def _copy(target: Item) -> str:
    verdict = target.get("verdict") or ("complete" if target.get("complete") else "incomplete")
    return f"{target.get('node')} {verdict}"


def _alerts(told: Item) -> Table:
    names = ("severity", "key", "since", "subject")
    rows = [[str(alert.get(name, "")) for name in names] for alert in told["alerts"]]
    return Table("OPEN ALERTS (of this node)", ("SEVERITY", "KEY", "SINCE", "SUBJECT"), rows)
