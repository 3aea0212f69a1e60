"""The wire between the hosts: a bridge in a network namespace of the lab's own.

The namespace lives as long as this process holds it open, so it goes however the lab ends. Cuts and
losses are nftables rules of the bridge (this Linux may have no netem): hosts cannot see them.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading

from tests.lab.errors import LabError
from tests.lab.init import CLONE_NEWNET, set_link, unshare

BRIDGE = "br0"
LOSS_SCALE = 10_000


class Bridge:
    """One Ethernet. A port is named like its host."""

    def __init__(self) -> None:
        self._open_namespace()
        self._ports: set[str] = set()
        self._cut: set[tuple[str, str]] = set()
        self._loss: dict[str, float] = {}
        self._command("ip", "link", "add", BRIDGE, "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
        self._command("ip", "link", "set", BRIDGE, "up")

    def close(self) -> None:
        self._control.close()
        os.close(self._namespace)

    # Ports

    def plug(self, name: str, mac: str, pid: int) -> None:
        """Give the network namespace of `pid` an `eth0` that leads to port `name`."""
        peer = f"peer name eth0 address {mac} netns {pid}"
        commands = f"link add name {name} type veth {peer}\nlink set dev {name} master {BRIDGE} up\n"
        self._command("ip", "-batch", "-", text=commands)
        self._ports.add(name)

    def unplug(self, name: str) -> None:
        if name in self._ports:  # else its boot failed before
            self._ports.discard(name)
            with contextlib.suppress(LabError):  # gone already, with the other end's namespace
                self._command("ip", "link", "del", "dev", name)

    def set_carrier(self, name: str, up: bool) -> None:
        """Pull or push in the cable: takes microseconds."""
        if name in self._ports:
            set_link(self._control, name, up)

    # Faults

    def cut(self, *ways: tuple[str, str]) -> None:
        """Drop what passes from the first to the second of each pair."""
        self._cut.update(ways)
        self._filter()

    def heal(self, *ways: tuple[str, str]) -> None:
        self._cut.difference_update(ways)
        self._filter()

    def lose(self, name: str, percent: float) -> None:
        """Drop this share of what `name` sends, and the same share of what it should receive."""
        self._loss[name] = percent
        self._filter()

    def heal_all(self) -> None:
        self._cut.clear()
        self._loss.clear()
        self._filter()

    def _filter(self) -> None:
        rules = [f'iifname "{sender}" oifname "{receiver}" drop' for sender, receiver in sorted(self._cut)]
        for name, percent in self._loss.items():
            chance = f"numgen random mod {LOSS_SCALE} < {round(percent * LOSS_SCALE / 100)} drop"
            rules += [f'{way} "{name}" {chance}' for way in ("iifname", "oifname")]
        head = "table bridge lab\ndelete table bridge lab\ntable bridge lab {\nchain forward {\n"
        body = "type filter hook forward priority 0; policy accept;\n" + "\n".join(rules)
        self._command("nft", "-f", "-", text=head + body + "\n}\n}\n")

    # The namespace

    def _open_namespace(self) -> None:
        """unshare moves one thread only: let a passing one make the namespace, and hold it by descriptors."""
        failures: list[OSError] = []

        def enter() -> None:
            try:
                unshare(CLONE_NEWNET)
                self._namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
                self._control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            except OSError as error:
                failures.append(error)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if failures:
            raise LabError(f"the lab needs root and network namespaces: {failures[0]}") from failures[0]

    def _command(self, *argv: str, text: str = "") -> str:
        """Run a tool inside the bridge's namespace."""
        done = subprocess.run(
            ["nsenter", f"--net=/proc/self/fd/{self._namespace}", "--", *argv],
            input=text,
            text=True,
            capture_output=True,
            pass_fds=[self._namespace],
            check=False,
        )
        if done.returncode != 0:
            raise LabError(f"{' '.join(argv)} failed in the lab's network: {done.stderr.strip()}\n{text}")
        return done.stdout
