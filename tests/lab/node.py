"""A lab host that runs drcm, and what makes several of them one cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tests.lab.errors import LabError, wait_until
from tests.lab.host import BIN, REPOSITORY, Host
from tests.lab.keys import make_key
from tests.lab.process import Process

if TYPE_CHECKING:
    from tests.lab.lab import Lab

AUTH = "/etc/drcm/.auth"
SOCKET = "/run/drcm/drcm.sock"
DAEMON = "drcm-server"
AUTHKEY_BYTES = 2048
# libfaketime makes a thread that waits for the interpreter's lock spin. At SCHED_RR two of them take both
# processors from everybody else, for minutes: without this capability the daemon runs as an ordinary process.
ORDINARY = ("setpriv", "--bounding-set", "-sys_nice", "--")


class Node(Host):
    """A machine with drcm installed; the daemon is a service that the test starts."""

    def write_config(self, text: str) -> None:
        self.write("/etc/drcm/cm.cfg", text)

    @property
    def daemon(self) -> Process:
        """The running daemon."""
        process = self.services.get(DAEMON)
        if process is None:
            raise LabError(f"{self.name}: {DAEMON} was not started")
        return process

    def start_drcm(self, *options: str, env: Mapping[str, str] | None = None, wait: float = 10.0) -> Process:
        """Start the daemon (output: LABDIR/HOST/drcm-server.log); returns when its control socket is there.

        `wait` = 0 does not wait; else LabError with the log's end if it ends or is not there in time.
        """
        self.path(SOCKET).unlink(missing_ok=True)  # a killed daemon leaves it behind
        argv = [*(ORDINARY if self._clock_faked else ()), str(BIN / DAEMON), *options]
        process = self.spawn(argv, stdout=self.log(DAEMON), env=env)
        self.services[DAEMON] = process
        if wait:
            ready = lambda: self.path(SOCKET).exists() or process.poll() is not None  # noqa: E731
            wait_until(ready, wait, lambda: f"{SOCKET} of {self.name}\n{self.daemon_log()[-4000:]}")
        if process.poll() is not None:
            raise LabError(
                f"{self.name}: {DAEMON} ended with {process.returncode}\n{self.daemon_log()[-4000:]}"
            )
        return process

    def stop_drcm(self, timeout: float = 90.0) -> int:
        """SIGTERM, as `systemctl stop` does; the daemon's exit status."""
        return self.stop_service(DAEMON, timeout)

    def kill_drcm(self) -> None:
        """SIGKILL to the daemon alone; what it started goes on."""
        process = self.services.pop(DAEMON)
        process.kill()
        process.wait(10.0)

    def daemon_log(self) -> str:
        log = self.log(DAEMON)
        return log.read_text(errors="replace") if log.exists() else ""

    def drcm(self, program: str, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        """Run one of drcm's commands; options are those of `run`."""
        return self.run([str(BIN / program), *arguments], **options)  # type: ignore[arg-type]

    def sync(
        self, *arguments: str, check: bool = True, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        return self.drcm("drcm-sync", *arguments, check=check, timeout=timeout)

    def report(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.drcm("drcm-report", *arguments, check=check)

    def console(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`drcm-server --client --command=COMMAND`."""
        return self.drcm(DAEMON, "--client", f"--command={command}", check=check)


def make_cluster(lab: Lab, config: str, nodes: Sequence[Node]) -> None:
    """Make these hosts one cluster: one cm.cfg, one authkey, one SSH key that opens drcm-gate, known hosts,
    the repository's templates and agents. The hosts may be on or off; nothing is started."""
    authkey = os.urandom(AUTHKEY_BYTES)
    key = make_key()
    known_hosts = "".join(f"{node.name},{node.ip} {node.host_key.public}\n" for node in nodes)
    gate = f'command="{BIN / "drcm-gate"}",restrict {key.public} drcm\n'
    for node in nodes:
        node.write_config(config)
        node.write(f"{AUTH}/authkey", authkey, 0o600)
        node.write(f"{AUTH}/id_ed25519", key.private, 0o600)
        node.write(f"{AUTH}/id_ed25519.pub", f"{key.public} drcm\n")
        node.write(f"{AUTH}/known_hosts", known_hosts)
        node.path(AUTH).chmod(0o700)
        node.write("/root/.ssh/authorized_keys", gate, 0o600)
        _install(node, {"crontabs": "/etc/drcm/crontabs", "etc/resources": "/etc/drcm/resources"})


def _install(node: Node, trees: Mapping[str, str]) -> None:
    for source, target in trees.items():
        if (REPOSITORY / source).is_dir():
            shutil.copytree(REPOSITORY / source, node.path(target), dirs_exist_ok=True)
