"""What a person sees of cm.cfg: `--check-config` and the console's printcfg."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from drcm.config import model as m
from drcm.config.faults import Fault, Severity, has_errors
from drcm.config.hostchecks import Host
from drcm.config.keys import KeySection
from drcm.config.load import Loaded, load_config
from drcm.config.schema import ALERTS, NODE, NODE_LISTS, REPLICATION, RESOURCE, ROWS, SERVER, SYNC
from drcm.config.template import write_template
from drcm.config.values import show
from drcm.errors import EXIT_FAILED, EXIT_NO_INPUT, EXIT_OK, ConfigError

EXIT_TEMPLATE_OR_WARNINGS = 2  # 1.41's: a template was written, or there are only warnings


def check_config(path: Path, out: TextIO, host: Host | None = None) -> int:
    """Every setting and fault of `path` to `out`; a template where there is no file.

    0 good, 1 errors, 2 warnings only or template written. `grep -i -E 'error|warn|fail|info'` picks
    the faults and the last line, the summary. `host`: look at that machine in place of this one.
    """
    try:
        loaded = load_config(path, host=host)
    except ConfigError as error:
        if error.exit_code == EXIT_NO_INPUT:
            return _offer_template(path, out)
        loaded = Loaded(None, (Fault(str(path), 1, Severity.ERROR, _one_line(error)),))
    if loaded.draft is not None:
        print(printcfg_text(loaded.draft), file=out)
    for fault in loaded.faults:
        print(fault, file=out)
    print(_summary(path, loaded.faults), file=out)
    return _exit_code(loaded.faults)


def _one_line(error: ConfigError) -> str:
    return f"{error.what.partition(': ')[2] or error.what}; {error.cure}"


def _offer_template(path: Path, out: TextIO) -> int:
    try:
        write_template(path, os.uname().nodename)
    except OSError as error:
        print(f"{path}:1: ERROR - no such file, and no template can be written: {error.strerror}", file=out)
        return EXIT_FAILED
    print(f"INFO - there was no {path}: a template was written. Edit it, then check it again.", file=out)
    return EXIT_TEMPLATE_OR_WARNINGS


def _summary(path: Path, faults: tuple[Fault, ...]) -> str:
    count = Counter(fault.severity for fault in faults)
    errors, warnings, infos = (count[s] for s in Severity)
    verdict = "can't be used, correct the errors" if errors else "can be used"
    return f"{path}: errors {errors}, warnings {warnings}, infos {infos}: {verdict}"


def _exit_code(faults: tuple[Fault, ...]) -> int:
    if has_errors(faults):
        return EXIT_FAILED
    warned = any(fault.severity is Severity.WARNING for fault in faults)
    return EXIT_TEMPLATE_OR_WARNINGS if warned else EXIT_OK


def printcfg_text(cluster: m.Cluster) -> str:
    """Every setting, defaults too, in cm.cfg's own syntax: reading it again gives the same digest."""
    blocks = [_keyed(SERVER, cluster.server), *_rows(cluster.resources)]
    blocks += [_policy(policy) for policy in cluster.policies]
    blocks += [_keyed(NODE, node) + _node_lists(node) for node in cluster.nodes]
    blocks.append(_keyed(REPLICATION, cluster.replication))
    blocks += [_keyed(SYNC, sync) + _sync_extra(sync) for sync in cluster.sets]
    blocks.append(_keyed(ALERTS, cluster.alerts))
    return "\n".join("\n".join(block) + "\n" for block in blocks)


def _setting(name: str, text: str) -> str:
    return f"{name} = {text}".rstrip().replace("#", "\\#")


def _keyed(schema: KeySection, value: Any) -> list[str]:
    lines = [f"[{schema.name}]"]
    for key in schema.keys:
        if not key.attribute:
            continue
        item = getattr(value, key.attribute)
        # A list's own type shows all of it; a repeated key of single values (mirror) takes a line each.
        one_a_line = key.many and key.type.blank != ()
        for part in item if one_a_line else (item,):
            lines.append(_setting(key.name, key.type.show(part)))
    return lines


def _rows(resources: tuple[m.Resource, ...]) -> Iterator[list[str]]:
    for schema in ROWS.values():
        mine = [_row(resource) for resource in resources if resource.kind is schema.kind]
        yield [f"[{schema.name}]", f"# {schema.format}", *mine]


def _row(resource: m.Resource) -> str:
    cells: tuple[str, ...]
    match resource:
        case m.Crontab():
            cells = (resource.nickname, resource.template, resource.install_dir, resource.script)
        case m.Address():
            interfaces = f"'{'|'.join(resource.interfaces)}'"
            mask = resource.netmask or str(resource.prefix)
            cells = (resource.nickname, resource.ip, mask, interfaces, resource.script)
        case m.Service():
            cells = (resource.nickname, resource.service, resource.script)
        case m.FileSystem():
            cells = (resource.nickname, resource.source, resource.target, resource.script)
        case m.Application():
            owner = f"{resource.user}:{resource.group}"
            commands = (resource.start, resource.stop, resource.ensure)
            cells = (resource.nickname, owner, *(command for command in commands if command))
    return ", ".join(cells).replace("#", "\\#")


def _policy(policy: m.Policy) -> list[str]:
    """Only what is given: the rest is said by KIND:*, or is the agent's own."""
    given = [
        key for key in RESOURCE.keys if key.attribute and getattr(policy, key.attribute) not in (None, "")
    ]
    depends = ", ".join(f"{ref.kind}:{ref.nickname}" for ref in policy.depends)
    lines = [f"[{RESOURCE.name}]", _setting("resource", f"{policy.kind}:{policy.nickname}")]
    lines += [_setting("depends", depends)] if depends else []
    return lines + [_setting(key.name, key.type.show(getattr(policy, key.attribute))) for key in given]


def _node_lists(node: m.Node) -> list[str]:
    lines = []
    for kind, (own, backup) in NODE_LISTS.items():
        mine = [ref.nickname for ref in node.resources if ref.kind is kind]
        others = [f"{ref.home}:{ref.nickname}" for ref in node.backups if ref.kind is kind]
        lines += [_setting(own, ", ".join(mine)), _setting(backup, ", ".join(others))]
    return lines


def _sync_extra(sync: m.SyncSet) -> list[str]:
    limit = f"{sync.max_delete} or {show(sync.max_delete_percent)}%"
    lines = [_setting("max_delete", limit)]
    if sync.schedule.cron:
        lines.append(_setting("schedule", sync.schedule.cron))
    if sync.schedule.every:
        lines.append(_setting("every", show(sync.schedule.every)))
    lines.append(_setting("watch", show(sync.schedule.watch)))
    if sync.resources is not None:
        refs = ", ".join(f"{ref.kind}:{ref.nickname}" for ref in sync.resources)
        lines.append(_setting("resources", refs or "none"))
    return lines
