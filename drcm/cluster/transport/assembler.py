"""Puts the parts of beats together (transport.beatcodec makes them), and bounds what a member may cost."""

from __future__ import annotations

from collections import Counter, OrderedDict

from drcm import clock
from drcm.cluster.messages import Beat, BootId
from drcm.cluster.transport.beatcodec import (
    KIND,
    MAX_NUMBER,
    MAX_PARTS,
    PART,
    MalformedError,
    State,
    decode,
)

BOOTS_KEPT = 8  # unfinished beats and states kept for each sender, one a boot
FAULTS_TAKEN = 20  # malformed bodies of a boot in FAULT_SECONDS; beyond that no new state of it is decoded
FAULT_SECONDS = 0.1


class _Boot:
    """The newest beat of one boot, as far as its parts have come, and its last whole state."""

    __slots__ = ("faults", "faults_since", "number", "parts", "pieces", "state")

    def __init__(self) -> None:
        self.number, self.parts = -1, 0
        self.pieces: dict[int, bytes] = {}
        self.state: State | None = None
        self.faults, self.faults_since = 0, 0.0

    def begin(self, number: int, parts: int) -> None:
        self.number, self.parts, self.pieces = number, parts, {}

    def note_fault(self) -> None:
        now = clock.now()
        if now - self.faults_since > FAULT_SECONDS:
            self.faults, self.faults_since = 0, now
        self.faults += 1

    def may_decode(self, packed: bytes) -> bool:
        """What only says that its sender lives costs little; a new state may cost milliseconds."""
        known = self.state is not None and packed.endswith(self.state.packed)
        busy = self.faults >= FAULTS_TAKEN and clock.now() - self.faults_since <= FAULT_SECONDS
        return known or not busy


class Assembler:
    """Gives only whole beats, and of each boot only newer ones (HISTORIES E12, E13).

    Bodies come from authentic members; those of a member with a bug are counted in `malformed`.
    """

    def __init__(self) -> None:
        self._senders: dict[str, OrderedDict[BootId, _Boot]] = {}
        self.malformed: Counter[str] = Counter()  # by sender
        self.outdated = 0

    def add(self, sender: str, boot: BootId, body: bytes) -> Beat | None:
        """The beat that `body` completes, or None. Never raises."""
        try:
            return self._add(sender, boot, body)
        except MalformedError:
            self.malformed[sender] += 1
            if boot in self._senders.get(sender, ()):
                self._senders[sender][boot].note_fault()
            return None

    def _add(self, sender: str, boot: BootId, body: bytes) -> Beat | None:
        number, part, parts = _part(body)
        known = self._boot(sender, boot)
        if number > known.number:
            known.begin(number, parts)
        elif number < known.number or len(known.pieces) == known.parts:
            self.outdated += 1
            return None
        if parts != known.parts:
            raise MalformedError(f"part of {parts} of a beat of {known.parts}")
        known.pieces[part] = body[PART.size :]
        return self._complete(known, sender, boot) if len(known.pieces) == parts else None

    def _boot(self, sender: str, boot: BootId) -> _Boot:
        boots = self._senders.setdefault(sender, OrderedDict())
        if boot not in boots:
            boots[boot] = _Boot()
            if len(boots) > BOOTS_KEPT:
                boots.popitem(last=False)
        boots.move_to_end(boot)
        return boots[boot]

    def _complete(self, whole: _Boot, sender: str, boot: BootId) -> Beat:
        packed = b"".join(whole.pieces[part] for part in range(whole.parts))
        whole.pieces = dict.fromkeys(range(whole.parts), b"")  # done: later copies are outdated
        if not whole.may_decode(packed):
            raise MalformedError("one more of too many: not looked at")
        whole.state = decode(packed, sender, boot, whole.number, whole.state)
        return whole.state.beat


def _part(body: bytes) -> tuple[int, int, int]:
    """Number of the beat, part and parts; MalformedError where it can't be one."""
    if len(body) < PART.size:
        raise MalformedError("shorter than a part")
    kind, number, part, parts = PART.unpack_from(body)
    if kind != KIND or number > MAX_NUMBER or not part < parts <= MAX_PARTS:
        raise MalformedError("no part of a beat")
    return number, part, parts
