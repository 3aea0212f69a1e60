"""The files of the demo: made from a seed, changed, and compared by their checksums."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

SEED = 1889
DIRECTORIES = 12
SIZE_LIMIT_BYTES = 32_000
OWN = (".drcm", ".drcm-partial")  # drcm's own, in the root of a set
Tree = dict[str, str]  # path below the root -> sha256


def tree(root: Path) -> Tree:
    """What lies below `root` apart from drcm's own."""
    files = [path for path in root.rglob("*") if path.is_file()]
    names = {path.relative_to(root): path for path in files}
    return {str(name): _digest(path) for name, path in names.items() if name.parts[0] not in OWN}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def differences(one: Tree, other: Tree) -> list[str]:
    """Names that only one tree has, or that differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def make(root: Path, count: int) -> None:
    """`count` files of 0 to 32 kB in twelve directories."""
    dice = random.Random(SEED)
    for number in range(count):
        write(root, f"project{number % DIRECTORIES:02d}/file{number:03d}.dat", _content(dice))


def work(root: Path, created: int, changed: int, deleted: int) -> None:
    """What people do in a day: files are created, changed and deleted."""
    dice = random.Random(SEED + 1)
    picked = dice.sample(sorted(root.glob("project*/file*.dat")), changed + deleted)
    for path in picked[:changed]:
        path.write_bytes(_content(dice) + b"changed\n")
    for path in picked[changed:]:
        path.unlink()
    for number in range(created):
        write(root, f"new{number % 3}/file{number:02d}.dat", _content(dice))


def write(root: Path, name: str, content: bytes) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _content(dice: random.Random) -> bytes:
    return dice.randbytes(dice.randrange(SIZE_LIMIT_BYTES))
