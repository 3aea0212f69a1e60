"""Children of drcm-sync: rsync and ssh. The one module that imports sh.

Each child is the leader of its own session, so that its whole group can be ended: TERM, 3 s, KILL. It is
told to end when drcm-sync dies, so a daemon that kills a push at the end of its lease kills its rsync
too. Output comes through our own pipes and is read here: sh would lose an exception of a callback, and
reads single bytes where it is to pass on an unfinished line.
Only for a synchronous program with one thread; never in the daemon (TRAPS.md, sh).
"""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from types import TracebackType
from typing import Any, Self

import sh

from drcm.clock import Seconds, now
from drcm.errors import EXIT_UNAVAILABLE, DrcmError

GRACE: Seconds = 3.0  # between TERM and KILL: rsync keeps its partial files in it
POLL: Seconds = 0.01
STDERR_KEPT = 64 * 1024  # bytes from its beginning: what went wrong first is what matters
CHUNK = 64 * 1024
PR_SET_PDEATHSIG = 1  # prctl(2)
HELD = (signal.SIGINT, signal.SIGTERM)

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: `code` is its exit code, or minus the signal that ended it."""

    code: int
    stderr: str
    timed_out: bool = False


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a child may know: RSYNC_* and SSH_* of the caller would change what rsync and ssh do."""
    kept = {name: environ[name] for name in ("HOME", "USER", "LOGNAME") if name in environ}
    return {"PATH": environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", **kept}


def find_program(name: str, package: str = "") -> str:
    """The absolute path of `name`; DrcmError with the package to install where it is missing."""
    path = which(name)
    if path is None:
        cure = f"Install it: apt install {package or name} (or dnf)"
        raise DrcmError(f"{name} is not installed on this node", cure, EXIT_UNAVAILABLE)
    return path


class Child:
    """A running child. Leaving the `with` block ends it and its whole group, whatever the reason."""

    def __init__(self, argv: Sequence[str], keep: Collection[int] = ()) -> None:
        """`keep`: descriptors that the child inherits, such as that of the set's lock."""
        self._argv = list(argv)
        self._keep_open = set(keep)
        self._stderr = b""
        self._process: Any = None

    def __enter__(self) -> Self:
        self._out, out_child = os.pipe()
        self._err, err_child = os.pipe()
        try:
            with (
                os.fdopen(out_child, "wb") as out,
                os.fdopen(err_child, "wb") as err,
                Path(os.devnull).open("rb") as nothing,
                _signals_held(),
            ):
                self._process = self._start(out, err, nothing)
        except BaseException:
            self._close()
            raise
        return self

    def _start(self, out: Any, err: Any, nothing: Any) -> Any:
        command = sh.Command(self._argv[0]).bake(
            _tty_out=False,
            _encoding="utf-8",
            _decode_errors="surrogateescape",
            _new_session=True,
            _return_cmd=True,
        )
        arguments = [os.fsdecode(word) for word in self._argv[1:]]
        running = command(
            *arguments,
            _bg=True,
            _bg_exc=False,
            _in=nothing,
            _out=out,
            _err=err,
            _env=environment(),
            _pass_fds=self._keep_open,
            _preexec_fn=_before_exec(os.getpid(), self._keep_open),
        )
        return running.process

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        try:
            if self._process is not None:
                self.stop()
        finally:
            os.close(self._out)
            os.close(self._err)

    @property
    def alive(self) -> bool:
        return bool(self._process.is_alive()[0])

    @property
    def stderr(self) -> str:
        """What it said on standard error so far."""
        return self._stderr.decode("utf-8", "surrogateescape")

    def follow(self, on_output: Callable[[bytes], None], deadline: Seconds | None = None) -> Ended:
        """Hand its output to `on_output` as it comes, until it ends or `deadline` (of `now()`) passes."""
        timed_out = not self._read_all(on_output, deadline)
        if timed_out:
            self.stop()
        return Ended(int(self._process.wait()), self.stderr, timed_out)

    def read_for(self, seconds: Seconds) -> None:
        """Take in what it says on standard error for at most `seconds`."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._err, selectors.EVENT_READ)
            if selector.select(seconds):
                self._keep(os.read(self._err, CHUNK))

    def _read_all(self, on_output: Callable[[bytes], None], deadline: Seconds | None) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self._out, selectors.EVENT_READ, on_output)
            selector.register(self._err, selectors.EVENT_READ, self._keep)
            while selector.get_map():
                left = None if deadline is None else deadline - now()
                if left is not None and left <= 0:
                    return False
                for key, _ in selector.select(left):
                    _pass_on(selector, key)
        return True

    def _keep(self, data: bytes) -> None:
        self._stderr += data[: STDERR_KEPT - len(self._stderr)]

    def stop(self) -> None:
        """End the whole group: TERM, then KILL to what is left after GRACE seconds, or on a second ^C."""
        try:
            gone = self._signal(signal.SIGTERM) or self._wait_gone(GRACE)
        except BaseException:
            self._signal(signal.SIGKILL)
            raise
        if not gone:
            self._signal(signal.SIGKILL)
            self._wait_gone(GRACE)

    def _signal(self, number: signal.Signals) -> bool:
        """Whether the group was gone already."""
        try:
            os.killpg(self._process.pgid, number)
        except ProcessLookupError:
            return True
        return False

    def _wait_gone(self, seconds: Seconds) -> bool:
        until = now() + seconds
        while now() < until:
            if not self.alive and not _group_lives(self._process.pgid):
                return True
            time.sleep(POLL)
        return False


def _pass_on(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    data = os.read(key.fd, CHUNK)
    if data:
        key.data(data)
    else:
        selector.unregister(key.fileobj)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def _signals_held() -> Iterator[None]:
    """^C and SIGTERM wait: a child that runs already, but that nobody knows yet, could not be ended."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _before_exec(parent: int, keep: Collection[int]) -> Callable[[], None]:
    """For the child, before exec: `keep` lives on, and TERM comes when drcm-sync dies, even by KILL."""

    def arrange() -> None:
        for descriptor in keep:
            os.set_inheritable(descriptor, True)
        _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:  # it died between fork and prctl
            os._exit(128 + signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)

    return arrange


def run(
    argv: Sequence[str],
    on_output: Callable[[bytes], None] = lambda data: None,
    seconds: Seconds | None = None,
    keep: Collection[int] = (),
) -> Ended:
    """Run `argv` to its end, at most `seconds` long; nothing of it is left afterwards."""
    with Child(argv, keep) as child:
        return child.follow(on_output, None if seconds is None else now() + seconds)


def output(argv: Sequence[str], seconds: Seconds = 10.0) -> tuple[Ended, str]:
    """Run a short command; how it ended and all that it printed."""
    parts: list[bytes] = []
    ended = run(argv, parts.append, seconds)
    return ended, b"".join(parts).decode("utf-8", "surrogateescape")
