"""The client of a service: a host that watches a floating IP and tells how long it was gone."""

from __future__ import annotations

import itertools
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.lab.errors import LabError, wait_until
from tests.lab.host import REPOSITORY, Host
from tests.lab.process import Process

PINGER = REPOSITORY / "tests/lab/pinger.py"


@dataclass(frozen=True)
class Gap:
    """A time without an answer, in seconds of CLOCK_BOOTTIME: from the last answer to the next."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


class Probe:
    """A running watch of one address. Its results can be read at any time, also after `stop`."""

    def __init__(self, process: Process, output: Path, started: float, interval: float) -> None:
        self._process, self._output = process, output
        self._started, self._interval = started, interval

    def __enter__(self) -> Probe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10.0)

    def answers(self) -> list[float]:
        """When each answer came, in seconds of CLOCK_BOOTTIME."""
        return [moment for answered, moment in self._lines() if answered]

    def gaps(self, longer_than: float = 0.05) -> list[Gap]:
        """Every time without an answer longer than this, the one that is still open included.

        The default is ten intervals: a single lost or late packet is not an outage.
        """
        lines = self._lines()
        if not lines:
            raise LabError(f"the probe has not run: {self._output.read_text()}")
        marks = [self._started, *(moment for answered, moment in lines if answered), lines[-1][1]]
        pairs = itertools.pairwise(marks)
        return [Gap(start, end) for start, end in pairs if end - start > longer_than]

    def outage(self) -> float:
        """The longest time without an answer in seconds, 0.0 if there was none."""
        return max((gap.seconds for gap in self.gaps()), default=0.0)

    def wait_answer(self, timeout: float = 10.0, after: float = 0.0) -> float:
        """Wait for an answer that came later than `after` (CLOCK_BOOTTIME); that moment."""
        later = wait_until(
            lambda: [moment for moment in self.answers() if moment > after],
            timeout,
            f"an answer to the probe after {after:.3f}",
        )
        return later[0]

    def _lines(self) -> list[tuple[bool, float]]:
        whole = self._output.read_text().rpartition("\n")[0].splitlines()
        words = [line.split() for line in whole]
        return [(kind == "answer", float(moment)) for kind, moment in words]


class Client(Host):
    """A host outside the cluster."""

    _probes = 0

    def probe(self, ip: str, interval: float = 0.005) -> Probe:
        """Begin to ask `ip` for an answer every `interval` seconds (ICMP echo, with real ARP)."""
        self._probes += 1
        output = self.directory / f"probe-{self._probes}.txt"
        output.touch()
        started = time.clock_gettime(time.CLOCK_BOOTTIME)
        argv = [sys.executable, "-I", "-S", str(PINGER), ip, str(interval)]
        probe = Probe(self.spawn(argv, stdout=output), output, started, interval)
        wait_until(output.read_text, 10.0, f"the probe of {ip} to begin")
        return probe
