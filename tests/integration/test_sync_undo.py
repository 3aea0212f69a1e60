"""What is kept of a run, looked at and brought back: --history, --show, --undo, --conflicts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from loopback import BIN, Node, World, files, good, record_of, report, save

from drcm import errors
from drcm.replication import transitions
from drcm.replication.generation import replace

ODD = "odd [name]*?\\ with\nnewline"


@pytest.fixture
def pair(world: World) -> tuple[Node, Node]:
    """alpha and beta, the set begun and run once."""
    alpha, beta = world.nodes.values()
    for name in ("changed", "deleted", "stays", ODD):
        (alpha.tree / name).write_text(f"old {name}")
    (alpha.tree / "folder" / "deep").mkdir(parents=True)
    (alpha.tree / "folder" / "deep" / "gone").write_text("old gone")
    (alpha.tree / "folder").chmod(0o750)
    (alpha.tree / "link").symlink_to("stays")
    good(alpha, "--init")
    good(alpha)
    return alpha, beta


def accident(alpha: Node) -> str:
    """A run that carries much over; its id."""
    (alpha.tree / "changed").write_text("a mistake")
    (alpha.tree / "deleted").unlink()
    (alpha.tree / ODD).unlink()
    (alpha.tree / "link").unlink()
    (alpha.tree / "folder" / "deep" / "gone").unlink()
    (alpha.tree / "folder" / "deep").rmdir()
    (alpha.tree / "folder").rmdir()
    (alpha.tree / "folder").write_text("a file now")
    (alpha.tree / "new").write_text("created")
    return str(report(alpha)["run"])


def told(node: Node, *arguments: str) -> dict[str, Any]:
    done = node.sync("testfs", "--json", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    return document


def stamp(node: Node) -> dict[str, tuple[int, int]]:
    """What any write to a tree or to what it keeps would change; a record may be saved meanwhile."""
    paths = [path for path in node.tree.rglob("*") if path.name not in (".drcm", "set.json")]
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_ino) for path in paths}


def test_an_accident_is_undone_and_the_next_run_carries_it_over(pair: tuple[Node, Node]) -> None:
    """All that the run replaced and deleted is back; what that displaced is kept; both nodes are equal."""
    alpha, beta = pair
    before = files(alpha)
    run = accident(alpha)
    after = files(alpha)
    done = told(alpha, "--undo", run)
    back = files(alpha)
    assert back == {**before, "new": "created"}
    assert (alpha.tree / "link").readlink() == Path("stays")
    assert (alpha.tree / "folder").stat().st_mode & 0o777 == 0o750
    kept = alpha.tree / done["kept_in"]
    assert {(kept / name).read_text() for name in ("changed", "folder")} == {"a mistake", "a file now"}
    assert report(alpha)["exit_code"] == 0
    assert files(beta) == back
    assert (beta.tree / "link").is_symlink()
    good(alpha, "--undo", Path(done["kept_in"]).name)  # and an undo is undone
    assert files(alpha)["changed"] == after["changed"]
    assert files(alpha)["folder"] == "a file now"


def test_single_paths_and_a_dry_run(pair: tuple[Node, Node]) -> None:
    """A dry run changes nothing on either side; named paths come back, and no others."""
    alpha, beta = pair
    run = accident(alpha)
    before = stamp(alpha), stamp(beta)
    said = good(alpha, "--undo", run, "--dry-run")
    assert "comes back" in said
    assert "replaces what is there" in said
    assert (stamp(alpha), stamp(beta)) == before
    good(alpha, "--undo", run, ODD, f"{alpha.root}/deleted")
    now = files(alpha)
    assert (now[ODD], now["deleted"], now["changed"]) == (f"old {ODD}", "old deleted", "a mistake")
    assert (alpha.tree / "folder").is_file()
    outside = alpha.sync("testfs", "--undo", run, "/etc/passwd")
    assert outside.returncode == errors.EXIT_USAGE
    assert alpha.sync("testfs", "--undo", run, "stays").returncode == errors.EXIT_NO_INPUT


def test_what_the_run_created_goes_only_if_asked(pair: tuple[Node, Node]) -> None:
    """--created takes it away and keeps it; also for a run that replaced nothing."""
    alpha, _ = pair
    run = accident(alpha)
    done = told(alpha, "--undo", run, "--created")
    assert "new" not in files(alpha)
    assert (alpha.tree / done["kept_in"] / "new").read_text() == "created"
    good(alpha)
    (alpha.tree / "newer").write_text("created")
    second = str(report(alpha)["run"])
    good(alpha, "--undo", second, "--created")
    assert "newer" not in files(alpha)


def test_history_and_show(pair: tuple[Node, Node]) -> None:
    """Each run with its counts and whether its trash is there; one run's names with their old versions."""
    alpha, beta = pair
    run = accident(alpha)
    first, second = reversed(told(alpha, "--history")["runs"])
    assert (first["kept"], second["kept"], second["run"]) == ("nothing replaced", "trash", run)
    assert (second["source"], second["target"], second["generation"]) == ("alpha", "beta", 1)
    names = {(one["what"], one["name"]) for one in told(alpha, "--show", run.split("-")[0])["names"]}
    assert {("created", "new"), ("replaced", "changed"), ("deleted", "deleted"), ("deleted", ODD)} <= names
    shown = good(alpha, "--show", run)
    assert "odd [name]*?\\ with\\nnewline" in shown
    assert told(beta, "--history")["runs"][0]["run"] == run, "the receiver tells of it by its trash"
    shutil.rmtree(beta.tree / ".drcm" / "trash" / f"1-{run}-1")
    assert told(alpha, "--history")["runs"][0]["kept"] == "gone"
    gone = alpha.sync("testfs", "--undo", run)
    assert gone.returncode == errors.EXIT_NO_INPUT
    assert "--history" in gone.stderr


def test_a_planted_link_leads_nowhere(pair: tuple[Node, Node], tmp_path: Path) -> None:
    """No link in the tree or at .drcm/trash makes undo write, or the gate read, outside the root."""
    alpha, beta = pair
    run = accident(alpha)
    outside = tmp_path / "outside"
    outside.mkdir()
    (alpha.tree / "folder").unlink()
    (alpha.tree / "folder").symlink_to(outside)
    good(alpha, "--undo", run)
    assert (alpha.tree / "folder" / "deep" / "gone").read_text() == "old gone"
    assert not (alpha.tree / "folder").is_symlink()
    assert list(outside.iterdir()) == []
    trash = beta.tree / ".drcm" / "trash"
    trash.rename(outside / "moved")
    trash.symlink_to(outside / "moved")
    assert alpha.sync("testfs", "--undo", run).returncode == errors.EXIT_NO_INPUT


NEVER = (
    "0 trash {label} -- rsync --server --sender -lHogDtpArRxe.LsfxCIvu . /etc/",
    "0 trash {label} -- rsync --server --sender -lLHogDtpAXrSe.LsfxCIvu . /etc/",
    "0 trash {label} -- rsync --server -lHogDtpAXrSe.LsfxCIvu . /etc/",
    "0 trash {label} -- rsync --server --sender -re.L --remove-source-files . /etc/",
    "0 trash {label} -- rsync --server --sender -re.L --files-from=- . /etc/",
    "0 trash .. -- rsync --server --sender -re.LsfxCIvu . /etc/",
    "0 tmp {label} -- rsync --server --sender -re.LsfxCIvu . /etc/",
    "9 trash {label} -- rsync --server --sender -re.LsfxCIvu . /etc/",
    "0 trash {label}/../.. -- rsync --server --sender -re.LsfxCIvu . /etc/",
)


def test_the_gate_sends_nothing_else(pair: tuple[Node, Node]) -> None:
    """Other options, kinds, roots and names are refused; the path is the gate's own whatever is asked."""
    alpha, beta = pair
    run = accident(alpha)
    refusals = (errors.EXIT_NO_PERMISSION, errors.EXIT_PROTOCOL, errors.EXIT_NO_INPUT)
    for words in NEVER:
        command = f"fetch testfs {words.format(label=f'1-{run}-1')}"
        done = beta.run("env", f"SSH_ORIGINAL_COMMAND={command}", str(BIN / "drcm-gate"))
        assert (done.returncode in refusals, done.stdout) == (True, ""), command
        assert "refused" in done.stderr, command


def test_conflicts_are_listed_brought_back_and_forgotten(pair: tuple[Node, Node]) -> None:
    """What beta never sent is in the list with the metadata that it had, comes back on the writer, and goes
    only by its id."""
    alpha, beta = pair
    save(beta, replace(record_of(beta), beyond=True))
    (beta.tree / "link").unlink()
    (beta.tree / "changed").chmod(0o640)
    (beta.tree / "stays").write_text("beta's own")
    (beta.tree / "unsent").write_text("unsent")
    assert report(alpha)["verdict"] == "ahead"
    (found,) = told(alpha, "--conflicts")["conflicts"]
    assert (found["node"], found["files"]) == ("beta", 2)
    place = beta.tree / ".drcm" / "conflicts" / f"{found['id'].split(':')[1]}.manifest"
    noted = {one["name"]: one["mode"] for one in map(json.loads, place.read_text().splitlines())}
    assert noted == {"changed": "0640", "stays": "0644", "unsent": "0644"}, "modes before the pass (R24)"
    assert found["metadata"] == 3
    assert "never sent" in good(alpha, "--conflicts")
    good(alpha, "--undo", found["id"], "unsent")
    assert files(alpha)["unsent"] == "unsent"
    assert files(alpha)["stays"] == "old stays"
    elsewhere = alpha.sync("testfs", "--conflicts", "--forget", found["id"])
    assert elsewhere.returncode == errors.EXIT_WRONG_ROLE
    assert f"On beta: drcm-sync testfs --conflicts --forget {found['id']}" in elsewhere.stderr
    good(beta, "--conflicts", "--forget", found["id"])
    assert told(alpha, "--conflicts")["conflicts"] == []
    assert [path.name for path in (beta.tree / ".drcm" / "conflicts").iterdir()] == []


def test_a_node_that_is_down_is_named(pair: tuple[Node, Node]) -> None:
    """The lists say whom they could not ask; an undo that finds nothing says so too."""
    alpha, beta = pair
    run = accident(alpha)
    beta.stop_sshd()
    done = alpha.sync("testfs", "--history")
    assert done.returncode == 0
    assert "beta was not asked" in done.stderr
    assert "not asked" in done.stdout
    undo = alpha.sync("testfs", "--undo", run)
    assert "beta could not be asked" in undo.stderr


def test_only_the_writer_undoes(pair: tuple[Node, Node]) -> None:
    """On a replica the next run would revert it (HISTORIES R30); who was overtaken is none any more."""
    alpha, beta = pair
    run = accident(alpha)
    before = stamp(alpha), stamp(beta)
    replica = beta.sync("testfs", "--undo", run)
    assert replica.returncode == errors.EXIT_WRONG_ROLE
    assert "on the writer" in replica.stderr
    heard = transitions.promote(record_of(beta), record_of(beta).newest, "2" * 16).head
    save(alpha, transitions.hear(record_of(alpha), replace(heard, started=True)))
    assert alpha.sync("testfs", "--undo", run).returncode == errors.EXIT_WRONG_ROLE
    assert (stamp(alpha), stamp(beta)) == before
