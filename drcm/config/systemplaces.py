"""Directories that no sync set may name: the system's, and what a node knows about itself. Pure."""

from __future__ import annotations

# Copying one of these over another machine's breaks that machine.
_SYSTEM = """
    / /bin /boot /dev /etc /etc/NetworkManager /etc/network /etc/pam.d /etc/ssh /etc/systemd /lib /lib32
    /lib64 /proc /root /run /sbin /sys /tmp /usr /usr/bin /usr/lib /usr/lib64 /usr/libexec /usr/sbin /var
    /var/cache /var/lib /var/lib/dpkg /var/lib/rpm /var/log /var/run /var/spool /var/tmp
"""
SYSTEM_DIRECTORIES = frozenset(_SYSTEM.split())
SYSTEM_TREES = ("/bin", "/boot", "/dev", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/var/run")
# A set with one of these in it would switch crons on again on the standby, or copy what a node knows
# about itself (PEERS 57).
OURS = ("/etc/drcm", "/var/lib/drcm", "/var/spool/cron")
CRON_PREFIX = "/etc/cron"  # /etc/cron.d, /etc/crontab, /etc/cron.daily ...


def of_the_system(path: str) -> bool:
    """`path`, absolute and normal, is one of the system's directories or lies in one that is all its own."""
    return path in SYSTEM_DIRECTORIES or any(
        path == top or path.startswith(f"{top}/") for top in SYSTEM_TREES
    )
