"""cm_stat and rstats: what the daemons answer, in the lines that 1.41's users and scripts know.

Pure: the model and the answers in, text out. LEGACY.md fixes the lines `Node status: `,
`Resource status: `, `Cluster status: ` and those of rstats to the letter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from drcm.config.model import Cluster, Kind, Node
from drcm.errors import PeerError

Answers = Mapping[str, Mapping[str, Any] | PeerError]  # by node; the op `status`, or `rstats`

NORMAL = "OK-Normal"
BACKUP = "OK-Backup"
MISSING = "MISSING"
TWICE = "RUNS TWICE"
NOTHING = "No CM resources started"


def resource_line(kind: Kind, nickname: str, since: str, backup: bool) -> str:
    """One line of rstats; `since` is the local time of its start, as `2026-11-22 19:50:31`."""
    return f"{'backup_' if backup else ''}{kind.value}:{nickname},{since}"


def resource_lines(node: str, running: Iterable[Mapping[str, str]]) -> list[str]:
    """The lines of a node that runs `running` (as in the op `status`)."""
    order = list(Kind)
    items = sorted(running, key=lambda item: (order.index(Kind(item["kind"])), item["nickname"]))
    lines = [
        resource_line(Kind(item["kind"]), item["nickname"], item["since"], item["home"] != node)
        for item in items
    ]
    return lines or [NOTHING]


def rstats_text(nodes: Iterable[Node], answers: Answers) -> str:
    """One block a node, each between two lines with its name: the guide cuts them out with sed.

    So a node that is silent has its second line too, and nothing in between.
    """
    return "\n".join(line for node in nodes for line in _rstats_block(node, answers[node.name])) + "\n"


def _rstats_block(node: Node, answer: Mapping[str, Any] | PeerError) -> list[str]:
    name = f"rstats {node.name}@{node.keep_alive_ip}"
    if isinstance(answer, PeerError):
        return [f"{name} failed: {answer.what}", f"{name} end"]
    return [f"{name} successful", *answer["lines"], f"{name} end"]


@dataclass(frozen=True, slots=True)
class _Row:
    """A resource in the second part of cm_stat."""

    name: str
    home: str
    holders: tuple[str, ...]
    note: str
    failures: str = ""  # those that still count, on each node

    @property
    def status(self) -> str:
        if not self.holders:
            return MISSING
        if len(self.holders) > 1:
            return TWICE
        return NORMAL if self.holders[0] == self.home else BACKUP


def cm_stat_text(cluster: Cluster, answers: Answers) -> str:
    """The report: member status, resource status, cluster health. `answers` are those of the op `status`."""
    down = tuple(node.name for node in cluster.voters if not _is_up(node.name, answers))
    rows = _rows(cluster, answers)
    troubles = _set_troubles(answers)
    parts = (
        _members(cluster, answers),
        [node_status(len(down))],
        [""],
        _resources(rows),
        resource_status(rows),
        [""],
        _health(down, rows, troubles),
    )
    return "\n".join(line for part in parts for line in part) + "\n"


def _is_up(name: str, answers: Answers) -> bool:
    """It answered, or one that did hears its beats: a console port may be shut while the node is well."""
    return isinstance(answers.get(name), Mapping) or "UP" in _opinions(name, answers).values()


def _opinions(name: str, answers: Answers) -> dict[str, str]:
    """What the others that answered say of node `name`: UP, DOWN or UNKNOWN."""
    return {
        other: str(peer.get("state", "UNKNOWN"))
        for other, answer in answers.items()
        if other != name and isinstance(answer, Mapping)
        for peer in answer.get("nodes", ())
        if peer.get("name") == name
    }


def _members(cluster: Cluster, answers: Answers) -> list[str]:
    rows = [(node.name, node.keep_alive_ip, *_member(node, answers)) for node in cluster.nodes]
    title = f"Member status: cluster {cluster.replication.cluster_name}, {len(cluster.voters)} nodes"
    return [title, *_columns(("Node", "Address", "Status", "Note"), rows)]


def _member(node: Node, answers: Answers) -> tuple[str, str]:
    if not node.active:
        return "INACTIVE", "node_is_active = 0"
    role = ["witness"] if node.witness else []
    answer = answers.get(node.name)
    deaf = [name for name, state in _opinions(node.name, answers).items() if state == "DOWN"]
    if isinstance(answer, Mapping):
        return "UP", "; ".join(role + ([f"not heard by {', '.join(deaf)}"] if deaf else []))
    why = answer.what if isinstance(answer, PeerError) else "not asked"
    if _is_up(node.name, answers):
        return "UP", "; ".join([*role, f"heard by the others, but {why}"])
    return "DOWN", "; ".join([*role, why])


def node_status(down: int) -> str:
    """The line that sums up the members."""
    if not down:
        return "Node status: All cluster nodes are UP"
    return f"Node status: Cluster has {down} {_plural('node', down)} DOWN"


def _rows(cluster: Cluster, answers: Answers) -> tuple[_Row, ...]:
    found: list[_Row] = []
    for node in cluster.voters:
        for ref in sorted(node.resources, key=lambda ref: list(Kind).index(ref.kind)):
            key = (node.name, ref.kind.value, ref.nickname)
            name = f"{ref.kind.value}:{ref.nickname}"
            found.append(
                _Row(name, node.name, _holders(key, answers), _note(key, answers), _failures(key, answers))
            )
    return tuple(found)


def _holders(key: tuple[str, str, str], answers: Answers) -> tuple[str, ...]:
    """Who runs it: each node's word for itself; for one that is up but can't be asked, the others'."""
    running = {name for name, answer in answers.items() if key in _keys(answer, "running")}
    reported = {
        str(item.get("holder", ""))
        for answer in answers.values()
        for item in _items(answer, "resources")
        if _key(item) == key
    }
    silent = {name for name in reported if isinstance(answers.get(name), PeerError) and _is_up(name, answers)}
    return tuple(sorted(running | silent))


def _note(key: tuple[str, str, str], answers: Answers) -> str:
    """The first reason that anybody gives; the home node is asked first."""
    order = sorted(answers, key=lambda name: name != key[0])
    reasons = (
        str(item.get("reason") or "")
        for name in order
        for item in _items(answers[name], "resources")
        if _key(item) == key
    )
    return next((reason for reason in reasons if reason), "")


def _failures(key: tuple[str, str, str], answers: Answers) -> str:
    told = [
        f"{failures_text(item['failures'])} on {name}"
        for name, answer in answers.items()
        for item in _items(answer, "resources")
        if _key(item) == key and isinstance(item.get("failures"), Mapping)
    ]
    return "; ".join(told)


def failures_text(failures: Mapping[str, Any]) -> str:
    """`failed 2 of 3, clears in 8 min`: how near it is to moving, and when all is forgotten."""
    seconds = float(failures.get("clears_seconds") or 0)
    clears = f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"
    return f"failed {failures.get('count')} of {failures.get('limit')}, clears in {clears}"


def _items(answer: Mapping[str, Any] | PeerError, field: str) -> Sequence[Mapping[str, Any]]:
    return answer.get(field) or () if isinstance(answer, Mapping) else ()


def _keys(answer: Mapping[str, Any] | PeerError, field: str) -> set[tuple[str, str, str]]:
    return {_key(item) for item in _items(answer, field)}


def _key(item: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(item.get("home")), str(item.get("kind")), str(item.get("nickname"))


def _resources(rows: Sequence[_Row]) -> list[str]:
    table = [(row.name, row.home, ", ".join(row.holders) or "-", row.status, _shown(row)) for row in rows]
    return ["Resources:", *_columns(("Resource", "Home", "Runs on", "Status", "Note"), table)]


def _shown(row: _Row) -> str:
    """What runs at home needs no explanation, but for its failures."""
    return "; ".join(filter(None, ("" if row.status == NORMAL else row.note, row.failures)))


def resource_status(rows: Sequence[_Row]) -> list[str]:
    """The lines that sum up the resources; the first three forms are 1.41's."""
    lines = []
    if moved := _count(rows, BACKUP):
        lines.append(f"Cluster has {moved} failed over {_plural('resource', moved)}")
    if missing := _count(rows, MISSING):
        lines.append(f"Cluster has {missing} missing {_plural('resource', missing)}")
    if twice := _count(rows, TWICE):
        lines.append(f"Cluster has {twice} {_plural('resource', twice)} running on two nodes")
    return [f"Resource status: {line}" for line in lines or ["All cluster resources in NORMAL state"]]


def _count(rows: Sequence[_Row], status: str) -> int:
    return sum(row.status == status for row in rows)


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"


def _set_troubles(answers: Answers) -> list[str]:
    """What is wrong with the sync sets, each node for its own copy (`sets`: name, problem)."""
    return [
        f"Set {item.get('name')} on {name}: {item['problem']}"
        for name, answer in answers.items()
        for item in _items(answer, "sets")
        if item.get("problem")
    ]


def _health(down: Sequence[str], rows: Sequence[_Row], troubles: Sequence[str]) -> list[str]:
    parts = [
        *(["DOWN nodes"] if down else []),
        *(["FAILEDOVER resources"] if _count(rows, BACKUP) else []),
        *(["MISSING resources"] if _count(rows, MISSING) else []),
        *(["DUPLICATE resources"] if _count(rows, TWICE) else []),
        *(["PROBLEM sets"] if troubles else []),
    ]
    return [
        "Cluster health:",
        *(f"  {line}" for line in troubles),
        f"Cluster status: {' '.join(parts) or 'HEALTHY'}",
    ]


def _columns(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Aligned columns, two blanks apart and indented by two; nothing is cut."""
    widths = [max(len(row[index]) for row in (head, *rows)) for index in range(len(head))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)
    )
    return [f"  {line.rstrip()}" for line in lines]
