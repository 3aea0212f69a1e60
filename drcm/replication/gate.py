"""drcm-gate: the forced command behind the cluster's SSH key, on the receiving node.

It reads SSH_ORIGINAL_COMMAND and starts no shell. It takes the set's lock first and reads then
(HISTORIES R7), compares chains, not roles (R28), and alone decides what may be written here.
Standard library only: it starts several times a run.

    probe NAME | join NAME | begin NAME | commit NAME | hello     one JSON object on each stream
    plan NAME ROOT -- rsync --server -n ...                       rsync's protocol
    receive NAME ROOT GENERATION RUN ATTEMPT -- rsync --server ...
    kept NAME                                                     what .drcm/trash and conflicts hold
    fetch NAME ROOT KIND LABEL -- rsync --server --sender ...     one folder of them, read only
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from drcm.errors import EXIT_IO, EXIT_OK, EXIT_PROTOCOL, DrcmError
from drcm.paths import Paths, paths
from drcm.replication import gatecalls, gatekept, gatereceive
from drcm.replication.gaterequest import NAME, Answer, Request, checked, malformed

REQUEST_MAX = 1024 * 1024  # bytes
COMMAND_MAX = 16 * 1024  # characters: a path of 4096, escaped, and rsync's options
REQUEST_SECONDS = 30  # for the request to arrive


def main() -> int:
    """Do what SSH_ORIGINAL_COMMAND asks; a refusal is one line on standard error and one in syslog."""
    command = os.environ.get("SSH_ORIGINAL_COMMAND")
    if command is None:
        print("drcm-gate: started by sshd for the cluster's key; see drcm-sync(8)", file=sys.stderr)
        return EXIT_PROTOCOL
    _own_group()
    return serve(command, paths())


def serve(command: str, here: Paths) -> int:
    """The exit code of one command."""
    streams = False
    try:
        verb, arguments = _words(command)
        streams = verb in STREAMING
        if streams:
            return STREAMING[verb](here, arguments)
        answer = CALLS[verb](here, *_one_name(verb, arguments), _request())
        print(json.dumps({"ok": True, **answer}))
        return EXIT_OK
    except DrcmError as error:
        return _refused(error, streams)
    except OSError as error:  # a full or failing disk
        return _refused(DrcmError(f"{error.filename or ''}: {error.strerror or error}", "", EXIT_IO), streams)


def _refused(error: DrcmError, streams: bool) -> int:
    _log_refusal(error)
    if not streams:
        print(json.dumps({"ok": False, "error": error.what, "cure": error.cure}))
    return error.exit_code


def _own_group() -> None:
    """Lead a process group, so that what evicts the lock's holder ends rsync too and nobody else."""
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)


def _log_refusal(error: DrcmError) -> None:
    import syslog

    line = f"refused ({error.exit_code}): {error.what}".replace("\n", " ")
    line = "".join(char if char.isprintable() else "?" for char in line)[:500]
    print(f"drcm-gate: {line}", file=sys.stderr)
    syslog.openlog("drcm-gate", syslog.LOG_PID, syslog.LOG_AUTH)
    syslog.syslog(syslog.LOG_WARNING, line.encode("utf-8", "replace").decode())


# -- what was asked --------------------------------------------------------------------------------


def _words(command: str) -> tuple[str, list[str]]:
    if len(command) > COMMAND_MAX:
        raise malformed(f"a command longer than {COMMAND_MAX} characters")
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise malformed(f"a command that can't be split: {error}") from error
    if words[:1] == ["drcm-gate"]:
        words = words[1:]
    if not words or (words[0] not in CALLS and words[0] not in STREAMING):
        raise malformed(f"unknown command {(words or [''])[0][:40]!r}; only drcm-sync speaks to the gate")
    return words[0], words[1:]


def _one_name(verb: str, arguments: list[str]) -> tuple[str, ...]:
    if verb == "hello":
        return ()
    if len(arguments) != 1:
        raise malformed(f"{verb} takes the name of one set")
    return (checked(NAME, arguments[0], "name of a set"),)


def _request() -> Request:
    """The JSON object on standard input, of bounded size, in bounded time."""
    signal.signal(signal.SIGALRM, _too_late)
    signal.alarm(REQUEST_SECONDS)
    data = sys.stdin.buffer.read(REQUEST_MAX + 1)
    signal.alarm(0)
    if len(data) > REQUEST_MAX:
        raise malformed(f"a request longer than {REQUEST_MAX} bytes")
    try:
        value = json.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        raise malformed("a request that is not JSON") from error
    if not isinstance(value, dict):
        raise malformed("a request that is not a JSON object")
    return value


def _too_late(number: int, frame: object) -> NoReturn:
    raise malformed(f"no whole request within {REQUEST_SECONDS} s")


CALLS: dict[str, Callable[..., Answer]] = {
    "hello": gatecalls.hello,
    "probe": gatecalls.probe,
    "join": gatecalls.join,
    "begin": gatecalls.begin,
    "commit": gatecalls.commit,
    "kept": gatekept.listing,
}
STREAMING: dict[str, Callable[[Paths, list[str]], int]] = {
    "plan": gatereceive.plan,
    "receive": gatereceive.receive,
    "fetch": gatekept.fetch,
}


if __name__ == "__main__":
    sys.exit(main())
