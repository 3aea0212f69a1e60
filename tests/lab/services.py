"""What a lab host starts at boot (sshd, cron), and the files of /etc that it needs for itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.errors import wait_until

if TYPE_CHECKING:
    from tests.lab.host import Host

SSHD = "/usr/sbin/sshd"
SSHD_CONFIG = """\
Port 22
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PidFile none
MaxStartups 100
MaxSessions 100
PrintMotd no
Subsystem sftp internal-sftp
"""
# A root without a password is locked for sshd where its entry starts with "!", as on many images.
SHADOW = "root:*:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\n"
# Started by sshd, bash reads the machine's own ~/.bashrc, which may do anything: one held a lock that a power
# cut left behind, and from then on each ssh to a lab host took a minute.
ROOT_PASSWD = "root:x:0:0:root:/root:/bin/sh\n"
LISTENING = "0A"
SSH_PORT = f":{22:04X}"


def write_files(host: Host) -> None:
    """The private files: /etc/NAME from DISK/files/NAME, and sshd's and root's keys."""
    files = host.disk / "files"
    files.mkdir(exist_ok=True)
    texts = {"hostname": host.name + "\n", "hosts": "", "resolv.conf": "", "crontab": "", "lab-clock": "+0\n"}
    for name, text in {**texts, "shadow": SHADOW, "passwd": _passwd()}.items():
        (files / name).write_text(text)
    (files / "shadow").chmod(0o640)
    host.write("/etc/ssh/sshd_config", SSHD_CONFIG)
    host.write("/etc/ssh/ssh_host_ed25519_key", host.host_key.private, 0o600)
    host.write("/etc/ssh/ssh_host_ed25519_key.pub", f"{host.host_key.public} {host.name}\n")
    host.write("/root/.ssh/id_ed25519", host.ssh_key.private, 0o600)
    host.write("/root/.ssh/id_ed25519.pub", f"{host.ssh_key.public} root@{host.name}\n")
    host.write("/root/.ssh/authorized_keys", "", 0o600)


def _passwd() -> str:
    """The machine's users, with a plain shell for root."""
    lines = Path("/etc/passwd").read_text().splitlines(keepends=True)
    return ROOT_PASSWD + "".join(line for line in lines if not line.startswith("root:"))


def write_hosts(hosts: list[Host]) -> None:
    """Every host knows every other by name, also those that joined while it was running."""
    lines = ["127.0.0.1 localhost", *(f"{host.ip} {host.name}" for host in hosts)]
    for host in hosts:
        (host.disk / "files" / "hosts").write_text("\n".join(lines) + "\n")


def start(host: Host) -> None:
    """Boot services; returns when sshd listens."""
    start_sshd(host)
    if host.cron:
        host.services["cron"] = host.spawn(["cron", "-f"])


def start_sshd(host: Host) -> None:
    host.services["sshd"] = host.spawn([SSHD, "-D", "-e"])
    wait_until(lambda: listens(host), 10.0, lambda: f"sshd of {host.name}: {host.log('sshd').read_text()}")


def listens(host: Host) -> bool:
    with open(f"/proc/{host.init_pid}/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table]
    return any(row[1].endswith(SSH_PORT) and row[3] == LISTENING for row in rows)
