"""Crontab templates as cron reads them."""

from __future__ import annotations

import pytest

from drcm.config.crond import crond_faults

GOOD = """\
# a comment
SHELL=/bin/bash
MAILTO = "root"

*/5 0-6,8 1 jan,feb mon-fri root echo hello % world
@daily\troot true
@reboot root true
  30 2 * * 7 some_user  true
"""


def test_a_good_template() -> None:
    """Comments, settings, names, nicknames and @reboot are cron's own."""
    assert list(crond_faults(GOOD)) == []
    assert list(crond_faults("")) == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("* * * * * root", "expected minute hour day month weekday user command"),
        ("* * * * root true", "expected minute hour day month weekday user command"),
        ("* * * * root /bin/true now", "'* * * * root': expected five crontab fields"),
        ("60 * * * * root true", "'60 * * * *': expected five crontab fields"),
        ("@dayly root true", "'@dayly': expected five crontab fields"),
        ("@daily root", "expected minute hour day month weekday user command"),
        ("0 1 * * * /usr/bin/true now", "'/usr/bin/true': expected a user"),
    ],
)
def test_a_line_that_cron_refuses(line: str, told: str) -> None:
    """Each is told with its number: cron says nothing, and reads none of the file."""
    ((number, problem),) = crond_faults(f"# one\n{line}\n")
    assert number == 2
    assert told in problem


def test_a_last_line_without_its_end() -> None:
    """cron does not read it, and does not say so."""
    ((number, problem),) = crond_faults("# one\n* * * * * root true")
    assert (number, "add a newline" in problem) == (2, True)
