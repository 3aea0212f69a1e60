"""etc/systemd: the files that systemd and firewalld read are such that they can."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from drcm.config.model import Server
from drcm.errors import EXIT_CONFIG

FOLDER = Path(__file__).parents[2] / "etc" / "systemd"
UNIT = FOLDER / "drcm-server.service"
# Each of these gives the service a mount namespace of its own: what drcm mounts would be seen by drcm alone.
MAKES_A_NAMESPACE = (
    "PrivateTmp ProtectSystem ProtectHome ProtectKernelTunables ProtectKernelModules ProtectKernelLogs"
    " ProtectControlGroups PrivateDevices PrivateMounts ReadOnlyPaths ReadWritePaths InaccessiblePaths"
    " TemporaryFileSystem BindPaths RootDirectory DynamicUser ProtectProc PrivateNetwork"
)


def service() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, comment_prefixes=("#",), delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys have case
    parser.read_string(UNIT.read_text())
    return parser["Service"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """systemd-analyze verify finds nothing to say (with a program that is there)."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/usr/bin/drcm-server", sys.executable))
    argv = ["systemd-analyze", "verify", "--man=no", str(copy)]
    run = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_a_killed_daemon_takes_nothing_with_it() -> None:
    """Only the daemon is signalled, nothing is released before a restart, and /run/drcm stays (rule 8)."""
    settings = service()
    assert settings["KillMode"] == "process"
    assert settings["RuntimeDirectoryPreserve"] == "yes"
    assert settings["OOMPolicy"] == "continue"
    assert "ExecStopPost" not in settings
    assert "ExecStop" not in settings
    assert settings["RestartPreventExitStatus"] == str(EXIT_CONFIG)


def test_mounts_stay_visible() -> None:
    """No hardening gives the service a mount namespace: file systems that drcm mounts are for all."""
    assert set(MAKES_A_NAMESPACE.split()) & set(service()) == set()


@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="no systemd here")
def test_the_directories_are_made(tmp_path: Path) -> None:
    """systemd-tmpfiles makes drcm's directories; keys and records are closed to others."""
    argv = ["systemd-tmpfiles", f"--root={tmp_path}", "--create", str(FOLDER / "drcm.tmpfiles")]
    subprocess.run(argv, check=True)
    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in ("etc/drcm/.auth", "var/lib/drcm")}
    assert modes == {"etc/drcm/.auth": 0o700, "var/lib/drcm": 0o700}
    assert (tmp_path / "run/drcm").is_dir()


def test_the_firewall_opens_the_default_ports() -> None:
    """The firewalld service names the ports that cm.cfg has by default."""
    ports = ElementTree.parse(FOLDER / "drcm.firewalld.xml").getroot().findall("port")
    opened = {(port.get("protocol"), int(port.get("port", "0"))) for port in ports}
    assert opened == {("udp", Server().udpport), ("tcp", Server().tcpport)}
