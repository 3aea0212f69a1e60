"""A promotion is on the disk before it is acted on: the order of the system calls, watched from outside.

The lab can't show it: its power cut spares what the kernel has in its page cache.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from drcm.config.model import SyncSet
from drcm.paths import Paths
from drcm.replication import custody, records
from drcm.replication.generation import Position

PROGRAM = """
import sys
from pathlib import Path
from drcm.config.model import SyncSet
from drcm.paths import Paths
from drcm.replication import custody
{plant}
top, step = Path(sys.argv[1]), sys.argv[2]
here = Paths(top / "cm.cfg", top / "auth", top / "state", top / "run")
testfs = SyncSet("testfs", "alpha", ("beta",), mirror=(str(top / "tree"),))
known = custody.look(here, testfs, "alpha").head
if step == "promote":
    custody.open_as_writer(here, testfs, "alpha", known, "2" * 16)
elif step == "start":
    custody.start(here, testfs, "alpha")
"""
CALLS = "openat,fsync,fdatasync,rename,renameat,renameat2,close"
NO_FSYNC = "import os; os.fsync = lambda descriptor: None"


@dataclass(frozen=True)
class Call:
    """A system call: its name and the paths that strace tells, those of descriptors too."""

    name: str
    paths: tuple[str, ...]


def calls(top: Path, step: str, plant: str = "") -> list[Call]:
    """What the step asked of the kernel, in order."""
    log = top / "strace.log"
    program = PROGRAM.format(plant=plant)
    traced = ["strace", "-f", "-y", "-o", str(log), "-e", f"trace={CALLS}", sys.executable, "-c", program]
    subprocess.run([*traced, str(top), step], check=True, timeout=60)
    found = re.findall(r"^\d+ +(\w+)\((.*)\) += +\d", log.read_text(), re.MULTILINE)
    return [Call(name, tuple(re.findall(r'["<](/[^">]*)[">]', words))) for name, words in found]


def undurable(made: list[Call], place: Path) -> str:
    """Why the replacing of `place` may be lost or half seen after a power cut; "" = it can't."""
    renames = [number for number, call in enumerate(made) if _renames(call, place)]
    if not renames:
        return f"{place} was not replaced"
    beside = made[renames[-1]].paths[0]
    before = [call.name for call in made[: renames[-1]] if call.paths == (beside,)]
    after = [call.name for call in made[renames[-1] :] if call.paths == (str(place.parent),)]
    if "fsync" not in before:
        return f"{beside} was not fsynced before it became {place}"
    return "" if "fsync" in after else f"the folder of {place} was not fsynced after the rename"


def _renames(call: Call, place: Path) -> bool:
    return call.name.startswith("rename") and call.paths[-1:] == (str(place),)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """alpha has a whole copy of what beta wrote: it may be promoted."""
    (tmp_path / "tree").mkdir()
    here = Paths(tmp_path / "cm.cfg", tmp_path / "auth", tmp_path / "state", tmp_path / "run")
    testfs = SyncSet("testfs", "alpha", ("beta",), mirror=(str(tmp_path / "tree"),))
    begun = custody.init(here, testfs, "alpha")
    theirs = replace(begun.head, writer="beta")
    position = Position(theirs.id, "1-0a0b0c0d")
    records.save(here.sets, replace(begun, chain=(theirs,), pos=position, beyond=False))
    return tmp_path


def places(top: Path) -> tuple[Path, Path]:
    return top / "state" / "sets" / "testfs.json", top / "tree" / ".drcm" / "set.json"


def test_a_promotion_and_its_start_are_on_the_disk_when_they_return(top: Path) -> None:
    """The record and the marker: each file is fsynced, then renamed, then its folder is fsynced."""
    for step in ("promote", "start"):
        made = calls(top, step)
        assert [undurable(made, place) for place in places(top)] == ["", ""], step


def test_a_promotion_that_is_not_fsynced_is_seen(top: Path) -> None:
    """The planted bug: without fsync this very test would fail."""
    made = calls(top, "promote", NO_FSYNC)
    assert [bool(undurable(made, place)) for place in places(top)] == [True, True]
