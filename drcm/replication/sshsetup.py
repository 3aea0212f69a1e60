"""`drcm-server --setup-ssh`: the key, who may use it here, and how the other nodes are recognised.

One ed25519 key serves the whole cluster (it is copied with /etc/drcm), may start drcm-gate and nothing
else, and host keys are pinned: a key that is seen for the first time is shown and asked for, one that
changed is never taken over silently.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import pwd
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import TextIO

from drcm import state
from drcm.config.model import Cluster, Node
from drcm.errors import EXIT_CONFIG, EXIT_FAILED, EXIT_OK, DrcmError
from drcm.paths import Paths

SCAN_SECONDS = 3
COMPARE = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
MOVED = ("DRCM_CONFIG", "DRCM_AUTH_DIR", "DRCM_STATE_DIR", "DRCM_RUN_DIR")  # see drcm.paths
Ask = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class HostKey:
    """One public host key: `kind` is ssh-ed25519, `blob` its base64."""

    kind: str
    blob: str

    @property
    def fingerprint(self) -> str:
        """As ssh-keygen -l shows it."""
        digest = hashlib.sha256(base64.b64decode(self.blob)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def parse_host_key(text: str) -> HostKey:
    """The key in `ssh-ed25519 AAAA... [comment]`; DrcmError where it is none."""
    words = text.split()
    try:
        kind, blob = words[0], words[1]
        base64.b64decode(blob, validate=True)
    except (IndexError, binascii.Error) as error:
        cure = "Copy it from that node's /etc/ssh/ssh_host_ed25519_key.pub"
        raise DrcmError(f"expected 'ssh-ed25519 AAAA...', found {text!r}", cure, EXIT_CONFIG) from error
    if kind != "ssh-ed25519":
        raise DrcmError(f"expected an ssh-ed25519 host key, found {kind}", "", EXIT_CONFIG)
    return HostKey(kind, blob)


def host_name(address: str, port: int) -> str:
    """How known_hosts names a server."""
    return address if port == 22 else f"[{address}]:{port}"


# -- the whole -------------------------------------------------------------------------------------


def setup_ssh(
    cluster: Cluster,
    paths: Paths,
    out: TextIO,
    yes: bool = False,
    *,
    host_keys: Mapping[str, str] | None = None,
    ask: Ask | None = None,
) -> int:
    """Make what is missing and say what was done; safe to run again. `host_keys`: node -> its key, given.

    Returns 0, or 1 where a node could not be recognised yet.
    """
    given = {name: parse_host_key(text) for name, text in (host_keys or {}).items()}
    _need_nodes(cluster, given)
    public = ensure_key(paths, out)
    authorize(public, cluster.replication.backup_user, out)
    ask = ask or _ask_person(yes, out)
    hosts = KnownHosts(paths.known_hosts, cluster.replication.ssh_port, given, ask, out)
    done = [hosts.recognise(node) for node in cluster.nodes]
    print(f"Copy {paths.auth} to the other nodes and run drcm-server --setup-ssh on each.", file=out)
    return EXIT_OK if all(done) else EXIT_FAILED


def _need_nodes(cluster: Cluster, given: Iterable[str]) -> None:
    known = [node.name for node in cluster.nodes]
    for name in given:
        if name not in known:
            nodes = ", ".join(known)
            raise DrcmError(
                f"--host-key {name}: no [CM_NODE] has that nodename", f"Nodes: {nodes}", EXIT_CONFIG
            )


def ensure_key(paths: Paths, out: TextIO) -> str:
    """The public half of the cluster's key as one line; the key is made where there is none."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = paths.ssh_key
    if path.exists():
        key = serialization.load_ssh_private_key(path.read_bytes(), None)
        print(f"{path}: there already", file=out)
    else:
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        paths.auth.mkdir(parents=True, exist_ok=True, mode=0o700)
        state.write_bytes(path, private, 0o600)
        print(f"{path}: made", file=out)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return public.decode()


# -- who may use it --------------------------------------------------------------------------------


def authorized_line(public: str, gate: str, environ: Mapping[str, str] = os.environ) -> str:
    """The line of authorized_keys: this key may start `gate` and nothing else, wherever drcm's files lie."""
    moved = [f"{name}={environ[name]}" for name in MOVED if name in environ]
    command = shlex.join(["env", *moved, gate] if moved else [gate])
    quoted = command.replace('"', '\\"')
    return f'command="{quoted}",restrict {public} drcm'


def authorize(public: str, user: str, out: TextIO) -> None:
    """Put the line into the backup user's authorized_keys; a line with the same key is replaced."""
    try:
        account = pwd.getpwnam(user)
    except KeyError as error:
        cure = "Make it, or set backup_user in [CM_REPLICATION]"
        raise DrcmError(f"there is no user {user!r} on this node", cure, EXIT_CONFIG) from error
    path = Path(account.pw_dir) / ".ssh" / "authorized_keys"
    line = authorized_line(public, gate_program())
    before = path.read_text(errors="surrogateescape").splitlines() if path.exists() else []
    after = [*(entry for entry in before if public.split()[1] not in entry), line]
    if before == after:
        print(f"{path}: the key may start drcm-gate already", file=out)
        return
    _write_authorized(path, after, account)
    print(f"{path}: the key may start drcm-gate and nothing else", file=out)


def _write_authorized(path: Path, lines: Iterable[str], account: pwd.struct_passwd) -> None:
    fresh = not path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    state.write_bytes(path, "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"), 0o600)
    for made in (path.parent, path) if fresh else (path,):
        os.chown(made, account.pw_uid, account.pw_gid)


def gate_program() -> str:
    """The absolute path of drcm-gate: beside this program, or in PATH."""
    beside = Path(sys.argv[0]).resolve().with_name("drcm-gate")
    if beside.exists():
        return str(beside)
    return which("drcm-gate") or str(Path(sys.executable).with_name("drcm-gate"))


# -- recognising the others ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KnownHosts:
    """The file of pinned host keys, and who answers for a new one."""

    path: Path
    port: int
    given: Mapping[str, HostKey]
    ask: Ask
    out: TextIO

    def recognise(self, node: Node) -> bool:
        """Pin the node's host key. False where that needs a person, or the node can't be reached."""
        where = host_name(node.keep_alive_ip, self.port)
        known = known_key(self.path, where)
        if node.name in self.given:
            pin(self.path, where, self.given[node.name])
            return self._say(node, f"host key {self.given[node.name].fingerprint} as given", True)
        shown = scan(node.keep_alive_ip, self.port)
        if shown is None:
            return self._say(node, f"{where} shows no host key now ({_known_text(known)})", known is not None)
        if shown == known:
            return self._say(node, f"host key {shown.fingerprint} as known", True)
        if known is not None:
            _warn_changed(node.name, known, shown, self.out)
            return False
        return self._is_taken(node, where, shown)

    def _is_taken(self, node: Node, where: str, shown: HostKey) -> bool:
        self._say(node, f"{where} shows host key {shown.fingerprint}, never seen before", False)
        if not self.ask(f"Is that {node.name}? Compare with: {COMPARE} there"):
            return self._say(
                node,
                f"not taken. Take it with --yes, or: --host-key '{node.name}=ssh-ed25519 AAAA...'",
                False,
            )
        pin(self.path, where, shown)
        return True

    def _say(self, node: Node, what: str, recognised: bool) -> bool:
        print(f"{node.name}: {what}", file=self.out)
        return recognised


def _known_text(known: HostKey | None) -> str:
    return f"known: {known.fingerprint}" if known else "not known yet: run this again when it is up"


def _warn_changed(name: str, known: HostKey, shown: HostKey, out: TextIO) -> None:
    print(f"{name}: WARNING - shows {shown.fingerprint}, expected {known.fingerprint}.", file=out)
    print(f"  Reinstalled? Then: drcm-server --setup-ssh --host-key '{name}={shown.kind} KEY'", file=out)


def _ask_person(yes: bool, out: TextIO) -> Ask:
    def ask(question: str) -> bool:
        if yes:
            return True
        if not sys.stdin.isatty():
            return False
        print(f"{question} [y/N] ", end="", file=out, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    return ask


def scan(address: str, port: int) -> HostKey | None:
    """The ed25519 host key that the server shows now; None where there is none."""
    from drcm.replication import process

    program = process.find_program("ssh-keyscan", "openssh-client")
    argv = [program, "-t", "ed25519", "-p", str(port), "-T", str(SCAN_SECONDS), address]
    _, text = process.output(argv, SCAN_SECONDS + 2)
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    return parse_host_key(lines[0][1]) if lines and len(lines[0]) == 2 else None


def known_key(path: Path, where: str) -> HostKey | None:
    """The pinned key of `where`."""
    for line in _lines(path):
        words = line.split(maxsplit=1)
        if len(words) == 2 and words[0] == where:
            return parse_host_key(words[1])
    return None


def pin(path: Path, where: str, key: HostKey) -> None:
    """Replace what is known of `where` with `key`, durably."""
    others = [line for line in _lines(path) if line.split(maxsplit=1)[:1] != [where]]
    text = "".join(f"{line}\n" for line in [*others, f"{where} {key.kind} {key.blob}"])
    state.write_bytes(path, text.encode(), 0o600)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
