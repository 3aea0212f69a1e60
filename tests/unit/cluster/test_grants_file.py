"""What a daemon that restarts remembers, and that a booted machine does not believe it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_cluster import IP_GROUP, KEY, beat_of, boot_of, spec_of

from drcm.cluster.actions import StartMember, StopMember
from drcm.cluster.adopting import adopt
from drcm.cluster.engine import Beginning, Engine
from drcm.cluster.events import MemberStopped, Tick
from drcm.cluster.grants_file import GrantsFile, grants_file
from drcm.cluster.handover import Handover
from drcm.cluster.messages import HoldState
from drcm.cluster.spec import Group

KERNEL = "f3a5"
NOW = 100.0


def holding(state: HoldState = HoldState.RUNNING, lease_until: float = NOW + 1.4) -> Engine:
    """Node a, which holds a/ip:web and has given b its word for another group."""
    engine = Engine(spec_of("a", "ab", groups=(IP_GROUP,)), boot_of("a"), NOW - 50, Beginning(False))
    adopt(engine.care, Beginning(lease_until=lease_until, adopt=(KEY,)), NOW - 50)
    engine.care.holdings[KEY].enter(state, NOW)
    engine.ledger.hear(beat_of("b", claims={"b/ip:db": HoldState.RUNNING}), NOW, NOW)
    return engine


@pytest.fixture
def file(tmp_path: Path) -> GrantsFile:
    return GrantsFile(tmp_path / "grants", KERNEL)


def test_a_restart_within_the_lease_goes_on(file: GrantsFile) -> None:
    """It resumes the former boot, with its groups, its lease and its words."""
    engine = holding()
    file.write(engine)
    begin = file.beginning(NOW + 1.0)
    assert begin == Beginning(
        machine_booted=False,
        resumes=boot_of("a"),
        lease_until=NOW + 1.4,
        adopt=(KEY,),
        members={KEY: ("ip:web",)},
        words=json.loads(json.dumps(engine.ledger.export())),
        silent_until=NOW - 50,
    )
    again = Engine(engine.spec, boot_of("a", 2), NOW + 1.0, begin)
    assert again.care.holdings[KEY].state is HoldState.STARTING
    assert again.ledger.export() == engine.ledger.export()
    again.handle(Tick(), NOW + 1.01)
    assert again.beat is not None
    assert again.beat.resumes == boot_of("a")


def test_a_restart_after_the_lease_keeps_only_its_words(file: GrantsFile) -> None:
    """What it held it must stop first; what it promised others it still keeps."""
    engine = holding()
    file.write(engine)
    words = json.loads(json.dumps(engine.ledger.export()))
    assert file.beginning(NOW + 1.4) == Beginning(machine_booted=False, words=words, silent_until=NOW - 50)


def test_a_restart_just_after_the_machine_booted_is_silent_too(file: GrantsFile) -> None:
    """The words of the machine's former life are forgotten: none is given before T_dead after the boot."""
    spec = spec_of("a", "ab", groups=(IP_GROUP,))
    booted = Engine(spec, boot_of("a"), NOW, Beginning(machine_booted=True))
    file.write(booted)
    again = Engine(spec, boot_of("a", 2), NOW + 0.1, file.beginning(NOW + 0.1))
    assert again.ledger.silent_until == booted.ledger.silent_until > NOW + 1.9


@pytest.mark.parametrize("state", [HoldState.CLAIMING, HoldState.STOPPING, HoldState.BLOCKED])
def test_what_was_not_held_is_not_adopted(file: GrantsFile, state: HoldState) -> None:
    """What was only claimed, or going down, begins anew."""
    file.write(holding(state))
    begin = file.beginning(NOW + 0.1)
    assert (begin.adopt, begin.resumes) == ((), b"")


def test_a_hand_over_under_way_is_not_adopted(file: GrantsFile) -> None:
    """Half of it is stopped, and the set may be given already."""
    engine = holding()
    engine.care.holdings[KEY].handover = Handover(IP_GROUP, "b", "a test", NOW)
    file.write(engine)
    assert file.beginning(NOW + 0.1).adopt == ()


def test_the_shortest_lease_counts(file: GrantsFile) -> None:
    """Of several groups none may be held past its own end."""
    engine = holding()
    engine.care.holdings["a/ip:other"] = engine.care.holdings[KEY].__class__(
        IP_GROUP, HoldState.RUNNING, NOW, 1, "a test", lease_until=NOW + 0.5
    )
    file.write(engine)
    assert file.beginning(NOW).lease_until == NOW + 0.5
    assert file.beginning(NOW + 0.6).adopt == ()


def test_another_kernel_believes_nothing(file: GrantsFile) -> None:
    """HISTORIES E3: the machine was booted meanwhile; where /run lies does not matter."""
    file.write(holding())
    assert GrantsFile(file.path, "another").beginning(NOW + 0.1) == Beginning(machine_booted=True)


@pytest.mark.parametrize("content", [None, b"", b"[1]", b'{"kernel_boot": "f3a5"', b"\xff\xfe", b"{}"])
def test_nothing_usable_is_a_machine_boot(file: GrantsFile, content: bytes | None) -> None:
    """The careful answer: listen for a T_dead, claim and promise nothing."""
    if content is not None:
        file.path.write_bytes(content)
    assert file.beginning(NOW) == Beginning(machine_booted=True)


def test_replaced_as_a_whole(file: GrantsFile, tmp_path: Path) -> None:
    """A reader at any moment sees the former content or the new one; nothing else is left."""
    file.write(holding())
    with file.path.open() as former:
        file.write(holding(lease_until=NOW + 9))
        assert json.load(former)["lease_until"] == NOW + 1.4
    assert file.beginning(NOW).lease_until == NOW + 9
    assert [path.name for path in tmp_path.iterdir()] == ["grants"]


def test_this_kernel(tmp_path: Path) -> None:
    """The real one's boot_id, equal as long as the machine is up."""
    assert grants_file(tmp_path) == grants_file(tmp_path)
    assert len(grants_file(tmp_path).kernel_boot) == 36


def test_a_restart_ends_what_the_former_daemon_was_letting_go_of(file: GrantsFile) -> None:
    """A group that was stopping, or being handed over, is claimed until all of it is stopped."""
    engine, two = holding(), replace(IP_GROUP, key="a/ip:two", members=("ip:two",))
    held = engine.care.holdings[KEY]
    engine.care.holdings[two.key] = replace(held, group=two, state=HoldState.STOPPING)
    file.write(engine)
    begin = file.beginning(NOW + 1.0)
    assert (begin.adopt, begin.stopping) == ((KEY,), ("a/ip:two",))
    both = replace(engine.spec, groups=(IP_GROUP, two))
    actions = Engine(both, boot_of("a", 2), NOW + 1.0, begin).handle(Tick(), NOW + 1.01)
    assert [a.member for a in actions if isinstance(a, StopMember)] == ["ip:two"]


GONE = Group("a/ip:gone", "a", ("a", "b"), ("ip:gone",))
LARGER = replace(IP_GROUP, members=("ip:web", "cron:gone"))


def restarted(file: GrantsFile, former: Group, *groups: Group) -> tuple[Engine, list[StopMember]]:
    """Another daemon on node a, whose cm.cfg has `groups` by now; what it stops at once."""
    engine = Engine(spec_of("a", "ab", groups=(former,)), boot_of("a"), NOW - 50, Beginning(False))
    adopt(engine.care, Beginning(lease_until=NOW + 1.4, adopt=(former.key,)), NOW - 50)
    engine.care.holdings[former.key].enter(HoldState.RUNNING, NOW)
    file.write(engine)
    spec = spec_of("a", "ab", groups=groups)
    again = Engine(spec, boot_of("a", 2), NOW + 1.0, file.beginning(NOW + 1.0))
    actions = again.recall((), NOW + 1.0) + again.handle(Tick(), NOW + 1.01)
    return again, [action for action in actions if isinstance(action, StopMember)]


@pytest.mark.parametrize(
    ("former", "groups", "stopped"),
    [
        (GONE, (), "ip:gone"),
        (GONE, (replace(GONE, candidates=("b",), home="b"),), "ip:gone"),
        (LARGER, (IP_GROUP,), "cron:gone"),
    ],
)
def test_what_cm_cfg_lost_meanwhile_is_stopped(
    file: GrantsFile, former: Group, groups: tuple[Group, ...], stopped: str
) -> None:
    """A whole group, one that another node has by now, one member: as after a reload."""
    engine, stops = restarted(file, former, *groups)
    assert [(stop.group, stop.member) for stop in stops] == [(former.key, stopped)]
    engine.handle(MemberStopped(former.key, stopped, stops[0].op), NOW + 1.1)
    kept = [group.key for group in groups if "a" in group.candidates]
    assert list(engine.care.holdings) == kept


def test_what_is_stopped_under_its_former_key_is_not_started_under_another(file: GrantsFile) -> None:
    """The service of its own has joined a group: it must not be stopped once it was started there."""
    joined = Group("a/group:all", "a", ("a",), ("ip:gone", "cron:more"))
    engine, (stop,) = restarted(file, GONE, joined)
    hold = engine.care.claim(joined, "a test", NOW + 1.1)
    hold.enter(HoldState.STARTING, NOW + 1.1)
    hold.lease_until = NOW + 60
    started = engine.handle(Tick(), NOW + 1.2)
    assert not [action for action in started if isinstance(action, StartMember)]
    started = engine.handle(MemberStopped(GONE.key, "ip:gone", stop.op), NOW + 1.3)
    assert [a.member for a in started if isinstance(a, StartMember)] == ["ip:gone"]
