"""drcm-sync's command line, without another node."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from drcm import errors
from drcm.replication import arguments, guards

SYNC = str(Path(sys.executable).parent / "drcm-sync")
CONFIG = """
[CM_SERVER]
quorum = {quorum}
[CM_NODE]
nodename = alpha
hostname = alpha.test
keep_alive_ip = 127.0.0.11
[CM_NODE]
nodename = beta
hostname = beta.test
keep_alive_ip = 127.0.0.12
{more}
[CM_SYNC]
name = testfs
primary = alpha
backups = beta
mirror = {root}
schedule = */5 * * * *
"""
THIRD = "[CM_NODE]\nnodename = third\nhostname = third.test\nkeep_alive_ip = 127.0.0.13\nwitness = 1\n"


@pytest.fixture
def node(tmp_path: Path) -> dict[str, str]:
    """The environment of a node called alpha; nothing of it is running."""
    (tmp_path / "testfs").mkdir()
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "node").write_text("alpha\n")
    config(tmp_path)
    return {
        "PATH": os.environ["PATH"],
        "LC_ALL": "C.UTF-8",
        "DRCM_CONFIG": str(tmp_path / "cm.cfg"),
        **{f"DRCM_{name}_DIR": str(tmp_path / name.lower()) for name in ("AUTH", "STATE", "RUN")},
    }


def config(folder: Path, quorum: str = "two_node", more: str = "") -> None:
    (folder / "cm.cfg").write_text(CONFIG.format(root=folder / "testfs", quorum=quorum, more=more))


def sync(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SYNC, *arguments], env=environ, capture_output=True, text=True, check=False, timeout=60
    )


def test_help_documents_every_exit_code() -> None:
    """Each code that a run can end with stands in --help, and in the man page."""
    text = arguments.parser().format_help()
    page = (Path(__file__).parents[3] / "etc/man/drcm-sync.8").read_text()
    documented = {int(code) for code in re.findall(r"^  (\d+) ", text, re.MULTILINE)}
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert codes - {errors.EXIT_DIFFERENCES} == documented
    assert {int(code) for code in re.findall(r"^\.B (\d+)$", page, re.MULTILINE)} == documented


def test_the_man_page_names_every_option() -> None:
    """Each option of --help has its place in drcm-sync(8)."""
    text = arguments.parser().format_help()
    page = (Path(__file__).parents[3] / "etc/man/drcm-sync.8").read_text().replace("\\-", "-")
    for option in set(re.findall(r"--[a-z-]+", text)) - {"--help"}:
        assert option in page, option


def test_help_is_quick_to_import() -> None:
    """--help loads neither paramiko nor sh nor rich."""
    code = (
        "import sys; from drcm.replication import command as c; c.parser().format_help(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"paramiko", "sh", "rich", "msgspec"} & set(done.stdout.split())


def test_overrides_are_those_of_the_guards() -> None:
    """The command line knows exactly the guards that can be overridden."""
    assert arguments.OVERRIDES == guards.OVERRIDES


@pytest.mark.parametrize("arguments", [[], ["testfs", "--override=everything"], ["testfs", "--nonsense"]])
def test_wrong_arguments(node: dict[str, str], arguments: list[str]) -> None:
    """Exit 2 and the usage."""
    done = sync(node, *arguments)
    assert done.returncode == 2
    assert "usage: drcm-sync" in done.stderr


def test_an_unknown_set_names_the_known(node: dict[str, str]) -> None:
    """Exit 78 with the names of the sets there are."""
    done = sync(node, "tesfs")
    assert done.returncode == errors.EXIT_CONFIG
    assert "Sets: testfs" in done.stderr


def test_a_target_that_is_none(node: dict[str, str], tmp_path: Path) -> None:
    """--target names another node of the set, or it is a mistake in the arguments."""
    sync(node, "testfs", "--init")
    done = sync(node, "testfs", "--target", "gamma")
    assert done.returncode == 2
    assert "gamma" in done.stderr


def test_before_the_set_has_begun(node: dict[str, str]) -> None:
    """Exit 6 and the one command that begins it (DESIGN.md section 6)."""
    done = sync(node, "testfs")
    assert done.returncode == errors.EXIT_WRONG_ROLE
    assert "drcm-sync testfs --init" in done.stderr


def test_init_with_the_backup_away(node: dict[str, str], tmp_path: Path) -> None:
    """The set begins here; the backup that could not be reached is named, with what to do later."""
    done = sync(node, "testfs", "--init")
    assert (tmp_path / "testfs" / ".drcm" / "set.json").exists()
    assert done.returncode != 0
    assert "beta: NOT joined" in done.stdout


def test_init_on_another_node(node: dict[str, str], tmp_path: Path) -> None:
    """Only the primary's files begin a set, unless --from says otherwise."""
    (tmp_path / "state" / "node").write_text("beta\n")
    done = sync(node, "testfs", "--init")
    assert done.returncode == errors.EXIT_WRONG_ROLE
    assert "--init --from beta" in done.stderr
    assert not (tmp_path / "testfs" / ".drcm").exists()


def test_under_majority_nothing_is_pushed_without_a_daemon(node: dict[str, str], tmp_path: Path) -> None:
    """HISTORIES R29: the record alone does not say that this node still is the writer."""
    config(tmp_path, "auto", THIRD)
    sync(node, "testfs", "--init")
    done = sync(node, "testfs")
    assert done.returncode == errors.EXIT_WRONG_ROLE
    assert "no daemon runs here" in done.stderr


def test_a_node_outside_the_set(node: dict[str, str], tmp_path: Path) -> None:
    """A witness has nothing to sync."""
    config(tmp_path, "auto", THIRD)
    (tmp_path / "state" / "node").write_text("third\n")
    done = sync(node, "testfs")
    assert done.returncode == errors.EXIT_WRONG_ROLE
    assert "none of its nodes" in done.stderr


def test_json_tells_of_an_error_too(node: dict[str, str]) -> None:
    """A program gets one document whatever happened; a person still reads standard error."""
    done = sync(node, "testfs", "--json")
    document = json.loads(done.stdout)
    assert (document["ok"], document["exit_code"], document["targets"]) == (False, done.returncode, [])
    assert "has not begun" in document["error"]
    assert "has not begun" in done.stderr
