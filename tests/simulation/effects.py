"""What a simulated machine does for its engine: members, set records, passes. Mixed into `World`."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from drcm.cluster import actions as ac
from drcm.cluster import events as ev
from drcm.cluster.messages import Head, SetView
from tests.simulation.machine import Machine

START = 1000.0  # when every story begins
NOT_MOUNTED = "not mounted"  # the problem of a set whose tree is not there
STICKS_FOR = 0.5  # seconds that a stop takes which fails


class Effects:
    """Performs actions and answers them."""

    now: float
    random: random.Random
    machines: dict[str, Machine]
    cuts: set[tuple[str, str]]
    log: list[str]
    problems: list[tuple[float, str, ac.Problem]]
    witness: Callable[[str, ac.Action], None]
    made: Callable[[str, Head, bool], None]
    stored: Callable[[str, Head], None]
    start_seconds: tuple[float, float]
    stop_seconds: tuple[float, float]
    pass_seconds: float

    def at(self, when: float, what: Callable[[], None]) -> None:
        raise NotImplementedError

    def tell(self, name: str, event: ev.Event) -> None:
        raise NotImplementedError

    def _deliver(self, sender: str, to: str, event: ev.Event) -> None:
        raise NotImplementedError

    def _new_lease(self, name: str, lease: ac.Lease) -> None:
        raise NotImplementedError

    def say(self, name: str, text: str) -> None:
        self.log.append(f"{self.now - START:8.3f} {name:8} {text}")

    def _later(
        self,
        name: str,
        seconds: float,
        event: ev.Event | Callable[[], ev.Event],
        effect: Callable[[], None] = lambda: None,
    ) -> None:
        """`effect` on the machine and `event` to its engine, unless it was cut off or restarted meanwhile."""
        boot = self.machines[name].boot_count

        def happen() -> None:
            machine = self.machines[name]
            if machine.boot_count != boot:
                return
            if machine.host_paused:
                self.at(self.now + 0.1, happen)
                return
            effect()
            answer()

        def answer() -> None:
            machine = self.machines[name]
            if machine.boot_count == boot and (machine.daemon_paused or machine.host_paused):
                self.at(self.now + 0.1, answer)
            elif machine.boot_count == boot:
                self.tell(name, event() if callable(event) else event)

        self.at(self.now + seconds, happen)

    def _written(
        self, name: str, seconds: float, event: ev.Event, effect: Callable[[], None] = lambda: None
    ) -> None:
        """What goes to the disk, which may be slow."""
        self._later(name, seconds + self.machines[name].disk_seconds, event, effect)

    def _perform(self, name: str, action: ac.Action) -> None:
        machine = self.machines[name]
        self.witness(name, action)
        match action:
            case ac.SendBeat(beat):
                for peer in machine.spec.peers:
                    self._deliver(name, peer, ev.BeatHeard(beat))
            case ac.Lease():
                self._new_lease(name, action)
                self._renew(name, action)
            case ac.StartMember(group, member, op):
                self.say(name, f"start {group} {member}")
                self._start(name, action)
            case ac.StopMember():
                self._stop(name, action)
            case ac.StoreHead(set_name, head):
                self._store(name, set_name, head)
            case ac.StoreRoll(roll, accepted):
                self._later(name, 0.01, ev.RollStored(roll, accepted), lambda: self._keep_roll(name, action))
            case ac.StorePatience(seconds):
                stored = partial(setattr, machine, "patience", seconds)
                self._later(name, 0.01, ev.PatienceStored(seconds), stored)
            case ac.OpenSet():
                self._open(name, action)
            case ac.GoAlone(set_name):
                self._new_generation(name, set_name, name, "alone")
            case ac.MarkDiverged(set_name, why):
                view = replace(machine.views[set_name], problem=f"in doubt: {why}", writer=False)
                machine.views[set_name] = view
                self._later(name, 0.005, ev.SetLooked(set_name, view))
            case ac.Pass():
                self._pass(name, action)
            case ac.Intend(group, _, _, op) | ac.Prepare(group, _, _, op) | ac.DropIntent(group, _, op):
                self._later(name, 0.005, ev.StepDone(group, op))
            case ac.Give(group, set_name, to, op):
                head = self._new_generation(name, set_name, to, "handover")
                self._later(name, 0.005, ev.StepDone(group, op, head=head))
            case ac.ProbeAddresses(node):
                if self._answers(name, action):
                    self.at(self.now + 0.001, lambda: self.tell(name, ev.AddressAnswered(node)))
            case ac.Note(subject, text):
                self.say(name, f"{subject}: {text}")
            case ac.Problem():
                self.problems.append((self.now, name, action))
            case ac.Left():
                self.say(name, "left")
                machine.left = True
                machine.lease = ac.Lease(0.0, 0.0)
            case _:
                pass

    def _renew(self, name: str, lease: ac.Lease) -> None:
        """As `Members.renew`: an address of a group that is still held is put where it was, whoever took it.

        The keeper takes all of them when the first lease ends, if it is quicker than the daemon.
        """
        machine = self.machines[name]
        assert machine.engine is not None
        holdings = machine.engine.care.holdings
        for group, member in list(machine.taken):
            holding = holdings.get(group)
            if holding is None or holding.is_going_down or member not in holding.started:
                machine.taken.discard((group, member))
            elif group in lease.groups and lease.addresses > machine.clock(self.now):
                machine.taken.discard((group, member))
                machine.running.add((group, member))
                self.say(name, f"puts {member} back")

    def _answers(self, name: str, probe: ac.ProbeAddresses) -> bool:
        """A machine answers on its addresses whether its daemon runs or not."""
        peer = self.machines[probe.node]
        held = any(group in probe.groups and m.startswith("ip:") for group, m in peer.running)
        return held and not peer.host_paused and self._on_one_lan(name, probe.node)

    def _on_one_lan(self, a: str, b: str) -> bool:
        return not {(a, b), (b, a)} & self.cuts

    def _start(self, name: str, action: ac.StartMember) -> None:
        machine, member = self.machines[name], action.member
        refused = member in machine.refuses
        if not refused:
            machine.running.add((action.group, member))
            machine.stuck.discard((action.group, member))
        if member.startswith("set:") and member[4:] in machine.heads:
            head = replace(machine.heads[member[4:]], started=True)
            self._store(name, member[4:], head)
        error = "it does not want to" if refused else ""
        seconds = self.random.uniform(*self.start_seconds)
        self._later(name, seconds, ev.MemberStarted(action.group, member, action.op, error))

    def _stop(self, name: str, action: ac.StopMember) -> None:
        machine = self.machines[name]
        self.say(name, f"stop {action.group} {action.member}{' at once' if action.urgent else ''}")
        key = (action.group, action.member)
        address = action.member.startswith("ip:")
        seconds = 0.001 if address else self.random.uniform(*self.stop_seconds)
        if address:
            machine.running.discard(key)
        if action.member in machine.sticks:
            error = "still there after KILL"
            machine.stuck.add(key)
            self._later(name, STICKS_FOR, ev.MemberStopped(action.group, action.member, action.op, error))
            return
        done = ev.MemberStopped(action.group, action.member, action.op)
        self._later(name, seconds, done, lambda: machine.running.discard(key))

    def _store(self, name: str, set_name: str, head: Head) -> None:
        def effect() -> None:
            known = self.machines[name].heads.get(set_name)
            if known is None or (head.n, head.started) > (known.n, known.started) or head.id == known.id:
                self.machines[name].heads[set_name] = head
                self.stored(name, head)
            self._end_older_writer(name, set_name, head)

        self._written(name, 0.005, ev.HeadStored(set_name, head), effect)

    def _end_older_writer(self, name: str, set_name: str, head: Head) -> None:
        """What custody.hear does where a newer generation has started, or was given to this node."""
        view = self.machines[name].views.get(set_name)
        if view and view.writer and head.n > view.pos_n and (head.started or head.writer == name):
            ended = replace(view, writer=False, sole=False)
            self.machines[name].views[set_name] = ended
            self._later(name, 0.005, ev.SetLooked(set_name, ended))

    def _keep_roll(self, name: str, action: ac.StoreRoll) -> None:
        self.machines[name].roll = action

    def _open(self, name: str, action: ac.OpenSet) -> None:
        machine, known = self.machines[name], action.known
        assert known is not None, "an unbegun set is never opened"
        view = machine.views[action.name]
        if view.problem == NOT_MOUNTED:
            failed = ev.MemberStarted(action.group, f"set:{action.name}", action.op, view.problem)
            self._later(name, 0.02, failed)
            return
        reusable = known.writer == name and action.above <= known.n
        if reusable and view.pos_id in (known.id, known.origin_id):
            head = known
            machine.views[action.name] = replace(view, pos_n=known.n, pos_id=known.id, writer=True)
        else:
            head = self._new_generation(name, action.name, name, "promote", lossy=action.accept_loss)
        machine.heads[action.name] = head
        self._written(name, 0.02, ev.SetOpened(action.group, action.name, action.op, head))
        self._written(name, 0.02, ev.SetLooked(action.name, machine.views[action.name]))

    def _new_generation(self, name: str, set_name: str, writer: str, why: str, lossy: bool = False) -> Head:
        machine = self.machines[name]
        view = machine.views[set_name]
        number = machine.heads[set_name].n
        if machine.engine is not None:
            number = max(number, machine.engine.situation().newest_number(machine.clock(self.now))(set_name))
        new_id = self.new_generation_id(number + 1)
        started = why == "alone"
        head = Head(number + 1, new_id, writer, view.pos_id, view.pos_run, started, view.pos_n, lossy)
        machine.heads[set_name] = head
        self.made(set_name, head, lossy)
        if writer == name:
            lost = NOT_MOUNTED if view.problem == NOT_MOUNTED else ""
            mine = SetView(head.n, head.id, "", writer=True, sole=True, problem=lost, treeless=bool(lost))
        else:
            mine = replace(view, writer=False, sole=False)
        machine.views[set_name] = mine
        origin = f"{head.origin_id} run {head.origin_run or 'none'}"
        self.say(name, f"{set_name}: generation {new_id} ({why}), from {origin}, writer {writer}")
        self._written(name, 0.005, ev.SetLooked(set_name, mine))
        self._written(name, 0.005, ev.HeadStored(set_name, head))
        return head

    def lose_tree(self, name: str, set_name: str, lost: bool = True) -> None:
        """Something lies over the root of the set there, or it is back; its daemon sees it within 0.25 s."""
        views = self.machines[name].views
        before, after = ("", NOT_MOUNTED) if lost else (NOT_MOUNTED, "")
        if set_name not in views or views[set_name].problem != before:
            return
        views[set_name] = replace(views[set_name], problem=after, treeless=lost)
        self.say(name, f"{set_name}: its tree is {'not there' if lost else 'there again'}")
        self._later(name, 0.2, lambda: ev.SetLooked(set_name, views[set_name]))

    def new_generation_id(self, number: int) -> str:
        return self.random.randbytes(8).hex()

    def _pass(self, name: str, action: ac.Pass) -> None:
        """A run from the writer: the taker's copy becomes what the writer's is."""
        machine, taker = self.machines[name], self.machines[action.to]
        boot = taker.boot_count

        def broken() -> bool:
            """Now; or the taker went away, perhaps came back, while it ran."""
            views = (m.views.get(action.name) for m in (machine, taker))
            lost = any(view is not None and view.problem == NOT_MOUNTED for view in views)
            gone = taker.engine is None or taker.boot_count != boot
            return lost or gone or (name, action.to) in self.cuts

        def effect() -> None:
            nonlocal error
            view = machine.views[action.name]
            error = "no route" if broken() else self.gate(taker, action.name, view)
            if error:
                return
            run = f"{int(view.pos_run.partition('-')[0] or 0) + 1}-{self.random.randbytes(2).hex()}"
            machine.views[action.name] = replace(view, pos_run=run, sole=False)
            taker.views[action.name] = SetView(view.pos_n, view.pos_id, run, writer=False, sole=False)
            self._take_back(action.to, action.name, Head(view.pos_n, view.pos_id, name, started=True))
            self.tell(action.to, ev.SetLooked(action.name, taker.views[action.name]))
            self.tell(name, ev.SetLooked(action.name, machine.views[action.name]))

        def done() -> ev.Event:
            return ev.StepDone(action.group, action.op, error, self.pass_seconds)

        error = ""
        self._later(name, self.pass_seconds, done, effect)

    def _take_back(self, name: str, set_name: str, head: Head) -> None:
        """What the daemon does whose copy has left a generation that it had made in vain."""
        known = self.machines[name].heads[set_name]
        if known.writer == name and not known.started and known.n > head.n:
            self.machines[name].heads[set_name] = head
            self.tell(name, ev.HeadTakenBack(set_name, head))

    def gate(self, taker: Machine, set_name: str, view: SetView) -> str:
        """Row 7 of the table: a tree that knows a newer generation takes nothing of an older."""
        known = taker.heads.get(set_name)
        vain = known is not None and known.writer == taker.spec.me and not known.started
        stale = known is not None and known.n > view.pos_n and not vain
        return f"refused: generation {known.n} is known there" if stale and known else ""
