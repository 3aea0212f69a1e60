"""Small file systems as parts of a host's disk, to be filled. As the disk they outlive a power cut."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

SOURCE = "small-disk"  # the device that /proc/mounts names
PAGE = os.sysconf("SC_PAGE_SIZE")


def make(folder: Path, mebibytes: int) -> None:
    _mount(folder, f"size={mebibytes}m,mode={folder.stat().st_mode & 0o777:o}")


def fill(folder: Path, left: int = 0) -> None:
    """Nothing more fits but `left` bytes: it ends where its files end now."""
    while True:
        found = os.statvfs(folder)
        used = (found.f_blocks - found.f_bfree) * PAGE
        with contextlib.suppress(subprocess.CalledProcessError):  # it has grown since we looked
            return _mount(folder, f"remount,size={max(PAGE, used + left)}")


def enlarge(folder: Path, mebibytes: int) -> None:
    _mount(folder, f"remount,size={mebibytes}m")


def remove_below(directory: Path) -> None:
    """Unmount all that lie below; their files are gone."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        source, folder, *_ = line.split()
        if source == SOURCE and Path(folder).is_relative_to(directory):
            subprocess.run(["umount", "--lazy", folder], check=False)


def _mount(folder: Path, options: str) -> None:
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, SOURCE, str(folder)], check=True, stderr=subprocess.DEVNULL
    )
