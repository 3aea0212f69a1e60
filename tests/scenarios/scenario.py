"""Scenario files: prose and comments (`#`), blocks of commands, `----`, and what then happened."""

from __future__ import annotations

from pathlib import Path

from tests.scenarios.script import Script

RULE = "----"
NOTHING = "(nothing happens)"
FILES = sorted(Path(__file__).parent.glob("*.txt"))


def play(text: str) -> str:
    """The whole file as it should read: the same commands, with what they lead to now."""
    script = Script()
    return "\n\n".join(_play_paragraph(script, part) for part in _paragraphs(text)) + "\n"


def _paragraphs(text: str) -> list[list[str]]:
    return [part.splitlines() for part in text.strip().split("\n\n") if part.strip()]


def _play_paragraph(script: Script, lines: list[str]) -> str:
    """Comments are kept; whatever follows the rule is what this run makes of the commands."""
    kept = lines[: lines.index(RULE)] if RULE in lines else lines
    commands = [line for line in kept if not line.startswith("#")]
    story = [told for command in commands for told in script.run(command)]
    return "\n".join([*kept, RULE, *(story or [NOTHING])] if commands else kept)


def rewrite(path: Path) -> bool:
    """Renew the file; True where it changed."""
    old = path.read_text()
    new = play(old)
    path.write_text(new)
    return new != old
