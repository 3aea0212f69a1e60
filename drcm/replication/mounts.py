"""What is mounted where, as the kernel tells in mountinfo. Standard library only."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MOUNTINFO = "/proc/self/mountinfo"


@dataclass(frozen=True, slots=True)
class Mount:
    """One line: the place `inner` of the file system `device` (major:minor) is seen at `point`."""

    device: str
    inner: str
    point: str


def read(mountinfo: str | Path = MOUNTINFO) -> list[Mount]:
    """All mounts, in the order in which they were made."""
    with open(mountinfo, encoding="utf-8", errors="surrogateescape") as lines:
        words = [line.split(" ") for line in lines]
    return [Mount(one[2], _unescaped(one[3]), _unescaped(one[4])) for one in words]


def place_of(real: str, mounts: list[Mount]) -> Mount:
    """The mount that holds the directory with the real path `real`: the latest of several on one point."""
    above = [one for one in mounts if holds(one.point, real)]
    return max(reversed(above), key=lambda one: len(one.point), default=Mount("", "/", "/"))


def below(real: str, mounts: list[Mount]) -> list[Mount]:
    """What is mounted inside of it."""
    return [one for one in mounts if one.point != real and holds(real, one.point)]


def holds(outer: str, inner: str) -> bool:
    """`inner` is `outer` or lies in it."""
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")


Tree = frozenset[tuple[str, str]]  # (device, place in it): of a directory, and of all that is mounted below


def tree_of(real: str, mounts: list[Mount]) -> Tree:
    """What the directory with the real path `real` spans, by whatever path it is seen."""
    own = place_of(real, mounts)
    inner = os.path.normpath(os.path.join(own.inner, os.path.relpath(real, own.point)))
    return frozenset({(own.device, inner), *((one.device, one.inner) for one in below(real, mounts))})


def meet(one: Tree, other: Tree) -> bool:
    """One of the two holds something of the other."""
    return any(a == b and (holds(x, y) or holds(y, x)) for a, x in one for b, y in other)


def _unescaped(text: str) -> str:
    """A path of mountinfo: blank, tab, newline and backslash come as three octal digits."""
    for code in ("040", "011", "012", "134"):
        text = text.replace(f"\\{code}", chr(int(code, 8)))
    return text
