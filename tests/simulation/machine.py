"""One node of a simulated cluster: what dies with its daemon, with its power, or never."""

from __future__ import annotations

from dataclasses import dataclass, field

from drcm.cluster import actions as ac
from drcm.cluster.engine import Beginning, Engine
from drcm.cluster.messages import GroupKey, Head, HoldState, SetView
from drcm.cluster.spec import MemberKey, Spec

NEVER = float("inf")


@dataclass
class Machine:
    """Its engine while it runs, what runs on it, and what survives a power cut.

    Only CLOCK_BOOTTIME reaches the engine (`clock`): there is no wall clock here that could be stepped.
    """

    spec: Spec
    rate: float = 1.0  # of its clock
    offset: float = 0.0
    engine: Engine | None = None
    boot_count: int = 0  # starts and ends of its daemon
    power_count: int = 0
    daemon_paused: bool = False
    host_paused: bool = False
    slept: float = 0.0  # seconds that the host stood still; CLOCK_BOOTTIME counts them
    paused_at: float = 0.0
    running: set[tuple[GroupKey, MemberKey]] = field(default_factory=set)
    heads: dict[str, Head] = field(default_factory=dict)  # durable
    views: dict[str, SetView] = field(default_factory=dict)  # durable
    grants: Beginning | None = None  # /run/drcm/grants: survives the daemon, not the machine
    lost: dict[GroupKey, tuple[str, float]] = field(default_factory=dict)  # words that a power cut took
    lease: ac.Lease = field(default_factory=lambda: ac.Lease(0.0, 0.0))  # /run/drcm/lease
    roll: ac.StoreRoll | None = None  # durable
    patience: float = 0.0  # durable
    refuses: set[MemberKey] = field(default_factory=set)  # what does not start
    sticks: set[MemberKey] = field(default_factory=set)  # what does not stop, KILL or not
    stuck: set[tuple[GroupKey, MemberKey]] = field(default_factory=set)  # a stop of it has failed
    taken: set[tuple[GroupKey, MemberKey]] = field(default_factory=set)  # addresses, by the keeper
    disk_seconds: float = 0.0  # more than usual, for what is written
    left: bool = False
    powered: bool = False
    alarm: float = NEVER  # when the next tick comes
    started: float = 0.0

    def clock(self, now: float) -> float:
        return self.offset + now * self.rate

    def world_time(self, clock: float) -> float:
        return (clock - self.offset) / self.rate

    @property
    def listens(self) -> bool:
        return self.engine is not None and not (self.daemon_paused or self.host_paused or self.left)

    def words(self) -> dict[GroupKey, tuple[str, float]]:
        """The voter's words, wherever they are now: holder and end, on its own clock."""
        if self.engine is not None:
            return {key: (word.holder, word.until) for key, word in self.engine.ledger.words.items()}
        words = self.grants.words if self.grants is not None else {}
        return {key: (holder, until) for key, (holder, until) in words.items()}

    def memory(self) -> Beginning:
        """What grants_file.py writes of the running daemon."""
        engine = self.engine
        assert engine is not None
        alive = (HoldState.STARTING, HoldState.RUNNING)
        held = {key: h for key, h in engine.care.holdings.items() if h.state in alive and not h.handover}
        leaving = (HoldState.STOPPING, HoldState.BLOCKED)
        stopping = (k for k, h in engine.care.holdings.items() if h.state in leaving or h.handover)
        return Beginning(
            machine_booted=False,
            resumes=engine.boot,
            lease_until=min((h.lease_until for h in held.values()), default=0.0),
            adopt=tuple(held),
            stopping=tuple(stopping),
            words=engine.ledger.export(),
            silent_until=engine.ledger.silent_until,
        )
