"""Settings and rows to the model. Pure.

A faulty value is told and stood in for, so that one reading finds every fault; whoever gets a draft
with an ERROR among its faults must not use it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from drcm.config import agentname
from drcm.config import model as m
from drcm.config.faults import Faults
from drcm.config.keys import KeySection, RowSection
from drcm.config.lines import Entry, Section, read_sections, shown
from drcm.config.policies import policies
from drcm.config.schema import ALERTS, NODE, NODE_LISTS, REPLICATION, RESOURCE, ROWS, SERVER, SYNC
from drcm.config.settings import Settings, check_names, each, merged
from drcm.config.values import DeleteLimit

NOT_SHARED = frozenset({"path", "digest", "line", "netmask"})  # netmask: the prefix says it already
# drcm is for a few servers; the bounds keep a machine-made file from taking minutes to check.
MOST_NODES, MOST_SETS, MOST_RESOURCES = 64, 256, 1000
Located = TypeVar("Located", Settings, m.Resource)


@dataclass(slots=True)
class Draft:
    """A cluster as read, and for each of its sections the lines that its values came from."""

    cluster: m.Cluster
    server: Settings
    alerts: Settings
    sections: dict[int, Settings] = field(default_factory=dict)  # nodes and sets, by heading line

    def at(self, heading: int, key: str, index: int = 0) -> int:
        """The line of the `index`-th value of `key` in the node or set headed at line `heading`."""
        return self.sections[heading].at(key, index)


def build(text: str, faults: Faults) -> Draft:
    """The draft in `text`; what is wrong with its single lines goes to `faults`."""
    sections = read_sections(text, ROWS, faults)
    check_names(sections, faults)
    server, replication, alerts = (merged(sections, s, faults) for s in (SERVER, REPLICATION, ALERTS))
    nodes = _bounded(each(sections, NODE, faults), MOST_NODES, NODE.name, faults)
    sets = _bounded(each(sections, SYNC, faults), MOST_SETS, SYNC.name, faults)
    care = _bounded(each(sections, RESOURCE, faults), MOST_RESOURCES, RESOURCE.name, faults)
    resources = _bounded(list(_resources(sections, faults)), MOST_RESOURCES, "resource", faults)
    cluster = m.Cluster(
        server=m.Server(**_fields(server, SERVER)),
        nodes=tuple(_node(settings, faults) for settings in nodes),
        resources=tuple(resources),
        replication=m.Replication(**_fields(replication, REPLICATION)),
        alerts=m.Alerts(**_fields(alerts, ALERTS)),
        path=faults.file,
        policies=tuple(sorted(policies(care, faults), key=lambda p: (p.kind, p.nickname))),
    )
    cluster = replace(cluster, sets=tuple(_sync_set(s, cluster, faults) for s in sets))
    cluster = replace(cluster, digest=digest(cluster))
    return Draft(cluster, server, alerts, {settings.line: settings for settings in (*nodes, *sets, *care)})


def _bounded(items: list[Located], most: int, name: str, faults: Faults) -> list[Located]:
    if len(items) > most:
        faults.error(
            items[most].line, f"{len(items)} of {name}: drcm is made for {most} at most; delete some"
        )
    return items[:most]


def digest(cluster: m.Cluster) -> str:
    """16 hex digits, equal where two files mean the same: comments, spelling and place don't count."""
    text = json.dumps(_shared(asdict(cluster)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _shared(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shared(item) for key, item in value.items() if key not in NOT_SHARED}
    if isinstance(value, list | tuple):
        return [_shared(item) for item in value]
    return value


def _fields(settings: Settings, schema: KeySection) -> dict[str, Any]:
    """The values that are one field of the model each; its own defaults stand for the others."""
    keys = [key for key in schema.keys if key.attribute]
    given = {key.attribute: settings.values[key.name] for key in keys if key.name in settings.values}
    blanks = {key.attribute: key.type.blank for key in keys if schema.required(key)}
    return {**blanks, **given}


def _node(settings: Settings, faults: Faults) -> m.Node:
    resources: list[m.ResourceRef] = []
    backups: list[m.BackupRef] = []
    for kind, (own, backup) in NODE_LISTS.items():
        resources += [m.ResourceRef(kind, nickname) for nickname in settings.values.get(own, ())]
        for index, text in enumerate(settings.values.get(backup, ())):
            home, colon, nickname = (part.strip() for part in text.partition(":"))
            if not (home and colon and nickname):
                line = settings.at(backup, index)
                faults.error(line, f"{backup}: '{shown(text)}': expected nodename:nickname; write it so")
            backups.append(m.BackupRef(home, kind, nickname))
    return m.Node(
        **_fields(settings, NODE), resources=tuple(resources), backups=tuple(backups), line=settings.line
    )


def _resources(sections: Sequence[Section], faults: Faults) -> Iterable[m.Resource]:
    """By kind, whatever the order of the sections: that one has no meaning."""
    for name, schema in ROWS.items():
        for section in (section for section in sections if section.name == name):
            yield from (_resource(entry, schema, faults) for entry in section.entries)


def _resource(entry: Entry, schema: RowSection, faults: Faults) -> m.Resource:
    cells = _cells(entry.value, schema)
    least = sum(not column.optional for column in schema.columns)
    if not least <= len(cells) <= len(schema.columns):
        text = f"{len(cells)} values: expected {schema.format}; commas stand only between them"
        faults.error(entry.line, text)
    parsed: dict[str, Any] = {column.name: column.type.blank for column in schema.columns}
    for column, cell in zip(schema.columns, cells, strict=False):
        try:
            parsed[column.name] = column.type.parse(cell)
        except ValueError:
            found = f"'{shown(cell)}'" if cell else "nothing"
            text = f"{column.name} is {found}: expected {column.type.expected}; the row is {schema.format}"
            faults.error(entry.line, text)
    return _make(schema.kind, parsed, cells, entry.line)


def _cells(row: str, schema: RowSection) -> list[str]:
    """The columns of a row. Commas in the parameters of an OCF agent, which come last, are its own."""
    cells = [cell.strip() for cell in row.split(",")]
    last = len(schema.columns) - 1
    if len(cells) > last and agentname.is_ocf(cells[last]):
        return [*cells[:last], row.split(",", last)[last].strip()]
    return cells


def _make(kind: m.Kind, row: dict[str, Any], cells: list[str], line: int) -> m.Resource:
    nickname = row["nickname"]
    if kind is m.Kind.CRONTAB:
        return m.Crontab(
            nickname, row["template_file"], row["install_location"], row["resource_script"], line
        )
    if kind is m.Kind.ADDRESS:
        netmask = cells[2] if len(cells) > 2 else ""
        script = row["resource_script"]
        return m.Address(nickname, row["ip"], row["netmask"], row["interface"], script, netmask, line)
    if kind is m.Kind.SERVICE:
        return m.Service(nickname, row["service_name"], row["resource_script"], line)
    if kind is m.Kind.FILESYSTEM:
        return m.FileSystem(nickname, row["source"], row["target"], row["resource_script"], line)
    user, group = row["user:group"]
    start, stop, ensure = row["start_program"], row["stop_program"], row["ensure_script"]
    return m.Application(nickname, user, group, start, stop, ensure, line)


def _sync_set(settings: Settings, cluster: m.Cluster, faults: Faults) -> m.SyncSet:
    values = settings.values
    limits = _delete_limits(values.get("max_delete"), values.get("max_delete_percent"))
    schedule = _schedule(settings, faults)
    resources = _set_resources(settings, cluster, faults)
    fields = {**_fields(settings, SYNC), **limits}
    return m.SyncSet(**fields, schedule=schedule, resources=resources, line=settings.line)


def _delete_limits(limit: DeleteLimit | None, percent: float | None) -> dict[str, Any]:
    """Who gives one limit means that one: `max_delete = 50` is not "50 or 10 %, whichever is more"."""
    limit = limit or DeleteLimit()
    percent = limit.percent if limit.percent is not None else percent
    if limit.files is None and percent is None:
        return {}
    return {"max_delete": limit.files or 0, "max_delete_percent": percent or 0.0}


def _schedule(settings: Settings, faults: Faults) -> m.Schedule:
    values = settings.values
    given = [key for key in ("schedule", "every", "watch") if values.get(key)]
    if len(given) > 1:
        text = f"{' and '.join(given)} are both given: expected one of them; delete the other"
        faults.error(settings.at(given[-1]), text)
    elif not given and not settings.lines.keys() & {"schedule", "every"}:
        text = (
            "nothing says when the set is synced: add 'schedule = */5 * * * *', 'every = 30s' or 'watch = 1'"
        )
        faults.error(settings.line, text)
    return m.Schedule(values.get("schedule", ""), values.get("every", 0.0), values.get("watch", False))


def _set_resources(
    settings: Settings, cluster: m.Cluster, faults: Faults
) -> tuple[m.ResourceRef, ...] | None:
    """What `resources` names among those that the set's primary lists as its own."""
    texts = settings.values.get("resources")
    if texts is None:
        return None
    home = next((n for n in cluster.nodes if n.name == settings.values.get("primary")), None)
    own = home.resources if home else ()
    found: list[m.ResourceRef] = []
    for index, text in enumerate(() if texts == ("none",) else texts):
        kind, _, nickname = text.rpartition(":")
        meant = [ref for ref in own if ref.nickname == nickname.strip() and kind.strip() in ("", ref.kind)]
        found += meant[:1]
        if home and len(meant) != 1:
            faults.error(settings.at("resources", index), _which(text, home, meant))
    return tuple(found)


def _which(text: str, home: m.Node, meant: list[m.ResourceRef]) -> str:
    if meant:
        kinds = " or ".join(f"{ref.kind}:{ref.nickname}" for ref in meant)
        return f"resources: '{shown(text)}' may be {kinds}; write which"
    own = ", ".join(f"{ref.kind}:{ref.nickname}" for ref in home.resources[:20]) or "nothing"
    return f"resources: {home.name} lists no '{shown(text)}' as its own: expected some of {own}; correct it"
