"""The spool: bounded, durable, and patient for five days."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from drcm.alerts import spool
from drcm.alerts.spool import MESSAGES_KEPT, TIME_KEPT, Entry


def entry(serial: int = 0, **changes: object) -> Entry:
    made = Entry(
        serial, f"<{serial}@x>", "guard:a", "s", "b", "b", 0.0, 100.0, {"email": ("a", "b"), "sms": ("c",)}
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # a test's keyword arguments


def test_what_is_put_is_read_back_oldest_first(tmp_path: Path) -> None:
    """Nothing is lost on the way to the disk, and the order is that of the serials."""
    for serial in (11, 2, 100):
        spool.put(tmp_path, entry(serial))
    assert spool.entries(tmp_path) == [entry(2), entry(11), entry(100)]
    assert spool.next_serial(tmp_path) == 101


def test_the_same_message_twice_is_one_file(tmp_path: Path) -> None:
    """After a crash the serial is given again to the same problem: the file is replaced."""
    spool.put(tmp_path, entry())
    spool.put(tmp_path, entry(subject="again"))
    assert [one.subject for one in spool.entries(tmp_path)] == ["again"]


def test_who_has_it_waits_no_more() -> None:
    """Addresses leave one by one; a channel without any leaves too."""
    left = spool.after_try(entry(), "email", ("a",), "b: 550 no")
    assert left.pending == {"email": ("b",), "sms": ("c",)}
    assert left.error == "b: 550 no"
    assert spool.after_try(left, "email", ("b",), "").pending == {"sms": ("c",)}


def test_five_days_of_trying_are_enough(tmp_path: Path) -> None:
    """Within them the message stays, after them it goes."""
    spool.put(tmp_path, entry())
    spool.settle(tmp_path, entry(tries=1), 100.0 + TIME_KEPT)
    assert spool.entries(tmp_path) == [entry(tries=1)]
    spool.settle(tmp_path, entry(tries=2), 101.0 + TIME_KEPT)
    assert spool.entries(tmp_path) == []


def test_a_full_spool_drops_the_oldest(tmp_path: Path) -> None:
    """A mail server that is down for weeks doesn't fill the disk."""
    for serial in range(MESSAGES_KEPT + 2):
        spool.put(tmp_path, entry(serial))
    kept = [one.serial for one in spool.entries(tmp_path)]
    assert kept == list(range(2, MESSAGES_KEPT + 2))


def test_a_damaged_message_is_laid_aside(tmp_path: Path) -> None:
    """It holds up no other, and is there to be looked at."""
    spool.put(tmp_path, entry(1))
    (tmp_path / "00000000-abc.json").write_text('{"schema": 9}')
    assert spool.entries(tmp_path) == [entry(1)]
    assert (tmp_path / "00000000-abc.damaged").exists()
