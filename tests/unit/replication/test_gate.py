"""drcm-gate as sshd starts it: what it refuses, in one line, with an exit code of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from drcm import errors
from drcm.paths import Paths, paths
from drcm.replication import records, transitions
from drcm.replication.gaterequest import WHY
from drcm.replication.generation import DECIDED, Record, Root, to_json
from drcm.replication.verdict import judge

GATE = str(Path(sys.executable).parent / "drcm-gate")
RUN = "1-0a0b0c0d"
SERVER = "rsync --server -lHogDtpAXrSe.iLsfxCIvu --delete-delay --numeric-ids . {path}/"


class Backup:
    """A backup node with one root, its record, and the record of the writer `alpha`."""

    def __init__(self, folder: Path, mode: str = "mirror") -> None:
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "DRCM_STATE_DIR": str(folder / "state"),
            "DRCM_RUN_DIR": str(folder / "run"),
            "DRCM_AUTH_DIR": str(folder / "auth"),
        }
        self.root = folder / "testfs"
        self.root.mkdir()
        here, there = self.root_of("b" * 32, mode), self.root_of("a" * 32, mode)
        writer = transitions.initial("testfs", "f" * 32, "alpha", (there,), "1" * 16)
        self.writer = transitions.begin_run(writer, "beta", RUN)
        joiner = transitions.joiner("testfs", "f" * 32, "beta", (here,))
        records.save(self.paths.sets, joiner, fresh=[str(self.root)])

    def root_of(self, uuid: str, mode: str) -> Root:
        return Root(str(self.root), mode, uuid, os.stat(self.root).st_dev)

    @property
    def paths(self) -> Paths:
        return paths(self.environ)

    @property
    def record(self) -> Record:
        record = records.load(self.paths.sets, "testfs")
        assert record is not None
        return record

    def ask(self, command: str, stdin: bytes = b"{}") -> subprocess.CompletedProcess[bytes]:
        environ = {**self.environ, "SSH_ORIGINAL_COMMAND": command}
        return subprocess.run([GATE], env=environ, input=stdin, capture_output=True, timeout=30, check=False)

    def call(self, verb: str, request: object = None) -> dict[str, Any]:
        answer = json.loads(self.ask(f"drcm-gate {verb}", json.dumps(request or {}).encode()).stdout)
        assert isinstance(answer, dict)
        return answer

    def begin(self, writer: Record | None = None, run: str = RUN) -> dict[str, Any]:
        return self.call("begin testfs", {"record": to_json(writer or self.writer), "run": run})

    def receive(
        self, run: str = RUN, attempt: str = "1", server: str = SERVER
    ) -> subprocess.CompletedProcess[bytes]:
        line = server.format(path=self.root)
        return self.ask(f"receive testfs 0 {self.writer.head.id} {run} {attempt} -- {line}", b"")


@pytest.fixture
def backup(tmp_path: Path) -> Backup:
    return Backup(tmp_path)


@pytest.mark.parametrize(
    "command",
    [
        "",
        "id",
        "/bin/sh -c id",
        "probe testfs; id",
        "probe ../../etc/passwd",
        "probe ..",
        "probe /etc",
        "probe",
        "probe testfs extra",
        "probe 'test\nfs'",
        "probe $(id)",
        "probe " + "a" * 65,
        "drcm-gate drcm-gate probe testfs",
        "begin 'unfinished",
        "receive",
        "receive testfs 0 g 1-00000000 1 rsync --server",
        "plan testfs 0",
        "\x00\x1b[2J",
        "scp -t /etc",
        "internal-sftp",
    ],
)
def test_a_strange_command_is_one_clear_line(backup: Backup, command: str) -> None:
    """No shell, no traceback, nothing written: one line on standard error and exit 76."""
    environ = {**backup.environ, "SSH_ORIGINAL_COMMAND": command.replace("\x00", "\x01")}
    before = sorted(backup.root.rglob("*"))
    done = subprocess.run([GATE], env=environ, input=b"{}", capture_output=True, timeout=30, check=False)
    assert done.returncode == errors.EXIT_PROTOCOL
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"drcm-gate: refused (76): ")
    assert b"uid=" not in done.stdout + done.stderr
    assert sorted(backup.root.rglob("*")) == before


@pytest.mark.parametrize(
    "stdin",
    [
        b"[" * 100_000,
        b"\xff\xfe",
        b"[]",
        b'"x"',
        b"{" * 10,
        b" " * (1 << 20) + b"{}",
        b'{"record": {}}',
        b'{"record": {"schema": 2}}',
        b'{"record": []}',
        b'{"record": {"schema": 1, "chain": 5}}',
        b'{"record": null, "run": "1-00000000"}',
    ],
)
def test_a_malformed_request_is_one_clear_line(backup: Backup, stdin: bytes) -> None:
    """Deep nesting, no JSON, more than 1 MiB, half a record: exit 76 and an unchanged record."""
    before = backup.record
    done = backup.ask("begin testfs", stdin)
    assert done.returncode == errors.EXIT_PROTOCOL
    assert done.stderr.count(b"\n") == 1
    assert json.loads(done.stdout)["ok"] is False
    assert backup.record == before


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("chain", 0, "id"), 5),
        (("chain", 0, "n"), "1"),
        (("chain",), []),
        (("given", "beta", "begun"), 7),
        (("pos",), {"id": None, "run": ""}),
        (("name",), "other"),
        (("node",), ["alpha"]),
    ],
)
def test_a_record_of_wrong_types_is_refused(
    backup: Backup, path: tuple[str | int, ...], value: object
) -> None:
    """A writer's record is checked field by field before it is judged."""
    record = json.loads(json.dumps(to_json(backup.writer)))
    inner = record
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    answer = backup.call("begin testfs", {"record": record, "run": RUN})
    assert answer["ok"] is False
    assert backup.record.applying is None


def test_probe_says_what_is_here(backup: Backup) -> None:
    """Record, roots, rsync and the node's name, for a set that began here and one that did not."""
    known = backup.call("probe testfs")
    assert known["ok"] is True
    assert known["node"] == "beta"
    assert known["record"]["set_uuid"] == "f" * 32
    assert "rsync  version" in known["rsync"]
    unknown = backup.call("probe other", {"roots": [str(backup.root)]})
    assert unknown["record"] is None
    assert unknown["roots"][0]["is_dir"] is True


def test_begin_marks_the_run_durably(backup: Backup) -> None:
    """After begin the record says which run is being applied, and the chain is the writer's."""
    answer = backup.begin()
    assert (answer["ok"], answer["kind"], answer["attempt"]) == (True, "joining", 1)
    applying = backup.record.applying
    assert applying is not None
    assert (applying.id, applying.run) == (backup.writer.head.id, RUN)


def test_begin_of_another_set_is_refused(backup: Backup) -> None:
    """Another set's uuid under the same name is row 1."""
    answer = backup.begin(transitions.replace(backup.writer, set_uuid="e" * 32))
    assert answer["ok"] is False
    assert "another set" in answer["error"]
    assert backup.record.applying is None


def test_a_stale_writer_is_refused(backup: Backup) -> None:
    """Row 7: this node knows a newer generation, so the old writer gets exit 6 and changes nothing."""
    backup.begin()
    tree = transitions.receive_commit(backup.record, RUN)
    promoted = transitions.start(transitions.promote(tree, tree.newest, "2" * 16))
    records.save(backup.paths.sets, promoted)
    before = backup.record
    again = transitions.begin_run(transitions.complete_run(backup.writer, "beta", RUN), "beta", "2-00000000")
    done = backup.ask("begin testfs", json.dumps({"record": to_json(again), "run": "2-00000000"}).encode())
    assert done.returncode == errors.EXIT_WRONG_ROLE
    assert "stale" in json.loads(done.stdout)["error"]
    assert backup.record == before


def test_receive_wants_the_run_that_was_begun(backup: Backup) -> None:
    """Nothing begun, another run, another generation: exit 6, and rsync is not started."""
    assert backup.receive().returncode == errors.EXIT_WRONG_ROLE
    backup.begin()
    assert backup.receive(run="9-00000000").returncode == errors.EXIT_WRONG_ROLE
    other = SERVER.format(path=backup.root)
    done = backup.ask(f"receive testfs 0 {'9' * 16} {RUN} 1 -- {other}", b"")
    assert done.returncode == errors.EXIT_WRONG_ROLE


def test_a_promotion_between_begin_and_receive_ends_it(backup: Backup) -> None:
    """HISTORIES R7: the record is read under the lock; a run begun before a promotion gets nowhere.

    The promoted generation has not started yet, so the run in whose middle it was is still noted.
    """
    backup.begin()
    records.save(backup.paths.sets, transitions.receive_commit(backup.record, RUN))
    alpha = transitions.complete_run(backup.writer, "beta", RUN)
    backup.begin(transitions.begin_run(alpha, "beta", "2-00000000"), "2-00000000")
    tree = backup.record
    records.save(backup.paths.sets, transitions.promote(tree, tree.newest, "2" * 16))
    applying = backup.record.applying
    assert applying is not None
    assert applying.run == "2-00000000"
    done = backup.receive("2-00000000")
    assert done.returncode == errors.EXIT_WRONG_ROLE
    assert b"drcm-gate: refused (6)" in done.stderr
    commit = backup.call("commit testfs", {"generation": backup.writer.head.id, "run": "2-00000000"})
    assert commit["ok"] is False


@pytest.mark.parametrize(
    ("server", "code"),
    [
        ("rsync --server --sender -lre.i . {path}/", errors.EXIT_NO_PERMISSION),
        ("rsync --server -lre.i . /etc/", errors.EXIT_NO_PERMISSION),
        ("rsync --server -lre.i . {path}/sub/", errors.EXIT_NO_PERMISSION),
        ("rsync --server -lre.i . {path}/../testfs/", errors.EXIT_NO_PERMISSION),
        ("rsync --server -nlre.i . {path}/", errors.EXIT_NO_PERMISSION),
        ("rsync --server -lre.i --delete-delay . {path}/", errors.EXIT_NO_PERMISSION),
        ("rsync --server -lre.i --log-file=/etc/x . {path}/", errors.EXIT_NO_PERMISSION),
    ],
)
def test_receive_refuses_what_is_not_the_sets(backup: Backup, server: str, code: int) -> None:
    """Sender mode, other paths, a dry run, deletions on a first run (as the joiner is), foreign options."""
    backup.begin()
    assert backup.receive(server=server).returncode == code


def test_receive_refuses_a_backup_folder_that_exists(backup: Backup) -> None:
    """HISTORIES R4: an attempt has its own folder; begin names the first free number."""
    backup.begin()
    trash = backup.root / ".drcm" / "trash"
    (trash / f"1-{RUN}-1").mkdir(parents=True)
    done = backup.receive(server=SERVER.replace("--delete-delay ", ""))
    assert done.returncode == errors.EXIT_PROTOCOL
    assert backup.begin()["attempt"] == 2


def test_a_copy_is_never_deleted_from(tmp_path: Path) -> None:
    """A root in mode copy refuses every deleting option, whatever the verdict."""
    backup = Backup(tmp_path, "copy")
    backup.begin()
    done = backup.receive()
    assert done.returncode == errors.EXIT_NO_PERMISSION


def test_commit_wants_every_root_whole(backup: Backup) -> None:
    """A run whose rsync did not end well is not committed; neither is one that was not begun."""
    request = {"generation": backup.writer.head.id, "run": RUN}
    assert backup.call("commit testfs", request)["ok"] is False
    backup.begin()
    answer = backup.call("commit testfs", request)
    assert answer["ok"] is False
    assert "not whole" in answer["error"]
    assert backup.record.pos is None


def test_a_locked_set_is_refused_at_once(backup: Backup) -> None:
    """While something else holds the set's lock, begin and receive end with 75."""
    backup.begin()
    with records.lock(backup.paths.sets, "testfs", "a test"):
        assert backup.ask("begin testfs", json.dumps({"record": to_json(backup.writer), "run": RUN}).encode()
                          ).returncode == errors.EXIT_LOCKED  # fmt: skip
        assert backup.receive(server=SERVER.replace("--delete-delay ", "")).returncode == errors.EXIT_LOCKED


def test_join_needs_an_empty_root(tmp_path: Path) -> None:
    """An empty directory joins; one with files is refused and --adopt is named."""
    backup = Backup(tmp_path)
    root = tmp_path / "other"
    root.mkdir()
    (root / "mine").write_text("x")
    request = {
        "node": "beta",
        "set_uuid": "d" * 32,
        "primary": "alpha",
        "backups": ["beta"],
        "mirror": [str(root)],
    }
    refused = backup.call("join other", request)
    assert refused["ok"] is False
    assert "--adopt" in refused["cure"]
    assert backup.call("join other", {**request, "adopt": True})["ok"] is True
    assert (root / "mine").exists()


def test_the_gate_starts_quickly_and_imports_no_library() -> None:
    """Standard library and drcm alone: no paramiko, sh, rich, msgspec in what it imports."""
    code = (
        "import sys, drcm.replication.gate, drcm.replication.verdict, drcm.replication.transitions, "
        "drcm.replication.guards, drcm.replication.beginning; "
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    third_party = {"paramiko", "sh", "rich", "msgspec", "apscheduler", "cryptography", "cronsim", "asyncio"}
    assert not third_party & set(done.stdout.split())


def test_without_sshd_it_says_what_it_is(tmp_path: Path) -> None:
    """Typed by hand it explains itself and does nothing."""
    done = subprocess.run(
        [GATE], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False
    )
    assert done.returncode == errors.EXIT_PROTOCOL
    assert "drcm-sync(8)" in done.stderr


def test_files_held_back_by_a_dead_writers_run_are_kept(backup: Backup) -> None:
    """HISTORIES R6: before another writer's first run .drcm-partial goes to conflicts, which never expire."""
    backup.begin()
    complete = transitions.receive_commit(backup.record, RUN)
    records.save(backup.paths.sets, complete)
    alpha = transitions.complete_run(backup.writer, "beta", RUN)
    alpha = transitions.begin_run(transitions.begin_run(alpha, "beta", "2-00000000"), "gamma", "3-00000000")
    backup.begin(alpha, "2-00000000")
    held = backup.root / "sub" / ".drcm-partial"
    held.mkdir(parents=True)
    (held / "newest").write_text("only copy")
    joiner = transitions.joiner("testfs", "f" * 32, "gamma", (backup.root_of("c" * 32, "mirror"),))
    joining = judge(alpha, joiner)
    gamma = transitions.receive_commit(
        transitions.receive_begin(joiner, alpha, "3-00000000", joining), "3-00000000"
    )
    gamma = transitions.start(transitions.promote(gamma, gamma.newest, "2" * 16))
    answer = backup.begin(transitions.begin_run(gamma, "beta", "1-11111111"), "1-11111111")
    assert (answer["ok"], answer["kind"]) == (True, "ahead"), answer
    kept = [path for path in (backup.root / ".drcm" / "conflicts").rglob("newest") if path.is_file()]
    assert [path.read_text() for path in kept] == ["only copy"]
    assert not list(backup.root.rglob(".drcm-partial/newest"))


def test_every_reason_of_a_generation_may_be_sent() -> None:
    """What a node makes, another one's gate must be able to read."""
    reasons = ("init", "promote", "alone", "handover", "heard", *DECIDED)
    assert all(WHY.fullmatch(reason) for reason in reasons)
