"""Two or more drcm nodes on one machine: private state folders and a real sshd each, on 127.0.0.N.

All listen on one port, as a cluster's sshds do. The forced command in a node's authorized_keys sets
DRCM_STATE_DIR and its kin, so each sshd's drcm-gate is that node's. A set's roots have one path on all
nodes, so each node's sshd and drcm-sync run in a mount namespace of their own with its tree bound there.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drcm.replication import records
from drcm.replication.generation import Record, to_json

BIN = Path(sys.executable).parent
WAIT_SECONDS = 60.0  # of a machine that starves


def until(condition: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """Wait for `condition`; its value. A deadline, not a sleep."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"not within {seconds} s")


def below(pid: int) -> list[int]:
    """All descendants of a process."""
    found = []
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *below(int(child))]
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Node:
    """One node: `run` starts a program in its place, `tree` is its side of the root."""

    name: str
    address: str
    folder: Path
    root: str
    second: str
    port: int
    holder: subprocess.Popen[bytes] | None = None
    sshd: subprocess.Popen[bytes] | None = None

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    @property
    def extra_tree(self) -> Path:
        """Its side of the second root."""
        return self.folder / "extra"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "DRCM_CONFIG": str(self.folder.parent / "cm.cfg"),
            "DRCM_AUTH_DIR": str(self.folder.parent / "auth"),
            "DRCM_STATE_DIR": str(self.state),
            "DRCM_RUN_DIR": str(self.folder / "run"),
        }

    def inside(self) -> list[str]:
        """The words that put a command into this node's mount namespace."""
        assert self.holder is not None
        return ["nsenter", "-t", str(self.holder.pid), "-m", "--"]

    def run(self, *words: str, check: bool = False, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.inside(), *words],
            env=self.environ,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=check,
            timeout=seconds,
        )

    def sync(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """drcm-sync on this node."""
        return self.run(str(BIN / "drcm-sync"), *arguments)

    def start(self) -> None:
        for made in (self.tree, self.extra_tree, self.state, self.folder / "run"):
            made.mkdir(parents=True, exist_ok=True)
        (self.state / "node").write_text(f"{self.name}\n")
        hold = (
            'mount --make-rprivate / && mount --bind "$1" "$2" && mount --bind "$3" "$4" && '
            "echo ready && exec sleep infinity"
        )
        binds = [str(self.tree), self.root, str(self.extra_tree), self.second]
        self.holder = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", hold, "sh", *binds], stdout=subprocess.PIPE
        )
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == b"ready\n"
        self.start_sshd()

    def start_sshd(self) -> None:
        key = self.folder / "host_key"
        if not key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        self.authorize(str(BIN / "drcm-gate"))
        config = self.folder / "sshd_config"
        lines = [
            f"ListenAddress {self.address}:{self.port}",
            f"HostKey {key}",
            f"AuthorizedKeysFile {self.folder / 'authorized_keys'}",
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "PermitRootLogin yes",
            "SetEnv SHLVL=2",  # or bash reads ~/.bashrc: on a developer's machine that costs 300 ms a call
        ]
        config.write_text("".join(f"{line}\n" for line in lines))
        Path("/run/sshd").mkdir(exist_ok=True)
        with (self.folder / "sshd.log").open("ab") as log:
            self.sshd = subprocess.Popen(
                [*self.inside(), "/usr/sbin/sshd", "-D", "-e", "-f", str(config)], stderr=log
            )
        until(self._answers)

    def authorize(self, gate: str) -> None:
        """Let the cluster's key start `gate` with this node's folders, and nothing else."""
        moved = " ".join(
            f"{name}={value}" for name, value in self.environ.items() if name.startswith("DRCM_")
        )
        public = (self.folder.parent / "auth" / "id_ed25519.pub").read_text().strip()
        line = f'command="env {moved} {gate}",restrict {public}\n'
        (self.folder / "authorized_keys").write_text(line)

    def _answers(self) -> bool:
        try:
            socket.create_connection((self.address, self.port), 1).close()
        except OSError:
            return False
        return True

    @property
    def host_key(self) -> str:
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    def stop_sshd(self) -> None:
        if self.sshd is not None:
            self.sshd.send_signal(signal.SIGTERM)
            self.sshd.wait(WAIT_SECONDS)
            self.sshd = None

    def stop(self) -> None:
        self.stop_sshd()
        if self.holder is not None:
            self.holder.kill()
            self.holder.wait(WAIT_SECONDS)
            assert self.holder.stdout is not None
            self.holder.stdout.close()
            self.holder = None


class World:
    """Nodes, their common cm.cfg, key and known_hosts, and one root."""

    def __init__(
        self, folder: Path, names: tuple[str, ...] = ("alpha", "beta"), quorum: str = "two_node"
    ) -> None:
        self.folder = folder
        self.root = folder / "testfs"
        self.root.mkdir()
        self.second = folder / "it's a copy"
        self.second.mkdir()
        self.port = free_port()
        auth = folder / "auth"
        auth.mkdir(mode=0o700)
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(auth / "id_ed25519")], check=True
        )
        self.nodes = {
            name: Node(name, f"127.0.0.{number}", folder / name, str(self.root), str(self.second), self.port)
            for number, name in enumerate(names, start=11)
        }
        self.quorum = quorum
        self.write_config()
        for node in self.nodes.values():
            node.start()
        self.write_known_hosts()

    def write_config(self, more: str = "", kind: str = "mirror") -> None:
        """`more`: further lines of [CM_SYNC]; `kind` of the root: mirror or copy."""
        first, *others = self.nodes
        parts = [f"[CM_SERVER]\nquorum = {self.quorum}\n", f"[CM_REPLICATION]\nssh_port = {self.port}\n"]
        parts += [
            f"[CM_NODE]\nnodename = {node.name}\nhostname = {node.name}.test\n"
            f"keep_alive_ip = {node.address}\n"
            for node in self.nodes.values()
        ]
        parts.append(
            f"[CM_SYNC]\nname = testfs\nprimary = {first}\nbackups = {', '.join(others)}\n"
            f"{kind} = {self.root}\nschedule = */5 * * * *\n{more}"
        )
        (self.folder / "cm.cfg").write_text("\n".join(parts))

    def write_known_hosts(self) -> None:
        lines = [f"[{node.address}]:{self.port} {node.host_key}\n" for node in self.nodes.values()]
        (self.folder / "auth" / "known_hosts").write_text("".join(lines))

    def stop(self) -> None:
        for node in self.nodes.values():
            node.stop()


def good(node: Node, *arguments: str) -> str:
    done = node.sync("testfs", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def report(node: Node, *arguments: str) -> dict[str, Any]:
    """The only target's result."""
    document = json.loads(node.sync("testfs", "--json", *arguments).stdout)
    (target,) = document["targets"]
    assert isinstance(target, dict)
    return target


def files(node: Node, below: str = ".") -> dict[str, str]:
    """Names and contents of the tree, drcm's own left out."""
    root = node.tree / below
    found = (path for path in root.rglob("*") if path.is_file())
    own = {".drcm", ".drcm-partial"} if below == "." else set()  # the latter: what a cut rsync held back
    return {
        str(path.relative_to(root)): path.read_text()
        for path in found
        if own.isdisjoint(path.relative_to(root).parts)
    }


def record_of(node: Node) -> Record:
    record = records.load(node.state / "sets", "testfs")
    assert record is not None
    return record


def save(node: Node, record: Record) -> None:
    """As a daemon on that node would: the record, and the marker in its own mount namespace."""
    place = node.folder / "record.py"
    place.write_text(
        "import json, sys\nfrom pathlib import Path\nfrom drcm.replication import records\n"
        "from drcm.replication.generation import from_json\n"
        "records.save(Path(sys.argv[1]), from_json(json.loads(sys.argv[2])))\n"
    )
    done = node.run(sys.executable, str(place), str(node.state / "sets"), json.dumps(to_json(record)))
    assert done.returncode == 0, done.stderr


@contextmanager
def daemon(node: Node, answer: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """Something that speaks the control protocol on the node's socket; the questions it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked.append(json.loads(self.rfile.readline()))
            self.wfile.write(json.dumps(answer).encode() + b"\n")

    path = node.folder / "run" / "drcm.sock"
    with socketserver.UnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join()
            path.unlink()
