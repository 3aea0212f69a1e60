"""Alerts against a real SMTP server: what arrives, what waits, what is never sent twice."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult, LoginPassword
from smtp_server import Mailbox, here, port, serving  # the fixtures are used by name

from drcm.alerts import channels, dispatcher, spool
from drcm.alerts.alert import alert, custom
from drcm.alerts.channels import Mail
from drcm.alerts.message import Origin
from drcm.alerts.policy import Word
from drcm.config.model import Alerts
from drcm.paths import Paths

__all__ = ["here", "port"]

DEAD = alert("node-dead:cmnode2", "Node cmnode2 is DOWN", "Not heard for 2.0 s.")
ORIGIN = Origin("NFS-CLUSTER1", "cmnode1")


@pytest.fixture
def config(port: int) -> Alerts:
    return Alerts(email=("ops@example.org", "root"), smtp_host="127.0.0.1", smtp_port=port)


def test_a_mail_arrives_with_all_that_a_mail_needs(here: Paths, config: Alerts, port: int) -> None:
    """Sender, date, id, both recipients in one message, text in UTF-8, and no vacation notice provoked."""
    with serving(port) as mailbox:
        what = alert("set-failed:testfs", "Größe über 5 €", "Zeile 1 ☃\nline 2")
        outcome = dispatcher.raise_alert(here, config, what, ORIGIN)
    assert (outcome.word, outcome.waiting) == (Word.OPEN, 0)
    ((to, message),) = mailbox.got
    assert to == ["ops@example.org", "root"]
    assert message["Subject"] == "[!ACTION!] Größe über 5 €"
    assert message["From"] == f"drcm@{os.uname().nodename}"
    assert message["Date"].endswith("+0000")
    assert message["Message-ID"].startswith("<drcm.")
    assert message["Auto-Submitted"] == "auto-generated"
    assert "Zeile 1 ☃\nline 2" in message.get_content().replace("\r\n", "\n")


def test_an_sms_is_short_plain_and_goes_to_each_alone(here: Paths, config: Alerts, port: int) -> None:
    """A gateway gets one recipient, ASCII, at most 140 characters."""
    config = replace(config, email=(), sms=("0171@sms.example", "0172@sms.example"))
    with serving(port) as mailbox:
        dispatcher.raise_alert(here, config, alert("guard:testfs", "Quelle leer: Ü" + "x" * 300), ORIGIN)
    assert [to for to, _ in mailbox.got] == [["0171@sms.example"], ["0172@sms.example"]]
    text = mailbox.got[0][1].get_content().strip()
    assert text.startswith("ALERT NFS-CLUSTER1/cmnode1: Quelle leer: ?xxx")
    assert len(text) == 140


def test_the_story_of_one_problem_is_three_mails(here: Paths, config: Alerts, port: int) -> None:
    """Open, then throttled, then resolved; a second fault is not muted by the first (LEGACY.md, fault 8)."""
    with serving(port) as mailbox:
        dispatcher.raise_alert(here, config, DEAD, ORIGIN)
        throttled = dispatcher.raise_alert(here, config, DEAD, ORIGIN)
        dispatcher.raise_alert(here, config, alert("set-failed:testfs", "Set testfs failed"), ORIGIN)
        dispatcher.resolve(here, config, DEAD.key, "Heard again.", ORIGIN)
    assert throttled.word is None
    assert 14000 < throttled.wait <= 14400
    assert mailbox.subjects[:2] == ["[!ACTION!] Node cmnode2 is DOWN", "[!ACTION!] Set testfs failed"]
    assert mailbox.subjects[2].startswith("[RESOLVED] Node cmnode2 is DOWN (lasted ")
    assert "Heard again." in mailbox.got[2][1].get_content()
    assert [p.key for p in dispatcher.open_problems(here, config)] == ["set-failed:testfs"]


def test_mail_waits_while_the_server_is_down_and_is_sent_once(here: Paths, config: Alerts, port: int) -> None:
    """What can't be sent is kept with its Message-ID; the next call after the server is back sends it."""
    outcome = dispatcher.raise_alert(here, config, DEAD, ORIGIN)
    assert outcome.waiting == 1
    assert "refused" in outcome.answers[0].error
    (kept,) = spool.entries(here.state / "spool")
    with serving(port) as mailbox:
        assert dispatcher.flush(here, config, ORIGIN).waiting == 0
        assert dispatcher.flush(here, config, ORIGIN).answers == ()
    assert [message["Message-ID"] for _, message in mailbox.got] == [kept.id]


def test_a_refused_address_holds_up_nobody_else(here: Paths, config: Alerts, port: int) -> None:
    """The others get it at once; the bad one is tried until cm.cfg no longer names it."""
    wrong = replace(config, email=("bad@example.org", "root"))
    with serving(port) as mailbox:
        outcome = dispatcher.raise_alert(here, wrong, DEAD, ORIGIN)
        assert outcome.answers[0].refused == (("bad@example.org", "550 no such user"),)
        assert outcome.waiting == 1
        assert dispatcher.flush(here, config, ORIGIN).waiting == 0
    assert [to for to, _ in mailbox.got] == [["root"]]


@pytest.mark.parametrize(
    "subject",
    [
        "x\r\nBcc: evil@example.org\r\n\r\nowned",
        "x\nX-Evil: 1",
        "x\r\n.\r\nMAIL FROM:<evil>",
        "\ud800\x00\x1b[2J x",
    ],
)
def test_a_hostile_subject_stays_a_subject(here: Paths, config: Alerts, port: int, subject: str) -> None:
    """No header, recipient or second message can be smuggled in by what a script passes on."""
    with serving(port) as mailbox:
        dispatcher.raise_alert(here, config, custom(subject, subject), ORIGIN)
    ((to, message),) = mailbox.got
    assert to == ["ops@example.org", "root"]
    assert message["Bcc"] is None
    assert message["X-Evil"] is None
    assert "x" in message["Subject"]
    assert len(message.get_all("Subject", [])) == 1


def test_a_sender_that_no_header_can_carry_is_an_answer(config: Alerts, port: int) -> None:
    """A newline in an address is refused in words, without a traceback and without a mail."""
    mail = Mail("<1@x>", "test:x", "s", "b", "b", 0.0)
    with serving(port) as mailbox:
        answer = channels.deliver(config, "email", ("root\r\nBcc: evil@example.org",), mail)
    assert answer.error
    assert mailbox.got == []


# -- crashes, clocks, processes --------------------------------------------------------------------

RAISE = """
import sys
from drcm.alerts import dispatcher, ledger
from drcm.alerts.alert import alert
from drcm.config.model import Alerts
from drcm.paths import paths
import os, time
if sys.argv[2] == "crash":
    ledger.save = lambda *_: os._exit(9)
if sys.argv[2] == "slow":
    save = ledger.save
    ledger.save = lambda *all: (time.sleep(0.5), save(*all))
config = Alerts(email=("root",), smtp_host="127.0.0.1", smtp_port=int(sys.argv[1]))
outcome = dispatcher.raise_alert(paths(), config, alert(sys.argv[3], "subject"))
print(outcome.word)
"""


def raising(here: Paths, port: int, mode: str, key: str = DEAD.key, *, under: tuple[str, ...] = ()) -> Any:
    environ = {**os.environ, "DRCM_STATE_DIR": str(here.state), "DRCM_RUN_DIR": str(here.run)}
    argv = [*under, sys.executable, "-c", RAISE, str(port), mode, key]
    environ["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
    return subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, text=True)


def said(process: Any) -> str:
    text: str = process.communicate(timeout=120)[0]
    return text.strip()


def test_processes_that_raise_at_once_make_one_mail(here: Paths, port: int) -> None:
    """The throttle holds between processes, however slow the disk is."""
    with serving(port) as mailbox:
        children = [raising(here, port, "slow") for _ in range(4)]
        words = sorted(said(child) for child in children)
    assert words == ["None", "None", "None", "open"]
    assert len(mailbox.got) == 1


def test_a_crash_before_the_ledger_is_written_loses_no_alert(here: Paths, port: int) -> None:
    """Spooled first: whoever comes next sends it, once, though the same problem is raised again."""
    with serving(port) as mailbox:
        child = raising(here, port, "crash")
        said(child)
        assert child.returncode == 9
        assert mailbox.got == []
        assert said(raising(here, port, "well")) == "open"
    assert len(mailbox.got) == 1


@pytest.mark.skipif(shutil.which("faketime") is None, reason="needs faketime")
def test_a_stepped_clock_neither_floods_nor_mutes(here: Paths, port: int) -> None:
    """A year forth, a year back: the open problem stays throttled, a new one is told."""
    with serving(port) as mailbox:
        said(raising(here, port, "well"))
        for step in ("+1y", "-1y", "-20y"):
            assert said(raising(here, port, "well", under=("faketime", "-f", step))) == "None"
        fresh = raising(here, port, "well", "guard:testfs", under=("faketime", "-f", "-1y"))
        assert said(fresh) == "open"
    assert len(mailbox.got) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a read-only file system")
def test_a_disk_that_takes_nothing_is_told_about(here: Paths, port: int) -> None:
    """With /var read-only the alert goes out all the same, and its throttle holds in /run."""
    here.state.mkdir(parents=True)
    frozen = ("unshare", "-m", "sh", "-c", f'mount -t tmpfs -o ro none "{here.state}" && exec "$@"', "sh")
    with serving(port) as mailbox:
        assert said(raising(here, port, "well", under=frozen)) == "open"
        assert said(raising(here, port, "well", under=frozen)) == "None"
    assert len(mailbox.got) == 1


def test_a_damaged_ledger_mutes_nothing(here: Paths, config: Alerts, port: int) -> None:
    """The throttle begins anew, the damaged file is kept for whoever wants to know."""
    here.state.mkdir(parents=True)
    (here.state / "alerts.json").write_bytes(b'{"schema": 1, "coun')
    with serving(port) as mailbox:
        assert dispatcher.raise_alert(here, config, DEAD, ORIGIN).word is Word.OPEN
    assert len(mailbox.got) == 1
    assert (here.state / "alerts.json.damaged").read_bytes() == b'{"schema": 1, "coun'


# -- servers that are slow, strict or encrypted ----------------------------------------------------


@contextmanager
def mumbling(words: bytes) -> Iterator[int]:
    """A server that says `words` again and again, and never ends a line."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            connection, _ = listener.accept()
            with connection:
                while not stop.wait(0.05):
                    try:
                        connection.sendall(words)
                    except OSError:
                        return

        speaker = threading.Thread(target=talk)
        speaker.start()
        yield int(listener.getsockname()[1])
        stop.set()
        speaker.join()


@pytest.mark.parametrize("words", [b"", b"2"], ids=["silent", "a byte at a time"])
def test_a_server_that_never_answers_is_left(
    here: Paths, config: Alerts, monkeypatch: pytest.MonkeyPatch, words: bytes
) -> None:
    """Silence ends at the timeout, mumbling at the deadline; the mail is kept."""
    monkeypatch.setattr(channels, "TIMEOUT", 0.5)
    monkeypatch.setattr(channels, "DEADLINE", 1.0)
    with mumbling(words) as port:
        outcome = dispatcher.raise_alert(here, replace(config, smtp_port=port), DEAD, ORIGIN)
    assert outcome.waiting == 1
    assert outcome.answers[0].unreachable


def certificate(folder: Path) -> ssl.SSLContext:
    """A self-signed certificate for `localhost` in `folder`/cert.pem, and a server's context with it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    begin = datetime.now(UTC) - timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(begin).not_valid_after(begin + timedelta(days=9))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    signed = builder.sign(key, SHA256()).public_bytes(serialization.Encoding.PEM)
    (folder / "cert.pem").write_bytes(signed)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*form))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def login(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"drcm", b"s3cret")
    return AuthResult(success=good)


@pytest.fixture
def encrypted(config: Alerts, tmp_path: Path) -> Iterator[tuple[Alerts, Mailbox]]:
    """A server that wants STARTTLS and a login, and the settings for it."""
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    settings = replace(
        config, smtp_host="localhost", smtp_starttls=True, smtp_user="drcm", smtp_password_file=str(secret)
    )
    options = {"auth_required": True, "authenticator": login}
    context = certificate(tmp_path)
    with serving(config.smtp_port, tls_context=context, require_starttls=True, **options) as mailbox:
        yield settings, mailbox


def test_starttls_and_login(
    here: Paths, encrypted: tuple[Alerts, Mailbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a certificate that this machine trusts, the mail goes out encrypted and logged in."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    config, mailbox = encrypted
    assert dispatcher.raise_alert(here, config, DEAD, ORIGIN).waiting == 0
    assert len(mailbox.got) == 1


def test_a_certificate_that_nobody_vouches_for_gets_no_password(
    here: Paths, encrypted: tuple[Alerts, Mailbox]
) -> None:
    """The conversation ends before the login, in words, and the mail is kept."""
    config, mailbox = encrypted
    outcome = dispatcher.raise_alert(here, config, DEAD, ORIGIN)
    assert "certificate verify failed" in outcome.answers[0].error
    assert mailbox.got == []


def test_a_password_that_others_can_read_is_not_used(here: Paths, encrypted: tuple[Alerts, Mailbox]) -> None:
    """Mode 0644 is refused with the command that mends it; the alert is kept."""
    config, _ = encrypted
    Path(config.smtp_password_file).chmod(0o644)
    outcome = dispatcher.raise_alert(here, config, DEAD, ORIGIN)
    assert f"chmod 600 {config.smtp_password_file}" in outcome.answers[0].error
    assert outcome.waiting == 1
