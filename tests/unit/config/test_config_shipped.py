"""What is shipped: examples, crontab templates, man page."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from drcm.config.build import Draft
from drcm.config.crond import FILE_NAME, crond_faults
from drcm.config.hostchecks import BUILT_IN_SCRIPTS
from drcm.config.manual import manual_text
from drcm.config.model import Application, Crontab
from drcm.config.schema import KEYED, ROWS
from drcm.config.template import template_text

TOP = Path(__file__).parents[3]
EXAMPLES = {
    "cm.cfg.2node": ["WARNING - two voters have no majority", "WARNING - no ping_hosts: a node"],
    "cm.cfg.4node": ["INFO - 4 voters: cut into halves"],
}
CRONTABS = ["apps_package1", "apps_package2", "apps_package3", "apps_package4", "system_crons", "user_crons"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_loads(name: str, faults_of: Callable[[str], list[str]]) -> None:
    """Only what its own comments explain is told of an example."""
    found = [fault.split(": ", 1)[1] for fault in faults_of((TOP / "etc" / name).read_text())]
    assert len(found) == len(EXAMPLES[name]), found
    for fault, expected in zip(found, EXAMPLES[name], strict=True):
        assert fault.startswith(expected)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_with_its_witness_is_clean(name: str, faults_of: Callable[[str], list[str]]) -> None:
    """Taking the # from the witness's lines takes every warning away."""
    text = (TOP / "etc" / name).read_text()
    head, mark, tail = text.partition("#[CM_NODE]\n")
    assert mark
    witness, blank, rest = tail.partition("\n\n")
    assert faults_of(head + mark[1:] + re.sub("(?m)^#", "", witness) + blank + rest) == []


def test_in_the_ring_every_node_backs_up_another(draft_of: Callable[[str], Draft]) -> None:
    """Four nodes: each set has a backup, and each node is home and backup once."""
    cluster = draft_of((TOP / "etc" / "cm.cfg.4node").read_text()).cluster
    names = {node.name for node in cluster.nodes}
    assert {sync.primary for sync in cluster.sets} == names
    assert {backup for sync in cluster.sets for backup in sync.backups} == names
    for node in cluster.nodes:
        assert {ref.home for ref in node.backups} == {
            s.primary for s in cluster.sets if node.name in s.backups
        }


def test_the_crontab_templates_are_all_there() -> None:
    """The guide's names, no others."""
    assert sorted(path.name for path in (TOP / "crontabs").iterdir()) == CRONTABS


@pytest.mark.parametrize("name", CRONTABS)
def test_a_crontab_template_is_read_by_cron(name: str) -> None:
    """Valid cron.d, also with its examples switched on, and something runs."""
    text = (TOP / "crontabs" / name).read_text()
    assert FILE_NAME.fullmatch(name)
    assert list(crond_faults(text)) == []
    assert list(crond_faults(re.sub(r"(?m)^#(?=[0-9*])", "", text))) == []
    assert re.search(r"(?m)^[0-9*]", text)


def test_examples_and_template_use_what_is_shipped(draft_of: Callable[[str], Draft]) -> None:
    """Every script is one of drcm's own; every crontab template lies in crontabs/."""
    texts = [(TOP / "etc" / name).read_text() for name in EXAMPLES] + [template_text()]
    for resource in (r for text in texts for r in draft_of(text).cluster.resources):
        assert not isinstance(resource, Application)
        assert Path(resource.script).name in BUILT_IN_SCRIPTS
        if isinstance(resource, Crontab):
            assert Path(resource.template).name in CRONTABS


def test_the_man_page_is_the_schemas() -> None:
    """etc/man/cm.cfg.5 is what drcm.config.manual makes; write it anew after a change of schema.py."""
    assert (TOP / "etc/man/cm.cfg.5").read_text() == manual_text()


def test_the_man_page_names_every_key() -> None:
    """No section and no key is missing."""
    text = manual_text()
    for section in [*KEYED, *ROWS]:
        assert f".Ss [{section}]" in text
    for key in (key for section in KEYED.values() for key in section.keys):
        assert f".It Cm {key.name}\n" in text


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_the_man_page_is_good_roff() -> None:
    """groff formats it without a word of complaint."""
    done = subprocess.run(
        ["groff", "-ww", "-mdoc", "-Tascii", "-P-c"],
        input=manual_text().encode(),
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert done.stderr == b""
    assert b"keep_alive_interval" in re.sub(rb".\x08", b"", done.stdout)
