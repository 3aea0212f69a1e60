"""Crontab templates in cron.d's format: minute hour day month weekday USER command. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from drcm.config.lines import shown
from drcm.config.values import CRON, USER_PATTERN

ENVIRONMENT = re.compile(r"""[A-Za-z_]\w*\s*=|["'][^"']+["']\s*=""")
AT_REBOOT = "@reboot"
FORM = "minute hour day month weekday user command"
# run-parts' rule, which Debian's cron follows in cron.d: a file of another name is never read.
FILE_NAME = re.compile(r"[A-Za-z0-9_-]+")


def crond_faults(text: str) -> Iterator[tuple[int, str]]:
    """What cron would not run: line number and sentence. One bad line spoils the whole file for cron."""
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        if line and not line.startswith("#") and not ENVIRONMENT.match(line):
            problem = _job(line)
            if problem:
                yield number, problem
    if text and not text.endswith("\n"):
        yield text.count("\n") + 1, "the last line has no end: cron does not read it; add a newline"


def _job(line: str) -> str:
    times = 1 if line.startswith("@") else 5
    fields = line.split(None, times + 1)
    if len(fields) < times + 2:
        return f"'{shown(line)}': expected {FORM}; correct it"
    when = " ".join(fields[:times])
    try:
        if when.lower() != AT_REBOOT:
            CRON.parse(when)
    except ValueError:
        return f"'{shown(when)}': expected {CRON.expected}; correct it"
    if not USER_PATTERN.fullmatch(fields[times]):
        return f"'{shown(fields[times])}': expected a user (the form is {FORM}); correct it"
    return ""
