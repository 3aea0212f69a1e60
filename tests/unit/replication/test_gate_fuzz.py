"""Whatever the holder of the cluster's key sends, the gate answers or refuses; nothing outside is touched.

The gate runs in this process, with a real rsync where a command line gets as far as that.
"""

from __future__ import annotations

import copy
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drcm import errors
from drcm.paths import Paths
from drcm.replication import gate, records, transitions
from drcm.replication.generation import Record, Root, to_json

RUN = "1-0a0b0c0d"
DOCUMENTED = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
RSYNC_ENDS = {12, 1, 2, 5, 20}  # of a server whose client is not there
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


class Backup:
    """A backup `beta` in the middle of a run, and beside its root what must not be touched."""

    def __init__(self, base: Path) -> None:
        self.paths = Paths(base / "cm.cfg", base / "auth", base / "state", base / "run")
        self.root, self.outside = base / "testfs", base / "outside"
        for folder in (self.root, self.outside):
            folder.mkdir()
            (folder / "file").write_text("untouched")
        mine, theirs = (Root(str(self.root), "mirror", letter * 32, 0) for letter in "ba")
        self.writer = transitions.begin_run(
            transitions.initial("testfs", "f" * 32, "alpha", (theirs,), "1" * 16), "beta", RUN
        )
        joiner = transitions.joiner("testfs", "f" * 32, "beta", (mine,))
        records.save(self.paths.sets, joiner, fresh=[str(self.root)])
        self.base = base

    def serve(self, command: str, stdin: bytes = b"{}") -> tuple[int, str, str]:
        """Exit code and what it said."""
        out, err = io.StringIO(), io.StringIO()
        streams = {"stdin": io.TextIOWrapper(io.BytesIO(stdin)), "stdout": out, "stderr": err}
        kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
        try:
            with mock.patch.multiple(sys, **streams), _NoInput():
                code = gate.serve(command, self.paths)
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)
        return code, out.getvalue(), err.getvalue()

    def begin(self) -> None:
        code, out, _ = self.serve("begin testfs", self.request(self.writer))
        assert code == 0, out

    def request(self, record: Record) -> bytes:
        return json.dumps({"record": to_json(record), "run": RUN}).encode()

    def elsewhere(self) -> dict[str, bytes | None]:
        """All that lies neither in the root nor in the gate's own state."""
        found = [path for path in self.base.rglob("*") if self.root not in (path, *path.parents)]
        mine = (self.paths.state, self.paths.run)
        return {
            str(path): path.read_bytes() if path.is_file() else None
            for path in found
            if not any(one in (path, *path.parents) for one in mine)
        }


class _NoInput:
    """rsync's own standard streams: nobody is there."""

    def __enter__(self) -> None:
        self._kept = [os.dup(number) for number in (0, 1, 2)]
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        os.close(nothing)

    def __exit__(self, *_: object) -> None:
        for number, kept in enumerate(self._kept):
            os.dup2(kept, number)
            os.close(kept)


@pytest.fixture(scope="module")
def backup() -> Iterator[Backup]:
    folder = tempfile.mkdtemp(prefix="drcm-gate-")
    made = Backup(Path(folder))
    made.begin()
    yield made
    shutil.rmtree(folder)


# -- command lines ---------------------------------------------------------------------------------

ELSEWHERE = "/OUTSIDE/evil"
WRITES_ELSEWHERE = [
    f"--log-file={ELSEWHERE}", f"--backup-dir={ELSEWHERE}", f"--temp-dir={ELSEWHERE}", "-T", "-TOUTSIDE",
    f"--partial-dir={ELSEWHERE}", f"--files-from={ELSEWHERE}", f"--write-batch={ELSEWHERE}",
    f"--only-write-batch={ELSEWHERE}", f"--read-batch={ELSEWHERE}", "-s", "--secluded-args",
    "--protect-args", "--daemon", "--config=/OUTSIDE/file", f"--rsync-path={ELSEWHERE}",
    f"--copy-dest={ELSEWHERE}", f"--link-dest={ELSEWHERE}", f"--compare-dest={ELSEWHERE}",
    "--remove-source-files", "--remove-sent-files", "--sender", "--delete", "--delete-excluded",
    "--delete-missing-args", "--delete-before", "--force", "--inplace", "--append", "--append-verify",
    "--write-devices", "--copy-devices", "--devices", "--keep-dirlinks", "-K", "-L", "-k", "-R", "--relative",
    "--insecure-links", "--old-args", "--munge-links", "--copy-unsafe-links", "--trust-sender", "--super",
    "--fake-super", "-M--log-file=/OUTSIDE/evil", "--usermap=*:root", "--chown=root", "--chmod=7777",
    "--password-file=/OUTSIDE/file", "--early-input=/OUTSIDE/file", "--exclude-from=/OUTSIDE/file",
    "--filter=. /OUTSIDE/file", "--dparam=x=y", "--sockopts=x", "--block-size=1", "--iconv=.", "--stop-at=1",
    "--suffix=x", "--mkpath", "--backup", "--", ".", "/", "", "\x00", "\ud800", "~", "$(id)", "`id`", ";id",
]  # fmt: skip
ALLOWED = [
    "--delete-delay", "--delay-updates", "--numeric-ids", "-@-1", "--timeout=60", "--log-format=%i",
    "--partial-dir .drcm-partial", "--info=NAME0,STATS2", "--fsync", "--max-delete=9", "--bwlimit=9",
]  # fmt: skip
LETTERS = st.sampled_from(
    ["-lHogDtpAXrSe.iLsfxCIvu", "-nlHogDtpAXrSe.iLsfxCIvu", "-bre.", "-s", "-", "-e.x/"]
)
PATHS = st.sampled_from(
    ["ROOT/", "ROOT", "ROOT/..", "ROOT/../outside/", "OUTSIDE/", "/", "/etc/", "ROOT/sub", "."]
)
OPTIONS = st.lists(st.sampled_from([*WRITES_ELSEWHERE, *ALLOWED]) | st.text(max_size=12), max_size=6)
HEADS = st.sampled_from(
    [f"receive testfs 0 {'1' * 16} {RUN} 1 --", f"receive testfs 0 {'1' * 16} {RUN} 999999 --",
     f"receive testfs 1 {'1' * 16} {RUN} 1 --", f"receive testfs 0 {'2' * 16} {RUN} 1 --",
     "receive ../testfs 0 1 1 1 --", "plan testfs 0 --", "plan testfs 0", "plan", "receive", "commit testfs",
     "hello", "probe testfs", "drcm-gate", "sh -c id", "rsync", ""]
)  # fmt: skip


def line(backup: Backup, head: str, letters: str, options: list[str], path: str) -> str:
    text = f"{head} rsync --server {letters} {' '.join(options)} . {path}"
    return text.replace("ROOT", str(backup.root)).replace("/OUTSIDE", str(backup.outside))


@QUICK
@given(HEADS, LETTERS, OPTIONS, PATHS)
def test_any_command(backup: Backup, head: str, letters: str, options: list[str], path: str) -> None:
    """No traceback, one of the documented exit codes or rsync's own, and nothing outside is touched."""
    before = backup.elsewhere()
    code, out, err = backup.serve(line(backup, head, letters, options, path))
    assert code in DOCUMENTED | RSYNC_ENDS, (code, out, err)
    assert "Traceback" not in err
    assert err.count("\n") <= 1
    assert backup.elsewhere() == before
    assert (backup.root / "file").read_text() == "untouched"


@pytest.mark.parametrize("option", WRITES_ELSEWHERE)
def test_each_option_that_is_not_ours(backup: Backup, option: str) -> None:
    """Each is refused by name before rsync starts, or dropped; dropping is for three that drcm-sync sends."""
    head = f"receive testfs 0 {'1' * 16} {RUN} 1 --"
    code, _, err = backup.serve(line(backup, head, "-lHogDtpAXrSe.iLsfxCIvu", [option], "ROOT/"))
    if option.partition("=")[0] in ("--backup", "--mkpath", "--backup-dir", "--temp-dir", ""):
        assert code in {*RSYNC_ENDS, errors.EXIT_PROTOCOL}
    else:
        assert code in (errors.EXIT_NO_PERMISSION, errors.EXIT_PROTOCOL), err
    assert not list(backup.outside.glob("evil*"))


# -- requests --------------------------------------------------------------------------------------

ODD = st.sampled_from(
    [None, True, -1, 1 << 80, 1.5, float("inf"), "", "x", "../../etc", "\x00", "\ud800", "a" * 5000, [], [[]],
     {}, {"id": "1"}, ["/etc"], "/etc", "1" * 16, RUN]
)  # fmt: skip
JSON = st.recursive(
    ODD | st.text(max_size=5),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=4), x, max_size=3),
    max_leaves=8,
)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places in a JSON value, those of whole lists and objects too."""
    items: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [path, *(leaf for key, one in items for leaf in leaves(one, (*path, key)))]


def changed(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    made = copy.deepcopy(document)
    within = made
    for key in place[:-1]:
        within = within[key]
    within[place[-1]] = value
    return made


@QUICK
@given(st.sampled_from(["begin", "probe", "commit", "join", "hello"]), st.data())
def test_any_request(backup: Backup, verb: str, data: st.DataObject) -> None:
    """A good request with something odd in one or two places: answered or refused, in one JSON object."""
    good = {
        **json.loads(backup.request(backup.writer)),
        **{"generation": "1" * 16, "sizes": {}, "counts": {}, "override": [], "roots": [str(backup.root)]},
        **{"node": "beta", "set_uuid": "f" * 32, "primary": "alpha", "backups": ["beta"], "rsync": False},
        **{"mirror": [str(backup.root)], "copy": []},
    }
    request = good
    for _ in range(data.draw(st.integers(1, 2))):
        request = changed(request, data.draw(st.sampled_from(leaves(request))), data.draw(JSON))
    before = backup.elsewhere()
    name = "" if verb == "hello" else " testfs"
    code, out, err = backup.serve(f"{verb}{name}", json.dumps(request).encode("utf-8", "surrogatepass"))
    assert code in DOCUMENTED, err
    assert isinstance(json.loads(out)["ok"], bool)
    assert err.count("\n") <= 1
    assert backup.elsewhere() == before
    assert records.load(backup.paths.sets, "testfs") is not None


@QUICK
@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")))
def test_any_bytes(backup: Backup, stdin: bytes) -> None:
    """What is no request at all is one clear refusal."""
    code, out, _ = backup.serve("begin testfs", stdin)
    assert code == errors.EXIT_PROTOCOL
    assert json.loads(out)["ok"] is False


def test_memory_is_bounded(backup: Backup) -> None:
    """Of an endless request no more than its limit is read; a long command is not even split."""
    endless = b'{"record": "' + b"x" * (32 << 20)
    tracemalloc.start()
    try:
        code, _, _ = backup.serve("begin testfs", endless)
        assert code == errors.EXIT_PROTOCOL
        code, _, _ = backup.serve("receive testfs " + "'" * (1 << 20))
        assert code == errors.EXIT_PROTOCOL
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


# -- what lies in the tree -------------------------------------------------------------------------


@pytest.fixture
def begun(tmp_path: Path) -> Backup:
    made = Backup(tmp_path)
    made.begin()
    return made


@pytest.mark.parametrize("name", ["tmp", "trash"])
def test_a_planted_symlink_in_our_folder(begun: Backup, name: str) -> None:
    """A sender could put a symlink where rsync's temporary or old files go: it is not followed."""
    shutil.rmtree(begun.root / ".drcm" / name)
    (begun.root / ".drcm" / name).symlink_to(begun.outside)
    head = f"receive testfs 0 {'1' * 16} {RUN} 1 --"
    code, _, err = begun.serve(line(begun, head, "-lHogDtpAXrSe.iLsfxCIvu", [], "ROOT/"))
    assert code == errors.EXIT_NO_PERMISSION
    assert "not a directory of drcm's own" in err
    assert sorted(os.listdir(begun.outside)) == ["file"]


@pytest.mark.parametrize("how", ["symlink", "foreign", "writable"])
def test_our_folder_is_not_ours(begun: Backup, how: str) -> None:
    """Who may write to the root can put another .drcm there: refused before anything in it is believed."""
    own, real = begun.root / ".drcm", begun.root / "x"
    if how == "symlink":
        own.rename(real)
        own.symlink_to(real)
    elif how == "foreign":
        os.chown(own, 12345, 12345)
    else:
        own.chmod(0o777)
    head = f"receive testfs 0 {'1' * 16} {RUN} 1 --"
    code, _, err = begun.serve(line(begun, head, "-lHogDtpAXrSe.iLsfxCIvu", [], "ROOT/"))
    assert code in (errors.EXIT_NO_INPUT, errors.EXIT_FAILED)
    assert "expected drcm's own folder" in err


def test_a_root_that_leads_elsewhere(begun: Backup) -> None:
    """The root has become a symlink to another directory: what lies there is not the set's."""
    begun.root.rename(begun.root.with_name("moved"))
    begun.root.symlink_to(begun.outside)
    code, _, err = begun.serve(
        line(begun, f"receive testfs 0 {'1' * 16} {RUN} 1 --", "-lHogDtpAXrSe.iLsfxCIvu", [], "ROOT/")
    )
    assert code == errors.EXIT_NO_INPUT
    assert "expected the marker" in err


def test_ids_never_become_paths(begun: Backup) -> None:
    """A generation's id goes into names of folders: one with a slash is no id."""
    document = json.loads(begun.request(begun.writer))
    document["record"]["chain"][0]["id"] = document["record"]["pos"]["id"] = "../../outside/evil"
    code, _, _ = begun.serve("begin testfs", json.dumps(document).encode())
    assert code == errors.EXIT_PROTOCOL


def test_a_sender_that_hangs_is_cut_off(begun: Backup) -> None:
    """Without a --timeout of the sender's the gate's own is given: nobody holds the lock for ever."""
    spy = begun.base / "rsync"
    spy.write_text('#!/bin/sh\necho "$@" > "$(dirname "$0")/words"\n')
    spy.chmod(0o755)
    with mock.patch.dict(os.environ, PATH=f"{begun.base}:{os.environ['PATH']}"):
        head = f"receive testfs 0 {'1' * 16} {RUN} 1 --"
        code, _, _ = begun.serve(line(begun, head, "-lHogDtpAXrSe.iLsfxCIvu", [], "ROOT/"))
    assert code == 0
    assert "--timeout=60" in (begun.base / "words").read_text()


def test_a_full_disk_is_one_line(begun: Backup) -> None:
    """No room for the gate's own notes: exit 74, in one line."""
    disk = begun.paths.state / "receiving"
    shutil.rmtree(disk)
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=1", "drcm-test", disk], check=True)
    try:
        code, out, err = begun.serve("begin testfs", begun.request(begun.writer))
    finally:
        subprocess.run(["umount", disk], check=True)
    assert (code, err.count("\n")) == (errors.EXIT_IO, 1)
    assert json.loads(out)["ok"] is False
    assert begun.serve("begin testfs", begun.request(begun.writer))[0] == 0
