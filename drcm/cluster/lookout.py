"""What this node notices of the others, and its own leaving (DESIGN.md rules 8 and 9). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drcm.cluster import actions as ac
from drcm.cluster.messages import Beat, HoldState, SetView
from drcm.cluster.placement import diverged
from drcm.cluster.spec import Group

if TYPE_CHECKING:
    from drcm.cluster.engine import Engine

CONFIG_GRACE = 60.0  # seconds that cm.cfg may differ before somebody is told
LEAVE_LINGER = 5  # intervals at least: a leaving node still grants what it released


class Lookout:
    """Deaths, returns, signs of life of silent machines; the end of this node's own stay."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._dead: set[str] = set()
        self._met: set[str] = set()  # heard since this daemon's start
        self._spoke = False  # this node was the one that tells of deaths
        self._last_word: tuple[int, float] | None = None  # the beat that says so, and since when it is so
        self._probed_at = float("-inf")
        self._diverged: dict[str, float] = {}  # since when
        self._rivals: dict[str, str] = {}  # whose copy it is that diverged
        self._marked: set[str] = set()
        self._other_config: dict[str, float] = {}  # since when

    def go_round(self, now: float) -> None:
        self._watch_nodes(now)
        self._watch_configs(now)
        self._probe_silent(now)
        for group in self.engine.spec.groups:
            for name in group.sets:
                self._watch_set(group, name, now)
        self._leave(now)

    def _watch_nodes(self, now: float) -> None:
        dead = set(self.engine.membership.unheard(now))
        speaks = next((v for v in self.engine.spec.voters if v not in dead), "") == self.engine.spec.me
        for name in sorted(dead - self._dead):
            self.engine.emit(ac.Note(name, self._end_of(name, now), "warning"))
        # Who tells of deaths may die itself: the next one tells of all of them, so that it can say when one
        # is over. An alert of a former daemon is over when the node is first heard.
        told = (dead if not self._spoke else dead - self._dead) if speaks else set()
        for name in sorted(told):
            self.engine.emit(ac.Problem(f"node-dead:{name}", f"{name}: {self._end_of(name, now)}"))
        self._spoke = speaks
        for peer in self.engine.membership.heard(now):
            if peer.name not in self._dead and peer.name not in self._met:
                over = f"{peer.name} answers"
                self.engine.emit(ac.Problem(f"node-dead:{peer.name}", over, over=True))
            self._met.add(peer.name)
        for name in sorted(self._dead - dead):
            self.engine.emit(ac.Note(name, "heard again"))
            self.engine.emit(ac.Problem(f"node-dead:{name}", f"{name} answers again", over=True))
        self._dead = dead

    def _end_of(self, name: str, now: float) -> str:
        membership = self.engine.membership
        if membership.is_gone(name, now):
            return "has left: it was stopped"
        if membership.peers[name].heard_at is None:
            return "not heard since this node started: dead"
        return f"not heard for {self.engine.spec.dead_seconds:.1f} s: dead"

    def _watch_configs(self, now: float) -> None:
        """A node with another cm.cfg for longer than an edit takes (PEERS 58)."""
        digest = self.engine.spec.digest
        others = {b.sender for b in self.engine.membership.beats(now) if b.digest != digest}
        for name in [name for name in self._other_config if name not in others]:
            del self._other_config[name]
            self.engine.emit(ac.Problem(f"config-differs:{name}", f"{name} has the same cm.cfg", over=True))
        for name in others:
            if now - self._other_config.setdefault(name, now) > CONFIG_GRACE:
                text = f"{name} has another cm.cfg: nothing moves between the two nodes until it is equal"
                self.engine.emit(ac.Problem(f"config-differs:{name}", text))

    def _watch_set(self, group: Group, name: str, now: float) -> None:
        """Did two nodes begin different generations? Then only one copy is served, by its holder."""
        engine, me = self.engine, self.engine.spec.me
        beats = {beat.sender: beat for beat in engine.membership.beats(now)}
        view = engine.views.get(name)
        other = diverged(engine.heads, beats.values(), name) or self._overtaken(group, name, beats)
        if not other or view is None:
            self._no_divergence(name, now)
            return
        self._rivals[name] = other
        text = f"DIVERGED: {me} and {other} both wrote {name} without each other; no sync either way"
        if name not in self._diverged:
            self._diverged[name] = now
            engine.emit(ac.Note(group.key, text, "error"), ac.Problem(f"set-diverged:{name}", text))
        settled = now - self._diverged[name] > engine.spec.dead_seconds  # both have said what they hold
        if settled and name not in self._marked and self._is_to_be_marked(group, name, view, beats[other]):
            self._marked.add(name)
            engine.emit(ac.MarkDiverged(name, f"DIVERGED from {other}, whose copy is served"))

    def _overtaken(self, group: Group, name: str, beats: dict[str, Beat]) -> str:
        """A copy is served though a newer generation of another node has started: the writer of the other.

        Only where no majority rules, after a partition in which both wrote, and one of them more often.
        """
        engine, me = self.engine, self.engine.spec.me
        newest, view = engine.heads.get(name), engine.views.get(name)
        if newest is None or view is None or not newest.started:
            return ""
        holding = engine.care.holdings.get(group.key)
        if newest.writer in beats and holding is not None and holding.state is HoldState.RUNNING:
            return newest.writer if view.pos_n < newest.n else ""
        held = (b for b in beats.values() if name in b.sets)
        serving = (b for b in held if b.claims.get(group.key) is HoldState.RUNNING)
        mine = newest.writer == me and view.pos_n == newest.n
        return next((b.sender for b in serving if mine and b.sets[name].pos_n < newest.n), "")

    def _no_divergence(self, name: str, now: float) -> None:
        """None is seen; that the other node is dead does not end one."""
        rival = self._rivals.get(name, "")
        if rival in self.engine.membership.peers and not self.engine.membership.is_heard(rival, now):
            self._diverged[name] = now
            return
        if name in self._diverged:
            self.engine.emit(ac.Problem(f"set-diverged:{name}", f"{name} is one again", over=True))
        self._diverged.pop(name, None)
        self._rivals.pop(name, None)
        self._marked.discard(name)

    def _is_to_be_marked(self, group: Group, name: str, view: SetView, other: Beat) -> bool:
        """Of two copies that diverged the holder's is served, else the home node's; the other is marked."""
        theirs = other.sets.get(name)
        if view.problem or theirs is None or theirs.problem:
            return False
        holds, they_hold = group.key in self.engine.care.holdings, group.key in other.claims
        if holds != they_hold:
            return they_hold
        return group.candidates.index(self.engine.spec.me) > group.candidates.index(other.sender)

    def _probe_silent(self, now: float) -> None:
        """From half of T_dead on, are a silent peer's addresses still in use? With two nodes an answer shows
        that its machine lives (HISTORIES E16); else whoever takes over knows at once that they are free."""
        spec, membership = self.engine.spec, self.engine.membership
        if now - self._probed_at < spec.interval:
            return
        for peer in membership.peers.values():
            if peer.heard_at is None or peer.beat is None or now - peer.heard_at < spec.dead_seconds / 2:
                continue
            others = (beat for beat in membership.beats(now) if beat.sender != peer.name)
            taken = {*self.engine.care.holdings, *(key for beat in others for key in beat.claims)}
            mine = {group.key for group in spec.groups if spec.me in group.candidates}
            keys = tuple(key for key in peer.beat.claims if key in mine - taken)
            if keys:
                self._probed_at = now
                self.engine.emit(ac.ProbeAddresses(peer.name, keys))

    def _leave(self, now: float) -> None:
        """When nothing is held any more and everybody who hears this node knows it, go."""
        engine = self.engine
        if engine.leaving_since is None or engine.care.holdings:
            self._last_word = None
            return
        if self._last_word is None:
            self._last_word = (engine.membership.number + 1, now)  # the beat that this pass will send
        number, since = self._last_word
        lingered = now - since >= LEAVE_LINGER * engine.spec.interval
        if lingered and self._all_know(number, now):
            engine.emit(ac.Left())

    def _all_know(self, number: int, now: float) -> bool:
        """Every peer has echoed beat `number`; who echoes nothing for T_dead is no longer waited for."""
        me, membership = self.engine.spec.me, self.engine.membership
        there = (beat for beat in membership.beats(now) if not membership.is_gone(beat.sender, now))
        return all(beat.echo[me].beat >= number for beat in there)
