"""`pytest tests/scenarios --rewrite` renews the golden transcripts."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="renew the scenarios' transcripts")
