"""A beat as bodies of datagrams, and back. A state that does not fit one is split over several.

    kind "b" 1 byte · number of the beat 8 · part 1 · parts 1 · a piece of the msgpack array `_Wire`

`sender` and `boot` are not repeated inside: they come from the sealed header, so that nobody can speak
as another by a slip. New fields go to the end of `_Wire`, with a default: older nodes ignore them.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import Annotated

import msgspec

from drcm.cluster.messages import Beat, BootId, Echo, Head, HoldState, Proposal, Roll, SetView
from drcm.cluster.transport.datagram import body_room
from drcm.errors import DrcmError

PART = struct.Struct(">cQBB")
KIND = b"b"
MAX_PARTS = 64  # 85 kB: about a thousand groups
MAX_REASON = 200  # characters of a decline's reason or a set's problem
MAX_NUMBER = 2**62
BOOTS_KEPT = 8  # unfinished beats kept for each sender, one a boot

_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)]
_Boot = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
_Resumed = Annotated[bytes, msgspec.Meta(max_length=16)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class _WireHead(msgspec.Struct, array_like=True, frozen=True):
    n: _Count
    id: str
    writer: str
    origin_id: str
    origin_run: str
    started: bool


class _WireSet(msgspec.Struct, array_like=True, frozen=True):
    pos_n: _Count
    pos_id: str
    pos_run: str
    writer: bool
    sole: bool
    complete_for: tuple[str, ...]
    failback: str
    problem: str


class _WireProposal(msgspec.Struct, array_like=True, frozen=True):
    ballot: _Count
    epoch: _Count
    voters: tuple[str, ...]


class _Wire(msgspec.Struct, array_like=True, frozen=True):
    dead_seconds: _Seconds
    epoch: _Count
    resumes: _Resumed
    echo: dict[str, tuple[_Boot, _Count]]
    unheard: tuple[str, ...]
    claims: dict[str, HoldState]
    released: dict[str, str]
    declines: dict[str, str]
    grants: dict[str, str]
    heads: dict[str, _WireHead]
    sets: dict[str, _WireSet]
    digest: str
    version: str
    uptime: _Seconds
    leaving: bool
    voters: tuple[str, ...] = ()
    proposal: _WireProposal | None = None
    accepted: _WireProposal | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Wire)


def encode(beat: Beat) -> list[bytes]:
    """The bodies of one beat, each of which fits a datagram. DrcmError beyond MAX_PARTS."""
    packed = _encoder.encode(_to_wire(beat))
    room = body_room(beat.sender) - PART.size
    pieces = [packed[start : start + room] for start in range(0, len(packed), room)]
    if len(pieces) > MAX_PARTS:
        raise DrcmError(
            f"the state of {beat.sender} takes {len(packed)} bytes; at most {MAX_PARTS * room} can be sent",
            "A cluster of so many resources and sets has to be divided in two.",
        )
    return [PART.pack(KIND, beat.number, part, len(pieces)) + piece for part, piece in enumerate(pieces)]


def _to_wire(beat: Beat) -> _Wire:
    return _Wire(
        dead_seconds=beat.dead_seconds,
        epoch=beat.epoch,
        resumes=beat.resumes,
        echo={name: (echo.boot, echo.beat) for name, echo in beat.echo.items()},
        unheard=beat.unheard,
        claims=beat.claims,
        released=beat.released,
        declines={group: _short(reason) for group, reason in beat.declines.items()},
        grants=beat.grants,
        heads={name: _wire_head(head) for name, head in beat.heads.items()},
        sets={name: _wire_set(view) for name, view in beat.sets.items()},
        digest=beat.digest,
        version=beat.version,
        uptime=beat.uptime,
        leaving=beat.leaving,
        voters=beat.voters,
        proposal=_wire_proposal(beat.proposal),
        accepted=_wire_proposal(beat.accepted),
    )


def _wire_proposal(proposal: Proposal | None) -> _WireProposal | None:
    if proposal is None:
        return None
    return _WireProposal(proposal.ballot, proposal.roll.epoch, proposal.roll.voters)


def _proposal(wire: _WireProposal | None) -> Proposal | None:
    return None if wire is None else Proposal(wire.ballot, Roll(wire.epoch, wire.voters))


def _wire_head(head: Head) -> _WireHead:
    return _WireHead(head.n, head.id, head.writer, head.origin_id, head.origin_run, head.started)


def _wire_set(view: SetView) -> _WireSet:
    return _WireSet(
        view.pos_n,
        view.pos_id,
        view.pos_run,
        view.writer,
        view.sole,
        view.complete_for,
        view.failback,
        _short(view.problem),
    )


def _short(reason: str) -> str:
    """At most MAX_REASON characters; half characters of a file name become question marks."""
    return reason[:MAX_REASON].encode(errors="replace").decode()


def _from_wire(wire: _Wire, sender: str, boot: BootId, number: int) -> Beat:
    return Beat(
        sender=sender,
        boot=boot,
        number=number,
        dead_seconds=wire.dead_seconds,
        epoch=wire.epoch,
        resumes=wire.resumes,
        echo={name: Echo(*echo) for name, echo in wire.echo.items()},
        unheard=wire.unheard,
        claims=wire.claims,
        released=wire.released,
        declines=wire.declines,
        grants=wire.grants,
        heads={name: Head(*msgspec.structs.astuple(head)) for name, head in wire.heads.items()},
        sets={name: SetView(*msgspec.structs.astuple(view)) for name, view in wire.sets.items()},
        digest=wire.digest,
        version=wire.version,
        uptime=wire.uptime,
        leaving=wire.leaving,
        voters=wire.voters,
        proposal=_proposal(wire.proposal),
        accepted=_proposal(wire.accepted),
    )


class _Unfinished:
    """The newest beat of one boot, as far as its parts have come."""

    __slots__ = ("number", "parts", "pieces")

    def __init__(self, number: int, parts: int) -> None:
        self.number = number
        self.parts = parts
        self.pieces: dict[int, bytes] = {}


class Assembler:
    """Puts parts together. Gives only whole beats, and of each boot only newer ones (HISTORIES E12, E13).

    Bodies come from authentic members; those of a member with a bug are counted in `malformed`.
    """

    def __init__(self) -> None:
        self._senders: dict[str, OrderedDict[BootId, _Unfinished]] = {}
        self.malformed = 0
        self.outdated = 0

    def add(self, sender: str, boot: BootId, body: bytes) -> Beat | None:
        """The beat that `body` completes, or None. Never raises."""
        if not _is_part(body):
            self.malformed += 1
            return None
        _, number, part, parts = PART.unpack_from(body)
        unfinished = self._unfinished(sender, boot, number, parts)
        if unfinished is None:
            return None
        unfinished.pieces[part] = body[PART.size :]
        if len(unfinished.pieces) < parts:
            return None
        return self._complete(unfinished, sender, boot)

    def _unfinished(self, sender: str, boot: BootId, number: int, parts: int) -> _Unfinished | None:
        boots = self._senders.setdefault(sender, OrderedDict())
        latest = boots.get(boot)
        if latest is None or number > latest.number:
            latest = boots[boot] = _Unfinished(number, parts)
            boots.move_to_end(boot)
            if len(boots) > BOOTS_KEPT:
                boots.popitem(last=False)
        if number < latest.number or len(latest.pieces) == latest.parts:
            self.outdated += 1
            return None
        if parts != latest.parts:
            self.malformed += 1
            return None
        return latest

    def _complete(self, whole: _Unfinished, sender: str, boot: BootId) -> Beat | None:
        packed = b"".join(whole.pieces[part] for part in range(whole.parts))
        whole.pieces = dict.fromkeys(range(whole.parts), b"")  # done: later copies are outdated
        try:
            wire = _decoder.decode(packed)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.malformed += 1
            return None
        return _from_wire(wire, sender, boot, whole.number)


def _is_part(body: bytes) -> bool:
    if len(body) < PART.size:
        return False
    kind, number, part, parts = PART.unpack_from(body)
    return bool(kind == KIND and number <= MAX_NUMBER and part < parts <= MAX_PARTS)
