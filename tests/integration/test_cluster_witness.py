"""Two nodes and a witness at template settings: whatever is cut, paused or killed, one of them has it all."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator

import pytest

from drcm import clock
from tests.integration.cluster import logged, status
from tests.integration.voters import (
    DEAD_SECONDS,
    IP,
    PID_FILE,
    RESOURCES,
    SERVER,
    WITNESS,
    Voters,
    never_two,
    running_voters,
    up,
)
from tests.lab import Node, wait_until
from tests.lab.host import REPOSITORY
from tests.lab.watch import has_address, runs

pytestmark = pytest.mark.lab

CONFIG = SERVER + RESOURCES + WITNESS
DAEMON = r"bin/drcm-server$|bin/drcm-server "
RELEASED_WITHIN = DEAD_SECONDS + 1.0  # T_dead at most; a kernel lifetime counts whole seconds


@pytest.fixture(scope="module")
def running() -> Iterator[Voters]:
    with running_voters(CONFIG, 3) as voters:
        yield voters


@pytest.fixture
def voters(running: Voters) -> Voters:
    running.settle()
    return running


def counted(node: Node, what: str) -> int:
    """A counter of the node's daemon."""
    return int(status(node).get("counters", {}).get(what, 0))


def resident(node: Node) -> int:
    """kB of memory that its daemon holds."""
    pid = node.daemon.pid
    text = node.run(["grep", "VmRSS", f"/proc/{pid}/status"]).stdout
    return int(text.split()[1])


def wait_free(node: Node, since: float) -> None:
    """Wait until nothing runs on it any more; in time."""
    address, program = has_address(IP), runs(PID_FILE)
    wait_until(lambda: not address(node) and not program(node), 20.0, f"{node.name} to hold nothing")
    assert clock.now() - since < RELEASED_WITHIN + 3.0  # a busy machine's share


def test_home_cut_off_stands_down_and_the_majority_goes_on(voters: Voters) -> None:
    """A partition with the home node alone: it lets go by itself before the backup takes over with the
    witness; at the heal all comes home. At no look do two hold."""
    a, b, c = voters.nodes
    with never_two(voters):
        voters.lab.cut(a, b)
        voters.lab.cut(a, c)
        voters.wait_place(b)
        wait_until(lambda: up(a) == {"cmnode1"}, 10.0, voters.logs)
        voters.lab.heal_all()
        voters.wait_place(a)


def test_nodes_that_only_the_witness_hears_keep_to_the_holder(voters: Voters) -> None:
    """A partition that is not transitive: home and backup do not hear each other, the witness hears both.
    Nothing moves: the witness keeps its word."""
    a, b, _ = voters.nodes
    marks = voters.marks()
    with never_two(voters):
        voters.lab.cut(a, b)
        wait_until(lambda: up(b) == {"cmnode2", "cmnode3"}, 20.0, voters.logs)
        wait_until(lambda: up(a) == {"cmnode1", "cmnode3"}, 20.0, voters.logs)
        assert voters.place() == (["cmnode1"], ["cmnode1"])
    assert voters.told("cmnode1/.*(releas|running)", marks) == []


def test_mute_home_stands_down(voters: Voters) -> None:
    """One way only: what the home node sends gets lost, what it hears does not. It lets go all the same,
    as nobody answers its beats."""
    a, b, c = voters.nodes
    with never_two(voters):
        voters.lab.cut_one_way(a, b)
        voters.lab.cut_one_way(a, c)
        voters.wait_place(b)


def test_loss_of_two_packets_in_five_moves_nothing(voters: Voters) -> None:
    """Each node loses 40 % of what it sends and of what it should receive for five times T_dead: nobody is
    called dead, nothing moves."""
    a, b, _ = voters.nodes
    marks = voters.marks()
    received = counted(b, "datagrams_received")
    with never_two(voters):
        for node in voters.nodes:
            voters.lab.bridge.lose(node.name, 22.5)  # twice a way: 1 - 0.775 ** 2 = 40 %
        wait_until(
            lambda: counted(b, "datagrams_received") - received > 5 * 20 * 2 * 0.6,
            60.0,
            "five times T_dead of beats",
        )
    assert voters.place() == (["cmnode1"], ["cmnode1"])
    assert voters.told("not heard for|releasing|claiming", marks) == []
    assert a.is_on


def test_death_of_the_witness_changes_nothing(voters: Voters) -> None:
    """The witness alone loses its power: its death is noticed, nothing moves."""
    a, b, c = voters.nodes
    marks = voters.marks()
    c.power_cut()
    wait_until(lambda: up(a) == up(b) == {"cmnode1", "cmnode2"}, 20.0, voters.logs)
    assert voters.place() == (["cmnode1"], ["cmnode1"])
    assert voters.told("cmnode1/.*(releas|running)", marks) == []


def test_whole_machine_stands_still(voters: Voters) -> None:
    """Every process of the home node is paused for longer than T_dead: its kernel drops the address, the
    backup takes over; when the machine goes on, what it ran is stopped at once and it joins anew."""
    a, b, _ = voters.nodes
    marks = voters.marks()
    with voters.watch() as watch:
        a.pause()
        voters.wait_place(b)
        resumed = clock.now()
        a.resume()
        wait_free(a, resumed)
        assert voters.place() == (["cmnode2"], ["cmnode2"])
        voters.wait_place(a)
    assert {double.what for double in watch.doubles} <= {"program"}, "two had the address"
    late = [double for double in watch.doubles if double.moment - resumed > 1.0]
    assert late == [], "the program went on for long"
    assert voters.told("stood still for", marks)


def test_hung_daemon_is_relieved_by_the_keeper(voters: Voters) -> None:
    """The home node's daemon alone hangs (SIGSTOP): keeper and kernel release address and program in time,
    the backup takes over, and never do two hold."""
    a, b, _ = voters.nodes
    with never_two(voters):
        stopped = clock.now()
        a.daemon.signal(signal.SIGSTOP)
        try:
            wait_free(a, stopped)
            voters.wait_place(b)
        finally:
            a.daemon.signal(signal.SIGCONT)
        voters.wait_place(a)


def test_killed_daemon_is_relieved_by_the_keeper(voters: Voters) -> None:
    """The home node's daemon is killed and nobody starts it again: as if it hung."""
    a, b, _ = voters.nodes
    with never_two(voters):
        killed = clock.now()
        a.kill_drcm()
        wait_free(a, killed)
        voters.wait_place(b)


def test_power_cut_and_clean_stop(voters: Voters) -> None:
    """The home node dies, comes back, and is then stopped in order: each time the other has it all."""
    a, b, _ = voters.nodes
    with never_two(voters):
        voters.cut_power_and_come_home()
        assert a.stop_drcm() == 0
        voters.wait_place(b)


def test_member_with_a_bug_does_no_harm(voters: Voters) -> None:
    """In place of the witness something sends a thousand messages a second that are sealed with the right
    key: most are no beats, some are whole ones about things that do not exist. Nothing moves, nothing of it
    is kept, no pass takes long, and it is told once."""
    a, b, c = voters.nodes
    c.stop_drcm()
    marks = voters.marks()
    before = [resident(node) for node in (a, b)]
    command = [
        sys.executable,
        str(REPOSITORY / "tests/integration/faulty_member.py"),
        "cmnode3",
        "53897",
        "7",
    ]
    targets = [f"{node.name}={node.ip}" for node in (a, b)]
    with never_two(voters):
        sent = c.run(
            [*command, "10000", "1000", *targets], env={"PYTHONPATH": str(REPOSITORY)}, timeout=120.0
        )
    assert int(sent.stdout) >= 10_000
    assert voters.place() == (["cmnode1"], ["cmnode1"])
    assert voters.told("claiming|releasing|released|cmnode[12]: not heard", marks) == []
    for node, memory in zip((a, b), before, strict=True):
        assert counted(node, "beats_malformed") > 2000, "too little was heard of it"
        assert counted(node, "longest_pass_us") < 50_000
        wait_until(lambda n=node: len(logged(n, "beats-malformed:cmnode3", marks[n.name])) == 1, 10.0, "told")
        assert resident(node) - memory < 8 << 10, "it was kept"
        heads = node.path("/var/lib/drcm/heads.json")
        assert not heads.exists() or json.loads(heads.read_text()) == {}
