"""drcm-server in running order: start, loop, one event at a time, a bounded end.

The main loop owns the engine and everything that must be quick. What may block runs elsewhere:
records in worker threads, APScheduler in its thread, syncs, alerts and agents as children.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Coroutine
from typing import Any

from drcm import __version__, clock, state
from drcm.cluster import events as ev
from drcm.cluster import roll_file, watchdog
from drcm.cluster.alerting import Alerting
from drcm.cluster.answers import Answers
from drcm.cluster.engine import Engine
from drcm.cluster.grants_file import grants_file
from drcm.cluster.keeper import ensure_keeper
from drcm.cluster.lease_file import LeaseFile
from drcm.cluster.members import Members
from drcm.cluster.messages import GroupKey
from drcm.cluster.notify import Notifier
from drcm.cluster.performer import Performer
from drcm.cluster.programs import Programs
from drcm.cluster.setkeeping import SetKeeping
from drcm.cluster.spec import build_spec
from drcm.cluster.transport.keys import Keys
from drcm.cluster.watchers import Watchers
from drcm.cluster.wire import Wire
from drcm.config.load import require_config
from drcm.config.model import Cluster, Node
from drcm.config.thisnode import this_node
from drcm.errors import ConfigError
from drcm.paths import Paths

log = logging.getLogger(__name__)

SCHEDULER_STUCK = 30.0  # seconds without a wake-up of its thread: let systemd start all anew
KEEPER_LOOK = 5.0  # seconds between looks whether the keeper runs
ALERTS_LAST = 3.0  # seconds that a leaving daemon waits for its alerts to go out


class Daemon:
    """One node's daemon. `run()` returns the exit code when it has left."""

    def __init__(self, cluster: Cluster, me: Node, keys: Keys, paths: Paths) -> None:
        self.cluster, self.me, self.keys, self.paths = cluster, me, keys, paths
        self.notifier = Notifier()
        self.programs = Programs(paths.config)
        self._grants = grants_file(paths.run)
        self.lease_file = LeaseFile(paths.run / "lease")
        self._begin = self._grants.beginning(clock.now())
        self.engine = Engine(build_spec(cluster, me.name), os.urandom(16), clock.now(), self._begin)
        self._longest_pass = 0.0  # seconds of processor time
        self.left = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()  # a task that nobody holds may vanish
        self._timer: asyncio.TimerHandle | None = None

    # --- start --------------------------------------------------------------------------------

    async def run(self) -> int:
        """Start, serve until the node has left, end."""
        self._loop = asyncio.get_running_loop()
        self.alerting = Alerting(
            self.programs, self.paths, bool(self.cluster.alerts.email or self.cluster.alerts.sms)
        )
        self.members = Members(
            self.cluster, self.me, self.feed, self.lease_file, self._lease_until, self.alerting.problem,
            self._may_repair,
        )  # fmt: skip
        self.sets = SetKeeping(
            cluster=self.cluster,
            me=self.me.name,
            paths=self.paths,
            feed=self.feed,
            programs=self.programs,
            problem=self.alerting.problem,
            due=self._run_if_writer,
        )
        self.watchers = Watchers(self.programs, self._run_if_writer)
        self.wire = Wire(self.cluster, self.me, self.keys, lambda beat: self.feed(ev.BeatHeard(beat)))
        self._performer = Performer(self)
        self._handle_signals()
        await self._begin_holding()
        await self._serve()
        background = [self._loop.create_task(self._tend())]
        await self.left.wait()
        await self._end(background)
        return 0

    async def _begin_holding(self) -> None:
        """The first beat goes out before anything slow; what runs here without a lease is stopped first."""
        if self._begin.resumes:
            held = ", ".join(self._begin.adopt) or "nothing held"
            log.info("going on from the daemon that ended: %s", held)
            await self.members.go_on(self.engine.care.holdings.values())
        stored = roll_file.load(self.paths.roll)
        patience = state.read_json(self.paths.patience)
        durable = [*filter(None, [stored, patience and ev.PatienceStored(patience)]), *self.sets.load()]
        self._performer.perform(self.engine.recall(durable, clock.now()))
        if not self._begin.resumes:
            await self.members.release_strays(self.engine.spec.groups, self.engine.spec.keeps)
        self.feed(ev.Tick())
        self.sets.start()

    async def _serve(self) -> None:
        """Everything that may come a little later: it must not delay the first beat (HISTORIES E8)."""
        watchdog.configure(self.paths.run, self.me.watchdog)
        await asyncio.to_thread(ensure_keeper, self.paths.run)  # waits for an ordinary child
        from drcm.cluster.control import ControlServer
        from drcm.cluster.scheduler import SetScheduler
        from drcm.cluster.transport.certificates import make_in_child
        from drcm.cluster.transport.tls import server_context

        context = await asyncio.to_thread(server_context, self.keys, make_in_child)
        bind = self.me.keep_alive_ip if self.cluster.server.bind_to_keep_alive_ip else ""
        answers = Answers(self)
        self.control = ControlServer(
            answers.dispatch, self.paths.socket, bind, self.cluster.server.tcpport, context, self.wire.take
        )
        await self.control.start()
        self.scheduler = SetScheduler(self._due)
        self._schedule()
        self.scheduler.start()
        if self.cluster.server.ping_hosts:
            self._start_pinging(self.cluster.server.ping_hosts)
        gc.freeze()  # what start-up made stays: no long collection in the middle of a beat
        self.notifier.ready()
        log.info("drcm %s on %s is ready", __version__, self.me.name)

    def _start_pinging(self, hosts: tuple[str, ...]) -> None:
        from drcm.cluster.pinger import Pinger

        interval = max(0.1, self.engine.spec.lease_seconds / 4)
        self._pinger = Pinger(hosts, interval, lambda sent: self.feed(ev.Pinged(sent)))

    def _schedule(self) -> None:
        mine = {s.name: s.schedule for s in self.cluster.sets if self.me.name in s.nodes}
        self.scheduler.update(mine)

    # --- events in, actions out -----------------------------------------------------------------

    def feed(self, event: ev.Event) -> None:
        """Give the engine an event, carry out its actions, come again at its deadline."""
        begun = time.thread_time()
        actions = self.engine.handle(event, clock.now())
        if not actions:  # a sign of life that changes nothing: the timer stands
            return
        try:
            self._grants.write(self.engine)  # before the beat: a word that was sent is never forgotten
            self._performer.perform(actions)
        finally:
            self._come_again()
            self._longest_pass = max(self._longest_pass, time.thread_time() - begun)

    def _come_again(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(
            max(0.0, self.engine.deadline - clock.now()), self.feed, ev.Tick()
        )

    def aside(self, work: Coroutine[Any, Any, None]) -> None:
        """Have it done beside the main loop's own work."""
        self._background.add(task := self._loop.create_task(work))
        task.add_done_callback(self._background.discard)

    def _lease_until(self, group: GroupKey) -> float:
        holding = self.engine.care.holdings.get(group)
        return holding.lease_until if holding is not None else 0.0

    def _may_repair(self, group: GroupKey) -> bool:
        holding = self.engine.care.holdings.get(group)
        return holding is None or not holding.is_treeless

    def _due(self, name: str) -> None:
        """Called in the scheduler's thread."""
        self._loop.call_soon_threadsafe(self._run_by_clock, name)

    def _run_by_clock(self, name: str) -> None:
        if not self.watchers.suffice(name, self._heard_of(name)):
            self._run_if_writer(name)

    def _run_if_writer(self, name: str) -> None:
        giving = any(h.handover for h in self.engine.care.holdings.values() if name in h.group.sets)
        if self._writes(name) and not giving:
            targets = self._heard_of(name)
            run = self.sets.run_scheduled(name, targets)
            if run is not None:
                self.watchers.follow(name, targets, run)

    def _writes(self, name: str) -> bool:
        from drcm.cluster.picture import role

        return role(self.engine, name, clock.now())[0] == "writer"

    def _heard_of(self, name: str) -> list[str]:
        """The other nodes of a set that are heard."""
        heard = {peer.name for peer in self.engine.membership.heard(clock.now())}
        return [node for node in self.cluster.set(name).nodes if node in heard]

    # --- tending, reloading, ending ---------------------------------------------------------------

    async def _tend(self) -> None:
        """The watchdog is fed only from here, on the main loop; the keeper is kept running."""
        looked = clock.now()
        while True:
            if clock.now() - self.scheduler.last_wakeup < SCHEDULER_STUCK:
                self.notifier.watchdog()
            lateness = self.sets.runs.lateness.look(self.engine, self.cluster.sets)
            self.watchers.keep(
                [s.name for s in self.cluster.sets if s.schedule.watch and self._writes(s.name)]
            )
            for problem in (*self.wire.complaints(), *lateness):
                self.alerting.problem(problem)
            await asyncio.sleep(min(1.0, self.notifier.watchdog_interval or 1.0))
            if clock.now() - looked > KEEPER_LOOK:
                looked = clock.now()
                await asyncio.to_thread(ensure_keeper, self.paths.run)

    def _handle_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._leave)
        self._loop.add_signal_handler(signal.SIGHUP, self._reload_on_signal)
        self._loop.add_signal_handler(signal.SIGUSR1, self._dump)

    def _leave(self) -> None:
        log.info("asked to stop")
        self.notifier.stopping()
        self.feed(ev.Leave())

    def _reload_on_signal(self) -> None:
        async def reload() -> None:
            self.notifier.reloading()
            log.info("reload: %s", await self.reload(), extra={"always": True})
            self.notifier.ready()

        self.aside(reload())

    async def reload(self) -> str:
        """Read cm.cfg again; the old one is kept where the new one has errors. What was done, in words."""
        async with self._reloading:
            try:
                cluster = await asyncio.to_thread(self._read_config)  # names of users may be asked of LDAP
                me = this_node(cluster, socket.gethostname(), self.me.name)
            except ConfigError as error:
                faults = error.what.replace("\n", "; ")
                log.error("cm.cfg was not taken, the old one stays: %s", faults)
                return f"not taken, the old one stays: {faults}"
            self._reconfigure(cluster, me)
        return "cm.cfg was read again"

    def _read_config(self) -> Cluster:
        from drcm.config.hostchecks import this_host

        return require_config(self.paths.config, host=this_host(agents=False))

    def _reconfigure(self, cluster: Cluster, me: Node) -> None:
        self.cluster, self.me = cluster, me
        self.members.cluster, self.members.node = self.cluster, self.me
        watchdog.configure(self.paths.run, self.me.watchdog)
        self.sets.reconfigure(self.cluster)
        spec = build_spec(self.cluster, self.me.name)
        self.wire.reconfigure(self.cluster)
        self._schedule()
        self.feed(ev.Reconfigured(spec))

    def _dump(self) -> None:
        for key, reason in self.engine.care.reasons.items():
            log.info("%s: %s", key, reason)
        log.info("counters: %s", self.counters())

    def counters(self) -> dict[str, int]:
        """What was dropped and counted, by reason; the processor time that the longest pass took."""
        longest = round(self._longest_pass * 1e6)
        return {**self.wire.counters(), **self.sets.runs.counters(), "longest_pass_us": longest}

    async def _end(self, background: list[asyncio.Task[None]]) -> None:
        log.info("left the cluster")
        self.wire.close()  # what is heard now would only be given to parts that end
        if self._timer is not None:
            self._timer.cancel()
        self.lease_file.write(0.0, 0.0)
        self.lease_file.write_held([])
        await self.watchers.close()
        await self.sets.close()
        await self.alerting.close(ALERTS_LAST)
        await self.programs.end_all()
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await self.control.close()
        await asyncio.to_thread(self.scheduler.stop)
