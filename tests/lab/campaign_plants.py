"""Bugs planted in the lab's nodes, never in drcm: the campaign must catch each one.

A plant is a `sitecustomize.py` that patches drcm when Python starts on that node (daemon, commands, and by
sshd's SetEnv the gate), or variables of its environment; and the faults that bring it to light. Round 0's
cluster is one of two nodes.

"Promotion not fsynced" is none of these: the lab's power cut spares what the kernel has in its page cache;
tests/unit/replication/test_durable_promotion.py watches the system calls. Nor is 1.41's "flag cleared by a
failed push": planted in the passes, in `give` and in `adopt` at once it did no harm, for the taker declines a
copy that is behind a whole generation. test_transitions.py plants it; scenarios/handover_*.txt test each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.lab.host import REPOSITORY

if TYPE_CHECKING:
    from tests.lab.campaign_cluster import Cluster
    from tests.lab.campaign_faults import Fault

FOLDER = "/etc/drcm/planted"
SOURCES = REPOSITORY / "tests/lab/planted"
SEED = 0


@dataclass(frozen=True, slots=True)
class Plant:
    """`faults`: (at, seconds, what, node, program); `finds`: what the campaign says of it."""

    finds: str
    faults: tuple[tuple[float, float, str, str, str], ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    patched: bool = True  # by planted/NAME.py


PLANTS = {
    "trash_off": Plant("lost on node2", ((20.0, 0.1, "pause_program", "node2", "campaign_client"),)),
    "guard_off": Plant("never took it away|all copies to agree", ((1.0, 14.0, "unmount", "node1", ""),)),
    "gate_off": Plant("somebody else changed it", ((3.0, 9.0, "by_hand", "node1", ""),)),
    "flag_in_tmpfs": Plant(
        "all copies to agree",
        ((1.0, 5.0, "power", "node1", ""), (4.5, 1.0, "power", "node2", "")),
        {"DRCM_STATE_DIR": "/run/state-of-drcm"},
        patched=False,
    ),
}


def faults_of(name: str) -> tuple[Fault, ...]:
    """The schedule that brings a plant to light."""
    from tests.lab.campaign_faults import Fault

    planned = PLANTS[name].faults
    return tuple(
        Fault(at, seconds, what, node, program=program) for at, seconds, what, node, program in planned
    )


def plant_in(cluster: Cluster, name: str) -> None:
    """On every node, before it is switched on."""
    plant = PLANTS[name]
    variables = {**plant.environment, **({"PYTHONPATH": FOLDER} if plant.patched else {})}
    given = " ".join(f'"{key}={value}"' for key, value in variables.items())
    for node in cluster.nodes:
        node.variables.update(variables)
        node.write("/etc/ssh/sshd_config", f"{node.read('/etc/ssh/sshd_config')}SetEnv {given}\n")
        if plant.patched:
            node.write(f"{FOLDER}/sitecustomize.py", (SOURCES / f"{name}.py").read_text())
