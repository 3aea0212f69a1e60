"""`python -m tests.scenarios [--rewrite] [NAME...]`: compare the scenarios with the engine, or renew them."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

from tests.scenarios.scenario import FILES, play, rewrite
from tests.scenarios.script import ScriptError


def main(argv: list[str]) -> int:
    names = [word for word in argv if not word.startswith("--")]
    chosen = [path for path in FILES if not names or path.stem in names]
    return max((_one(path, "--rewrite" in argv) for path in chosen), default=0)


def _one(path: Path, renew: bool) -> int:
    try:
        differs = rewrite(path) if renew else play(path.read_text()) != path.read_text()
    except ScriptError as error:
        print(f"{path.stem}: {error}")
        return 1
    if differs and not renew:
        print("\n".join(_difference(path)))
    elif differs:
        print(f"{path.stem}: rewritten")
    return int(differs and not renew)


def _difference(path: Path) -> list[str]:
    old, new = path.read_text().splitlines(), play(path.read_text()).splitlines()
    return list(difflib.unified_diff(old, new, path.name, "now", lineterm="", n=3))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
