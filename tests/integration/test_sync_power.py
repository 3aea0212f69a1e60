"""The receiver loses its power while the writer waits for an answer, and is back before anybody misses it."""

from __future__ import annotations

import pytest

from drcm import errors
from tests.integration.cluster import TREE, config, contents, make
from tests.lab import Lab, wait_until
from tests.lab.host import BIN

pytestmark = pytest.mark.lab

KEYS, HUNG = "/root/.ssh/authorized_keys", "/var/lib/drcm/hung"
NOTICED = 60.0  # seconds on a busy machine; it takes 5 to 10, and the call itself may take 300
GATE = f"""#!/bin/sh
case "$SSH_ORIGINAL_COMMAND" in
"drcm-gate begin"*) [ -e {HUNG} ] || {{ touch {HUNG}; sleep 1000; }};;
esac
exec {BIN}/drcm-gate
"""


def test_a_call_does_not_outlive_the_machine_that_was_asked(lab: Lab) -> None:
    """The kernel there knows nothing of the connection any more and says so when asked; the run ends, frees
    the set, and the next one goes on."""
    cluster = make(lab, config())
    a, b = cluster.nodes
    a.write(f"{TREE}/file", "one\n")
    a.sync("testfs", "--init")
    b.write("/etc/drcm/gate", GATE, 0o755)
    b.write(KEYS, b.read(KEYS).replace(f"{BIN}/drcm-gate", "/etc/drcm/gate"), 0o600)
    run = a.spawn([str(BIN / "drcm-sync"), "testfs"])
    wait_until(b.path(HUNG).exists, NOTICED, "the gate to be asked to begin")
    b.power_cut()
    b.power_on()
    assert run.wait(NOTICED) == errors.EXIT_UNAVAILABLE, a.log("drcm-sync").read_text()
    assert "broke off while asked to begin" in a.log("drcm-sync").read_text()
    a.sync("testfs")
    assert contents(b) == contents(a) != {}
