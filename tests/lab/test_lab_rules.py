"""The rules that every test run keeps (tests/conftest.py, tools/bootstrap.sh)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.host import REPOSITORY

SKIPPING = "import pytest\ndef test_good(): pass\ndef test_skipped(): pytest.skip('no such program')\n"
SKIPPED_MODULE = "import pytest\npytest.skip('no such module', allow_module_level=True)\n"


@pytest.mark.parametrize(
    ("text", "status"), [("def test_good(): pass\n", 0), (SKIPPING, 1), (SKIPPED_MODULE, 1), ("", 5)]
)
def test_a_skip_or_nothing_to_run_fails(tmp_path: Path, text: str, status: int) -> None:
    """A run with a skipped test or module, or without any test, does not pass."""
    (tmp_path / "test_it.py").write_text("def test_first(): pass\n" if text == SKIPPED_MODULE else "")
    (tmp_path / "test_more.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", f"--rootdir={tmp_path}", tmp_path],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout
    assert ("no test of drcm may be skipped" in done.stdout) is (status == 1)
