"""Where OCF agents lie on this machine, and what they print of themselves."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from drcm.config.ocfmeta import LONGEST, MetaData, parse

META_SECONDS = 10.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOK_KEEPING = Path("/run/resource-agents")  # theirs; Pacemaker's tmpfiles make it elsewhere


def root(environ: Mapping[str, str] = os.environ) -> Path:
    """OCF_ROOT: /usr/lib/ocf unless the environment says otherwise."""
    return Path(environ.get("OCF_ROOT", "/usr/lib/ocf"))


def path_of(provider: str, agent: str) -> Path:
    return root() / "resource.d" / provider / agent


def providers() -> list[str]:
    """The folders of agents on this machine, by name."""
    try:
        return sorted(entry.name for entry in (root() / "resource.d").iterdir() if entry.is_dir())
    except OSError:
        return []


def agents(provider: str) -> list[str]:
    """The agents of `provider` on this machine."""
    try:
        entries = list((root() / "resource.d" / provider).iterdir())
    except OSError:
        return []
    found = (one.name for one in entries if one.is_file() and os.access(one, os.X_OK))
    return sorted(name for name in found if not name.startswith((".", "ocf-")))


def environment(provider: str, agent: str) -> dict[str, str]:
    """What every call of an agent is given; nothing of the caller's own environment."""
    return {
        "PATH": PATH,
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "OCF_ROOT": str(root()),
        "OCF_RA_VERSION_MAJOR": "1",
        "OCF_RA_VERSION_MINOR": "1",
        "OCF_RESOURCE_PROVIDER": provider,
        "OCF_RESOURCE_TYPE": agent,
        "OCF_RESKEY_crm_feature_set": "3.16.2",  # Pacemaker's of Debian 12: agents refuse older ones
    }


def ask(provider: str, agent: str, action: str, extra: Mapping[str, str] = {}) -> tuple[int, str]:
    """Run an agent to its end, for META_SECONDS at most: exit code and standard output, with `extra` set.

    OSError where it can't be run, subprocess.TimeoutExpired where it does not end.
    """
    done = subprocess.run(
        [path_of(provider, agent), action],
        env=environment(provider, agent) | {"OCF_RESOURCE_INSTANCE": agent} | dict(extra),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=META_SECONDS,
        check=False,
        cwd="/",
    )
    output = done.stdout if action == "meta-data" else done.stdout + done.stderr
    return done.returncode, output[-LONGEST:].decode(errors="replace")


def meta_data(provider: str, agent: str) -> MetaData:
    """What an agent says of itself. ValueError where it can't be had."""
    try:
        _, text = ask(provider, agent, "meta-data")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"its meta-data can't be had: {error}") from error
    return parse(text)
