"""Where a run that is received keeps what it replaces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from set_histories import record

from drcm.replication import receiving
from drcm.replication.generation import Root


def test_all_that_a_run_kept_is_told_under_whichever_number_it_went_on(tmp_path: Path) -> None:
    """The first attempts of a run may have had an earlier number; other runs' folders are none of its own."""
    folder = tmp_path / ".drcm" / "conflicts"
    own, others = (
        ("2-1-aaaaaaaa-1", "2-3-aaaaaaaa-1"),
        ("2-3-bbbbbbbb-1", "12-3-aaaaaaaa-1", "2-aaaaaaaa-held-back"),
    )
    for label in (*own, *others):
        (folder / label).mkdir(parents=True)
        (folder / label / "file").touch()
        (folder / f"{label}.manifest").touch()
    tree = replace(record("B"), roots=(Root(str(tmp_path), "mirror", "root-B", 1),))
    run = receiving.Receiving("g2", 2, "3-aaaaaaaa", 2, ahead=True, deletes=True)
    assert receiving.kept_names(tree, run) == [str(folder / label / "file") for label in own]
    assert receiving.labels(tree, run) == set(own)
    assert receiving.manifests(str(tmp_path), run) == [folder / f"{label}.manifest" for label in own]
