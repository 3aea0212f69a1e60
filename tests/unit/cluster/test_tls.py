import os
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from drcm.cluster.transport.certificates import make_in_child
from drcm.cluster.transport.keys import KEY_BYTES, Key, Keys
from drcm.cluster.transport.tls import client_context, server_context
from drcm.errors import DrcmError

KEY, OTHER = Key(os.urandom(KEY_BYTES)), Key(os.urandom(KEY_BYTES))


def talk(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """Shake hands over a socket pair; the TLS version, or the error of either side."""
    here, there = socket.socketpair()
    here.settimeout(5)
    there.settimeout(5)
    errors: list[Exception] = []

    def serve() -> None:
        try:
            with server.wrap_socket(there, server_side=True) as secure:
                secure.sendall(secure.recv(1))
        except (OSError, ssl.SSLError) as error:
            errors.append(error)
            there.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(here) as secure:
            secure.sendall(b"x")
            version = secure.version() if secure.recv(1) == b"x" else None
    except OSError as error:
        errors.append(error)
        here.close()
    thread.join(10)
    return repr(errors) if errors else str(version)


def test_same_key_is_trust() -> None:
    """Two processes with the same key trust each other, with nothing else copied, and speak TLS 1.3."""
    assert talk(server_context(Keys(KEY)), client_context(Keys(KEY))) == "TLSv1.3"


def test_certificates_of_a_child_are_as_good() -> None:
    """The daemon has a child make its certificates: those of both keys, while two live."""
    server = server_context(Keys(OTHER, KEY), make_in_child)
    assert talk(server, client_context(Keys(KEY, OTHER))) == "TLSv1.3"


def test_child_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates that a child could not make are an error with its last words, and without the key."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DrcmError, match="TLS certificates could not be made"):
        make_in_child(Keys(KEY))


def test_other_key_is_no_trust() -> None:
    """With another key there is no connection, in either direction."""
    assert "CERTIFICATE_VERIFY_FAILED" in talk(server_context(Keys(KEY)), client_context(Keys(OTHER)))
    assert "CERTIFICATE_VERIFY_FAILED" in talk(server_context(Keys(OTHER)), client_context(Keys(KEY)))


def test_client_without_certificate_is_refused() -> None:
    """Who shows no certificate gets no answer, even if it trusts anybody."""
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    assert "CERTIFICATE" in talk(server_context(Keys(KEY)), anybody)


def test_client_of_another_authority_is_refused() -> None:
    """A client that trusts anybody but shows a leaf of another key gets no answer."""
    stranger = client_context(Keys(OTHER))
    stranger.verify_mode = ssl.CERT_NONE
    assert "CERTIFICATE_VERIFY_FAILED" in talk(server_context(Keys(KEY)), stranger)


def test_leaf_is_no_authority() -> None:
    """Each process has its own leaf, and both authorities are the same to the last byte."""
    one, two = server_context(Keys(KEY)), client_context(Keys(KEY))
    assert one.get_ca_certs(binary_form=True) == two.get_ca_certs(binary_form=True)
    assert len(one.get_ca_certs()) == 1


def test_older_protocol_is_refused() -> None:
    """Nothing below TLS 1.3 is spoken."""
    old = client_context(Keys(KEY))
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert "VERSION" in talk(server_context(Keys(KEY)), old).upper()


@pytest.mark.parametrize(
    ("server", "client"),
    [
        (Keys(KEY, OTHER), Keys(KEY)),
        (Keys(KEY, OTHER), Keys(OTHER, KEY)),
        (Keys(OTHER, KEY), Keys(KEY, OTHER)),
    ],
)
def test_both_keys_are_trusted_while_two_live(server: Keys, client: Keys) -> None:
    """While a new key is rolled out, holders of both reach holders of either that know theirs."""
    assert talk(server_context(server), client_context(client)) == "TLSv1.3"


@pytest.mark.parametrize("date", ["1970-01-02 00:00:00", "2099-01-01 00:00:00"])
def test_clock_does_not_matter(date: str) -> None:
    """A machine that boots in 1970 or 2099 still reaches the others (W6)."""
    program = (
        "import test_tls as t; from datetime import datetime; print(datetime.now().year, "
        "t.talk(t.server_context(t.Keys(t.KEY)), t.client_context(t.Keys(t.KEY))))"
    )
    result = subprocess.run(
        ["faketime", "-f", f"@{date}", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    assert result.stdout.split() == [date[:4], "TLSv1.3"], result.stderr


def test_no_secret_stays_on_disk_or_in_descriptors() -> None:
    """Making a context leaves no file and no open descriptor behind."""
    before = set(os.listdir("/proc/self/fd"))
    server_context(Keys(KEY))
    assert set(os.listdir("/proc/self/fd")) == before
