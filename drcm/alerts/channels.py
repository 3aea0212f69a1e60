"""Carrying a message out of the house: mail by SMTP, and SMS as mail to a gateway's address.

Every wait is bounded: TIMEOUT for each answer of the server, and DEADLINE for the whole conversation,
because a server that sends one byte every nine seconds would otherwise hold us for ever.
"""

from __future__ import annotations

import os
import smtplib
import socket
import ssl
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from email.utils import formatdate
from pathlib import Path
from typing import Any

from drcm.alerts.alert import one_line
from drcm.config.model import Alerts
from drcm.errors import EXIT_NO_PERMISSION, DrcmError

TIMEOUT = 10.0  # seconds for one answer
DEADLINE = 30.0  # seconds for one conversation
SMTPS_PORT = 465  # TLS from the first byte (RFC 8314)


@dataclass(frozen=True, slots=True)
class Mail:
    """One message ready to go. `id` is fixed when it is spooled: a second copy can be told from a new one."""

    id: str
    key: str
    subject: str
    body: str
    short: str
    date: float  # seconds since 1970, for the Date header


@dataclass(frozen=True, slots=True)
class Answer:
    """What a channel said. `refused`: (recipient, the server's words); `error`: nothing went out at all."""

    channel: str  # email | sms
    sent: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    error: str = ""
    unreachable: bool = False  # trying another message now is of no use

    @property
    def ok(self) -> bool:
        return not self.refused and not self.error


def recipients(config: Alerts) -> dict[str, tuple[str, ...]]:
    """Channel -> addresses, of the channels that are configured."""
    return {name: found for name, found in (("email", config.email), ("sms", config.sms)) if found}


def deliver(config: Alerts, channel: str, to: tuple[str, ...], mail: Mail) -> Answer:
    """Send `mail` to the addresses `to` of `channel`; what went wrong is in the answer, nothing is raised."""
    where = f"{config.smtp_host}:{config.smtp_port}"
    refused: dict[str, str] = {}
    sent: list[str] = []
    try:
        with _connected(config) as server:
            for group in [to] if channel == "email" else [(one,) for one in to]:
                bad = _send(server, sender(config), group, _compose(config, channel, group, mail))
                refused.update(bad)
                sent.extend(address for address in group if address not in bad)
        return Answer(channel, tuple(sent), tuple(refused.items()))
    except DrcmError as error:
        return Answer(channel, error=str(error), unreachable=True)
    except ValueError as error:  # an address that no mail can carry
        return Answer(channel, tuple(sent), error=f"{', '.join(to)}: {error}")
    except (OSError, smtplib.SMTPException) as error:
        return Answer(channel, tuple(sent), error=f"{where}: {_trouble(error)}", unreachable=True)


def _send(server: smtplib.SMTP, origin: str, to: tuple[str, ...], message: bytes) -> dict[str, str]:
    """Recipient -> the server's words, for those that it refused."""
    bad: Mapping[str, tuple[int, bytes | str]]
    try:
        bad = server.sendmail(origin, to, message)
    except smtplib.SMTPRecipientsRefused as error:
        bad = error.recipients
    except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
        bad = dict.fromkeys(to, (error.smtp_code, error.smtp_error))
    return {address: f"{code} {_words(words)}" for address, (code, words) in bad.items()}


def _trouble(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_words(error.smtp_error)}"
    return one_line(str(error)) or type(error).__name__


def _compose(config: Alerts, channel: str, to: tuple[str, ...], mail: Mail) -> bytes:
    message = EmailMessage(policy=WIRE)
    message["From"] = sender(config)
    message["To"] = ", ".join(to)
    message["Subject"] = one_line(mail.subject if channel == "email" else "drcm")
    message["Date"] = formatdate(mail.date, localtime=False, usegmt=True)
    message["Message-ID"] = mail.id
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation notice answers it
    message["X-DRCM-Key"] = one_line(mail.key)
    message.set_content(mail.body if channel == "email" else mail.short + "\n", cte=_encoding(mail, channel))
    return message.as_bytes()


def _encoding(mail: Mail, channel: str) -> str:
    """Quoted-printable always works; plain where the text allows it, which gateways to telephones prefer."""
    text = mail.body if channel == "email" else mail.short
    short = all(len(line) <= 990 for line in text.splitlines())
    return "7bit" if text.isascii() and short else "quoted-printable"


def sender(config: Alerts) -> str:
    return config.sender or f"drcm@{hostname()}"


def hostname() -> str:
    """`uname -n`; getfqdn would ask a name server that may be what the alert is about."""
    return os.uname().nodename


@contextmanager
def _connected(config: Alerts) -> Iterator[smtplib.SMTP]:
    """A server that has greeted us, encrypted and logged in to where that is configured."""
    password = read_password(config)
    with _deadline() as watch:
        server = _connect(config, watch)
        try:
            if config.smtp_starttls and config.smtp_port != SMTPS_PORT:
                server.starttls(context=ssl.create_default_context())
            if config.smtp_user:
                server.login(config.smtp_user, password)
            yield server
            _quit(server)
        finally:
            server.close()


@contextmanager
def _deadline() -> Iterator[list[smtplib.SMTP]]:
    """Hang up on the servers put into the list once DEADLINE is over."""
    watched: list[smtplib.SMTP] = []
    timer = threading.Timer(DEADLINE, _hang_up, (watched,))
    timer.daemon = True
    timer.start()
    try:
        yield watched
    finally:
        timer.cancel()


def _connect(config: Alerts, watch: list[smtplib.SMTP]) -> smtplib.SMTP:
    """A server that has greeted us; it is watched from before the greeting."""

    class Plain(smtplib.SMTP):
        def connect(self, *args: Any, **options: Any) -> tuple[int, bytes]:
            watch.append(self)
            return super().connect(*args, **options)

    class Encrypted(Plain, smtplib.SMTP_SSL):
        pass

    if config.smtp_port == SMTPS_PORT:
        context = ssl.create_default_context()
        return Encrypted(config.smtp_host, SMTPS_PORT, hostname(), timeout=TIMEOUT, context=context)
    return Plain(config.smtp_host, config.smtp_port, hostname(), TIMEOUT)


def _quit(server: smtplib.SMTP) -> None:
    """Everything is delivered by now: a server that drops the line without a word is none of our trouble."""
    try:
        server.quit()
    except (OSError, smtplib.SMTPException):
        return


def _hang_up(servers: list[smtplib.SMTP]) -> None:
    for server in servers:
        if server.sock is not None:
            try:
                server.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it has just ended by itself


def read_password(config: Alerts) -> str:
    """The SMTP password, "" where no user is set. DrcmError where others can read the file, or nobody."""
    if not config.smtp_user:
        return ""
    path = Path(config.smtp_password_file)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise DrcmError(
                f"{path}: mode {mode:04o} lets others read the SMTP password, expected 0600",
                f"chmod 600 {path}",
                EXIT_NO_PERMISSION,
            )
        return path.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise DrcmError(
            f"{path}: the SMTP password can't be read: {error}",
            "smtp_password_file in [CM_ALERTS] names a file with one line, mode 0600.",
            EXIT_NO_PERMISSION,
        ) from error


def _words(answer: bytes | str) -> str:
    return one_line(answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer)
