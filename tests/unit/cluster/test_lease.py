"""Who may hold: words of voters, the permits built on them, and that no two nodes ever hold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from small_cluster import DEAD, KEY, LEASE, beat_of, boot_of, hear, spec_of

from drcm.cluster.lease import NEVER, WORD_MARGIN, Court, Ledger, Permit
from drcm.cluster.membership import Membership
from drcm.cluster.messages import Beat, Echo, HoldState
from drcm.config.model import Quorum

CLAIM = {KEY: HoldState.CLAIMING}


def claim(sender: str, **fields: Any) -> Beat:
    return beat_of(sender, claims=CLAIM, **fields)


def test_the_first_claim_has_the_word() -> None:
    """One holder a group, until it says released or is silent for its own T_dead and 1 %."""
    ledger = Ledger("a")
    ledger.hear(claim("b"), 10.0, 10.0)
    ledger.hear(claim("c"), 10.1, 10.1)
    end = 10.0 + DEAD * WORD_MARGIN
    assert (ledger.holder(KEY, end - 0.01), ledger.holder(KEY, end)) == ("b", None)
    ledger.hear(claim("c"), 10.1, end)
    assert ledger.grants(end) == {KEY: "c"} or end > 10.1 + DEAD * WORD_MARGIN


def test_a_renewed_claim_prolongs_the_word() -> None:
    """It is counted from when the claim was heard, not from when it was looked at."""
    ledger = Ledger("a")
    ledger.hear(claim("b"), 10.0, 10.0)
    ledger.hear(claim("b"), 11.0, 11.5)
    assert ledger.words[KEY].until == pytest.approx(11.0 + DEAD * WORD_MARGIN)


def test_absent_is_not_released() -> None:
    """A beat without the claim takes nothing back; only the holder's own `released` does."""
    ledger = Ledger("a")
    ledger.hear(claim("b"), 10.0, 10.0)
    ledger.hear(beat_of("b"), 10.1, 10.1)
    ledger.hear(beat_of("c", released={KEY: ""}), 10.1, 10.1)
    assert ledger.holder(KEY, 10.2) == "b"
    ledger.hear(beat_of("b", released={KEY: "c"}), 10.2, 10.2)
    assert ledger.holder(KEY, 10.2) is None


def test_own_claim_waits_for_the_other_word() -> None:
    """This voter's own claim has no precedence."""
    ledger = Ledger("a")
    ledger.hear(claim("b"), 10.0, 10.0)
    ledger.take(KEY, DEAD, 10.1)
    assert ledger.holder(KEY, 10.1) == "b"
    ledger.take(KEY, DEAD, 12.1)
    assert ledger.holder(KEY, 12.1) == "a"


def test_a_booted_machine_gives_no_word() -> None:
    """HISTORIES E3: it can't know what it promised before; for a T_dead it is silent."""
    ledger = Ledger("a", silent_until=12.0)
    ledger.hear(claim("b"), 11.9, 11.9)
    ledger.take(KEY, DEAD, 11.9)
    assert (ledger.words, ledger.grants(11.9)) == ({}, {})
    ledger.restore({KEY: ["c", 13.0]})
    assert ledger.grants(11.9) == {}  # after a stall too: it may have said anything
    ledger.release(KEY, "c")
    ledger.hear(claim("b"), 11.9, 12.0)
    assert ledger.grants(12.0) == {KEY: "b"}


def test_export_and_restore() -> None:
    """A daemon that restarts on the same kernel keeps the words of the former one."""
    ledger, again = Ledger("a"), Ledger("a")
    ledger.hear(claim("b"), 10.0, 10.0)
    again.restore(ledger.export())
    again.hear(claim("c"), 10.5, 10.5)
    assert again.export() == ledger.export()


# --- permits by tables ----------------------------------------------------------------------------


def court_of(voters: str = "abc", pinged: float | None = None, **changes: Any) -> Court:
    """Node a, which claimed with its beat 1, sent at 10.0, and has its own word."""
    spec = spec_of("a", voters, **changes)
    membership = Membership(spec, boot_of("a"), 0.0, machine_booted=False)
    membership.new_number(10.0)
    ledger = Ledger("a")
    ledger.take(KEY, DEAD, 10.0)
    return Court(spec, membership, ledger, pinged)


@pytest.mark.parametrize(
    ("grants", "allowed", "refused"),
    [
        ({}, False, False),
        ({"b": "a"}, True, False),
        ({"b": "a", "c": "a"}, True, False),
        ({"b": "c"}, False, False),
        ({"b": "c", "c": "c"}, False, True),  # a majority gave it away: release at once
        ({"b": "a", "c": "c"}, True, False),
    ],
)
def test_permit_by_majority(grants: dict[str, str], allowed: bool, refused: bool) -> None:
    """Two of three, the node itself among them; a refusal only where a majority is lost."""
    court = court_of()
    for voter, owner in grants.items():
        hear(court.membership, voter, 1, 10.1, grants={KEY: owner})
    permit = court.permit(KEY, 1, 10.1, incumbent=False)
    assert (permit.allows(10.1), permit.refused) == (allowed, refused)
    assert permit.until == (pytest.approx(10.0 + LEASE) if allowed else NEVER)
    assert allowed or "2 are needed" in permit.reason


def test_the_lease_counts_from_the_sending() -> None:
    """The answer may come late: what counts is when the beat that it answers was sent."""
    court = court_of()
    court.membership.new_number(10.5)
    hear(court.membership, "b", 1, 11.5, grants={KEY: "a"})
    permit = court.permit(KEY, 1, 11.5, incumbent=False)
    assert permit.until == pytest.approx(10.5 + LEASE)
    assert not permit.allows(10.5 + LEASE)


def test_a_reload_stretches_no_lease() -> None:
    """A lease is as long as the T_dead that the granted beat said: voters keep their word by that."""
    court = court_of()
    hear(court.membership, "b", 1, 10.1, grants={KEY: "a"})
    longer = replace(court.spec, dead_seconds=3 * DEAD)
    court.membership.reconfigure(longer)
    assert replace(court, spec=longer).permit(KEY, 1, 10.2, incumbent=True).until == pytest.approx(
        10.0 + LEASE
    )


def test_a_word_is_said_only_beside_the_beat_that_renewed_it() -> None:
    """A beat that proved nothing is echoed, but renews no word: the lease must not count from its sending."""
    ledger = Ledger("c")
    claim = beat_of("a", 1, claims=CLAIM)
    ledger.hear(claim, 10.0, 10.0)
    assert ledger.said({"a": Echo(claim.boot, 1)}, 11.9) == {KEY: "a"}
    assert ledger.said({"a": Echo(claim.boot, 2)}, 11.9) == {}
    ledger.take("c/ip:other", DEAD, 11.9)
    assert ledger.said({}, 11.9) == {"c/ip:other": "c"}


def test_a_word_is_never_shortened() -> None:
    """A claim that says a shorter T_dead than before takes nothing from a lease that was granted."""
    ledger = Ledger("c")
    ledger.hear(beat_of("a", 1, claims=CLAIM), 10.0, 10.0)
    ledger.hear(replace(beat_of("a", 2, claims=CLAIM), dead_seconds=DEAD / 4), 10.1, 10.1)
    assert ledger.holder(KEY, 10.0 + DEAD) == "a"


def test_the_slowest_of_the_majority_counts() -> None:
    """With five voters the third newest sending is the lease's."""
    court = court_of("abcde")
    for number, (voter, sent) in enumerate({"b": 10.1, "c": 10.2, "d": 10.3, "e": 10.4}.items(), start=2):
        assert court.membership.new_number(sent) == number
        hear(court.membership, voter, 1, sent, grants={KEY: "a"})
    assert court.permit(KEY, 1, 10.5, incumbent=True).until == pytest.approx(10.3 + LEASE)


def test_an_answer_to_an_earlier_beat_is_none() -> None:
    """A word for a former claim, which was released since, does not count for this one."""
    court = court_of()
    hear(court.membership, "b", 1, 10.1, grants={KEY: "a"})
    court.membership.new_number(10.2)
    assert not court.permit(KEY, 2, 10.2, incumbent=False).allows(10.2)


def test_grants_count_between_equal_epochs() -> None:
    """Voters of another list of voters are no majority of this one."""
    court = court_of(epoch=2)
    hear(court.membership, "b", 1, 10.1, grants={KEY: "a"})
    assert not court.permit(KEY, 1, 10.1, incumbent=True).allows(10.1)


@pytest.mark.parametrize(
    ("silent_for", "incumbent", "pings", "pinged_ago", "allowed"),
    [
        (0.1, False, False, None, False),  # heard lately, but it did not grant: wait for it
        (0.1, True, False, None, True),  # who holds goes on without a gap
        (DEAD + 0.1, False, False, None, True),
        (DEAD + 0.1, False, True, None, False),
        (DEAD + 0.1, False, True, 1.0, True),
        (DEAD + 0.1, True, True, LEASE + 0.1, False),  # this node is the one that is cut off
    ],
)
def test_permit_of_two(
    silent_for: float, incumbent: bool, pings: bool, pinged_ago: float | None, allowed: bool
) -> None:
    """Rule 9: alone after T_dead of silence, if a ping_host answered lately."""
    now = 10.1 + silent_for
    pinged = None if pinged_ago is None else now - pinged_ago
    court = court_of("ab", pinged, pings=pings)
    hear(court.membership, "b", 1, 10.1)
    court.ledger.take(KEY, DEAD, now)
    permit = court.permit(KEY, 1, now, incumbent)
    assert permit.allows(now) is allowed
    assert allowed or permit.reason


@pytest.mark.parametrize(("wins", "allowed"), [(False, False), (True, True)])
def test_of_two_the_loser_of_a_conflict_lets_go(wins: bool, allowed: bool) -> None:
    """The peer has it too, after a partition: only who keeps it may go on."""
    court = court_of("ab")
    hear(court.membership, "b", 1, 10.1, grants={KEY: "b"})
    permit = court.permit(KEY, 1, 10.1, incumbent=True, wins=wins)
    assert (permit.allows(10.1), permit.refused) == (allowed, not allowed)


def test_a_peer_that_has_left_need_not_be_waited_for() -> None:
    """It said so, and that it holds nothing."""
    court = court_of("ab")
    hear(court.membership, "b", 1, 10.1, leaving=True)
    assert court.permit(KEY, 1, 10.1, incumbent=False).allows(10.1)


def test_a_peer_that_has_left_is_as_silent_as_any_other() -> None:
    """It may be started again behind a cut: where pings arbitrate, only who sees the gateway goes on."""
    court = court_of("ab", pings=True)
    hear(court.membership, "b", 1, 10.1, leaving=True)
    assert not court.permit(KEY, 1, 10.1, incumbent=True).allows(10.1)
    seen = replace(court, pinged_sent=10.0)
    assert seen.permit(KEY, 1, 10.1, incumbent=True).until == 10.0 + court.spec.lease_seconds


def test_of_two_nobody_acts_on_a_word_that_is_not_free() -> None:
    """This voter's word is the other's: it waits for its end."""
    court = court_of("ab")
    court.ledger.release(KEY, "a")
    court.ledger.hear(claim("b"), 10.0, 10.0)
    assert not court.permit(KEY, 1, 11.0, incumbent=False).allows(11.0)


def test_without_quorum_a_claim_of_another_refuses() -> None:
    """`none` is 1.41's way: one's own opinion, until another is heard to have it."""
    court = court_of("abc", quorum=Quorum.NONE)
    assert court.permit(KEY, 1, 10.1, incumbent=False).allows(10.1)
    hear(court.membership, "b", 1, 10.1, grants={KEY: "b"})
    assert court.permit(KEY, 1, 10.1, incumbent=True).refused
    assert court.permit(KEY, 1, 10.1, incumbent=True, wins=True).allows(10.1)


def test_a_refused_permit_allows_nothing() -> None:
    """Whatever its time says."""
    assert Permit(20.0).allows(10.0)
    assert not Permit(20.0, refused=True).allows(10.0)


# --- no two holders, whatever the network does --------------------------------------------------------


@dataclass
class Voter:
    """One node with its own clock; it holds while its lease lasts."""

    name: str
    rate: float
    voters: str
    boot: int = 0
    claimed: int = 0  # the beat that carried the claim first; 0 = no claim
    held: bool = False
    lease_until: float = 0.0
    released: bool = False
    membership: Membership = field(init=False)
    ledger: Ledger = field(init=False)

    def clock(self, time: float) -> float:
        return 1000.0 + time * self.rate

    def start(self, time: float, *, machine_booted: bool) -> None:
        now, words = self.clock(time), {} if machine_booted else self.ledger.export()
        silent_until = now + DEAD if machine_booted else max(now, self.ledger.silent_until)
        self.boot += 1
        spec = spec_of(self.name, self.voters)
        self.membership = Membership(spec, boot_of(self.name, self.boot), now, machine_booted)
        self.ledger = Ledger(self.name, silent_until=silent_until)
        self.ledger.restore(words)
        self.claimed, self.held, self.released, self.lease_until = 0, False, False, 0.0

    def beat(self, time: float) -> Beat:
        now, membership = self.clock(time), self.membership
        return beat_of(
            self.name,
            membership.new_number(now),
            boot=membership.boot,
            echo=membership.echoes(),
            claims=CLAIM if self.claimed else {},
            released={KEY: ""} if self.released else {},
            grants=self.ledger.said(membership.echoes(), now),
        )

    def receive(self, beat: Beat, time: float) -> None:
        self.membership.hear(beat, self.clock(time))
        self.act(time)

    def act(self, time: float) -> None:
        """What the engine does with words on each pass."""
        now = self.clock(time)
        for peer in self.membership.heard(now):
            assert peer.beat is not None
            assert peer.heard_at is not None
            self.ledger.hear(peer.beat, peer.heard_at, now)
        if not self.claimed:
            return
        self.ledger.take(KEY, DEAD, now)
        permit = self.permit(time)
        if permit.allows(now):
            self.held, self.lease_until = True, max(self.lease_until, permit.until)
        elif self.held and (permit.refused or self.lease_until <= now):
            self.release()

    def permit(self, time: float) -> Permit:
        court = Court(self.membership.spec, self.membership, self.ledger, None)
        return court.permit(KEY, self.claimed, self.clock(time), self.held)

    def claim(self) -> None:
        self.claimed, self.released = self.membership.number + 1, False

    def release(self) -> None:
        self.claimed, self.held, self.released, self.lease_until = 0, False, True, 0.0
        self.ledger.release(KEY, self.name)

    def holds(self, time: float) -> bool:
        return self.held and self.lease_until > self.clock(time)

    def vouches_for(self, holder: Voter, time: float) -> bool:
        """It gives the group to nobody else before the holder's lease has ended."""
        end = (holder.lease_until - 1000.0) / holder.rate
        word = self.ledger.words.get(KEY)
        given = word is not None and word.holder == holder.name and word.until >= self.clock(end)
        return given or self.ledger.silent_until >= self.clock(end)


class OneHolder(RuleBasedStateMachine):
    """Three to five voters whose beats are late, lost and doubled, and who boot, restart and claim."""

    @initialize(count=st.integers(3, 5), rates=st.lists(st.sampled_from([0.995, 1.0, 1.005]), min_size=5))
    def begin(self, count: int, rates: list[float]) -> None:
        names = "abcde"[:count]
        self.time = 0.0
        self.nodes = {name: Voter(name, rate, names) for name, rate in zip(names, rates, strict=False)}
        for node in self.nodes.values():
            node.start(self.time, machine_booted=True)
        self.late: list[tuple[str, Beat]] = []
        self.pass_time(DEAD * 1.1)

    def pass_time(self, seconds: float) -> None:
        self.time += seconds
        for node in self.nodes.values():
            node.act(self.time)

    def node(self, index: int) -> Voter:
        return list(self.nodes.values())[index % len(self.nodes)]

    @rule(index=st.integers(0, 4), reach=st.integers(0, 31))
    def send(self, index: int, reach: int) -> None:
        """A beat reaches some at once; for the others it is late."""
        sender = self.node(index)
        beat = sender.beat(self.time)
        for place, (name, node) in enumerate(self.nodes.items()):
            if node is not sender and reach >> place & 1:
                node.receive(beat, self.time)
            elif node is not sender:
                self.late.append((name, beat))

    @rule(cut=st.integers(0, 31), seconds=st.sampled_from([0.05, 0.3, 0.7]))
    def talk(self, cut: int, seconds: float) -> None:
        """Two rounds between all that are on one side of a cut."""
        for index in (*range(len(self.nodes)), *range(len(self.nodes))):
            side = cut if cut >> index & 1 else ~cut
            self.send(index, side)
        self.pass_time(seconds)

    @precondition(lambda self: bool(getattr(self, "late", None)))
    @rule(pick=st.integers(0, 1000), again=st.booleans())
    def arrive_late(self, pick: int, again: bool) -> None:
        name, beat = self.late[pick % len(self.late)]
        if not again:
            self.late.remove((name, beat))
        self.nodes[name].receive(beat, self.time)

    @rule(index=st.integers(0, 4), cut=st.integers(0, 31))
    def challenge(self, index: int, cut: int) -> None:
        """One more wants it, and tells all on its side of a cut."""
        self.claim(index)
        self.talk(cut, 0.05)

    @rule(index=st.integers(0, 4))
    def claim(self, index: int) -> None:
        node = self.node(index)
        if not node.claimed:
            node.claim()

    @rule(index=st.integers(0, 4))
    def let_go(self, index: int) -> None:
        if self.node(index).claimed:
            self.node(index).release()

    @rule(index=st.integers(0, 4), machine_booted=st.booleans())
    def restart(self, index: int, machine_booted: bool) -> None:
        """Stopped by KILL or a power cut: what it held ends with it, or before it starts again."""
        self.node(index).start(self.time, machine_booted=machine_booted)

    @rule(seconds=st.sampled_from([0.01, 0.2, 0.65, 1.39, 2.0, 2.03]))
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)

    @invariant()
    def one_holder(self) -> None:
        """No two hold, and every lease is outlived by the words of a majority."""
        nodes = getattr(self, "nodes", {}).values()
        holders = [node for node in nodes if node.holds(self.time)]
        assert len(holders) <= 1, holders
        for holder in holders:
            vouching = sum(node.vouches_for(holder, self.time) for node in nodes)
            assert vouching > len(nodes) / 2, f"{vouching} words behind {holder.name}"

    @invariant()
    def one_word(self) -> None:
        """A voter's word is one node's; while it is silent it is nobody's."""
        for node in getattr(self, "nodes", {}).values():
            now = node.clock(self.time)
            granted = node.ledger.grants(now)
            assert granted.get(KEY) == (
                node.ledger.holder(KEY, now) if now >= node.ledger.silent_until else None
            )


OneHolder.TestCase.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestOneHolder = OneHolder.TestCase


def test_the_machine_does_hand_out_leases() -> None:
    """The state machine above is no idle one: with beats that arrive, the first claimant holds."""
    machine = OneHolder()
    machine.begin(3, [1.0] * 5)
    machine.talk(7, 0.05)
    machine.claim(1)
    machine.talk(7, 0.05)
    assert machine.node(1).holds(machine.time)
    machine.claim(2)
    machine.talk(7, 0.05)
    assert not machine.node(2).holds(machine.time)
    machine.wait(2.03)
    machine.talk(7, 0.05)
    machine.one_holder()
