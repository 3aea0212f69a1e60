"""Fixtures for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Lab


@pytest.fixture
def lab() -> Iterator[Lab]:
    """An empty lab; hosts, processes and files of it are gone after the test."""
    with Lab() as made:
        yield made
