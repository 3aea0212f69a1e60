"""What the folders in .drcm/trash and .drcm/conflicts are called, and which of them a person means. Pure.

    trash/GEN-RUN-ATTEMPT        what run RUN of generation GEN replaced and deleted
    trash/undo-OF-NUMBER         what an --undo replaced on the writer
    conflicts/GEN-RUN-ATTEMPT    as in trash, on a tree that held what no run describes
    conflicts/GEN-ID-held-back   whole files that a cut run had not yet put in their places (HISTORIES R6)

Standard library only: drcm-gate reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from drcm.replication.rootstate import PRIVATE

TRASH, CONFLICTS = KINDS = ("trash", "conflicts")
LABEL = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,127}")
_OF_A_RUN = re.compile(r"(?P<number>[0-9]+)-(?P<run>[0-9]+-[0-9a-f]{8})-(?P<attempt>[0-9]+)")


@dataclass(frozen=True, slots=True)
class Label:
    """A folder's name, taken apart. `run` is empty where it is no run's."""

    text: str
    number: int = 0  # of the generation
    run: str = ""
    attempt: int = 0

    def means(self, wanted: str) -> bool:
        """Whether a person who says `wanted` may mean it: the name, GEN-RUN, RUN, or the run's number."""
        if wanted == self.text:
            return True
        run, known = self.run, bool(self.run)
        return known and wanted in (run, f"{self.number}-{run}", run.partition("-")[0])


def read(text: str) -> Label:
    """The label of a folder called `text`."""
    found = _OF_A_RUN.fullmatch(text)
    if found is None:
        return Label(text)
    return Label(text, int(found["number"]), found["run"], int(found["attempt"]))


def runs_meant(labels: Iterable[str], wanted: str) -> dict[str, list[str]]:
    """Run (GEN-RUN, or a folder's name where it is no run's) -> its folders, the first attempt first."""
    found: dict[str, list[Label]] = {}
    for label in {read(text) for text in labels}:
        if label.means(wanted):
            key = f"{label.number}-{label.run}" if label.run else label.text
            found.setdefault(key, []).append(label)
    in_order = {key: sorted(some, key=lambda one: one.attempt) for key, some in found.items()}
    return {key: [one.text for one in some] for key, some in in_order.items()}


def is_below(name: str, path: str) -> bool:
    """`name` is `path` or lies in it; both relative to their root. "" is the root itself."""
    return not path or name == path or name.startswith(f"{path}/")


def filter_rules(paths: Iterable[str]) -> list[str]:
    """rsync's rules, one NUL-separated entry each for --include-from, that choose `paths` and no more."""
    rules: dict[str, None] = {}
    for path in paths:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            rules[_literal("/" + "/".join(parts[:depth])) + "/"] = None
        rules[_literal(f"/{path}")] = None
        rules[_literal(f"/{path}", "/***")] = None
    return list(rules)


def _literal(name: str, more: str = "") -> str:
    r"""A pattern that means `name` alone: `\` escapes only where there is a wildcard (rsync(1))."""
    if more or any(char in name for char in "*?["):
        name = re.sub(r"([*?\[\\])", r"\\\1", name)
    return name + more


def is_plain(name: str) -> bool:
    """A name relative to its root that stays in it, and outside drcm's own folder."""
    parts = name.split("/")
    return parts[0] != PRIVATE and "\0" not in name and not any(part in ("", ".", "..") for part in parts)
