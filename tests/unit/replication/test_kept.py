"""Names of folders of kept versions, what a person means by one, and rules that choose paths."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drcm.errors import DrcmError
from drcm.paths import Paths
from drcm.replication import gatekept, kept, records, rsyncserver, transitions
from drcm.replication.generation import Root

LABELS = [
    "3-40-1a2b3c4d-1",
    "3-40-1a2b3c4d-2",
    "2-40-99999999-1",
    "2-7-0badcafe-1",
    "undo-7-0badcafe-1",
    "2-ff00-held-back",
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("40-1a2b3c4d", {"3-40-1a2b3c4d": LABELS[:2]}),
        ("3-40-1a2b3c4d", {"3-40-1a2b3c4d": LABELS[:2]}),
        ("40", {"3-40-1a2b3c4d": LABELS[:2], "2-40-99999999": [LABELS[2]]}),
        ("undo-7-0badcafe-1", {"undo-7-0badcafe-1": ["undo-7-0badcafe-1"]}),
        ("2-ff00-held-back", {"2-ff00-held-back": ["2-ff00-held-back"]}),
        ("7-0badcafe", {"2-7-0badcafe": ["2-7-0badcafe-1"]}),
        ("4", {}),
        ("", {}),
        ("-1a2b3c4d", {}),
    ],
)
def test_what_a_person_means(wanted: str, found: dict[str, list[str]]) -> None:
    """A run by its id, with its generation, or its number; any folder by its name; attempts in order."""
    assert kept.runs_meant(reversed(LABELS), wanted) == found


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x", "a/../b", "a//b", "", ".drcm/set.json", "a/.", "a\0b"]
)
def test_names_that_lead_out(name: str) -> None:
    """What another node says is kept is no path out of the root, nor into drcm's own folder."""
    assert not kept.is_plain(name)


NAMES = st.lists(st.text("ab*?[]\\ #;-+!\n", min_size=1, max_size=5), min_size=1, max_size=3).map("/".join)


@given(st.sets(NAMES, min_size=2, max_size=6))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rules_choose_exactly_the_paths(tmp_path: Path, names: set[str]) -> None:
    """Whatever is in a name, rsync takes the chosen path and what is below it, and nothing else."""
    shutil.rmtree(tmp_path / "source", ignore_errors=True)
    shutil.rmtree(tmp_path / "target", ignore_errors=True)
    for name in names:
        (tmp_path / "source" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name / "file").touch()
    chosen = min(names)
    rules = tmp_path / "rules"
    rules.write_bytes(b"\0".join(map(os.fsencode, kept.filter_rules([chosen]))))
    argv = [
        "rsync",
        "-a",
        "--from0",
        f"--include-from={rules}",
        "--exclude=*",
        f"{tmp_path}/source/",
        f"{tmp_path}/target/",
    ]
    subprocess.run(argv, check=True)
    arrived = {str(path.relative_to(tmp_path / "target")) for path in (tmp_path / "target").rglob("file")}
    wanted = {f"{name}/file" for name in names if kept.is_below(name, chosen)}
    assert arrived == wanted


def test_the_path_is_the_gates_own() -> None:
    """Whatever a client names, the folder that the gate found is what is sent."""
    argv = [
        "rsync",
        "--server",
        "--sender",
        "-lHogDtpAXrSe.LsfxCIvu",
        "--timeout=60",
        "--numeric-ids",
        ".",
        "/etc/shadow",
    ]
    assert rsyncserver.fetch_argv(argv, "/r/.drcm/trash/x")[-2:] == [".", "/r/.drcm/trash/x/"]


@pytest.mark.parametrize(
    "option", ["--remove-source-files", "--files-from=/etc/x", "--copy-links", "--log-file=/x", "-L"]
)
def test_options_of_a_fetch(option: str) -> None:
    """A sender may not follow links, remove, or read names from elsewhere."""
    argv = ["rsync", "--server", "--sender", "-re.LsfxCIvu", option, ".", "/x/"]
    with pytest.raises(DrcmError):
        rsyncserver.fetch_argv(argv, "/x")


def test_a_folder_of_many_long_names_comes_in_pages(tmp_path: Path) -> None:
    """No answer of the gate is longer than a client reads; the pages together name each version once."""
    root = tmp_path / "tree"
    root.mkdir()
    here = Paths(tmp_path / "cm.cfg", tmp_path / "auth", tmp_path / "state", tmp_path / "run")
    roots = (Root(str(root), "mirror", "f" * 8, 0),)
    records.save(here.sets, transitions.initial("t", "u" * 8, "a", roots, "1" * 16), fresh=[str(root)])
    folder = root / ".drcm" / "trash" / "1-1-00000000-1"
    folder.mkdir()
    for number in range(1500):
        (folder / f"{number:04}-{'x' * 200}").touch()
    request = {"kind": "trash", "label": folder.name, "root": "0"}
    names: list[str] = []
    more, pages = True, 0
    while more:
        answer = gatekept.listing(here, "t", {**request, "skip": len(names)})
        names += [one["name"] for one in answer["entries"]]
        more, pages = answer["more"], pages + 1
    assert pages > 1
    assert names == sorted(path.name for path in folder.iterdir())
