"""The story of the demo, act by act. Every sentence that says "checked" was."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from functools import partial

from drcm.clock import now
from drcm.errors import EXIT_LOCKED
from tests.lab import Lab, Node, Probe, wait_until
from tests.lab.demo_cluster import (
    CRONTAB,
    IP,
    NAME,
    ROOT,
    Cluster,
    Expected,
    build,
    good_runs,
    need,
    root,
    wait_run,
)
from tests.lab.demo_files import Tree, differences, make, tree, work, write
from tests.lab.demo_show import Show
from tests.lab.demo_watch import Watch, record

FILES = 300
CREATED, CHANGED, DELETED = 20, 30, 10
UNSENT = {"project00/minutes.txt": b"written on cmnode1 a moment before the cut\n",
          "project01/plan.txt": b"the plan as cmnode1 knew it last\n"}  # fmt: skip
PLAN = "project01/plan.txt"  # changed on both sides
DEAD = "cmnode2 to call cmnode1 dead"
GIVEN = "cmnode1 to give the set away"
STATUS_LINES = ("Node status", "Resource status", "Cluster status")


@dataclass
class Story:
    """One run of the demo. `times` is filled as it goes: what was measured -> seconds."""

    lab: Lab
    show: Show
    times: dict[str, float] = field(default_factory=dict)
    cluster: Cluster = field(init=False)
    expected: Tree = field(default_factory=dict)

    def run(self) -> None:
        self._begin()
        nodes = self.cluster.nodes
        with Watch(nodes, IP) as watch, self.cluster.client.probe(IP) as probe:
            probe.wait_answer()
            self._power_cut(watch, probe)
            self._work_on_backup()
            self._come_home(watch, probe)
            self._stop(watch, probe)
            self.show.checked(f"{watch.looks} looks at both nodes, never the address on both")
            need(not watch.doubles, f"both nodes had {IP} at {watch.doubles[:3]}")
            self.times["looks"] = watch.looks

    # -- act 1 -------------------------------------------------------------------------------------

    def _begin(self) -> None:
        show = self.show
        show.act("Two servers become a cluster")
        show.say("cmnode1, cmnode2 and a client are switched on: three machines in namespaces on a bridge")
        self.cluster = build(self.lab)
        a, b = self.cluster.nodes
        make(root(a), FILES)
        show.say(f"{FILES} files lie in cmnode1:{ROOT}; cmnode2's {ROOT} is empty")
        for node in (a, b):
            node.start_drcm()
        show.say("drcm-server runs on both")
        with show.waiting("waiting for the floating IP"):
            wait_until(lambda: self.lab.holders(IP) == [a.name], 30, f"{IP} on {a.name}")
        show.say(f"cmnode1 has the floating IP {IP}; now the files, once with --init")
        self._command(a, "drcm-sync", NAME, "--init")
        self._command(a, "drcm-sync", NAME)
        self.expected = tree(root(a))
        self._equal(f"all {len(self.expected)} files are on both nodes")
        self._cm_stat(a)

    # -- act 2 -------------------------------------------------------------------------------------

    def _power_cut(self, watch: Watch, probe: Probe) -> None:
        show, (a, b) = self.show, self.cluster.nodes
        show.act("The primary's power is cut")
        write(root(a), PLAN, b"the plan that both have\n")
        with show.waiting("waiting for the next scheduled sync"):
            for _ in range(2):  # one may have been under way
                wait_run(a, b)
                if PLAN in tree(root(b)):
                    break
        self.expected = tree(root(b))
        need(PLAN in self.expected, f"{PLAN} was not sent by the schedule")
        show.say(f"the schedule has sent the last change; a client asks {IP} every 5 ms")
        watch.expect(DEAD, partial(_in_log, b, "cmnode1: not heard for"))
        move = Expected.begin(watch, a, b)
        for name, content in UNSENT.items():
            write(root(a), name, content)
        cut = a.power_cut()
        show.say("cmnode1 has written two more files, and its power is gone", "bold red")
        self._measure_failover(cut, watch, probe, move)
        self._cm_stat(b)
        self._report(b)
        need(tree(root(b)) == self.expected, f"files differ: {differences(tree(root(b)), self.expected)[:5]}")
        show.checked(
            f"cmnode2 serves all {len(self.expected)} files that were sent; the two last ones were not"
        )

    def _measure_failover(self, cut: float, watch: Watch, probe: Probe, expected: Expected) -> None:
        show, b = self.show, self.cluster.b
        with show.waiting("waiting for cmnode2"):
            detected = watch.moment(DEAD, 20) - cut
            show.say(f"{detected:.2f} s after the cut cmnode2 calls cmnode1 dead")
            move = expected.wait(20)
            answer = probe.wait_answer(20, after=cut + 0.3) - cut
        writer, crontab = move.writer - cut, move.crontab - cut
        show.say(f"{writer:.2f} s: cmnode2 is the writer of {NAME}, generation {record(b, NAME).head.n}")
        show.say(f"{crontab:.2f} s: the crontab is in cmnode2's /etc/cron.d")
        show.say(f"{answer:.2f} s: {IP} answers again", "bold green")
        self.times |= {"detected": detected, "writer": writer, "crontab": crontab, "answer": answer}

    # -- act 3 -------------------------------------------------------------------------------------

    def _work_on_backup(self) -> None:
        show, b = self.show, self.cluster.b
        show.act("Work goes on, on cmnode2")
        work(root(b), CREATED, CHANGED, DELETED)
        write(root(b), PLAN, b"the plan as it was made on cmnode2\n")
        self.expected = tree(root(b))
        show.say(f"{CREATED} files are created, {CHANGED + 1} changed, {DELETED} deleted")
        show.say(f"one of the changed ones, {PLAN}, was changed on cmnode1 too")

    # -- act 4 -------------------------------------------------------------------------------------

    def _come_home(self, watch: Watch, probe: Probe) -> None:
        show, (a, b) = self.show, self.cluster.nodes
        show.act("The primary comes home: first its files, then its resources")
        expected = Expected.begin(watch, b, a)
        back = now()
        a.power_on()
        a.start_drcm()
        show.say("cmnode1 boots with its old files, and drcm-server starts")
        with show.waiting("waiting for the files"):
            wait_until(lambda: good_runs(b, a), 60, "cmnode2 to bring cmnode1 up to date")
        self.times["bulk"] = good_runs(b, a)[0].seconds
        show.say(f"cmnode2, still serving, sends what cmnode1 missed: {self.times['bulk']:.2f} s")
        with show.waiting("waiting for the resources"):
            move = expected.wait(60)
            wait_until(lambda: _all_complete(a), 30, "the first sync from cmnode1")
        gap = self._away(probe, back)
        self.times |= {"interruption": gap, "home": move.address - back}
        show.say(f"then it stops, sends the rest and hands over: {IP} was away for {gap:.2f} s", "bold green")
        self._cm_stat(a)
        self._report(a)
        self._equal(f"all {len(self.expected)} files are as cmnode2 left them, on both nodes")
        self._unsent_kept(a)

    def _unsent_kept(self, a: Node) -> None:
        """Nothing is lost: what cmnode1 had written and never sent lies in its .drcm/conflicts."""
        show, place = self.show, root(a) / ".drcm/conflicts"
        found = {path: path.read_bytes() for path in place.rglob("*.txt") if path.is_file()}
        for name, content in UNSENT.items():
            kept = [path for path, text in found.items() if str(path).endswith(name) and text == content]
            need(bool(kept), f"cmnode1's unsent {name} is not in {place}: {sorted(map(str, found))}")
        self._shell(a, f"find {ROOT}/.drcm/conflicts -name '*.txt'")
        show.checked("the two files that cmnode1 had not sent are kept, word for word")

    # -- act 5 -------------------------------------------------------------------------------------

    def _stop(self, watch: Watch, probe: Probe) -> None:
        show, (a, b) = self.show, self.cluster.nodes
        show.act("Maintenance: drcm-server on cmnode1 is stopped")
        write(root(a), "project02/last.txt", b"written just before the stop\n")
        self.expected = tree(root(a))
        expected = Expected.begin(watch, a, b)
        watch.expect(GIVEN, lambda: record(a, NAME).head.writer == b.name)
        asked = now()
        with show.waiting("systemctl stop drcm-server"):
            code = a.stop_drcm()
            move = expected.wait(20)
            answer = probe.wait_answer(20, after=move.address)
        given = watch.moment(GIVEN, 5)
        need(code == 0, f"drcm-server of cmnode1 ended with {code}")
        self.times["stop"] = self._away(probe, asked)
        self.times["given"] = max(0.0, answer - given)
        show.say(f"the set was handed over first; {IP} was away for {self.times['stop']:.2f} s")
        self._equal("the file written just before the stop is on cmnode2 too")
        need(not a.path(CRONTAB).exists(), f"{CRONTAB} is still on {a.name}")

    @staticmethod
    def _away(probe: Probe, since: float) -> float:
        """For how long the client had no answer since then, in all."""
        return sum(gap.seconds for gap in probe.gaps() if gap.start > since)

    # -- what is shown and checked -----------------------------------------------------------------

    def _equal(self, said: str) -> None:
        """Both trees hold exactly the expected files, by SHA-256."""
        for node in self.cluster.nodes:
            other = differences(tree(root(node)), self.expected)
            need(not other, f"{node.name}: {len(other)} files differ: {other[:5]}")
        self.show.checked(f"{said} (SHA-256)")

    def _command(self, node: Node, *argv: str) -> None:
        """Run it and show it; where the schedule is just running the set too, a moment later."""
        done = wait_until(lambda: _unless_locked(node, argv), 20, f"{' '.join(argv)} on {node.name}")
        assert done is not None
        need(done.returncode == 0, f"{node.name}: {' '.join(argv)}: {done.returncode}\n{done.stderr}")
        self.show.output(f"{node.name}# {' '.join(argv)}", done.stdout.splitlines())

    def _shell(self, node: Node, command: str) -> None:
        done = node.run(["sh", "-c", command])
        self.show.output(f"{node.name}# {command}", done.stdout.splitlines())

    def _cm_stat(self, node: Node) -> None:
        lines = node.console("cm_stat").stdout.splitlines()
        chosen = [line for line in lines if line.startswith(STATUS_LINES)]
        self.show.output(f"{node.name}# drcm-server --client --command=cm_stat", chosen)

    def _report(self, node: Node) -> None:
        """Health, resources and sets, as the node sees them."""
        lines = node.report(check=False).stdout.splitlines()
        parts = "\n".join(lines).split("\n\n")
        chosen = [part for part in parts if part.startswith(("Cluster", "RESOURCES", "SETS"))]
        self.show.output(f"{node.name}# drcm-report", "\n\n".join(chosen).splitlines())


def _unless_locked(node: Node, argv: tuple[str, ...]) -> subprocess.CompletedProcess[str] | None:
    done = node.drcm(*argv, check=False)
    return None if done.returncode == EXIT_LOCKED else done


def _in_log(node: Node, text: str) -> bool:
    return text in node.daemon_log()


def _all_complete(node: Node) -> bool:
    """The node's daemon knows a complete copy of its newest generation on every other node."""
    told = json.loads(node.report("--json", check=False).stdout)
    return all(target["complete"] for one in told["sets"] for target in one["targets"])
