"""A machine of the lab: namespaces of its own, a disk that survives a power cut, and a power switch."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tests.lab import services, smalldisk
from tests.lab.errors import LabError, wait_until
from tests.lab.keys import make_key
from tests.lab.machine import Machine
from tests.lab.process import Process

if TYPE_CHECKING:
    from tests.lab.lab import Lab

REPOSITORY = Path(__file__).resolve().parents[2]
BIN = Path(sys.prefix) / "bin"
DIRECTORIES = (
    "/etc/drcm", "/etc/cron.d", "/etc/ssh", "/root/.ssh", "/tmp",
    "/var/lib/drcm", "/var/log/drcm", "/var/spool/drcm", "/var/spool/cron",
)  # fmt: skip
MODES = {"/root/.ssh": 0o700, "/tmp": 0o1777}
FAKETIME = next((str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
CLOCK_FILE = "/etc/lab-clock"


class Host:
    """One machine. Made by `Lab.add_host`, off until `power_on`.

    `directory` holds its logs (LABDIR/NAME/*.log) and `disk`, where the private directories lie.
    """

    def __init__(self, lab: Lab, name: str, ip: str, directories: Iterable[str] = (), cron: bool = False):
        self.lab, self.name, self.ip = lab, name, ip
        self.directory = lab.directory / name
        self.disk = self.directory / "disk"
        self.private = [*DIRECTORIES, *directories]
        self.cron = cron
        self.boots = 0
        self.services: dict[str, Process] = {}
        self.variables: dict[str, str] = {}  # of the environment of all its programs
        self.ssh_key = make_key()
        self.host_key = make_key()
        self.small: dict[str, int] = {}  # private directories that are small file systems -> MiB
        self._machine: Machine | None = None
        self._clock_faked = False
        self._paused: dict[str, set[int]] = {}  # argument of pause() -> numbers stopped
        self._make_disk()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.ip} {'on' if self.is_on else 'off'}>"

    # Power

    @property
    def is_on(self) -> bool:
        return self._machine is not None

    @property
    def init_pid(self) -> int:
        """Number of the host's process 1 on the real machine: /proc/NUMBER/root, /proc/NUMBER/net."""
        return self._need_power().pid

    @property
    def mac(self) -> str:
        return "02:00:" + ":".join(f"{int(part):02x}" for part in self.ip.split("."))

    def power_on(self) -> None:
        """Boot: a new boot id, an empty /run, the disk as it was, eth0 with the host's own address, sshd."""
        if self.is_on:
            raise LabError(f"{self.name} is on already")
        self.boots += 1
        self.directory.joinpath("boot_id").write_text(f"{uuid.uuid4()}\n")
        self._machine = self._boot()
        try:
            self.lab.bridge.plug(self.name, self.mac, self.init_pid)
            commands = f"address add {self.ip}/24 brd + dev eth0\nlink set dev eth0 up\n"
            self.run(["ip", "-batch", "-"], input=commands)
            services.start(self)
        except BaseException:
            self.power_cut()
            raise

    def power_cut(self) -> float:
        """Pull the plug: the link is down and every process killed within a millisecond.

        Returns that moment in seconds of CLOCK_BOOTTIME (`drcm.clock.now`).
        """
        machine = self._need_power()
        self.lab.bridge.set_carrier(self.name, up=False)
        moment = machine.kill()
        self._machine = None
        machine.bury()
        self.services.clear()
        self._paused.clear()
        self.lab.bridge.unplug(self.name)
        return moment

    def shutdown(self, timeout: float = 90.0) -> None:
        """Switch off in order: services in reverse order, then all other processes, then the power."""
        self._need_power()
        for name in reversed(list(self.services)):
            self.stop_service(name, timeout)
        self.kill(-1, signal.SIGTERM)
        with contextlib.suppress(LabError):  # as init does: who does not obey in time loses his power
            wait_until(lambda: not self.pids(), 5.0, f"the processes of {self.name} to end", least=0)
        self.power_cut()

    def _boot(self) -> Machine:
        root = self.directory / "root"
        root.mkdir(exist_ok=True)
        spec = {
            "name": self.name, "root": str(root), "disk": str(self.disk), "directories": self.private,
            "boot_id": str(self.directory / "boot_id"), "keep": self._kept(),
        }  # fmt: skip
        return Machine(spec, self.log("init"))

    def _kept(self) -> list[str]:
        """Programs that would be hidden by a private directory, such as a checkout under /tmp."""
        hiding = [*self.private, "/run"]
        wanted = {str(REPOSITORY), sys.prefix, sys.base_prefix}
        return sorted(path for path in wanted if any(path.startswith(one + "/") for one in hiding))

    def _need_power(self) -> Machine:
        if self._machine is None:
            raise LabError(f"{self.name} is off")
        return self._machine

    # Programs

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """What a program here starts with: nothing of the caller's own environment."""
        base = {"PATH": f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        base |= {"HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/sh", "LANG": "C.UTF-8"}
        if self._clock_faked and FAKETIME:
            base |= {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": CLOCK_FILE, "FAKETIME_NO_CACHE": "1"}
            base |= {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1"}
            base |= {"PYTHONPATH": str(REPOSITORY / "tests/lab/stepped")}
        return base | self.variables | dict(extra or {})

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        timeout: float = 60.0,
        env: Mapping[str, str] | None = None,
        input: str = "",
        cwd: str = "/",
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end, as subprocess.run does. LabError on a time-out, or a bad end where `check`."""
        with (
            tempfile.TemporaryFile() as stdin,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            stdin.write(input.encode())
            stdin.seek(0)
            files = (stdin.fileno(), out.fileno(), err.fileno())
            process = self._need_power().control.spawn(argv, self.environment(env), cwd, files)
            try:
                code = process.wait(timeout)
            except TimeoutError:
                process.end_group()
                raise LabError(
                    f"{self.name}: {' '.join(argv)} still ran after {timeout:g} s\n{_text(out)}{_text(err)}"
                ) from None
            except BaseException:
                process.end_group()
                raise
            done = subprocess.CompletedProcess(list(argv), code, _text(out), _text(err))
        if check and code != 0:
            raise LabError(
                f"{self.name}: {' '.join(argv)} ended with {code}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
            )
        return done

    def spawn(
        self,
        argv: Sequence[str],
        *,
        stdout: Path | IO[bytes] | int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
    ) -> Process:
        """Start a program that dies with the host. Both outputs are added to `stdout`, by default to
        LABDIR/HOST/PROGRAM.log; each program leads its own session and process group."""
        target = self.log(Path(argv[0]).name) if stdout is None else stdout
        with contextlib.ExitStack() as stack:
            if isinstance(target, Path):
                target = stack.enter_context(target.open("ab"))
            output = target if isinstance(target, int) else target.fileno()
            null = stack.enter_context(open(os.devnull, "rb"))
            files = (null.fileno(), output, output)
            return self._need_power().control.spawn(argv, self.environment(env), cwd, files)

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Signal a process by its number on this host; -1 is all of them."""
        self._need_power().control.kill(pid, number)

    def pids(self, matching: str = "") -> list[int]:
        """Processes of this host but its process 1, whose command line matches the regular expression."""
        numbers = [one for one in Path(f"/proc/{self.init_pid}/root/proc").iterdir() if one.name.isdigit()]
        lines = {int(one.name): _command_line(one) for one in numbers if one.name != "1"}
        return sorted(pid for pid, line in lines.items() if line and re.search(matching, line))

    def pause(self, matching: str = "") -> None:
        """SIGSTOP to every process, at once; or to those whose command line matches."""
        if not matching:
            self.kill(-1, signal.SIGSTOP)
            return
        stopped = self._paused.setdefault(matching, set())
        while new := set(self.pids(matching)) - stopped:  # what they forked while we stopped them, too
            for pid in new:
                self.kill(pid, signal.SIGSTOP)
            stopped |= new

    def resume(self, matching: str = "") -> None:
        """SIGCONT to every process; or to those that `pause(matching)` stopped, whatever they are now."""
        for pid in self._paused.pop(matching, set()) if matching else {-1}:
            self.kill(pid, signal.SIGCONT)

    def stop_service(self, name: str, timeout: float = 90.0) -> int:
        """SIGTERM, as an init system stops a service; its exit status. SIGKILL to its group if it stays."""
        process = self.services.pop(name)
        process.terminate()
        try:
            return process.wait(timeout)
        except TimeoutError:
            process.end_group()
            raise LabError(f"{self.name}: {name} did not stop within {timeout:g} s of SIGTERM") from None

    # Files

    def log(self, program: str) -> Path:
        return self.directory / f"{program}.log"

    def path(self, path: str) -> Path:
        """Where a path of this host lies as seen from outside."""
        if any(path == one or path.startswith(one + "/") for one in self.private):
            return self.disk / path.lstrip("/")
        return Path(f"/proc/{self.init_pid}/root{path}")

    def read(self, path: str) -> str:
        return self.path(path).read_text()

    def write(self, path: str, text: str | bytes, mode: int = 0o644) -> None:
        """Write a file (parents are made), also while the host is off where the directory is private."""
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else text.encode())
        target.chmod(mode)

    def addresses(self) -> list[str]:
        """The IPv4 addresses of eth0, as `10.77.0.1/24`."""
        found = json.loads(self.run(["ip", "-4", "-j", "address", "show", "dev", "eth0"]).stdout)
        return [f"{one['local']}/{one['prefixlen']}" for link in found for one in link.get("addr_info", [])]

    def _make_disk(self) -> None:
        for path in self.private:
            directory = self.disk / path.lstrip("/")
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(MODES.get(path, 0o755))
        (self.disk / "var/spool/cron/crontabs").mkdir()
        services.write_files(self)

    # Faults

    def unplug(self) -> None:
        """Pull the network cable: no carrier, nothing in or out; the host runs on."""
        self.lab.bridge.set_carrier(self.name, up=False)

    def plug(self) -> None:
        self.lab.bridge.set_carrier(self.name, up=True)

    def lose(self, percent: float) -> None:
        """Lose this share of the packets at random, each way; 0 ends it."""
        self.lab.bridge.lose(self.name, percent)

    def give_small_disk(self, path: str, mebibytes: int) -> None:
        """Make a private directory a file system of its own, before the first power-on."""
        self.small[path] = mebibytes
        smalldisk.make(self.disk / path.lstrip("/"), mebibytes)

    def fill_disk(self, path: str, left: int = 0) -> None:
        """The small disk at `path` is full but for `left` bytes, until `free_disk`."""
        smalldisk.fill(self.disk / path.lstrip("/"), left)

    def free_disk(self, path: str) -> None:
        smalldisk.enlarge(self.disk / path.lstrip("/"), self.small[path])

    def step_clock(self, seconds: float) -> None:
        """Move the wall clock by `seconds` against the real one (0 = right again); no other clock moves.

        Programs started after the first call follow every later step while they run. Call it with 0
        before starting a daemon whose clock shall step under it.
        """
        self._clock_faked = True
        (self.disk / "files" / "lab-clock").write_text(f"{seconds:+g}\n")


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _command_line(process: Path) -> str:
    """Of a /proc/PID directory; "" for one that has ended."""
    with contextlib.suppress(OSError):  # it ended while we looked
        for _ in range(1000):
            line = (process / "cmdline").read_bytes()
            if line or (process / "stat").read_bytes().rpartition(b") ")[2][:1] in b"ZX":
                return line.replace(b"\0", b" ").decode(errors="replace")
            time.sleep(0.001)  # in the middle of its exec
    return ""
