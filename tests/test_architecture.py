"""The rooms of ARCHITECTURE.md, enforced: who may import whom, what is pure, how long things may get.

The tables and rules are in architecture.py; they are themselves tested on planted violations below.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.architecture import (
    HEAVY,
    ROOT,
    RULES,
    STARTS_WITHOUT,
    USUAL_LINES,
    Module,
    functions,
    modules,
    start_faults,
)

# -- the project ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module_keeps_the_rule(rule: object) -> None:
    """Rooms, directions, one importer a library, purity and lengths hold in every module."""
    assert callable(rule)
    faults = [fault for module in modules().values() for fault in rule(module)]
    assert not faults, "\n" + "\n".join(faults)


def test_nine_functions_in_ten_are_short() -> None:
    """Nine functions in ten have at most 40 lines."""
    sized = [
        (length, module.fault(line, name))
        for module in modules().values()
        for name, line, length in functions(module)
    ]
    long = sorted(item for item in sized if item[0] > USUAL_LINES)
    assert len(long) <= len(sized) / 10, long


@pytest.mark.parametrize("name", STARTS_WITHOUT)
def test_what_must_start_fast_loads_nothing_heavy(name: str) -> None:
    """The gate, the keeper and the daemon import nothing heavy at start, at any depth."""
    faults = list(start_faults(name, modules()))
    assert not faults, "\n" + "\n".join(faults)


def test_the_gate_really_starts_light() -> None:
    """Python agrees: with drcm-gate imported, no heavy library is loaded."""
    code = f"import sys, drcm.replication.gate; print(*sorted({HEAVY!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.split() == []


# -- the checker ------------------------------------------------------------------------------------


def planted(name: str, source: str) -> list[str]:
    """The faults that all rules find in `source`, were it the module `name`."""
    module = Module(name, name.replace(".", "/") + ".py", source)
    return [fault for rule in RULES for fault in rule(module)]


ENGINE, AGENT = "drcm.cluster.engine", "drcm.cluster.agents.arp"


@pytest.mark.parametrize(
    ("name", "source", "fault"),
    [
        (ENGINE, "\nfrom os import environ", "drcm/cluster/engine.py:2: pure, but imports os.environ"),
        (ENGINE, "import time", "engine.py:1: pure, but imports time"),
        (ENGINE, "def f():\n    import random", "engine.py:2: pure, but imports random"),
        (ENGINE, "from pathlib import Path", "pure, but imports pathlib.Path"),
        (ENGINE, "import subprocess", "pure, but imports subprocess"),
        (ENGINE, "import socket as s", "pure, but imports socket"),
        (ENGINE, "from drcm.clock import now", "pure, but imports drcm.clock, which is not"),
        (ENGINE, "from drcm import state", "pure, but imports drcm.state, which is not"),
        (ENGINE, "import drcm.cluster.keeper", "pure, but imports drcm.cluster.keeper"),
        (ENGINE, "import datetime\nx = datetime.datetime.now()", ":2: pure, but asks the clock"),
        (ENGINE, "from datetime import date\nx = date.today()", ":2: pure, but asks the clock"),
        (ENGINE, "import os\nx = os.environ", ":2: pure, but uses os.environ"),
        (ENGINE, "import os\nx = os.path.exists('/')", ":2: pure, but uses os.path.exists"),
        (ENGINE, "import posixpath\nposixpath.realpath('/')", ":2: pure, but uses posixpath.realpath"),
        (ENGINE, "import os as o", "pure, but imports os.(as o)"),
        (ENGINE, "x = open('f')", "pure, but calls open()"),
        (ENGINE, "import cronsim", "pure, but imports cronsim"),
        (AGENT, "from drcm.replication import run", "drcm.cluster does not know of drcm.replication"),
        ("drcm.replication.run", "import drcm.cluster.engine", "does not know of drcm.cluster"),
        ("drcm.replication.run", "from drcm.alerts import alert", "does not know of drcm.alerts"),
        ("drcm.state", "from drcm.cluster import spec", "what all share does not know of drcm.cluster"),
        ("drcm.config.load", "from drcm import console", "config is below it"),
        (AGENT, "from drcm.cluster import command", "only commands import commands"),
        (AGENT, "from . import netlink", "imports are absolute"),
        (AGENT, "import paramiko", "only drcm.replication.remote imports paramiko"),
        (AGENT, "def f():\n    from rich.text import Text", ":2: only drcm.console imports rich"),
        (
            "drcm.cluster.scheduler",
            "import apscheduler.job",
            "only drcm.cluster.triggers imports apscheduler",
        ),
        ("drcm.cluster.nowhere", "x = 1", "must be in one room"),
        (AGENT, '"""Packets. Pure."""', "says that it is pure, and is not"),
        (AGENT, "import asyncio\nx = asyncio.wait_for", "arp.py:2: wait_for may lose a cancellation"),
        (AGENT, "x = 1\n" * 401, "arp.py:401: 401 lines: a module has at most 400"),
        (AGENT, "\ndef f():\n" + "    x = 1\n" * 70, "arp.py:2: f has 71 lines"),
    ],
)
def test_a_planted_violation_is_found(name: str, source: str, fault: str) -> None:
    """Each rule sees its violation, and names file and line."""
    assert any(fault in found for found in planted(name, source)), planted(name, source)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        (ENGINE, "import os\nx = os.fsdecode(b'')\ny = os.path.join('a', 'b')"),
        (ENGINE, "from datetime import datetime\nx = datetime.fromisoformat('2026-01-01')"),
        (ENGINE, "from drcm import errors\nfrom drcm.config.model import Cluster"),
        ("drcm.config.values", "from cronsim import CronSim"),
        ("drcm.report", "from drcm.cluster.transport import keys\nfrom drcm.alerts import ledger"),
        (
            "drcm.report",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from rich.console import Console",
        ),
        ("drcm.cluster.daemon", "from drcm.replication import records"),
        (AGENT, "x = 1\n" * 400),
        (AGENT, "def f():\n" + "    x = 1\n" * 69),
    ],
)
def test_what_is_allowed_is_not_a_fault(name: str, source: str) -> None:
    """The checker does not cry wolf."""
    assert planted(name, source) == []


def test_a_heavy_library_is_found_at_any_depth() -> None:
    """The gate's start is followed through what it imports; late and typing-only imports are free."""
    free = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import sh\ndef f():\n    import rich\n"
    chain = {
        "drcm.replication.gate": "from drcm.replication import records",
        "drcm.replication.records": free + "import drcm.cluster.transport.keys",
        "drcm.cluster.transport.keys": "import cryptography.x",
    }
    made = {name: Module(name, name.replace(".", "/") + ".py", source) for name, source in chain.items()}
    assert list(start_faults("drcm.replication.gate", made)) == [
        "drcm/cluster/transport/keys.py:1: drcm.replication.gate must start without cryptography"
    ]
