"""SSH to another node's gate: what goes wrong before there is a connection. (Over real sshd: integration.)"""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from drcm import errors
from drcm.errors import PeerError
from drcm.paths import Paths, paths
from drcm.replication.remote import Peer


@pytest.fixture
def here(tmp_path: Path) -> Paths:
    """A node with a key and an empty known_hosts."""
    found = paths(
        {"DRCM_AUTH_DIR": str(tmp_path), "DRCM_STATE_DIR": str(tmp_path), "DRCM_RUN_DIR": str(tmp_path)}
    )
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(found.ssh_key)], check=True)
    found.known_hosts.write_text("")
    return found


def peer(here: Paths, port: int, address: str = "127.0.0.1") -> Peer:
    return Peer("beta", address, port, "root", here)


def test_nobody_listens(here: Paths) -> None:
    """A refused connection is exit 69 and names the node."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody else can take the port
        with pytest.raises(PeerError, match=r"no connection to beta \(127\.0\.0\.1") as caught:
            peer(here, taken.getsockname()[1]).call("hello")
    assert caught.value.exit_code == errors.EXIT_UNAVAILABLE


def test_a_missing_key_names_the_set_up(here: Paths) -> None:
    """No key: exit 77, and the command that makes one."""
    here.ssh_key.unlink()
    with pytest.raises(PeerError, match="no SSH key") as caught:
        peer(here, 1).call("hello")
    assert caught.value.cure == "Run: drcm-server --setup-ssh"
    assert caught.value.exit_code == errors.EXIT_NO_PERMISSION


@pytest.mark.parametrize("kind", ["rsa", "passphrase", "garbage"])
def test_another_kind_of_key_is_refused(here: Paths, kind: str) -> None:
    """Only an ed25519 key without a passphrase serves."""
    here.ssh_key.unlink()
    if kind == "garbage":
        here.ssh_key.write_text("not a key")
    else:
        options = (
            ["-t", "rsa", "-b", "2048", "-N", ""] if kind == "rsa" else ["-t", "ed25519", "-N", "secret"]
        )
        subprocess.run(["ssh-keygen", "-q", *options, "-f", str(here.ssh_key)], check=True, input=b"y\n")
    with pytest.raises(PeerError, match="expected an ed25519 key"):
        peer(here, 1).call("hello")


def test_without_known_hosts_nobody_is_recognised(here: Paths) -> None:
    """A missing known_hosts is told as such."""
    here.known_hosts.unlink()
    with pytest.raises(PeerError, match="no host keys"):
        peer(here, 1).call("hello")


def test_a_server_that_says_nothing(here: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that accepts and keeps silent ends at the banner's deadline, not never."""
    monkeypatch.setattr("drcm.replication.remote.CONNECT_SECONDS", 0.3)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(PeerError, match="no SSH connection to beta"),
    ):
        peer(here, silent.getsockname()[1]).call("hello")
