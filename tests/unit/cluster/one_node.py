"""One real engine whose peers say what a test tells them to say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from small_cluster import IP_GROUP, beat_of, boot_of, spec_of

from drcm.cluster import actions as ac
from drcm.cluster import events as ev
from drcm.cluster.engine import Beginning, Engine
from drcm.cluster.messages import Echo


class Node:
    """Node a at 100.0 of its clock, with peers that say what they are told to."""

    def __init__(self, voters: str = "abc", **changes: Any) -> None:
        self.now = 100.0
        spec = spec_of("a", voters, **{"groups": (IP_GROUP,), **changes})
        self.engine = Engine(spec, boot_of("a"), self.now, Beginning(machine_booted=False))
        self.numbers = 0
        self.seen: list[ac.Action] = []
        self.feed(ev.Tick())

    def feed(self, event: ev.Event) -> None:
        self.seen += self.engine.handle(event, self.now)

    def hear(self, name: str, **said: Any) -> None:
        self.numbers += 1
        echo = {"a": Echo(self.engine.boot, self.engine.membership.number)}
        beat = beat_of(name, self.numbers, echo=echo, **{"uptime": 1000.0, "digest": "same", **said})
        self.feed(ev.BeatHeard(beat))

    def hear_all(self, names: str, **said: Any) -> None:
        for name in names:
            self.hear(name, **said)

    def live(self, seconds: float, each: Callable[[], None] = lambda: None) -> None:
        """Go on in steps of 0.1 s; `each` says what the others say meanwhile."""
        end = self.now + seconds
        while self.now < end:
            self.now += 0.1
            each()
            self.feed(ev.Tick())

    def saw(self, kind: type[ac.Action]) -> list[Any]:
        found = [action for action in self.seen if isinstance(action, kind)]
        self.seen = [action for action in self.seen if not isinstance(action, kind)]
        return found

    def problems(self, about: str) -> list[tuple[str, bool]]:
        return [(p.key, p.over) for p in self.saw(ac.Problem) if p.key.startswith(about)]
