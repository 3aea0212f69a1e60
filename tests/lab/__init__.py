"""A laboratory of real machines in miniature: hosts as namespaces on a bridge, with a power switch.

    with Lab() as lab:
        a = lab.add_node("cmnode1", "10.77.0.1", directories=["/testfs"])
        b = lab.add_node("cmnode2", "10.77.0.2", directories=["/testfs"])
        client = lab.add_client()
        make_cluster(lab, CONFIG, [a, b])
        lab.power_on()
        a.start_drcm(); b.start_drcm()
        with client.probe("10.77.0.100") as probe:
            ...
            a.power_cut()

Needs root and the packages that tools/bootstrap.sh installs; needs no systemd, touches nothing of the
machine but LABDIR (/tmp/drcm-lab-*), and leaves nothing behind.
"""

from tests.lab.client import Client, Gap, Probe
from tests.lab.errors import LabError, wait_until
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.node import Node, make_cluster
from tests.lab.process import Process

__all__ = [
    "Client", "Gap", "Host", "Lab", "LabError", "Node", "Probe", "Process", "make_cluster", "wait_until",
]  # fmt: skip
