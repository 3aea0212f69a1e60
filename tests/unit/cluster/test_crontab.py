"""The crontab agent: what cron reads appears and goes, and what is not ours stays."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from drcm.cluster.agents.crontab import MARK, CrontabAgent
from drcm.config.model import Crontab
from drcm.errors import AgentError

SCRIPT = Path(__file__).parents[3] / "etc/resources/crontab.sh"
LINE = "*/5 * * * * root /usr/bin/true\n"


@pytest.fixture
def template(tmp_path):
    path = tmp_path / "crontabs" / "user_crons"
    path.parent.mkdir()
    path.write_text(LINE)
    (tmp_path / "cron.d").mkdir()
    return path


@pytest.fixture
def installed(template, tmp_path):
    return tmp_path / "cron.d" / template.name


def _agent(template, installed, **options):
    return CrontabAgent(Crontab("user", str(template), str(installed.parent), ""), **options)


def test_a_started_crontab_is_the_template_under_a_line_that_says_whose_it_is(template, installed):
    agent = _agent(template, installed)
    asyncio.run(agent.start())
    assert installed.read_text() == f"{MARK}{template}\n{LINE}"
    assert installed.stat().st_mode & 0o7777 == 0o644
    assert asyncio.run(agent.running())
    assert os.listdir(installed.parent) == [installed.name]


def test_what_a_former_daemon_installed_is_adopted_untouched(template, installed):
    asyncio.run(_agent(template, installed).start())
    before = installed.stat()
    asyncio.run(_agent(template, installed).start())
    assert installed.stat() == before


def test_a_stopped_crontab_is_gone_and_stopping_again_is_success(template, installed):
    agent = _agent(template, installed)
    asyncio.run(agent.start())
    asyncio.run(agent.stop())
    asyncio.run(agent.stop())
    assert not installed.exists()
    assert not asyncio.run(agent.running())


def test_a_last_line_without_an_end_gets_one_since_cron_would_ignore_it(template, installed):
    template.write_text(LINE.rstrip("\n"))
    asyncio.run(_agent(template, installed).start())
    assert installed.read_text().endswith(LINE)


def test_watching_installs_again_what_was_deleted_or_edited_or_has_a_newer_template(template, installed):
    agent = _agent(template, installed)
    asyncio.run(agent.start())
    installed.unlink()
    asyncio.run(agent.watch())
    assert installed.exists()
    installed.write_text(installed.read_text() + "1 1 1 1 1 root edited\n")
    asyncio.run(agent.watch())
    assert "edited" not in installed.read_text()
    template.write_text(LINE * 2)
    asyncio.run(agent.watch())
    assert installed.read_text().count(LINE) == 2


def test_watching_an_unchanged_crontab_does_not_touch_it(template, installed):
    agent = _agent(template, installed)
    asyncio.run(agent.start())
    before = installed.stat()
    asyncio.run(agent.watch())
    assert (installed.stat().st_ino, installed.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_two_versions_within_a_second_have_different_times_in_whole_seconds(template, installed):
    agent = _agent(template, installed)
    asyncio.run(agent.start())
    first = int(installed.stat().st_mtime)
    template.write_text(LINE * 2)
    asyncio.run(agent.watch())
    assert int(installed.stat().st_mtime) > first


def test_a_file_of_somebody_else_is_neither_replaced_nor_removed(template, installed):
    installed.write_text("0 0 * * * root theirs\n")
    agent = _agent(template, installed)
    for act in (agent.start, agent.stop, agent.watch):
        with pytest.raises(AgentError, match="not drcm's"):
            asyncio.run(act())
    assert installed.read_text() == "0 0 * * * root theirs\n"
    assert not asyncio.run(agent.running())


def test_an_unmarked_copy_that_1_41_left_is_taken_over(template, installed):
    installed.write_text(LINE)
    agent = _agent(template, installed)
    assert asyncio.run(agent.running())
    asyncio.run(agent.start())
    assert installed.read_text().startswith(MARK)


def test_a_name_that_cron_ignores_is_refused(template, installed):
    dotted = template.rename(template.with_name("user.crons"))
    with pytest.raises(AgentError, match="cron ignores"):
        asyncio.run(_agent(dotted, installed).start())


def test_a_missing_template_or_folder_is_named(template, installed):
    with pytest.raises(AgentError, match="nothere: no such crontab template"):
        asyncio.run(_agent(template.with_name("nothere"), installed).start())
    with pytest.raises(AgentError, match="can't be installed"):
        asyncio.run(_agent(template, installed.parent / "nofolder" / "user_crons").start())


def test_after_the_lease_nothing_is_installed(template, installed):
    agent = _agent(template, installed, lease=lambda: 0.0)
    with pytest.raises(AgentError, match="lease has ended"):
        asyncio.run(agent.start())
    assert not installed.exists()


def _script(*arguments):
    return subprocess.run([SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_the_script_by_hand_and_the_agent_know_each_others_files(template, installed):
    template.write_text(LINE.rstrip("\n"))
    agent = _agent(template, installed)
    assert _script(template, installed.parent, "start").returncode == 0
    written = installed.read_text()
    asyncio.run(agent.start())
    assert installed.read_text() == written
    assert _script(template, installed.parent, "stop").returncode == 0
    assert not installed.exists()
    assert _script(template, installed.parent, "stop").returncode == 0


def test_the_script_leaves_what_is_not_ours(template, installed):
    installed.write_text("0 0 * * * root theirs\n")
    for action in ("start", "stop"):
        done = _script(template, installed.parent, action)
        assert done.returncode == 1
        assert "not drcm's" in done.stderr
    assert installed.read_text() == "0 0 * * * root theirs\n"


@pytest.mark.parametrize("arguments", [(), ("a", "b"), ("a", "/tmp", "jump")])
def test_the_script_says_how_it_is_used(arguments):
    done = _script(*arguments)
    assert done.returncode == 2
    assert "usage: crontab.sh TEMPLATE INSTALL_DIR start|stop" in done.stderr
