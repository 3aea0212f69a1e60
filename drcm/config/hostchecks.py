"""cm.cfg against the machine it lies on: is this one of the nodes, is what it would run there?

The machine is seen through `Host` alone, so that a test can give another.
"""

from __future__ import annotations

import errno
import os
import pwd
import socket
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from drcm.config.agentchecks import Agents, check_agent, these_agents
from drcm.config.agentname import Script, parse
from drcm.config.build import Draft
from drcm.config.crond import FILE_NAME, crond_faults
from drcm.config.faults import Faults
from drcm.config.fence import AGENTS, parse_fence
from drcm.config.model import Address, Application, Crontab, FileSystem, Node, Resource, Service
from drcm.config.settings import hint

# Shipped with drcm in /etc/drcm/resources; where the file is missing, its own agent serves.
BUILT_IN_SCRIPTS = frozenset(
    (
        "cifs.sh",
        "crontab.sh",
        "filesystem.sh",
        "ipv4addr.sh",
        "ipv4addr_copy_config.sh",
        "ipv4addr_copy_nmcli.sh",
        "ipv4addr_multi.sh",
        "ipv4addr_nmcli.sh",
        "nfs.sh",
        "service.sh",
    )
)
LONGEST_TEMPLATE = 1 << 20  # bytes
Scripted = Crontab | Address | Service | FileSystem


@dataclass(frozen=True, slots=True)
class Host:
    """What is asked of a machine."""

    name: str  # uname -n
    interfaces: frozenset[str]
    mode: Callable[[str], int]  # st_mode of a path, links followed; 0 = there is none
    text: Callable[[str], str]  # of a small file; OSError or ValueError
    has_address: Callable[[str], bool]
    has_user: Callable[[str], bool]
    agents: Agents | None = None  # None: OCF agents and units are not looked at


def this_host(agents: bool = True) -> Host:
    """The machine that this runs on. Without `agents` no program is run: for the daemon's loop."""
    return Host(
        name=os.uname().nodename,
        interfaces=frozenset(name for _, name in socket.if_nameindex()),
        mode=_mode,
        text=_text,
        has_address=_has_address,
        has_user=_has_user,
        agents=these_agents() if agents else None,
    )


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except OSError:
        return 0


def _text(path: str) -> str:
    with Path(path).open("rb") as file:
        return file.read(LONGEST_TEMPLATE).decode()


def _has_address(ip: str) -> bool:
    """Whether a socket can be bound to `ip`; where that can't be told, it counts as there."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((ip, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def check_host(draft: Draft, host: Host, faults: Faults) -> None:
    """All checks that look at a machine. A node is asked only for what it runs or backs up itself."""
    cluster = draft.cluster
    me = next((node for node in cluster.nodes if node.hostname == host.name), None)
    if me is None:
        hostnames = [node.hostname for node in cluster.nodes]
        line = draft.at(cluster.nodes[0].line, "hostname") if cluster.nodes else 1
        text = f"no [CM_NODE] has hostname = {host.name}, which `uname -n` prints here"
        faults.error(line, f"{text}{hint(host.name, hostnames)}; correct one, or run this on a node")
    elif me.keep_alive_ip and not host.has_address(me.keep_alive_ip):
        text = (
            f"keep_alive_ip {me.keep_alive_ip} is on no interface of {host.name}; correct it or bring it up"
        )
        faults.warning(draft.at(me.line, "keep_alive_ip"), text)
    for resource in _concerning(draft, me):
        _check_resource(resource, host, faults)
    _check_fencing(draft, me, host, faults)
    _check_directories(draft, host, faults)
    _check_password_file(draft, host, faults)


def _concerning(draft: Draft, me: Node | None) -> Iterator[Resource]:
    own = {(ref.kind, ref.nickname) for ref in me.resources} if me else set()
    mine = own | {(ref.kind, ref.nickname) for ref in me.backups} if me else own
    for resource in draft.cluster.resources:
        if me is None or (resource.kind, resource.nickname) in mine:
            yield resource


def _check_resource(resource: Resource, host: Host, faults: Faults) -> None:
    if isinstance(resource, Application):
        if resource.user and not host.has_user(resource.user):
            text = (
                f"{resource.nickname}: there is no user {resource.user} on {host.name}; create or correct it"
            )
            faults.error(resource.line, text)
        return
    _check_agent(resource, host, faults)
    if isinstance(resource, Crontab) and resource.template:
        _check_template(resource, host, faults)
    if isinstance(resource, Address) and resource.interfaces:
        names = {name.partition(":")[0] for name in resource.interfaces}  # eth0:1 is an alias on eth0
        if not names & host.interfaces:
            there = ", ".join(sorted(host.interfaces - {"lo"})) or "none"
            text = f"{resource.nickname}: {host.name} has no interface {' or '.join(resource.interfaces)}"
            faults.warning(resource.line, f"{text} (it has {there}); correct it")


def _check_agent(resource: Scripted, host: Host, faults: Faults) -> None:
    if not resource.script:
        return  # build.py has told
    name = parse(resource.script)
    if isinstance(name, Script):
        _check_script(name.path, resource.line, host, faults)
    elif host.agents is not None:
        for bad, text in check_agent(resource, name, host.agents, host.interfaces):
            (faults.error if bad else faults.warning)(resource.line, f"{resource.nickname}: {text}")


def _check_script(script: str, line: int, host: Host, faults: Faults) -> None:
    mode = host.mode(script) if script.startswith("/") else 0
    built_in = script.rpartition("/")[2] in BUILT_IN_SCRIPTS
    if mode and not stat.S_ISREG(mode):
        faults.error(line, f"{script} is no file: expected a resource script, as service.sh; correct it")
    elif mode and not mode & 0o111:
        faults.error(line, f"{script} is not executable: chmod 755 {script}")
    elif not mode and not built_in:
        text = f"there is no script {script} on {host.name}: expected a file, or one of drcm's own"
        faults.error(line, f"{text}{hint(script.rpartition('/')[2], sorted(BUILT_IN_SCRIPTS))}; correct it")


def _check_template(crontab: Crontab, host: Host, faults: Faults) -> None:
    name = crontab.template.rpartition("/")[2]
    if not FILE_NAME.fullmatch(name):
        text = f"{crontab.template}: cron ignores files of such a name; use only letters, digits, _ and -"
        faults.warning(crontab.line, text)
    mode = host.mode(crontab.template)
    if not stat.S_ISREG(mode):
        found = "is no file" if mode else f"is not there on {host.name}"
        faults.error(
            crontab.line, f"the template {crontab.template} {found}: expected a crontab; put it there"
        )
        return
    try:
        text = host.text(crontab.template)
    except (OSError, ValueError) as error:
        faults.error(crontab.line, f"the template {crontab.template} can't be read: {error}")
        return
    for number, problem in crond_faults(text):
        faults.warning(crontab.line, f"{crontab.template} line {number}: {problem}")


def _check_directories(draft: Draft, host: Host, faults: Faults) -> None:
    server = draft.cluster.server
    for key, path in (
        ("run_dir", server.run_dir),
        ("log_dir", server.log_dir),
        ("spool_dir", server.spool_dir),
    ):
        mode = host.mode(path)
        if mode and not stat.S_ISDIR(mode):
            faults.error(
                draft.server.at(key), f"{key} {path} is no directory; move the file away or correct it"
            )
        elif not mode:
            faults.info(draft.server.at(key), f"{key} {path} is not there yet; drcm-server makes it")


def _check_fencing(draft: Draft, me: Node | None, host: Host, faults: Faults) -> None:
    """What would fence the others must be here; the device that resets this node too."""
    for node in draft.cluster.voters:
        if node.watchdog and node is me and not stat.S_ISCHR(host.mode(node.watchdog)):
            text = f"watchdog {node.watchdog} is no device here; correct it, or load its driver (softdog)"
            faults.error(draft.at(node.line, "watchdog"), text)
        if node is me or not node.fence_command:
            continue
        call, line = parse_fence(node.fence_command), draft.at(node.line, "fence_command")
        if not host.mode(call.argv[0]) & 0o111:
            cure = "install the fence-agents package" if call.argv[0].startswith(AGENTS) else "correct it"
            faults.error(line, f"fence_command: {call.argv[0]} is no program on {host.name}; {cure}")
        mode = host.mode(call.password_file) if call.password_file else stat.S_IFREG
        if not stat.S_ISREG(mode) or mode & 0o077:
            text = f"passwd_file={call.password_file}: expected a file of mode 0600; make it, chmod 600"
            faults.error(line, f"fence_command: {text}")


def _check_password_file(draft: Draft, host: Host, faults: Faults) -> None:
    path = draft.cluster.alerts.smtp_password_file
    mode = host.mode(path) if path else stat.S_IFREG
    line = draft.alerts.at("smtp_password_file")
    if not stat.S_ISREG(mode):
        faults.error(
            line, f"smtp_password_file {path} is not there: expected a file with the password; add it"
        )
    elif mode & 0o077:
        faults.error(line, f"smtp_password_file {path} can be read by others: chmod 600 {path}")
