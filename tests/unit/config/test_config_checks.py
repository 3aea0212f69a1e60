"""Each cross-check: one good file made bad in one place, and the exact line that is named.

`#!` marks the line where the fault must be.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

Read = Callable[[str], list[str]]

CASES = {
    # [CM_RESOURCE]
    "policy of nothing there": (
        "[CM_SYNC]",
        "[CM_RESOURCE]\nresource = service:wep #!\n[CM_SYNC]",
        "ERROR - resource: there is no service:wep (did you mean 'service:web'?)",
    ),
    "policy without a kind": (
        "[CM_SYNC]",
        "[CM_RESOURCE]\nresource = web #!\n[CM_SYNC]",
        "ERROR - resource: 'web': expected KIND:NICKNAME, KIND one of filesystem, ip, service",
    ),
    "policy of nobody": (
        "[CM_SYNC]",
        "[CM_RESOURCE] #!\nstop_timeout = 5\n[CM_SYNC]",
        "ERROR - [CM_RESOURCE] has no resource",
    ),
    "two policies of one": (
        "[CM_SYNC]",
        "[CM_RESOURCE]\nresource = ip:front\n[CM_RESOURCE]\nresource = cron:user, ip:front #!\n[CM_SYNC]",
        "ERROR - ip:front has a [CM_RESOURCE] in line 29 already",
    ),
    "depends on nothing there": (
        "[CM_SYNC]",
        "[CM_RESOURCE]\nresource = cron:user\ndepends = ip:fornt #!\n[CM_SYNC]",
        "ERROR - depends: there is no ip:fornt (did you mean 'ip:front'?)",
    ),
    "depends goes round": (
        "[CM_SYNC]",
        "[CM_RESOURCE]\nresource = ip:front\ndepends = cron:user\n"
        "[CM_RESOURCE]\nresource = cron:user\ndepends = service:web #!\n"
        "[CM_RESOURCE]\nresource = service:web\ndepends = ip:front\n[CM_SYNC]",
        "ERROR - depends goes round: cron:user -> service:web -> ip:front -> cron:user; take one",
    ),
    "depends on itself": (
        "[CM_SYNC]",
        "[CM_RESOURCE]\nresource = ip:front\ndepends = ip:front #!\n[CM_SYNC]",
        "ERROR - depends goes round: ip:front -> ip:front; take one",
    ),
    "depends on another node's": (
        "[CM_SYNC]",
        "[CM_RESOURCE]\nresource = service:web\ndepends = ip:front #!\n[CM_SYNC]",
        "ERROR - depends: service:web is at home on two, but two does not list ip:front: "
        "add it to its node_floating_ip_addrs",
    ),
    "group of a kind": (
        "[CM_SYNC]",
        "[CM_RESOURCE]\nresource = service:* #!\ngroup = all\n[CM_SYNC]",
        "ERROR - depends and group are of single resources, not of service:*",
    ),
    "a group that can't move": (
        "[CM_NODE]\nnodename = one",
        "[CM_RESOURCE]\nresource = ip:front, service:web\ngroup = site\n[CM_NODE] #!\nnodename = one",
        "WARNING - ip:front, service:web of one move as one, but two does not back up service:web, so it can "
        "take over none of them: add one:web to its node_backup_services",
    ),
    "fence_command through a shell's eyes": (
        "witness = 1",
        "witness = 1\nfence_command = off three #!",
        "ERROR - fence_command is 'off three': expected /path/program with its arguments, or fence:AGENT",
    ),
    "fence agent's parameter without a value": (
        "witness = 1",
        "witness = 1\nfence_command = fence:fence_virsh ip #!",
        "ERROR - fence_command is 'fence:fence_virsh ip': expected",
    ),
    # resources
    "same nickname": (
        "[CM_NODE]\nnodename = one",
        "web, nginx, service.sh #!\n[CM_NODE]\nnodename = one",
        "ERROR - nickname web stands in line 9 already",
    ),
    "address of a node": (
        "front, 192.168.1.50, 255.255.255.0, 'ens192|eno8303', /etc/drcm/resources/ipv4addr.sh",
        "front, 192.168.1.2, 24, eth0, ipv4addr.sh #!",
        "ERROR - 192.168.1.2 is the keep alive IP of two already",
    ),
    "address twice": (
        "[CM_SERVICES]",
        "again, 192.168.1.50, 24, eth0, ipv4addr.sh #!\n[CM_SERVICES]",
        "ERROR - 192.168.1.50 is the address in line 7 already",
    ),
    "wide netmask": (
        "192.168.1.50, 255.255.255.0, 'ens192|eno8303', /etc/drcm/resources/ipv4addr.sh",
        "192.168.1.50, 64, eth0, ipv4addr.sh #!",
        "ERROR - netmask 64: expected at most 32",
    ),
    "dotted netmask of IPv6": (
        "192.168.1.50, 255.255.255.0, 'ens192|eno8303', /etc/drcm/resources/ipv4addr.sh",
        "2001:db8::5, 255.255.255.0, eth0, ipv4addr.sh #!",
        "ERROR - netmask 255.255.255.0 with 2001:db8::5: expected a prefix length",
    ),
    "unused resource": (
        "[CM_NODE]\nnodename = one",
        "mail, postfix, service.sh #!\n[CM_NODE]\nnodename = one",
        "INFO - no node lists service:mail",
    ),
    # nodes
    "nodename twice": (
        "nodename = witness",
        "nodename = one #!",
        "ERROR - nodename one stands in line 11 already",
    ),
    "hostname twice, in another case": (
        "hostname = three.example.org",
        "hostname = ONE.example.org #!",
        "ERROR - hostname one.example.org stands in line 12 already",
    ),
    "keep alive IP twice": (
        "keep_alive_ip = 192.168.1.3",
        "keep_alive_ip = 192.168.1.1 #!",
        "ERROR - keep_alive_ip 192.168.1.1 stands in line 13 already",
    ),
    "keep alive IP of the loopback": (
        "keep_alive_ip = 192.168.1.3",
        "keep_alive_ip = 127.0.0.1 #!",
        "WARNING - keep_alive_ip 127.0.0.1 is this machine itself",
    ),
    "unknown nickname": (
        "node_crontabs = user",
        "node_crontabs = user, usr #!",
        "ERROR - node_crontabs: no [CM_CRONTABS] row is called usr (did you mean 'user'?)",
    ),
    "nickname listed twice": (
        "node_crontabs = user",
        "node_crontabs = user, user #!",
        "WARNING - node_crontabs: user is listed twice",
    ),
    "backup of an unknown node": (
        "node_backup_crontabs = one:user",
        "node_backup_crontabs = onne:user #!",
        "ERROR - node_backup_crontabs: there is no node onne (did you mean 'one'?)",
    ),
    "backup of what its home does not list": (
        "node_backup_crontabs = one:user",
        "node_backup_crontabs = one:user, one:usr #!",
        "ERROR - node_backup_crontabs: one does not list usr as its own (did you mean 'user'?)",
    ),
    "backup of itself": (
        "node_backup_crontabs = one:user",
        "node_backup_crontabs = one:user\nnode_backup_services = two:web #!",
        "ERROR - node_backup_services: two can't be its own backup",
    ),
    "backup without a node": (
        "node_backup_crontabs = one:user",
        "node_backup_crontabs = one:user\nnode_backup_services = web #!",
        "ERROR - node_backup_services: 'web': expected nodename:nickname",
    ),
    "backup listed twice": (
        "node_backup_crontabs = one:user",
        "node_backup_crontabs = one:user, one:user #!",
        "WARNING - node_backup_crontabs: one:user is listed twice",
    ),
    "second line of a list": (
        "node_backup_crontabs = one:user",
        "node_backup_crontabs = one:user\nnode_backup_crontabs = one:usr #!",
        "ERROR - node_backup_crontabs: one does not list usr",
    ),
    "an address on two nodes": (
        "node_services = web\nnode_backup_crontabs",
        "node_services = web\nnode_floating_ip_addrs = front #!\nnode_backup_crontabs",
        "ERROR - one lists the address front too: two nodes would hold it",
    ),
    "a witness that holds": (
        "witness = 1",
        "witness = 1\nnode_services = web #!",
        "ERROR - witness is a witness: it votes and holds nothing",
    ),
    "no host name": (
        "[CM_NODE]\nnodename = witness\nhostname = three.example.org",
        "[CM_NODE] #!\nnodename = witness",
        "ERROR - [CM_NODE] has no hostname",
    ),
    # quorum, time
    "majority of two": (
        "dead_node_count = 20",
        "dead_node_count = 20\nquorum = none #!",
        "WARNING - quorum none: in a split both sides hold everything",
    ),
    "two_node of three": (
        "dead_node_count = 20",
        "dead_node_count = 20\nquorum = two_node #!",
        "ERROR - quorum two_node: expected two voters, found 3",
    ),
    "a node as ping host": (
        "dead_node_count = 20",
        "dead_node_count = 20\nping_hosts = 192.168.1.254, 192.168.1.2 #!",
        "WARNING - ping_hosts: 192.168.1.2 is two itself",
    ),
    "dead time": (
        "keep_alive_interval = 0.1\ndead_node_count = 20",
        "keep_alive_interval = 0.01\ndead_node_count = 20 #!",
        "WARNING - a node is dead after 0.2 s: expected 0.3 s or more",
    ),
    "few keep alives": (
        "keep_alive_interval = 0.1\ndead_node_count = 20",
        "keep_alive_interval = 1\ndead_node_count = 2 #!",
        "WARNING - dead_node_count 2: so few lost keep alives",
    ),
    "late": (
        "keep_alive_interval = 0.1\ndead_node_count = 20",
        "dead_node_count = 60; #!",
        "INFO - a node is dead after 60 s; keep_alive_interval = 0.1",
    ),
    # sets
    "set twice": (
        "[CM_ALERTS]",
        "[CM_SYNC]\nname = testfs #!\nprimary = one\nbackups = two\ncopy = /b\nevery = 5m\n[CM_ALERTS]",
        "ERROR - a set testfs begins in line 29 already",
    ),
    "unknown primary": (
        "primary = one",
        "primary = onne #!",
        "ERROR - primary: there is no node onne (did you mean 'one'?)",
    ),
    "unknown backup": (
        "backups = two",
        "backups = two, tow #!",
        "ERROR - backups: there is no node tow (did you mean 'two'?)",
    ),
    "primary as its backup": (
        "backups = two",
        "backups = two, one #!",
        "ERROR - backups: one is in the set testfs already",
    ),
    "no backup": ("backups = two", "backups = #!", "ERROR - backups is empty"),
    "a witness as backup": (
        "backups = two",
        "backups = two, witness #!",
        "ERROR - backups: witness is a witness, which holds nothing",
    ),
    "no directory": (
        "[CM_SYNC]\nname = testfs\nprimary = one\nbackups = two\nmirror = /testfs",
        "[CM_SYNC] #!\nname = testfs\nprimary = one\nbackups = two",
        "ERROR - the set testfs has no directory",
    ),
    "no schedule": (
        "[CM_SYNC]\nname = testfs\nprimary = one\nbackups = two\nmirror = /testfs\nschedule = */5 * * * *",
        "[CM_SYNC] #!\nname = testfs\nprimary = one\nbackups = two\nmirror = /testfs",
        "ERROR - nothing says when the set is synced",
    ),
    "two schedules": (
        "schedule = */5 * * * *",
        "schedule = */5 * * * *\nevery = 30s #!",
        "ERROR - schedule and every are both given",
    ),
    "six fields": (
        "schedule = */5 * * * *",
        "schedule = 0 */5 * * * * #!",
        "ERROR - schedule is '0 */5 * * * *': expected five crontab fields",
    ),
    "30 February": (
        "schedule = */5 * * * *",
        "schedule = 0 0 30 2 * #!",
        "ERROR - schedule is '0 0 30 2 *': expected five crontab fields",
    ),
    "root of the system": (
        "mirror = /testfs",
        "mirror = / #!",
        "ERROR - mirror: / belongs to the system",
    ),
    "a system directory": (
        "mirror = /testfs",
        "mirror = /testfs\ncopy = /usr/lib/ #!",
        "ERROR - copy: /usr/lib belongs to the system",
    ),
    "below a system tree": (
        "mirror = /testfs",
        "mirror = /proc/self #!",
        "ERROR - mirror: /proc/self belongs to the system",
    ),
    "up and away": (
        "mirror = /testfs",
        "mirror = /testfs/../etc #!",
        "ERROR - mirror is '/testfs/../etc': expected one absolute path",
    ),
    "a relative directory": (
        "mirror = /testfs",
        "mirror = testfs #!",
        "ERROR - mirror is 'testfs': expected one absolute path",
    ),
    "two directories in one line": (
        "mirror = /testfs",
        "mirror = /testfs, /other #!",
        "ERROR - mirror is '/testfs, /other': expected one absolute path",
    ),
    "crontabs": (
        "mirror = /testfs",
        "mirror = /etc/cron.daily #!",
        "ERROR - mirror: /etc/cron.daily overlaps /etc/cron*",
    ),
    "drcm's own configuration": (
        "mirror = /testfs",
        "mirror = /etc/drcm/crontabs #!",
        "ERROR - mirror: /etc/drcm/crontabs overlaps /etc/drcm",
    ),
    "drcm's own state": (
        "mirror = /testfs",
        "mirror = /var/lib/drcm #!",
        "ERROR - mirror: /var/lib/drcm overlaps /var/lib/drcm",
    ),
    "twice the same directory": (
        "mirror = /testfs",
        "mirror = /testfs\ncopy = /testfs/ #!",
        "ERROR - /testfs is synced by line 33 already",
    ),
    "a directory in another": (
        "mirror = /testfs",
        "mirror = /testfs/a/b #!\ncopy = /testfs",
        "ERROR - /testfs/a/b lies inside /testfs (line 34)",
    ),
    "a directory in another set's": (
        "[CM_ALERTS]",
        "[CM_SYNC]\nname = b\nprimary = two\nbackups = one\nresources = none\n"
        "copy = /testfs/b #!\nevery = 5m\n[CM_ALERTS]",
        "ERROR - /testfs/b lies inside /testfs (line 33)",
    ),
    "a resource of another node": (
        "backups = two",
        "backups = two\nresources = ip:front, web, cron:nightly #!",
        "ERROR - resources: one lists no 'cron:nightly' as its own: expected some of cron:user, ip:front",
    ),
    # alerts
    "a dead gateway": (
        "email = root",
        "email = root\nsms = 5551234@vtext.com #!",
        "WARNING - sms: Verizon has ended vtext.com",
    ),
    "a telephone number": (
        "email = root",
        "email = root\nsms = 5551234 #!",
        "ERROR - sms: '5551234': expected NUMBER@GATEWAY",
    ),
    "a watched set": (
        "schedule = */5 * * * *",
        "watch = 1 #!\npre_sync = /usr/local/bin/dump",
        "WARNING - watch = 1: what pre_sync writes in the set starts a run after each run",
    ),
    "nobody": ("[CM_ALERTS]\nemail = root", "[CM_ALERTS] #!", "INFO - [CM_ALERTS] names nobody"),
}


def changed(good: str, old: str, new: str) -> str:
    assert good.count(old) == 1, f"{old!r} must stand in the good file once"
    return good.replace(old, new)


def marked_line(text: str) -> int:
    return next(number for number, line in enumerate(text.split("\n"), 1) if line.endswith("#!"))


def test_the_good_file_has_no_fault(good: str, faults_of: Read) -> None:
    """What the cases below change is without any fault itself."""
    assert faults_of(good) == []


@pytest.mark.parametrize("name", CASES)
def test_a_fault_is_told_at_its_line(name: str, good: str, faults_of: Read) -> None:
    """One wrong place gives one fault, at the line that a person would change."""
    old, new, expected = CASES[name]
    text = changed(good, old, new)
    found = [fault for fault in faults_of(text) if expected.startswith("INFO") or "INFO" not in fault]
    assert len(found) == 1, found
    assert found[0].startswith(f"{marked_line(text)}: {expected}"), found


def test_the_last_good_values(good: str, faults_of: Read) -> None:
    """A host route's netmask, five lost keep alives and 0.3 s are still fine."""
    text = changed(good, "255.255.255.0", "32")
    text = changed(text, "keep_alive_interval = 0.1", "keep_alive_interval = 0.06")
    text = changed(text, "dead_node_count = 20", "dead_node_count = 5")
    assert faults_of(text) == []


def test_tcp_that_is_called_dead_soon_is_told(good: str, faults_of: Read) -> None:
    """Two lost packets hold a TCP connection up for 0.6 s: no time for a fast profile."""
    text = changed(good, "witness = 1", "witness = 1\ntransport = tcp #!")
    assert faults_of(text) == []
    found = faults_of(changed(text, "dead_node_count = 20", "dead_node_count = 7"))
    assert len(found) == 1
    assert found[0].startswith(f"{marked_line(text)}: WARNING - transport = tcp with a node dead after 0.7 s")


def test_two_voters_are_told_the_cure(good: str, faults_of: Read) -> None:
    """Two nodes: a warning names the witness, another the ping hosts."""
    text = changed(good, "witness = 1", "node_is_active = 0")
    first, second = faults_of(text)
    assert "1: WARNING - two voters have no majority" in first
    assert "add a third [CM_NODE] with witness = 1" in first
    assert "1: WARNING - no ping_hosts" in second


def test_majority_of_two_stops_with_the_first_death(good: str, faults_of: Read) -> None:
    """quorum = majority with two voters is said to stop everything."""
    text = changed(good, "witness = 1", "node_is_active = 0")
    text = changed(text, "dead_node_count = 20", "dead_node_count = 20\nquorum = majority")
    assert [fault.split(";")[0] for fault in faults_of(text)] == [
        "4: WARNING - quorum majority with two voters: when one dies, the other stops"
    ]


def test_two_node_with_ping_hosts_is_fine(good: str, faults_of: Read) -> None:
    """Who asked for two_node and names a router is told nothing."""
    text = changed(good, "witness = 1", "node_is_active = 0")
    text = changed(text, "dead_node_count = 20", "quorum = two_node\nping_hosts = 192.168.1.254")
    assert [fault for fault in faults_of(text) if "INFO" not in fault] == []


def test_four_voters_get_advice(good: str, faults_of: Read) -> None:
    """An even number of voters is fine, and worth a word."""
    text = good + "[CM_NODE]\nnodename = four\nhostname = four\nkeep_alive_ip = 192.168.1.4\n"
    assert faults_of(text) == ["1: INFO - 4 voters: cut into halves, both stop; a witness more decides that"]


def test_no_node_at_all(faults_of: Read) -> None:
    """A file without nodes can't be used."""
    assert "1: ERROR - there is no [CM_NODE]: expected one for each node; add them" in faults_of(
        "[CM_SERVER]\n"
    )


def test_no_active_node(faults_of: Read) -> None:
    """Nor can one whose only node is not active."""
    text = "[CM_NODE]\nnodename = a\nhostname = a\nkeep_alive_ip = 10.0.0.1\nnode_is_active = 0\n"
    assert "1: ERROR - no node is active: set node_is_active = 1" in faults_of(text)


def test_an_inactive_home_never_fails_over(good: str, faults_of: Read) -> None:
    """A backup of a node that takes no part is told at the backup's line."""
    text = changed(good, "keep_alive_ip = 192.168.1.1\n", "keep_alive_ip = 192.168.1.1\nnode_is_active = 0\n")
    found = faults_of(text)
    assert "23: WARNING - node_backup_crontabs: one is not active, so one:user never starts here" in found
    assert any(fault.startswith("32: ERROR - primary: one is not active") for fault in found)


def test_a_set_must_not_hold_installed_crontabs(good: str, faults_of: Read) -> None:
    """The sync would switch the crons on again on the standby (PEERS 57)."""
    text = changed(good, "/etc/cron.d", "/testfs/cron.d")
    assert [fault.split(",")[0] for fault in faults_of(text)] == [
        "33: ERROR - mirror: /testfs overlaps /testfs/cron.d"
    ]


def test_a_log_directory_is_not_synced(good: str, faults_of: Read) -> None:
    """run_dir, log_dir and spool_dir are each node's own."""
    text = changed(good, "dead_node_count = 20", "dead_node_count = 20\nlog_dir = /testfs/log")
    assert [fault.split(",")[0] for fault in faults_of(text)] == [
        "34: ERROR - mirror: /testfs overlaps /testfs/log"
    ]


def test_a_resource_needs_its_set_where_it_moves(good: str, faults_of: Read) -> None:
    """Who backs up a resource of the set's primary must be a backup of the set (DESIGN.md rule 6)."""
    text = changed(good, "witness = 1", "node_backup_services = one:web")
    found = faults_of(text)
    assert len(found) == 1, found
    assert found[0].startswith(
        "32: ERROR - backups: witness backs up one:web, which moves with the set testfs"
    )


def test_a_set_may_not_move_further_than_its_resources(good: str, faults_of: Read) -> None:
    """A backup of the set that does not take what other backups would is a warning."""
    found = faults_of(changed(good, "node_backup_crontabs = one:user\n", ""))
    assert found == []  # nobody would take it: it stays with its home, and that may be meant
    text = changed(good, "witness = 1\n", "node_backup_services = one:web\n")
    found = faults_of(changed(text, "backups = two", "backups = two, witness"))
    assert len(found) == 2, found
    assert found[0].startswith("32: WARNING - backups: two may become the writer of testfs")
    assert "service:web, which would stop" in found[0]
    assert "no backup of cron:user, ip:front, which" in found[1]


def test_a_resource_that_does_not_move_with_the_set_is_free(good: str, faults_of: Read) -> None:
    """`resources` frees what it does not name from the set."""
    text = changed(good, "witness = 1", "node_backup_services = one:web")
    text = changed(text, "mirror = /testfs", "mirror = /testfs\nresources = cron:user, ip:front")
    assert faults_of(text) == []


def test_sets_on_different_nodes_may_share_a_directory(good: str, faults_of: Read) -> None:
    """Roots are compared node by node: elsewhere the same path is another directory."""
    text = good.replace("witness = 1\n", "")
    for number in (4, 5):
        text += f"[CM_NODE]\nnodename = n{number}\nhostname = n{number}\nkeep_alive_ip = 192.168.1.{number}\n"
    text += "[CM_SYNC]\nname = b\nprimary = n4\nbackups = n5\nmirror = /testfs\nevery = 1m\n"
    assert faults_of(text) == []


@pytest.mark.parametrize(
    ("source", "kept", "warned"),
    [("/dev/sdb1", 1, True), ("/dev/sdb1", 0, False), ("nfs:/export", 1, False), ("//smb/share", 1, False)],
)
def test_a_disk_is_not_mounted_twice(
    good: str, faults_of: Read, source: str, kept: int, warned: bool
) -> None:
    """A file system that stays mounted while its backup mounts it is told, unless it is a server's."""
    text = changed(good, "[CM_SERVICES]", f"[CM_FILESYSTEMS]\ndata, {source}, /data, nfs.sh\n[CM_SERVICES]")
    text = changed(text, "node_crontabs = user", f"keep_filesystems = {kept}\nnode_filesystems = data")
    text = changed(text, "node_backup_crontabs = one:user", "node_backup_filesystems = one:data")
    found = [fault for fault in faults_of(text) if "INFO" not in fault]
    assert len(found) == warned
    assert not warned or found[0].startswith("17: WARNING - node_filesystems: data (/dev/sdb1) stays mounted")


def test_an_ambiguous_resource_wants_its_kind(good: str, faults_of: Read) -> None:
    """A nickname of two kinds must be written with its kind."""
    text = changed(good, "web, httpd", "front, httpd")
    text = text.replace("node_services = web", "node_services = front")
    text = changed(text, "mirror = /testfs", "mirror = /testfs\nresources = front, cron:user")
    assert faults_of(text) == ["34: ERROR - resources: 'front' may be ip:front or service:front; write which"]


def test_all_faults_at_once(faults_of: Read) -> None:
    """Wrong lines, wrong names and missing keys are told together, in the file's order."""
    text = (
        "[CM_SERVER]\nudpport = x\nport = 5\n[CM_NODE]\nnodename = a\nnode_services = b\n[CM_NDOE]\n"
        "[CM_SYNC]\nname = s\nprimary = z\nbackups = a\nmirror = relative\nevery = 0\n"
    )
    lines = [fault.split(" - ")[0] for fault in faults_of(text) if "INFO" not in fault]
    assert lines == [
        "2: ERROR",
        "3: WARNING",
        "4: ERROR",
        "4: ERROR",
        "6: ERROR",
        "7: WARNING",
        "10: ERROR",
        "12: ERROR",
        "13: ERROR",
    ]
