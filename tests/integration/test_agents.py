"""Every kind of resource on real parts: OCF agents of Debian's resource-agents, nginx, cron, mounts.

One cluster of two nodes lives through it all, in the order of this file: what is started, broken, repaired,
moved and brought home is the same resources. Two hosts more serve files. This kernel may have no NFS; sshfs
stands for it: a real server on the network, and a client in the kernel (FUSE) that really blocks when the
server stops answering, in a sleep that not even KILL ends.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.integration.cluster import SLOWER, ask, logged, wait_logged
from tests.lab import Client, Host, Lab, Node, make_cluster, wait_until

pytestmark = pytest.mark.lab

WEB, SIX, PLAIN = "10.77.0.100", "fd77::100", "10.77.0.101"
SHARE, WORK, BOUND = "/mnt/share", "/mnt/work", "/mnt/bound"
NOT_MOUNTED = "THIS_FILE_SYSTEM_IS_NOT_MOUNTED"
SETTLE_SECONDS = 90.0  # of a busy machine; it takes 5 to 15
QUICK = {"DRCM_PROBE_SECONDS": "4", "DRCM_MOUNT_SECONDS": "5"}  # less patience with a dead file server

RESOURCES = f"""
[CM_FILESYSTEMS]
share, nas:/export, {SHARE}, /usr/local/1.41/nfs.sh
work, tmpfs, {WORK}, ocf:heartbeat:Filesystem fstype=tmpfs options="size=4m,mode=755"
bound, /srv, {BOUND}, /etc/drcm/resources/filesystem.sh

[CM_IPADDRS]
web, {WEB}, 255.255.255.0, 'ens192|eth0', ocf:heartbeat:IPaddr2 arp_count=2
six, {SIX}, 64, eth0, /etc/drcm/resources/ipv4addr.sh
plain, {PLAIN}, 255.255.255.0, 'ens192|eth0', /etc/drcm/resources/ipv4addr_multi.sh

[CM_SERVICES]
nginx, nginx, ocf:heartbeat:nginx configfile=/srv/nginx.conf
dummy, dummy, ocf:heartbeat:Dummy
delay, delay, ocf:Delay startdelay=0 stopdelay=0 mondelay=0
link, link, ocf:heartbeat:symlink target=/srv/nginx.conf link=/srv/link
sleeper, sleeper, ocf:heartbeat:anything binfile=/bin/sleep cmdline_options="4242 1" pidfile=/run/sleeper.pid
cron, cron, /etc/drcm/resources/service.sh

[CM_CRONTABS]
minutely, /etc/drcm/crontabs/minutely, /etc/cron.d, /etc/drcm/resources/crontab.sh

[CM_APPLICATIONS]
app, nobody:nogroup, /srv/begin >/srv/app/who &, pkill -f 'sleep 4343'

[CM_RESOURCE]
resource = filesystem:share
restart_limit = 0

[CM_NODE]
nodename = cmnode1
hostname = cmnode1
keep_alive_ip = 10.77.0.1
keep_filesystems = 0
filesystems_check = 2
services_check = 2
crontabs_check = 1
node_filesystems = share, work, bound
node_floating_ip_addrs = web, six, plain
node_services = nginx, dummy, delay, link, sleeper, cron
node_crontabs = minutely
node_applications = app

[CM_NODE]
nodename = cmnode2
hostname = cmnode2
keep_alive_ip = 10.77.0.2
keep_filesystems = 0
filesystems_check = 2
services_check = 2
node_backup_filesystems = cmnode1:share, cmnode1:work, cmnode1:bound
node_backup_floating_ip_addrs = cmnode1:web, cmnode1:six, cmnode1:plain
node_backup_services = cmnode1:nginx, cmnode1:dummy, cmnode1:delay, cmnode1:link
node_backup_services = cmnode1:sleeper, cmnode1:cron
node_backup_crontabs = cmnode1:minutely
node_backup_applications = cmnode1:app
"""
SERVICES = ("nginx", "dummy", "delay", "link", "sleeper", "cron")
EVERYTHING = {
    *("filesystem:share", "filesystem:work", "filesystem:bound", "ip:web", "ip:six", "ip:plain"),
    *("cron:minutely", "application:app", *(f"service:{name}" for name in SERVICES)),
}
NGINX = """\
pid /run/nginx.pid;
error_log /srv/error.log;
events {}
http { access_log off; server { listen 8080; location / { return 200 "%s"; } } }
"""


@dataclass(frozen=True)
class Site:
    """Two nodes, a file server for each, a client."""

    lab: Lab
    a: Node
    b: Node
    nas: Host
    other_nas: Host
    client: Client
    paused: list[float] = field(default_factory=list)  # when the file server stopped answering

    def page(self) -> str:
        """What the web server at the floating address says; "" while nobody does."""
        text = (
            f"import urllib.request as u; print(u.urlopen('http://{WEB}:8080/', timeout=2).read().decode())"
        )
        return self.client.run(["python3", "-c", text], check=False).stdout.strip()

    def wait_all_on(self, node: Node, wanted: frozenset[str] | set[str] = EVERYTHING) -> None:
        wait_until(
            lambda: wanted <= running(node),
            SETTLE_SECONDS,
            lambda: f"{sorted(wanted - running(node))} on {node.name}:\n{self.logs()}",
        )

    def logs(self) -> str:
        return "".join(f"--- {node.name}\n{node.daemon_log()[-4000:]}\n" for node in (self.a, self.b))


def running(node: Node) -> set[str]:
    return {f"{one['kind']}:{one['nickname']}" for one in ask(node, op="status").get("running", ())}


def mounts(node: Node, target: str) -> list[str]:
    """Type of each file system that is mounted on `target`."""
    lines = Path(f"/proc/{node.init_pid}/mounts").read_text().splitlines()
    return [line.split()[2] for line in lines if line.split()[1] == target]


def asleep(node: Node) -> list[str]:
    """Threads that sleep in the kernel and that no signal wakes, by the name of their program."""
    found = []
    for status in Path(f"/proc/{node.init_pid}/root/proc").glob("[0-9]*/task/[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            name, _, state = status.read_text().partition("(")[2].rpartition(") ")
            found += [name] if state[0] == "D" else []
    return found


def addresses(node: Node) -> str:
    return node.run(["ip", "-o", "address", "show", "dev", "eth0"]).stdout if node.is_on else ""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        nodes = [
            lab.add_node(name, ip, directories=["/srv", "/mnt", "/var/log/nginx", "/var/lib/nginx"])
            for name, ip in (("cmnode1", "10.77.0.1"), ("cmnode2", "10.77.0.2"))
        ]
        servers = [lab.add_host(f"nas{n}", f"10.77.0.2{n}", directories=["/export"]) for n in (1, 2)]
        made = Site(lab, nodes[0], nodes[1], *servers, lab.add_client())
        make_cluster(lab, SLOWER + RESOURCES, nodes)
        lab.power_on()
        for node, nas in zip(nodes, servers, strict=True):
            furnish(node, nas)
            node.start_drcm(env=QUICK, wait=SETTLE_SECONDS)
        yield made


def furnish(node: Node, nas: Host) -> None:
    """The node's own files, and the right to mount what its file server exports."""
    node.write("/srv/nginx.conf", NGINX % node.name)
    node.write("/etc/drcm/crontabs/minutely", "* * * * * root date >>/srv/minutes\n")
    node.run(["install", "-d", "-o", "nobody", "/srv/app"])
    node.write("/srv/begin", "#!/bin/sh\nid -un; id -gn; echo $HOME; exec sleep 4343\n", 0o755)
    nas.write("/export/file", f"of {nas.name}\n")
    nas.write("/root/.ssh/authorized_keys", f"{node.ssh_key.public}\n", 0o600)
    prepare_boot(node, nas)


def prepare_boot(node: Node, nas: Host) -> None:
    """What a boot of a lab host forgets: its /etc/fstab."""
    options = "noauto,StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null,ConnectTimeout=4"
    node.write("/etc/fstab", f"{nas.ip}:/export {SHARE} fuse.sshfs {options} 0 0\n")


def test_everything_starts_at_home(site: Site) -> None:
    """Fourteen resources of five kinds by scripts, by seven OCF agents, by an init script, in process."""
    site.wait_all_on(site.a)
    assert running(site.b) == set()
    assert mounts(site.a, SHARE) == ["fuse.sshfs"]
    assert site.a.run(["cat", f"{SHARE}/file"]).stdout == "of nas1\n"
    assert mounts(site.a, WORK) == ["tmpfs"]
    assert mounts(site.a, BOUND) != []
    found = addresses(site.a)
    assert all(f"{ip}/{prefix} " in found for ip, prefix in ((WEB, 24), (PLAIN, 24), (SIX, 64)))
    assert site.page() == "cmnode1"
    assert site.a.path("/srv/link").is_symlink()
    assert site.a.pids("sleep 4242")
    assert site.a.pids("^/usr/sbin/cron")
    assert site.a.read("/srv/app/who").split() == ["nobody", "nogroup", "/nonexistent"]


def test_a_file_server_that_stops_answering_hangs_nothing_and_its_mount_moves(site: Site) -> None:
    """Every process of the file server is paused, for the minute that the next tests take: whoever looks at
    the mount sleeps in the kernel. The watch gives up in time, the daemon goes on, the share is mounted on
    cmnode2 from the other server."""
    site.nas.pause()
    site.paused.append(time.monotonic())
    site.wait_all_on(site.b, {"filesystem:share"})
    assert site.b.run(["cat", f"{SHARE}/file"]).stdout == "of nas2\n"
    assert EVERYTHING - {"filesystem:share"} <= running(site.a)
    assert mounts(site.a, SHARE) == []
    assert NOT_MOUNTED in site.a.run(["ls", SHARE]).stdout


def test_addresses_that_somebody_deletes_are_back_within_a_second(site: Site) -> None:
    """By hand or by a network manager; IPv4 and IPv6, one that an OCF agent brought too. The lab's own
    command takes some of that second."""
    for ip, prefix in ((WEB, 24), (SIX, 64), (PLAIN, 24)):
        shell = f"""
            ip address del {ip}/{prefix} dev eth0
            for turn in $(seq 100); do
                sleep 0.01
                [ -n "$(ip -o address show dev eth0 to {ip})" ] && exit 0
            done
            exit 1"""
        site.a.run(["sh", "-c", shell])
    assert {"ip:web", "ip:six", "ip:plain"} <= running(site.a)


def test_a_template_that_changes_and_a_file_that_goes_are_installed_again(site: Site) -> None:
    """What cron reads follows the template; the file is whole at each moment, by its rename."""
    site.a.write("/etc/drcm/crontabs/minutely", "* * * * * root date >>/srv/minutes; echo 2\n")
    wait_until(lambda: "echo 2" in site.a.read("/etc/cron.d/minutely"), 20.0, "the new template")
    site.a.path("/etc/cron.d/minutely").unlink()
    wait_until(lambda: site.a.path("/etc/cron.d/minutely").exists(), 20.0, "the crontab again")


def test_a_restarted_daemon_goes_on_with_every_kind(site: Site) -> None:
    """kill -9, and back within the lease: no process, mount, crontab or address of five kinds is another."""

    def parts() -> tuple[object, ...]:
        node = site.a
        programs = [
            node.pids(f"^{name}") for name in ("nginx: ", "/bin/sleep 4242", "sleep 4343", "/usr/sbin/cron")
        ]
        table = Path(f"/proc/{node.init_pid}/mountinfo").read_text().splitlines()
        mounted = [line for line in table if line.split()[4] in (WORK, BOUND)]
        return programs, mounted, node.path("/etc/cron.d/minutely").stat().st_ino

    before, mark = parts(), len(site.b.daemon_log())
    assert all(before[0])  # type: ignore[arg-type,var-annotated]
    watch = site.a.spawn(["ip", "-o", "monitor", "address"], stdout=site.a.log("addresses"))
    site.a.kill_drcm()
    site.a.start_drcm(env=QUICK, wait=SETTLE_SECONDS)
    site.wait_all_on(site.a, EVERYTHING - {"filesystem:share"})
    watch.kill()
    assert parts() == before
    assert "Deleted" not in site.a.log("addresses").read_text()
    assert all(f"{ip}/" in addresses(site.a) for ip in (WEB, PLAIN, SIX))
    assert logged(site.b, "cmnode1/(?!filesystem:share).*claiming|dead", mark) == []


def test_what_this_node_has_is_told(site: Site) -> None:
    """`agents` needs no daemon and no other node; `agents NAME` tells what one takes."""
    told = site.a.console("agents").stdout
    assert "filesystem.sh " in told
    assert "ocf:heartbeat:AGENT" in told
    assert re.search(r"\bIPaddr2\b", told)
    assert "cidr_netmask (string" in site.a.console("agents IPaddr2").stdout
    assert "did you mean 'IPaddr2'?" in site.a.console("agents IPadr2", check=False).stderr
    checked = site.a.drcm("drcm-server", "--check-config", check=False)
    assert checked.returncode in (0, 2)
    assert " ERROR " not in checked.stdout


def test_what_an_agent_says_is_no_use_to_try_again_moves_at_once(site: Site) -> None:
    """nginx dies and its configuration here is gone: OCF's exit code 6 at the one restart, not at three. The
    agent's `pkill -f` of what carries nginx's name ends no alert about it."""
    mark = len(site.a.daemon_log())
    site.a.path("/srv/nginx.conf").unlink()
    kill_nginx(site.a)
    site.wait_all_on(site.b, {"service:nginx"})
    wait_logged(site.a, r"service:nginx did not start: .*exit code 6", SETTLE_SECONDS, mark)
    assert len(logged(site.a, "service:nginx .*restarting it here", mark)) == 1
    site.a.write("/srv/nginx.conf", NGINX % site.a.name)
    assert logged(site.a, "drcm-alert .*: exit", mark) == []


def test_after_a_minute_without_its_file_server_nothing_is_stuck(site: Site) -> None:
    """One process that looked at the mount may sleep in the kernel until the server answers, no more."""
    time.sleep(max(0.0, site.paused[0] + 60.0 - time.monotonic()))
    site.wait_all_on(site.b, {"filesystem:share"})
    wait_until(lambda: set(asleep(site.a)) <= {"stat"}, 30.0, lambda: f"{asleep(site.a)} to wake up")
    assert len(site.a.pids("stat -f")) <= 1
    site.nas.resume()
    wait_until(lambda: not site.a.pids("stat -f"), 30.0, "the sleeper to wake up and end")
    wait_until(lambda: not asleep(site.a), 30.0, lambda: f"{asleep(site.a)} to wake up")


def test_power_cut_moves_all_of_it_and_it_comes_home(site: Site) -> None:
    """The other node runs every kind of resource, then gives it back."""
    site.a.power_cut()
    site.wait_all_on(site.b)
    assert site.page() == "cmnode2"
    assert mounts(site.b, WORK) == ["tmpfs"]
    site.a.power_on()
    prepare_boot(site.a, site.nas)
    site.a.start_drcm(env=QUICK, wait=SETTLE_SECONDS)
    site.wait_all_on(site.a)
    wait_until(lambda: running(site.b) == set(), SETTLE_SECONDS, site.logs)
    assert site.page() == "cmnode1"
    assert mounts(site.b, SHARE) == mounts(site.b, WORK) == mounts(site.b, BOUND) == []
    assert not site.b.pids("sleep 4242|sleep 4343|nginx")
    assert not site.b.path("/srv/link").is_symlink()


def kill_nginx(node: Node) -> set[int]:
    """With all its processes."""
    killed = set(node.pids("^nginx: "))
    for pid in killed:
        node.kill(pid)
    return killed


def test_a_service_that_dies_is_served_again(site: Site) -> None:
    """nginx is killed: the monitor finds it, and it runs again in its place."""
    killed = kill_nginx(site.a)
    wait_until(lambda: set(site.a.pids("^nginx: ")) - killed, SETTLE_SECONDS, site.logs)


def test_a_clean_stop_lets_go_of_everything(site: Site) -> None:
    """In reverse order; nothing of it is left on the node."""
    site.a.stop_drcm()
    site.wait_all_on(site.b)
    assert mounts(site.a, SHARE) == mounts(site.a, WORK) == mounts(site.a, BOUND) == []
    assert not site.a.pids("sleep 4242|sleep 4343|nginx: |^/usr/sbin/cron|sshfs")
    assert WEB not in addresses(site.a)
