"""What several modules of integration tests start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    try:
        yield made
    finally:
        made.stop()
