"""The language of the scenario files: a command a line, carried out on a `Stage`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from drcm.cluster import events as ev
from drcm.cluster.messages import Head, SetView
from drcm.cluster.spec import Group, Spec
from drcm.config.model import Quorum
from tests.scenarios.stage import Stage

STEP = 0.001  # seconds between two looks of `until`
UNTIL_LIMIT = 60.0


class ScriptError(Exception):
    """A scenario's own mistake, or an expectation that was not met."""


class Script:
    """One scenario being played. Before the first `power on` it is being described."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.groups: list[Group] = []
        self.options: dict[str, object] = {}
        self._stage: Stage | None = None

    @property
    def stage(self) -> Stage:
        if self._stage is None:
            self._stage = self._set_up()
        return self._stage

    def run(self, line: str) -> list[str]:
        """What happened because of `line`, or while it ran."""
        told = len(self._stage.transcript) if self._stage else 0
        self._carry_out(line)
        return self._stage.transcript[told:] if self._stage else []

    def _carry_out(self, line: str) -> None:
        words = line.replace(":", " ", 1).split() if line.startswith(DESCRIBING) else line.split()
        for length in (3, 2, 1):
            command = COMMANDS.get(" ".join(words[:length]))
            if command is not None and len(words) >= length:
                command(self, *words[length:])
                return
        raise ScriptError(f"no such command: {line}")

    # --- the cluster ----------------------------------------------------------------------------

    def cluster(self, *names: str) -> None:
        """A name with (witness) votes and holds nothing: no group names it."""
        self.names = [name.removesuffix("(witness)") for name in names]

    def member(self, kind: str, name: str, *rest: str) -> None:
        """`ip web: a b`; `set data: a b with ip:web service:nfs`: home first."""
        nodes, members = list(rest), [f"{kind}:{name}"]
        if "with" in nodes:
            members += nodes[nodes.index("with") + 1 :]
            nodes = nodes[: nodes.index("with")]
        self.groups.append(Group(f"{nodes[0]}/{members[0]}", nodes[0], tuple(nodes), tuple(members)))

    def fenced(self, *names: str) -> None:
        """These nodes have a fence command."""
        self.options["fenced"] = frozenset(names)

    def need(self, member: str, need: str) -> None:
        """`depends service:web cron:jobs`: within the group described last."""
        group = self.groups[-1]
        self.groups[-1] = replace(group, needs=(*group.needs, (member, need)))

    def option(self, name: str, value: str) -> None:
        number = {
            "flap_limit": int,
            "boot_wait": float,
            "leave_sync": float,
            "interval": float,
            "dead_seconds": float,
        }
        if name == "quorum":
            self.options[name] = Quorum(value)
        else:
            self.options[name] = number[name](value) if name in number else value in ("yes", "auto")

    def _set_up(self) -> Stage:
        stage = Stage({name: self._spec(name) for name in self.names})
        for group in self.groups:
            for name in group.sets:
                self._begin_set(stage, group, name)
        return stage

    def _spec(self, name: str) -> Spec:
        quorum = Quorum.TWO_NODE if len(self.names) == 2 else Quorum.MAJORITY
        names = tuple(self.names)
        spec = Spec(name, names, tuple(self.groups), quorum, 0.1, 2.0, digest="same", members=names)
        return replace(spec, **self.options)  # type: ignore[arg-type]  # names are checked by replace

    def _begin_set(self, stage: Stage, group: Group, name: str) -> None:
        """Begun long ago, and every backup has run 7 of the home's first generation."""
        for node, machine in stage.machines.items():
            machine.heads[name] = Head(1, "g1", group.home, started=True)
            if node in group.candidates:
                machine.views[name] = SetView(1, "g1", "7-aa", writer=node == group.home, sole=False)

    # --- time -----------------------------------------------------------------------------------

    def pass_time(self, seconds: str) -> None:
        self.stage.run(float(seconds))

    def until(self, *words: str) -> None:
        """Until a line of the story contains these words."""
        text, told, end = " ".join(words), len(self.stage.transcript), self.stage.now + UNTIL_LIMIT
        while not any(text in line for line in self.stage.transcript[told:]):
            if self.stage.now > end:
                raise ScriptError(f"nothing said {text!r} within {UNTIL_LIMIT:.0f} s")
            self.stage.run(STEP)

    # --- machines ---------------------------------------------------------------------------------

    def power_on(self, *names: str) -> None:
        for name in names:
            self.stage.power_on(name)

    def leave(self, name: str) -> None:
        self.stage.tell(name, ev.Leave())

    def move(self, name: str, member: str, to: str) -> None:
        """An operator's order on `name`."""
        self.stage.tell(name, ev.Move(self._group(member), to))

    def accept_loss(self, name: str, set_name: str) -> None:
        self.stage.tell(name, ev.AcceptLoss(set_name))

    def fail(self, name: str, member: str, *futile: str) -> None:
        """A check finds it broken; `for good`: to try it again there is no use."""
        reason = "the check failed three times"
        self.stage.tell(name, ev.MemberFailed(self._group(member), member, reason, bool(futile)))

    def cleanup(self, name: str, member: str = "") -> None:
        self.stage.tell(name, ev.Cleanup(member))

    def confirm(self, name: str, member: str) -> None:
        """Somebody has looked: it is down."""
        self.stage.machines[name].running.discard((self._group(member), member))
        self.stage.tell(name, ev.ConfirmStopped(member))

    def sync(self, writer: str, set_name: str, to: str) -> None:
        """An ordinary run, as the schedule starts them."""
        self.stage.sync(writer, set_name, to)

    def config(self, name: str, digest: str) -> None:
        """cm.cfg of `name` is edited and read again."""
        machine = self.stage.machines[name]
        machine.spec = replace(machine.spec, digest=digest)
        self.stage.say(name, f"reads a cm.cfg whose digest is {digest!r}")
        self.stage.tell(name, ev.Reconfigured(machine.spec))

    def dead_seconds(self, name: str, seconds: str) -> None:
        """T_dead is changed in cm.cfg of `name`, which reads it again."""
        machine = self.stage.machines[name]
        machine.spec = replace(machine.spec, dead_seconds=float(seconds), digest=f"T_dead {seconds}")
        self.stage.tell(name, ev.Reconfigured(machine.spec))

    def members(self, *names: str) -> None:
        """cm.cfg now names these nodes, and every daemon that runs reads it again."""
        for name, machine in self.stage.machines.items():
            machine.spec = replace(machine.spec, members=names, digest=" ".join(names))
            self.stage.tell(name, ev.Reconfigured(machine.spec))

    # --- the network ------------------------------------------------------------------------------

    def cut(self, a: str, b: str) -> None:
        """Every cable between the two: heartbeats, syncs, and the clients' network."""
        self.stage.cut(a, b)
        self.stage.lan_cuts.add(frozenset((a, b)))

    def isolate(self, name: str) -> None:
        """Cut off from everybody, the gateway too."""
        for other in self.names:
            if other != name:
                self.cut(name, other)
        self.stage.no_gateway.add(name)

    def heal(self) -> None:
        self.stage.heal()
        self.stage.lan_cuts.clear()

    def loss(self, percent: str) -> None:
        self.stage.loss = float(percent) / 100

    # --- expectations -----------------------------------------------------------------------------

    def expect(self, name: str, on: str, *nodes: str) -> None:
        """`expect web on b`, `expect web on a and b`, `expect web on nobody`."""
        wanted = [] if nodes == ("nobody",) else [word for word in nodes if word != "and"]
        member = next(m for g in self.groups for m in g.members if m.endswith(f":{name}"))
        found = self.stage.holders(self._group(member), member)
        if found != wanted:
            raise ScriptError(f"expected {name} on {wanted or 'nobody'}, found it on {found or 'nobody'}")

    def expect_copy(self, set_name: str, on: str, node: str, generation: str) -> None:
        """`expect copy data on b g2`: in which generation the tree is."""
        found = self.stage.machines[node].views[set_name].pos_id
        if found != generation:
            raise ScriptError(f"expected {set_name} on {node} in {generation}, found {found}")

    def _group(self, member: str) -> str:
        return next(group.key for group in self.groups if member in group.members)


DESCRIBING = ("set ", "ip ", "service ", "application ", "cron ", "filesystem ")


def _of(kind: str) -> Callable[..., None]:
    return lambda script, *words: script.member(kind, *words)


COMMANDS: dict[str, Callable[..., None]] = {
    **{kind.strip(): _of(kind.strip()) for kind in DESCRIBING},
    "cluster": Script.cluster,
    "option": Script.option,
    "fenced": Script.fenced,
    "depends": Script.need,
    "run": Script.pass_time,
    "until": Script.until,
    "power on": Script.power_on,
    "power cut": lambda script, name: script.stage.power_cut(name),
    "pause": lambda script, name: script.stage.pause(name),
    "hang": lambda script, name: script.stage.pause_daemon(name),
    "resume": lambda script, name: script.stage.resume(name),
    "kill daemon": lambda script, name: script.stage.kill_daemon(name),
    "restart daemon": lambda script, name: script.stage.restart_daemon(name),
    "leave": Script.leave,
    "move": Script.move,
    "accept loss": Script.accept_loss,
    "cleanup": Script.cleanup,
    "confirm stopped": Script.confirm,
    "fencing fails": lambda script, name: script.stage.unfenceable.add(name),
    "fencing works": lambda script, name: script.stage.unfenceable.discard(name),
    "sync": Script.sync,
    "config": Script.config,
    "members": Script.members,
    "dead seconds": Script.dead_seconds,
    "fail": Script.fail,
    "refuse": lambda script, name, member: script.stage.machines[name].refuses.add(member),
    "accept": lambda script, name, member: script.stage.machines[name].refuses.discard(member),
    "stick": lambda script, name, member: script.stage.machines[name].sticks.add(member),
    "loosen": lambda script, name, member: script.stage.machines[name].sticks.discard(member),
    "lose tree": lambda script, name, of: script.stage.lose_tree(name, of),
    "find tree": lambda script, name, of: script.stage.lose_tree(name, of, lost=False),
    "cut": Script.cut,
    "cut one way": lambda script, a, b: script.stage.cuts.add((a, b)),
    "cut heartbeats": lambda script, a, b: script.stage.cut(a, b),
    "isolate": Script.isolate,
    "heal": Script.heal,
    "loss": Script.loss,
    "lose releases": lambda script, name, n: script.stage.releases_to_lose.update({name: int(n)}),
    "pass takes": lambda script, seconds: setattr(script.stage, "pass_seconds", float(seconds)),
    "expect": Script.expect,
    "expect copy": Script.expect_copy,
}
