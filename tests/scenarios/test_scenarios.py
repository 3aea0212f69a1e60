"""The engine tells the same stories as it did: every scenario file, line by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.scenario import FILES, play, rewrite
from tests.scenarios.script import Script, ScriptError


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario_reads_as_before(path: Path, request: pytest.FixtureRequest) -> None:
    """The engine does what the file says, with the reasons that it gives; expectations hold in any case."""
    if request.config.getoption("--rewrite", default=False):
        rewrite(path)
    assert play(path.read_text()) == path.read_text()


def test_expectation_not_met_is_an_error() -> None:
    """`expect` fails by itself, so that --rewrite can't make a wrong story golden."""
    script = Script()
    for line in ("cluster a b", "ip web: a b", "power on a b", "run 5", "expect web on a"):
        script.run(line)
    with pytest.raises(ScriptError, match="found it on"):
        script.run("expect web on b")


def test_unknown_command_is_an_error() -> None:
    """A misspelt command is no silent comment."""
    with pytest.raises(ScriptError, match="no such command"):
        Script().run("powercut a")


def test_changed_story_is_noticed() -> None:
    """One other line in the golden part is a difference."""
    text = FILES[0].read_text()
    assert play(text.replace("----\n", "----\n   0.000 a  something else\n", 1)) == text
