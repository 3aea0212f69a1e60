"""A machine that hangs: nothing runs on it any more, but its kernel still answers for the address."""

from __future__ import annotations

import pytest

from bench.contenders import FAST
from bench.stage import Watch, running
from bench.timeline import double_seconds

pytestmark = pytest.mark.lab

LOST_SECONDS = 20.0  # of a busy machine; it takes about one


def test_a_takeover_waits_for_the_kernel_of_a_hung_machine() -> None:
    """In the fast profile the holder is dead for the others after 0.3 s, but its kernel keeps the address
    for at least a second, which is the shortest lifetime: the backup waits for that, and no longer. A start
    into an address that answers would fail, and be declined for a minute."""
    with running(FAST, witness=True) as stage, Watch(stage) as watch:
        stage.home.pause()
        stage.wait_holder(stage.backup, LOST_SECONDS)
        assert "did not start" not in stage.backup.daemon_log()
        assert double_seconds(watch.seen(), stage.home.name) == 0
