"""pre_sync and post_sync: real commands round a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from drcm.config.model import Cluster, Server, SyncSet
from drcm.errors import DrcmError
from drcm.paths import Paths
from drcm.replication.hooks import around
from drcm.replication.job import Job


def job(folder: Path, pre: str = "", post: str = "", **more: bool) -> Job:
    sync_set = SyncSet("testfs", "A", ("B",), mirror=("/t",), pre_sync=pre, post_sync=post)
    return Job(Cluster(Server(), (), ()), sync_set, Paths(folder, folder, folder, folder), "A", **more)


def test_before_and_after(tmp_path: Path) -> None:
    """Both run, in order, and a quoted argument is one: no shell sees it."""
    name = "a b; touch evil"
    with around(job(tmp_path, f"touch '{tmp_path}/{name}'", f"rm '{tmp_path}/{name}'")):
        assert [path.name for path in tmp_path.iterdir()] == [name]
    assert list(tmp_path.iterdir()) == []


def test_after_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """post_sync undoes what pre_sync did, whatever happened; its own failure hides nothing."""
    with pytest.raises(ZeroDivisionError), around(job(tmp_path, "", f"touch {tmp_path}/after")):
        raise ZeroDivisionError
    assert (tmp_path / "after").exists()
    with around(job(tmp_path, "", "false")):
        pass
    assert "post_sync 'false': expected it to end with 0, it ended with 1" in capsys.readouterr().err


def test_pre_sync_fails(tmp_path: Path) -> None:
    """Nothing is synced, and the command is named with what it said; post_sync runs."""
    told = job(tmp_path, "ls /nonexistent", f"touch {tmp_path}/after")
    with pytest.raises(DrcmError, match=r"pre_sync 'ls /nonexistent'.*No such file"), around(told):
        raise AssertionError("the run")
    assert (tmp_path / "after").exists()


@pytest.mark.parametrize("how", ["dry_run", "hand_over"])
def test_not_run(tmp_path: Path, how: str) -> None:
    """A dry run changes nothing; at the last pass of a hand-over the services are stopped already."""
    with around(job(tmp_path, "false", "false", **{how: True})):
        pass
