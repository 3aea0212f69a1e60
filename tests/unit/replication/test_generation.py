"""What a record says of itself, and that JSON keeps it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from set_histories import at, generation, record, writing

from drcm.replication.generation import Given, Root, from_json, replace, run_number, settled, to_json

G5 = generation(5)


def test_round_trip() -> None:
    """Every field comes back from JSON as it was."""
    full = record(
        "A",
        generation(6, "A", at("g5", "40-aa"), merged=("gx",)),
        G5,
        pos=at("g6", "2-bb"),
        applying=at("g5", "41-aa"),
        roots=(Root("/testfs", "mirror", "u", 3, ("data",), "/testfs", 10, 20),),
        given={"B": Given("3-cc", "2-bb")},
        failback="B",
        giving="B",
        serial=7,
        doubt="why",
        beyond=True,
    )
    assert from_json(json.loads(json.dumps(to_json(full)))) == full


@pytest.mark.parametrize("run", ["x", "-1", "1 ", "1-a;b", "\u0661", "1-"])
def test_odd_runs_are_refused(run: str) -> None:
    """A run id from another node is checked: it goes into names of folders and into comparisons."""
    value = to_json(replace(writing(G5), pos=at("g5", run)))
    with pytest.raises(ValueError, match="not the id of a run"):
        from_json(value)


def test_unknown_schema() -> None:
    """A record of a later drcm is not guessed at."""
    with pytest.raises(ValueError, match="schema"):
        from_json({**to_json(writing(G5)), "schema": 2})


def test_sole() -> None:
    """Sole is a writer of whose generation no other was ever given a run, complete or not (R12)."""
    assert writing(G5, given={}).is_sole
    assert not writing(G5, given={"B": Given("1-aa", "")}).is_sole
    assert not record("B", G5, pos=at("g5", "1-aa")).is_sole


def test_doubt_is_no_writer() -> None:
    """A record in doubt never names its node the writer."""
    assert writing(G5).is_writer
    assert not replace(writing(G5), doubt="restored").is_writer


def test_settled() -> None:
    """A node's own generation that never started counts as its origin; a started one stands."""
    vain = generation(6, "B", at("g5", "40-aa"), started=False)
    assert settled(record("B", vain, G5), at("g6")) == at("g5", "40-aa")
    assert settled(record("B", replace(vain, started=True), G5), at("g6")) == at("g6")
    assert settled(record("C", vain, G5), at("g6")) == at("g6")
    loop = replace(vain, origin=at("g6"))
    assert settled(record("B", loop), at("g6")) == at("g6")
    assert settled(record("B", G5), None) is None


def test_run_number() -> None:
    """The number counts, the tag tells two of one number apart."""
    assert [run_number(run) for run in ("", "0", "40-1a2b3c4d")] == [0, 0, 40]


def test_gate_side_imports_standard_library_only() -> None:
    """What drcm-gate needs starts in milliseconds: nothing but the standard library is loaded."""
    program = (
        "import sys; before = set(sys.modules)\n"
        "import drcm.replication.verdict, drcm.replication.transitions, drcm.replication.records\n"
        "tops = {name.split('.')[0] for name in set(sys.modules) - before} - {'drcm'}\n"
        "print(sorted(tops - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
