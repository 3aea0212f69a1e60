"""The commented cm.cfg that `--check-config` writes where there is none: made from schema.py."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from drcm.config.keys import KeySection
from drcm.config.schema import KEYED, NODE_LISTS, ROWS, SECTION_ORDER

MODE = 0o644  # no secrets: passwords are in files of their own
HEAD = """\
# cm.cfg: the configuration of drcm, the same file on every node. All of it is explained in cm.cfg(5).
# '#' begins a comment ('\\#' is a literal one); a line that begins with '#key =' shows a default.
# Edit the nodes' names and addresses, then look at it with: drcm-server --check-config
"""
RESOURCES = "/etc/drcm/resources"
SERVER_EXAMPLE = {
    "udpport": "53897",
    "tcpport": "53897",
    "keep_alive_interval": "0.1",
    "dead_node_count": "20",
    "bind_to_keep_alive_ip": "1",
}
ROW_EXAMPLES = {
    "CM_CRONTABS": (f"user, /etc/drcm/crontabs/user_crons, /etc/cron.d, {RESOURCES}/crontab.sh",),
    "CM_IPADDRS": (f"cmnodef, 192.168.122.5, 255.255.255.0, 'ens192|eth0', {RESOURCES}/ipv4addr.sh",),
    "CM_SERVICES": (f"#web, httpd, {RESOURCES}/service.sh",),
    "CM_APPLICATIONS": ("#ldm, ldm:users, ldmadmin clean; ldmadmin start, ldmadmin stop",),
    "CM_FILESYSTEMS": (f"#data, nfs-server:/export/data, /data, {RESOURCES}/nfs.sh",),
}
SYNC_EXAMPLE = {
    "name": "testfs",
    "primary": "cmnode1",
    "backups": "cmnode2",
    "mirror": "/testfs",
    "copy": "/usr/local",
    "schedule": "*/5 * * * *",
}
RESOURCE_EXAMPLE = {
    "resource": "cron:user",
    "depends": "ip:cmnodef",
    "restart_limit": "3",
    "restart_window": "600",
}


def template_text(hostname: str = "cmnode1") -> str:
    """A cm.cfg for two nodes that loads without an ERROR; `hostname` is the first node's."""
    return "\n".join([HEAD, *(_block(name, hostname) for name in SECTION_ORDER)])


def write_template(path: Path, hostname: str = "cmnode1") -> None:
    """Write the template to `path`; FileExistsError where something is there already."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(template_text(hostname))


def _block(name: str, hostname: str) -> str:
    if name in ROWS:
        row = ROWS[name]
        head = [f"[{name}]", f"# {row.doc}", f"# CSV format: {row.format}"]
        return "\n".join([*head, *ROW_EXAMPLES[name], ""])
    schema = KEYED[name]
    if name == "CM_NODE":
        return _nodes(schema, hostname)
    if name == "CM_RESOURCE":
        lines = _keys(schema, RESOURCE_EXAMPLE)
        return "\n".join([f"# {schema.doc}", f"#[{name}]", *(_commented(line) for line in lines), ""])
    if name == "CM_SYNC":
        head = [
            f"# {schema.doc}",
            "# Take away the # of the heading and of the keys you need; then: drcm-sync NAME --init",
        ]
        lines = _keys(schema, SYNC_EXAMPLE)
        return "\n".join([*head, f"#[{name}]", *(_commented(line) for line in lines), ""])
    examples = {"CM_SERVER": SERVER_EXAMPLE, "CM_ALERTS": {"email": "root"}}
    return "\n".join([f"[{name}]", f"# {schema.doc}", *_keys(schema, examples.get(name, {})), ""])


def _commented(line: str) -> str:
    return line if line.startswith("#") else f"#{line}"


def _keys(schema: KeySection, given: Mapping[str, str]) -> Iterator[str]:
    for key in schema.keys:
        yield f"# {key.doc}"
        if key.name in given:
            yield f"{key.name} = {given[key.name]}"
        else:
            yield f"#{key.name} = {schema.default_text(key)}".rstrip()


def _nodes(schema: KeySection, hostname: str) -> str:
    (crontabs, backup_crontabs), (addresses, backup_addresses) = list(NODE_LISTS.values())[:2]
    first = {"nodename": "cmnode1", "hostname": hostname, "keep_alive_ip": "192.168.122.11"}
    first |= {crontabs: "user", addresses: "cmnodef"}
    second = {"nodename": "cmnode2", "hostname": "cmnode2", "keep_alive_ip": "192.168.122.12"}
    second |= {backup_crontabs: "cmnode1:user", backup_addresses: "cmnode1:cmnodef"}
    witness = {"nodename": "cmwitness", "hostname": "cmwitness", "keep_alive_ip": "192.168.122.13"}
    lines = [f"[{schema.name}]", f"# {schema.doc}", *_keys(schema, first)]
    lines += ["", f"[{schema.name}]", *(f"{key} = {value}" for key, value in second.items())]
    lines += ["", "# With a third voter, a split network never has two writers. It needs next to nothing."]
    lines += [f"#[{schema.name}]", *(f"#{key} = {value}" for key, value in witness.items()), "#witness = 1"]
    return "\n".join([*lines, ""])
