"""The benchmark's command line, and the configs of those who are measured."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from bench import failover
from bench.contenders import CONTENDERS, FAST, QUICK, RIVALS, STOCK, TEMPLATE, WITNESS, Contender, require
from bench.scenarios import SCENARIOS
from bench.table import Row
from drcm.config.load import require_config
from tests.lab import LabError, Node


@dataclass
class Place:
    """What a config asks of a node."""

    name: str
    ip: str


@pytest.mark.parametrize(
    "words",
    [
        ["--only", "earthquake"],
        ["--contender", "pacemaker"],
        ["--runs", "0"],
        ["--runs", "many"],
        ["--seconds", "0.1"],
        ["--seconds", "86400"],
    ],
)
def test_wrong_words_end_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is started, and named."""
    with pytest.raises(SystemExit) as ended:
        failover.main(words)
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_help_tells_every_scenario() -> None:
    """With a line each."""
    told = failover.parser().format_help()
    assert all(f"  {one.name} " in told for one in SCENARIOS)


def test_what_is_missing_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """keepalived is a Debian package that drcm itself does not need."""
    monkeypatch.setattr("bench.contenders.shutil.which", lambda name, path: None)
    with pytest.raises(LabError, match="apt-get install --no-install-recommends keepalived"):
        require([TEMPLATE, STOCK])
    require([TEMPLATE, FAST])


@pytest.mark.parametrize("contender", [TEMPLATE, FAST])
def test_cm_cfg_is_whole(contender: Contender, tmp_path: Path) -> None:
    """The address at home on the first node, the second its backup, a witness that holds nothing."""
    names = ["cmnode1", "cmnode2", WITNESS]
    places = [cast(Node, Place(name, f"10.77.0.{number}")) for number, name in enumerate(names, start=1)]
    config = tmp_path / "cm.cfg"
    config.write_text(contender.config(places))  # type: ignore[attr-defined]
    cluster = require_config(config, host_checks=False)
    assert cluster.server.keep_alive_interval == contender.interval
    assert [(node.name, node.witness) for node in cluster.voters] == [
        ("cmnode1", False), ("cmnode2", False), (WITNESS, True),
    ]  # fmt: skip
    assert [backup.nickname for backup in cluster.node("cmnode2").backups] == ["web"]


def test_keepalived_conf() -> None:
    """Stock but for what each node must be told; below a second only version 3 can count."""
    assert "advert_int 1\n" in STOCK.config(0)
    assert "version" not in STOCK.config(0)
    assert "version 3\n" in QUICK.config(1)
    assert "state MASTER" in STOCK.config(0)
    assert "state BACKUP" in STOCK.config(1)
    assert "priority 100\n" in STOCK.config(1)


def test_rivals_are_contenders() -> None:
    """Names agree."""
    assert {*RIVALS, *RIVALS.values()} <= {one.name for one in CONTENDERS}


def test_document(capsys: pytest.CaptureFixture[str]) -> None:
    """--json says when, where and how beside the rows."""
    about = failover.describe(["--json", "--only", "power-cut"])
    rows = [Row("power-cut", "power cut", "s", {TEMPLATE.name: [2.1]}, {TEMPLATE.name: 2.3})]
    failover.show(about, rows, CONTENDERS, as_document=True)
    told = json.loads(capsys.readouterr().out)
    assert told["about"]["command"] == "python -m bench.failover --json --only power-cut"
    assert {"date", "machine", "load before"} <= set(told["about"])
    assert told["rows"][0]["cells"][TEMPLATE.name]["median"] == 2.1
