"""A real SMTP server for the tests of alerts, and the fixtures that they share."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from drcm.paths import Paths, paths


@dataclass
class Mailbox:
    """An aiosmtpd handler that keeps what it is given, and refuses whoever is called `bad`."""

    got: list[tuple[list[str], EmailMessage]] = field(default_factory=list)

    async def handle_RCPT(
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        if address.startswith("bad"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        parsed = message_from_bytes(envelope.content, policy=default)
        assert isinstance(parsed, EmailMessage)
        self.got.append((list(envelope.rcpt_tos), parsed))
        return "250 kept"

    @property
    def subjects(self) -> list[str]:
        return [str(message["Subject"]) for _, message in self.got]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(port: int, **options: Any) -> Iterator[Mailbox]:
    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def here(tmp_path: Path) -> Paths:
    names = {"CONFIG": "cm.cfg", "AUTH_DIR": "auth", "STATE_DIR": "state", "RUN_DIR": "run"}
    return paths({f"DRCM_{name}": str(tmp_path / file) for name, file in names.items()})
