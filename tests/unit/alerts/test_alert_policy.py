"""The throttle: told at once, reminded seldom, never muted for good."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from drcm.alerts.alert import alert
from drcm.alerts.counted import Reading, elapsed
from drcm.alerts.policy import (
    CEILING,
    HOUR,
    OPENINGS_TOLD,
    PROBLEMS_KEPT,
    Occurred,
    Over,
    Rules,
    Send,
    State,
    Word,
    decide,
)

RULES = Rules(throttle=4 * HOUR)
DEAD = "node-dead:cmnode2"


@dataclass
class Story:
    """Events in order, with what was sent for each."""

    rules: Rules = RULES
    state: State = field(default_factory=State)

    def occurs(self, key: str = DEAD, after: float = 0.0) -> list[Send]:
        return self._step(Occurred(alert(key, f"{key} is bad")), after)

    def over(self, key: str = DEAD, after: float = 0.0) -> list[Send]:
        return self._step(Over(key), after)

    def passes(self, seconds: float) -> list[Send]:
        return self._step(None, seconds)

    def play(self, what: str, key: str, after: float) -> list[Send]:
        if what == "passes":
            return self.passes(after)
        return self.occurs(key, after) if what == "occurs" else self.over(key, after)

    def _step(self, event: Occurred | Over | None, after: float) -> list[Send]:
        self.state, sends = decide(self.state, event, after, self.rules)
        return sends


def words(sends: list[Send]) -> list[Word]:
    return [send.word for send in sends]


def test_the_first_occurrence_is_told_at_once_and_its_repeats_wait() -> None:
    """One problem that is reported every minute makes one message in four hours, then a reminder."""
    story = Story()
    assert words(story.occurs()) == [Word.OPEN]
    assert [story.occurs(after=60) for _ in range(239)] == [[]] * 239
    assert words(story.occurs(after=60)) == [Word.REMINDER]
    assert story.state.problems[DEAD].count == 241


def test_a_second_fault_is_told_while_the_first_is_throttled() -> None:
    """One key's silence mutes no other (LEGACY.md, fault 8)."""
    story = Story()
    story.occurs()
    assert words(story.occurs("set-failed:testfs", after=1)) == [Word.OPEN]


def test_a_lasting_problem_is_remembered_without_a_new_event() -> None:
    """A look at the ledger after four hours sends the reminder, though nobody raised the problem again."""
    story = Story()
    story.occurs()
    assert story.passes(4 * HOUR - 1) == []
    assert words(story.passes(1)) == [Word.REMINDER]
    assert story.passes(1) == []


def test_its_end_is_told_once_with_how_long_it_was() -> None:
    """ "Resolved" comes at once, carries duration and count, and is not said twice."""
    story = Story()
    story.occurs()
    story.occurs(after=100)
    (send,) = story.over(after=200)
    assert (send.word, send.lasted, send.problem.count) == (Word.RESOLVED, 300, 2)
    assert story.over(after=1) == []


def test_the_end_of_what_nobody_was_told_is_not_told() -> None:
    """Resolving an unknown key says nothing and leaves nothing behind."""
    story = Story()
    assert story.over("guard:testfs") == []
    assert story.state.problems == {}


def test_a_problem_that_comes_and_goes_is_told_once_a_throttle() -> None:
    """537 openings in a day (sutando#3434) make a handful of messages, and the last word is true."""
    story = Story()
    sent = []
    for _ in range(537):
        sent += story.occurs(after=80) + story.over(after=80)
    assert len(sent) <= 2 * OPENINGS_TOLD + 24 / 4 + 1
    assert any(send.comes_and_goes for send in sent)
    sent += story.passes(4 * HOUR)
    assert sent[-1].word is Word.RESOLVED


def test_the_end_of_flapping_is_told_as_soon_as_the_throttle_allows() -> None:
    """It flapped until now: "resolved" comes a throttle after the last message, not after the last flap."""
    story = Story()
    told_at = moment = 0.0
    while moment < told_at + 3.9 * HOUR:
        sends = story.occurs(after=80) + story.over(after=80)
        moment += 160
        told_at = moment if sends else told_at
    assert story.passes(0) == []
    assert words(story.passes(0.1 * HOUR)) == [Word.RESOLVED]


def test_a_clock_that_went_back_mutes_nothing() -> None:
    """Negative time counts as none: the reminder comes when it is due."""
    story = Story()
    story.occurs()
    story.passes(-1e8)
    assert words(story.passes(4 * HOUR)) == [Word.REMINDER]


def test_reopened_in_silence_is_told_when_the_throttle_ends() -> None:
    """An opening that was held back is owed: the operator doesn't go on believing that all is well."""
    story = Story()
    for _ in range(OPENINGS_TOLD - 1):
        story.occurs(after=1)
        story.over(after=1)
    assert words(story.occurs(after=1)) == [Word.OPEN]
    assert story.over(after=1) == []
    assert story.occurs(after=1) == []
    assert words(story.passes(4 * HOUR)) == [Word.REMINDER]


def test_what_a_script_sends_is_not_repeated_by_itself() -> None:
    """A custom alert is an event: no reminder, and after the throttle the same subject is new again."""
    story = Story()
    assert words(story.occurs("custom:backup failed")) == [Word.OPEN]
    assert story.occurs("custom:backup failed", after=4 * HOUR - 1) == []
    assert story.passes(1) == []
    assert words(story.occurs("custom:backup failed", after=1)) == [Word.OPEN]


def test_the_ceiling_holds_back_scripts_but_no_new_problem() -> None:
    """A script with the time in its subject makes 30 mails an hour; a node that dies then is told at once."""
    story = Story()
    sent = [send for n in range(100) for send in story.occurs(f"custom:failed at {n}", after=1)]
    assert len(sent) == CEILING
    assert words(story.occurs("node-dead:cmnode1", after=1)) == [Word.OPEN]


def test_what_the_ceiling_held_back_comes_when_there_is_room() -> None:
    """Nothing is lost: the held messages go out in the hours that follow."""
    story = Story()
    sent = [send for n in range(40) for send in story.occurs(f"custom:failed at {n}", after=1)]
    sent += story.passes(HOUR)
    assert {send.problem.key for send in sent} == {f"custom:failed at {n}" for n in range(40)}


def test_the_ledger_is_bounded_and_keeps_what_lasts() -> None:
    """Ten thousand subjects don't fill the disk, nor push a dead node out of the ledger."""
    story = Story()
    story.occurs()
    for n in range(PROBLEMS_KEPT + 50):
        story.occurs(f"custom:{n}")
    assert len(story.state.problems) == PROBLEMS_KEPT
    assert DEAD in story.state.problems


def test_what_happened_while_nobody_was_named_is_told_later() -> None:
    """Recipients that are added to cm.cfg hear of what is still open."""
    story = Story(Rules(mute=True))
    assert story.occurs() == []
    story.rules = RULES
    assert words(story.passes(60)) == [Word.OPEN]


def test_messages_of_one_decision_have_different_serials() -> None:
    """Each message gets its own file in the spool."""
    story = Story(Rules(mute=True))
    for key in ("node-dead:a", "node-dead:b", "node-dead:c"):
        story.occurs(key)
    story.rules = RULES
    assert [send.serial for send in story.passes(1)] == [0, 1, 2]


KEYS = ["node-dead:a", "set-failed:b", "guard:c", "custom:d"]
EVENTS = st.tuples(
    st.sampled_from(["occurs", "over", "passes"]),
    st.sampled_from(KEYS),
    st.floats(min_value=-1e8, max_value=3 * HOUR, allow_nan=False),
)


@given(st.lists(EVENTS, max_size=60))
def test_never_two_openings_in_a_row_and_no_reminder_before_its_time(
    events: list[tuple[str, str, float]],
) -> None:
    """For each key: open, reminders at least a throttle apart, at most one resolved; whatever comes."""
    story, heard, moment = Story(), dict[str, tuple[Word, float]](), 0.0
    for what, key, after in events:
        moment += max(0.0, after)
        for send in story.play(what, key, after):
            last, at = heard.get(send.problem.key, (Word.RESOLVED, 0.0))
            if send.word is Word.RESOLVED:
                assert last is not Word.RESOLVED
            elif last is not Word.RESOLVED:
                assert moment - at >= RULES.throttle - 1e-3
            heard[send.problem.key] = (send.word, moment)


@given(st.lists(EVENTS, max_size=60), st.sampled_from(list("wxyz")))
def test_a_new_key_is_told_whatever_went_before(events: list[tuple[str, str, float]], name: str) -> None:
    """No history of other keys holds back the first word of a problem."""
    story = Story()
    for what, key, after in events:
        story.play(what, key, after)
    assert Word.OPEN in words(story.occurs(f"resource-failed:{name}"))


@given(st.lists(EVENTS, max_size=60))
def test_after_a_quiet_day_what_was_told_is_what_is_so(events: list[tuple[str, str, float]]) -> None:
    """Nothing stays owed: four hours after the last event the operator was told of each key how it stands."""
    story = Story()
    for what, key, after in events:
        story.play(what, key, after)
    story.passes(4 * HOUR)
    assert all(problem.open == problem.told for problem in story.state.problems.values())


READINGS = st.lists(
    st.tuples(st.sampled_from(["boot1", "boot2", "boot3"]), st.floats(min_value=0, max_value=1e9)), min_size=2
)


def test_time_counts_over_processes_and_reboots() -> None:
    """Within a boot the difference, after a reboot the time since it, for a restored snapshot nothing."""
    assert elapsed(Reading("a", 100), Reading("a", 160)) == 60
    assert elapsed(Reading("a", 100), Reading("b", 30)) == 30
    assert elapsed(Reading("a", 100), Reading("a", 40)) == 0
    assert elapsed(None, Reading("a", 100)) == 0


@given(READINGS)
def test_no_more_time_counts_than_the_boots_lasted(readings: list[tuple[str, float]]) -> None:
    """Counted time never runs ahead: at each step at most the uptime of the machine is added."""
    looks = [Reading(boot, seconds) for boot, seconds in readings]
    for last, now in pairwise(looks):
        assert 0 <= elapsed(last, now) <= now.seconds
