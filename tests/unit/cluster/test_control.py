import asyncio
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from drcm import control as client
from drcm.cluster import control as server
from drcm.cluster.control import MAX_EACH, MAX_REQUEST, ControlServer
from drcm.cluster.transport.keys import KEY_BYTES, Key, Keys
from drcm.cluster.transport.tls import client_context, server_context
from drcm.control import Connection, NotRunningError, RefusedError, ask_all, ask_local, ask_remote
from drcm.errors import DrcmError, PeerError

KEYS = Keys(Key(os.urandom(KEY_BYTES)))
CONTEXT = client_context(KEYS)


async def dispatch(request: dict[str, Any], local: bool) -> dict[str, Any]:
    if request["op"] == "sleep":
        await asyncio.sleep(30)
    if request["op"] == "fail":
        raise DrcmError("it is broken", "mend it")
    if request["op"] == "odd":
        return {}
    return {"ok": True, "echo": request, "local": local, "filler": "x" * request.get("size", 0)}


@contextmanager
def serving(path: Path, keys: Keys = KEYS) -> Iterator[ControlServer]:
    """A control server on its own loop and thread, on loopback and at `path`."""
    loop = asyncio.new_event_loop()
    control = ControlServer(dispatch, path, "127.0.0.1", 0, server_context(keys))
    loop.run_until_complete(control.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield control
    finally:
        asyncio.run_coroutine_threadsafe(control.close(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "drcm.sock"


@pytest.fixture
def control(path: Path) -> Iterator[ControlServer]:
    with serving(path) as running:
        yield running


def test_local_question(control: ControlServer, path: Path) -> None:
    """Root asks over the Unix socket and is told that it is local."""
    answer = ask_local(path, {"op": "ping", "n": 1})
    assert answer["echo"] == {"op": "ping", "n": 1}
    assert answer["local"] is True


def test_remote_question(control: ControlServer) -> None:
    """Who has the key asks over TLS, and is told apart from root here."""
    answer = ask_remote("127.0.0.1", control.port, CONTEXT, {"op": "ping"})
    assert answer["echo"] == {"op": "ping"}
    assert answer["local"] is False


def test_several_questions_on_one_connection(control: ControlServer) -> None:
    """A connection answers one question after the other, large answers too."""
    with Connection.remote("127.0.0.1", control.port, CONTEXT) as connection:
        for size in (1, 1000, 1_000_000):
            assert len(connection.ask({"op": "x", "size": size})["filler"]) == size


def test_refusal_is_an_error_with_its_cure(control: ControlServer, path: Path) -> None:
    """What the daemon refuses reaches the asker in the daemon's own words."""
    with pytest.raises(RefusedError) as caught:
        ask_local(path, {"op": "fail"})
    assert (caught.value.what, caught.value.cure) == ("it is broken", "mend it")


def test_odd_answer_is_an_error(control: ControlServer, path: Path) -> None:
    """An answer without its ok is no answer of a drcm-server."""
    with pytest.raises(PeerError, match="something else"):
        ask_local(path, {"op": "odd"})


def test_socket_is_for_root(control: ControlServer, path: Path) -> None:
    """The socket is 0600, in a folder of 0700 where the server makes it."""
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_other_user_is_turned_away() -> None:
    """Another user gets no answer even where the modes would let it in: the kernel tells who asks."""
    program = (
        "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX); "
        "s.settimeout(5); s.connect(sys.argv[1]); print(s.recv(9))"
    )
    with TemporaryDirectory() as folder, serving(Path(folder) / "drcm.sock") as control:
        Path(folder).chmod(0o711)
        (Path(folder) / "drcm.sock").chmod(0o777)
        command = [sys.executable, "-c", program, f"{folder}/drcm.sock"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.stdout.strip() == "b''" or "ConnectionReset" in result.stderr, result.stderr
        assert control.turned_away == 1


def test_stale_socket_is_replaced(path: Path) -> None:
    """The socket file of a daemon that died does not stop the next one."""
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serving(path):
        assert ask_local(path, {"op": "ping"})["ok"]
    assert not path.exists()


def test_second_daemon_is_refused(control: ControlServer, path: Path) -> None:
    """A second daemon on the same node does not take the socket from the first."""
    with pytest.raises(DrcmError, match="runs already"):
        asyncio.run(ControlServer(dispatch, path).start())
    assert ask_local(path, {"op": "ping"})["ok"]


def test_taken_port_names_the_cure(control: ControlServer, tmp_path: Path) -> None:
    """A tcpport that another program has is an error that tells how to find it, and leaves no socket."""
    other = tmp_path / "other.sock"
    second = ControlServer(dispatch, other, "127.0.0.1", control.port, server_context(KEYS))
    with pytest.raises(DrcmError, match=f"tcpport {control.port}") as caught:
        asyncio.run(second.start())
    assert "ss -ltnp" in caught.value.cure
    assert not other.exists()


def test_no_daemon_is_told_apart(path: Path) -> None:
    """A daemon that does not run is another error than one that does not answer."""
    with pytest.raises(NotRunningError, match="does not run on this node"):
        ask_local(path, {"op": "ping"})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(NotRunningError, match="refuses the connection"):
        ask_remote("127.0.0.1", port, CONTEXT, {"op": "ping"})


def test_hanging_daemon_costs_the_timeout(control: ControlServer, path: Path) -> None:
    """A daemon that accepts and never answers costs the time given, not more."""
    start = time.monotonic()
    with pytest.raises(PeerError, match="in time") as caught:
        ask_local(path, {"op": "sleep"}, timeout=0.3)
    assert not isinstance(caught.value, NotRunningError)
    with pytest.raises(PeerError, match="in time"):
        ask_remote("127.0.0.1", control.port, CONTEXT, {"op": "sleep"}, timeout=0.3)
    assert time.monotonic() - start < 15  # of a busy machine


def test_all_are_asked_at_once(control: ControlServer) -> None:
    """Ten silent nodes cost no more than one, and those that answer do."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(20)
        addresses = {f"dead{number}": ("127.0.0.1", silent.getsockname()[1]) for number in range(10)}
        addresses["alive"] = ("127.0.0.1", control.port)
        start = time.monotonic()
        answers = ask_all(addresses, CONTEXT, {"op": "ping"}, timeout=2.0)
    assert time.monotonic() - start < 15  # one after another they would take 20
    assert list(answers) == list(addresses)
    assert [name for name, answer in answers.items() if isinstance(answer, dict)] == ["alive"]


def test_trickling_node_costs_the_timeout() -> None:
    """A node that sends its answer byte by byte can't stretch the time given."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def trickle() -> None:
            plain, _ = listener.accept()
            with server_context(KEYS).wrap_socket(plain, server_side=True) as secure:
                while not stop.wait(0.05):
                    secure.send(b"x")

        thread = threading.Thread(target=trickle)
        thread.start()
        start = time.monotonic()
        with pytest.raises(PeerError, match="in time"):
            ask_remote("127.0.0.1", listener.getsockname()[1], CONTEXT, {"op": "ping"}, timeout=0.5)
        assert time.monotonic() - start < 15  # of a busy machine
        stop.set()
        thread.join(5)


def test_other_key_is_told(control: ControlServer) -> None:
    """Without the right key nothing is answered, and the asker is told to compare the keys."""
    stranger = client_context(Keys(Key(os.urandom(KEY_BYTES))))
    with pytest.raises(PeerError, match="another auth key") as caught:
        ask_remote("127.0.0.1", control.port, stranger, {"op": "ping"})
    assert "sha256sum" in caught.value.cure


def closing() -> suppress[ConnectionResetError]:
    """The other side closes: an end or a reset, both will do."""
    return suppress(ConnectionResetError)


def raw(control: ControlServer, data: bytes) -> bytes:
    """What the server says to `data`, until it closes."""
    with (
        socket.create_connection(("127.0.0.1", control.port), 5) as plain,
        CONTEXT.wrap_socket(plain) as sock,
    ):
        sock.sendall(data)
        said = b""
        while piece := sock.recv(65536):
            said += piece
        return said


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{}\n",
        b"[1]\n",
        b'"ping"\n',
        b'{"op": 1}\n',
        b"\xff\xfe\n",
        b"[" * 60_000 + b"\n",
        b"9" * 9999 + b"\n",
    ],
)
def test_malformed_requests_are_refused(control: ControlServer, path: Path, line: bytes) -> None:
    """Whatever comes instead of a request is refused in words, and the connection lives on."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(path))
        for data, good in ((line, False), (b'{"op": "ping"}\n', True)):
            sock.sendall(data)
            answer = json.loads(sock.makefile().readline())
            assert answer["ok"] is good


def test_too_long_a_request_ends_the_conversation(control: ControlServer) -> None:
    """A line over the limit is refused in words, and nothing more is read."""
    answer = json.loads(raw(control, b"x" * (2 * MAX_REQUEST)))
    assert answer["ok"] is False
    assert "65536" in answer["error"]


def test_slow_asker_is_sent_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not finish its line within the deadline loses its connection, TLS handshake or not."""
    monkeypatch.setattr(server, "READ_SECONDS", 0.2)
    with serving(path) as control:
        assert raw(control, b'{"op": "pi') == b""
        with socket.create_connection(("127.0.0.1", control.port), 5) as mute, closing():
            assert mute.recv(1) == b""


def test_one_host_cannot_take_all_connections(control: ControlServer, path: Path) -> None:
    """One address holds a few connections at most; root on this node is answered meanwhile."""
    held = [socket.create_connection(("127.0.0.1", control.port), 5) for _ in range(MAX_EACH + 3)]
    deadline = time.monotonic() + 5
    while control.turned_away < 3 and time.monotonic() < deadline:
        ask_local(path, {"op": "ping"})
    assert control.turned_away == 3
    for sock in held:
        sock.close()
    while time.monotonic() < deadline:
        try:
            assert ask_remote("127.0.0.1", control.port, CONTEXT, {"op": "ping"})["ok"]
            return
        except PeerError:
            continue
    pytest.fail("the connections were not given back")


def test_plain_text_gets_no_answer(control: ControlServer) -> None:
    """Who speaks without TLS is not answered with anything but a TLS alert."""
    with socket.create_connection(("127.0.0.1", control.port), 5) as sock, closing():
        sock.sendall(b'{"op": "ping"}\n')
        assert b"ok" not in sock.recv(4096)


def test_client_needs_the_standard_library_only() -> None:
    """Asking must start fast: importing the client loads nothing that pip installs."""
    program = (
        "import sys, drcm.control; print([n for n in sys.modules if n in ('cryptography','msgspec','rich')])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    assert isinstance(CONTEXT, ssl.SSLContext)
    assert client.TIMEOUT == 2.0
