"""cm.cfg from the disk: whatever lies at the path, one clear line and no traceback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drcm.config.load import LARGEST, load_config, require_config
from drcm.errors import ConfigError


def test_a_good_file(tmp_path: Path, good: str) -> None:
    """The cluster, its path, and no fault."""
    path = tmp_path / "cm.cfg"
    path.write_text(good)
    loaded = load_config(path, host_checks=False)
    assert loaded.faults == ()
    assert loaded.cluster is not None
    assert loaded.cluster is loaded.draft
    assert loaded.cluster.path == str(path)
    assert require_config(path, host_checks=False) == loaded.cluster


def test_a_file_with_errors_gives_no_cluster(tmp_path: Path, good: str) -> None:
    """require_config raises one error with every ERROR in it; warnings alone don't stop anybody."""
    path = tmp_path / "cm.cfg"
    path.write_text(
        good.replace("primary = one", "primary = x").replace("witness = 1", "witness = maybe\nodd = 1")
    )
    loaded = load_config(path, host_checks=False)
    assert loaded.cluster is None
    assert loaded.draft is not None
    with pytest.raises(ConfigError) as caught:
        require_config(path, host_checks=False)
    assert re.findall(r":(\d+): (\w+)", caught.value.what) == [("28", "ERROR"), ("32", "ERROR")]
    path.write_text(good.replace("witness = 1", "witness = 1\nodd = 1"))
    assert require_config(path, host_checks=False).node("witness").witness


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"[CM_NODE]\nnodename = a\0b\n", ":2: ERROR - a NUL byte: expected text"),
        (b"\n\0", ":2: ERROR - a NUL byte"),
        (b"\x7fELF\0\0", ":1: ERROR - a NUL byte"),
        (b"[CM_NODE]\n\n# caf\xe9\n", ":3: ERROR - byte 0xe9 is not UTF-8"),
        (b"# x\n" * (LARGEST // 4 + 1), ":1: ERROR - more than 1 MiB"),
    ],
)
def test_a_file_that_is_no_text_is_one_line(tmp_path: Path, data: bytes, told: str) -> None:
    """NULs, another encoding and a huge file are one fault each."""
    path = tmp_path / "cm.cfg"
    path.write_bytes(data)
    loaded = load_config(path)
    assert loaded.cluster is None
    assert len(loaded.faults) == 1
    assert str(loaded.faults[0]).startswith(f"{path}{told}")


def test_fifty_megabytes_are_refused_at_once(tmp_path: Path) -> None:
    """A huge file costs neither time nor memory: no more than the limit of it is read."""
    path = tmp_path / "cm.cfg"
    with path.open("wb") as file:
        file.truncate(50_000_000)
    begun = time.process_time()  # a busy machine takes long by the clock
    assert "more than 1 MiB" in str(load_config(path).faults[0])
    assert time.process_time() - begun < 1


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    """A missing file, a directory, a pipe nobody writes to, an impossible name: ConfigError, at once."""
    os.mkfifo(tmp_path / "pipe")
    for path, told in (
        (tmp_path / "none", "there is no such file"),
        (tmp_path, "found a directory"),
        (tmp_path / "pipe", "expected a file"),
        (Path("/dev/null"), "expected a file"),
        (tmp_path / ("x" * 300), "File name too long"),
        (Path("a\0b"), "null"),
    ):
        with pytest.raises(ConfigError, match=told) as caught:
            load_config(path)
        assert caught.value.cure
        assert "\n" not in caught.value.what


def test_a_missing_permission(tmp_path: Path, good: str) -> None:
    """Who may not read the file is told so in one line."""
    path = tmp_path / "cm.cfg"
    path.write_text(good)
    path.chmod(0o600)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/tmp"):
            folder.chmod(0o755)
    program = (
        "import os, sys; os.geteuid() or os.setuid(65534)\n"
        "from pathlib import Path\n"
        "from drcm.config.load import load_config\nfrom drcm.errors import ConfigError\n"
        "try: load_config(Path(sys.argv[1]))\nexcept ConfigError as error: print(error.what, error.exit_code)"
    )
    if os.geteuid() != 0:
        path.chmod(0)
    # The modules are imported first: nobody may not read /work either.
    program = "import drcm.config.load\n" + program
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.stdout == f"{path}: permission denied 77\n", done.stderr


def test_a_file_of_nothing_but_faults_is_given_up(tmp_path: Path) -> None:
    """A megabyte of misspelt keys ends with a word, not after minutes of looking for similar names."""
    path = tmp_path / "cm.cfg"
    path.write_text("[CM_SERVER]\n" + "".join(f"udport{n} = 1\n" for n in range(60_000)))
    begun = time.process_time()
    loaded = load_config(path, host_checks=False)
    assert time.process_time() - begun < 5
    assert (loaded.cluster, loaded.draft) == (None, None)
    assert any("the rest is not read" in fault.text for fault in loaded.faults)


def test_a_megabyte_of_good_lines_takes_no_time(tmp_path: Path) -> None:
    """Cross-checks stay cheap on the largest file that is read."""
    nodes = "".join(
        f"[CM_NODE]\nnodename = n{n}\nhostname = n{n}\nkeep_alive_ip = 10.1.{n}.1\n" for n in range(64)
    )
    sets = "".join(
        f"[CM_SYNC]\nname = s{n}\nprimary = n{n % 64}\nbackups = n{(n + 1) % 64}\nevery = 9s\n"
        + "".join(f"mirror = /d{n}/{m}\n" for m in range(190))
        for n in range(250)
    )
    path = tmp_path / "cm.cfg"
    path.write_text("[CM_SERVER]\ndead_node_count=20\n" + nodes + sets)
    assert 700_000 < path.stat().st_size < LARGEST
    begun = time.process_time()
    loaded = load_config(path, host_checks=False)
    assert time.process_time() - begun < 10
    assert loaded.cluster is not None
    assert len(loaded.cluster.sets) == 250


def test_more_than_drcm_is_made_for(tmp_path: Path) -> None:
    """The number of nodes is bounded, with a word."""
    path = tmp_path / "cm.cfg"
    path.write_text(
        "".join(
            f"[CM_NODE]\nnodename = n{n}\nhostname = n{n}\nkeep_alive_ip = 10.1.{n}.1\n" for n in range(65)
        )
    )
    faults = [
        str(fault) for fault in load_config(path, host_checks=False).faults if fault.severity == "ERROR"
    ]
    assert faults == [f"{path}:257: ERROR - 65 of CM_NODE: drcm is made for 64 at most; delete some"]
