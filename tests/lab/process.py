"""A process on a lab host: a child of the host's process 1, known here by a pipe that tells its end."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Mapping, Sequence

from tests.lab.errors import LabError

HOST_DIED = -int(signal.SIGKILL)  # what a process of a host that lost its power ended with
ANSWER_SECONDS = 10.0


class Answers:
    """The lines that process 1 writes for one request."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = b""
        self.closed = False

    def line(self, timeout: float | None) -> str | None:
        """The next line; None when the host died; TimeoutError when neither came in time."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while b"\n" not in self._buffer:
            if self.closed:
                return None
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._descriptor], [], [], left)[0]:
                raise TimeoutError
            data = os.read(self._descriptor, 4096)
            if not data:
                self.close()
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
            self.closed = True


class Process:
    """A running program of a host. `pid` is its number on the host (what `ps` and pid files there say)."""

    def __init__(self, control: Control, pid: int, argv: Sequence[str], answers: Answers) -> None:
        self.pid = pid
        self.argv = list(argv)
        self.returncode: int | None = None
        self._control = control
        self._answers = answers

    def __repr__(self) -> str:
        return f"<Process {self.pid} {' '.join(self.argv)} returncode={self.returncode}>"

    def __del__(self) -> None:
        self._answers.close()

    def poll(self) -> int | None:
        with contextlib.suppress(TimeoutError):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, negative for a signal; TimeoutError if it still runs after `timeout` seconds."""
        if self.returncode is None:
            line = self._answers.line(timeout)
            self.returncode = HOST_DIED if line is None else int(line.removeprefix("exit "))
            self._answers.close()
        return self.returncode

    def signal(self, number: int) -> None:
        if self.poll() is None:
            self._control.kill(self.pid, number)

    def terminate(self) -> None:
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def end_group(self) -> None:
        """SIGKILL to the process and what it started (every process leads a session of its own)."""
        self._control.kill(-self.pid, signal.SIGKILL)


class Control:
    """Our end of the socket to a host's process 1."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def close(self) -> None:
        self._connection.close()

    def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str, descriptors: tuple[int, int, int]
    ) -> Process:
        """Start `argv` with (stdin, stdout, stderr); the caller keeps its copies of the descriptors."""
        request = {"argv": list(argv), "env": dict(env), "cwd": cwd}
        answers = self._ask(request, *descriptors)
        line = answers.line(ANSWER_SECONDS)
        if line is None or not line.startswith("pid "):
            answers.close()
            raise LabError(f"could not start {argv[0]}: {line or 'the host died'}")
        return Process(self, int(line.removeprefix("pid ")), argv, answers)

    def kill(self, pid: int, number: int) -> None:
        """Signal one process (or group -N, or everything but process 1: -1). One that is gone is no error."""
        answers = self._ask({"kill": [pid, int(number)]})
        line = answers.line(ANSWER_SECONDS)
        answers.close()
        if line is not None and line != "done":
            raise LabError(f"could not signal {pid}: {line}")

    def _ask(self, request: object, *descriptors: int) -> Answers:
        ours, theirs = os.pipe()
        answers = Answers(ours)
        try:
            socket.send_fds(self._connection, [json.dumps(request).encode()], [*descriptors, theirs])
        except OSError as error:
            answers.close()
            raise LabError(f"the host is not running ({error})") from error
        finally:
            os.close(theirs)
        return answers
