"""drcm-server --setup-ssh: the key, authorized_keys, and host keys pinned from real sshd."""

from __future__ import annotations

import io
import os
import pwd
import shlex
import stat
import subprocess
from pathlib import Path

import pytest
from loopback import Node, World

from drcm import errors
from drcm.cluster.command import main as server
from drcm.config.load import require_config
from drcm.config.model import Cluster
from drcm.errors import DrcmError
from drcm.paths import Paths, paths
from drcm.replication import sshsetup
from drcm.replication.remote import Peer


@pytest.fixture
def fresh(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A node without key and known_hosts, whose backup user's home is a folder of this test."""
    home = tmp_path / "home"
    account = pwd.struct_passwd(("root", "x", os.getuid(), os.getgid(), "", str(home), "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwnam", lambda name: account)
    for name in sshsetup.MOVED:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "fresh"
    return paths({"DRCM_AUTH_DIR": str(folder), "DRCM_STATE_DIR": str(folder), "DRCM_RUN_DIR": str(folder)})


def cluster_of(world: World) -> Cluster:
    return require_config(world.folder / "cm.cfg", host_checks=False)


def setup(world: World, here: Paths, yes: bool = True, **more: object) -> tuple[int, str]:
    out = io.StringIO()
    code = sshsetup.setup_ssh(cluster_of(world), here, out, yes, **more)  # type: ignore[arg-type]
    return code, out.getvalue()


def call(world: World, here: Paths, node: Node) -> dict[str, object]:
    return Peer(node.name, node.address, world.port, "root", here).call("hello")


def test_from_nothing_to_a_gate_that_answers(world: World, fresh: Paths, tmp_path: Path) -> None:
    """After it the key exists (0600), may start drcm-gate alone, and every node is recognised."""
    code, said = setup(world, fresh)
    assert code == 0, said
    assert stat.S_IMODE(fresh.ssh_key.stat().st_mode) == 0o600
    line = (tmp_path / "home" / ".ssh" / "authorized_keys").read_text()
    assert line.startswith('command="')
    assert '",restrict ssh-ed25519 ' in line
    beta = world.nodes["beta"]
    assert call_after_install(world, fresh, beta, line)["node"] == "beta"
    for node in world.nodes.values():
        assert f"[{node.address}]:{world.port} {node.host_key}\n" in fresh.known_hosts.read_text()


def call_after_install(world: World, here: Paths, node: Node, line: str) -> dict[str, object]:
    """As the line stands, but with the folders of that node."""
    moved = {name: value for name, value in node.environ.items() if name.startswith("DRCM_")}
    public = line.split("restrict ")[1].rsplit(" ", 1)[0]
    (node.folder / "authorized_keys").write_text(
        sshsetup.authorized_line(public, sshsetup.gate_program(), moved) + "\n"
    )
    return call(world, here, node)


def test_again_changes_nothing(world: World, fresh: Paths, tmp_path: Path) -> None:
    """A second call finds all in place and writes nothing; other keys of the user stay."""
    setup(world, fresh)
    authorized = tmp_path / "home" / ".ssh" / "authorized_keys"
    authorized.write_text("ssh-rsa AAAA somebody\n" + authorized.read_text())
    places = (fresh.ssh_key, fresh.known_hosts, authorized)
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in places]
    code, said = setup(world, fresh, yes=False)
    assert code == 0
    assert "as known" in said
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in places] == before


def test_a_new_host_key_is_asked_for(world: World, fresh: Paths) -> None:
    """Without --yes and without a person nothing is trusted; the fingerprint is shown as ssh-keygen does."""
    code, said = setup(world, fresh, yes=False)
    assert code == errors.EXIT_FAILED
    assert not fresh.known_hosts.exists()
    beta = world.nodes["beta"]
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(beta.folder / "host_key.pub")], capture_output=True, text=True, check=True
    )
    assert shown.stdout.split()[1] in said
    asked: list[str] = []
    code, _ = setup(world, fresh, yes=False, ask=lambda question: bool(asked.append(question)) or True)
    assert code == 0
    assert len(asked) == 2


def test_a_changed_host_key_is_never_taken_over(world: World, fresh: Paths) -> None:
    """Even with --yes; only a key that was given by hand replaces a known one."""
    setup(world, fresh)
    alpha, beta = world.nodes.values()
    known = fresh.known_hosts.read_text()
    wrong = known.replace(beta.host_key, alpha.host_key)
    fresh.known_hosts.write_text(wrong)
    code, said = setup(world, fresh)
    assert code == errors.EXIT_FAILED
    assert "WARNING" in said
    assert fresh.known_hosts.read_text() == wrong
    code, _ = setup(world, fresh, host_keys={"beta": beta.host_key})
    assert code == 0
    assert sorted(fresh.known_hosts.read_text().splitlines()) == sorted(known.splitlines())


def test_a_node_that_is_down_is_named(world: World, fresh: Paths) -> None:
    """It is not recognised yet, and the exit code says so; a key given by hand needs no answer."""
    beta = world.nodes["beta"]
    beta.stop_sshd()
    code, said = setup(world, fresh)
    assert code == errors.EXIT_FAILED
    assert "run this again when it is up" in said
    assert setup(world, fresh, host_keys={"beta": beta.host_key})[0] == 0


def test_a_host_key_on_the_command_line(
    world: World, fresh: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--host-key NODE=KEY pins the key of a node that is down; of an unknown node nothing is made."""
    beta = world.nodes["beta"]
    beta.stop_sshd()
    monkeypatch.setenv("DRCM_AUTH_DIR", str(fresh.auth))
    words = [f"--config-file={world.folder / 'cm.cfg'}", "--setup-ssh", "--yes", "--host-key"]
    assert server(["--config-file=/dev/null", "--setup-ssh", "--host-key", "beta=x"]) == errors.EXIT_CONFIG
    assert server([*words, f"gamma={beta.host_key}"]) == errors.EXIT_CONFIG
    assert "Nodes: alpha, beta" in capsys.readouterr().err
    assert not fresh.ssh_key.exists()
    assert server([*words, f"beta={beta.host_key}"]) == errors.EXIT_OK
    assert f"[{beta.address}]:{world.port} {beta.host_key}" in fresh.known_hosts.read_text().splitlines()


@pytest.mark.parametrize("text", ["", "ssh-ed25519", "ssh-ed25519 ???", "ssh-rsa AAAA", "AAAA"])
def test_a_host_key_that_is_none(text: str) -> None:
    """A wrong --host-key is told, not written."""
    with pytest.raises(DrcmError, match="expected"):
        sshsetup.parse_host_key(text)


def test_the_line_carries_moved_folders() -> None:
    """Where drcm's folders were moved by DRCM_*, the gate finds them too; quotes survive sshd."""
    line = sshsetup.authorized_line(
        "ssh-ed25519 AAAA", "/opt/drcm gate", {"DRCM_STATE_DIR": "/x y", "HOME": "/"}
    )
    command = line.removeprefix('command="').partition('",restrict')[0].replace('\\"', '"')
    assert shlex.split(command) == ["env", "DRCM_STATE_DIR=/x y", "/opt/drcm gate"]
