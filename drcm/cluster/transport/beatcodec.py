"""A beat as bodies of datagrams, and back. A state that does not fit one is split over several.

    kind "b" 1 byte · number of the beat 8 · part 1 · parts 1 · a piece of
        length of the pulse 2 · pulse · state

The *pulse* is what changes with each beat: the msgpack array `_Pulse`. The *state* is all the rest: the
deflated msgpack array `_Wire`. It is sent whole each time, but mostly it is the same to the last byte, and
then whoever hears it has it decoded already: 32 nodes of 10 beats a second are 310 beats for each of them.

`sender` and `boot` are not repeated inside: they come from the sealed header, so that nobody can speak
as another by a slip. New fields go to the end of `_Wire` and of its parts, with a default: older nodes
ignore them.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated

import msgspec

from drcm.cluster.messages import Beat, BootId, Echo, Head, HoldState, Proposal, Roll, SetView
from drcm.cluster.transport.datagram import body_room
from drcm.errors import DrcmError

PART = struct.Struct(">cQBB")
KIND = b"b"
MAX_PARTS = 64  # 85 kB: about a thousand groups
MAX_REASON = 200  # characters of a decline's reason or a set's problem
MAX_STATE = 1 << 18  # bytes of a state when inflated
MAX_NUMBER = 2**48  # of beats: 400 a second for 20,000 years
MAX_SECONDS = 1e6  # of T_dead: a word that is given lasts as long
LENGTH = struct.Struct(">H")

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
    origin_n: _Count
    decided: bool


class _WireSet(msgspec.Struct, array_like=True, frozen=True):
    pos_n: _Count
    pos_id: str
    pos_run: str
    writer: bool
    sole: bool
    complete_for: tuple[str, ...]
    failback: str
    problem: str
    diverged: tuple[str, ...] = ()


class _WireProposal(msgspec.Struct, array_like=True, frozen=True):
    ballot: _Count
    epoch: _Count
    voters: tuple[str, ...]


class _Pulse(msgspec.Struct, array_like=True, frozen=True):
    uptime: _Seconds
    echoed: list[_Count]  # beat numbers, in the order of the state's `echo`


class _Wire(msgspec.Struct, array_like=True, frozen=True):
    dead_seconds: Annotated[float, msgspec.Meta(ge=0, le=MAX_SECONDS)]
    epoch: _Count
    resumes: _Resumed
    echo: dict[str, _Boot]
    unheard: tuple[str, ...]
    claims: dict[str, HoldState]
    released: dict[str, str]
    declines: dict[str, str]
    grants: dict[str, str]
    heads: dict[str, _WireHead]
    sets: dict[str, _WireSet]
    digest: str
    version: str
    leaving: bool
    voters: tuple[str, ...] = ()
    proposal: _WireProposal | None = None
    accepted: _WireProposal | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Wire)
_pulse_decoder = msgspec.msgpack.Decoder(_Pulse)


class MalformedError(Exception):
    """What an authentic member sent is no beat: it has a bug."""


@dataclass(frozen=True, slots=True)
class State:
    """The last state of a boot: as it came, and the beat that it makes with its pulse."""

    packed: bytes
    beat: Beat


def encode(beat: Beat) -> list[bytes]:
    """The bodies of one beat, each of which fits a datagram. DrcmError beyond MAX_PARTS."""
    pulse = _encoder.encode(_Pulse(beat.uptime, [echo.beat for echo in beat.echo.values()]))
    state = _encoder.encode(_to_wire(beat))
    packed = LENGTH.pack(len(pulse)) + pulse + _deflated(state)
    room = body_room(beat.sender) - PART.size
    if len(state) > MAX_STATE:
        raise _too_large(beat.sender, len(state), MAX_STATE)
    pieces = [packed[start : start + room] for start in range(0, len(packed), room)]
    if len(pieces) > MAX_PARTS:
        raise _too_large(beat.sender, len(packed), MAX_PARTS * room)
    return [PART.pack(KIND, beat.number, part, len(pieces)) + piece for part, piece in enumerate(pieces)]


@lru_cache(maxsize=1)
def _deflated(state: bytes) -> bytes:
    """The last one is kept: it mostly is the next one too, and deflating costs more than all the rest."""
    return zlib.compress(state, 1)


def _too_large(sender: str, size: int, limit: int) -> DrcmError:
    return DrcmError(
        f"the state of {sender} takes {size} bytes; at most {limit} can be sent",
        "A cluster of so many resources and sets has to be divided in two.",
    )


def decode(packed: bytes, sender: str, boot: BootId, number: int, former: State | None) -> State:
    """The beat in `packed`. `former`: the last state of this boot. MalformedError where it is no beat."""
    start = LENGTH.size + LENGTH.unpack_from(packed)[0] if len(packed) >= LENGTH.size else len(packed)
    try:
        pulse = _pulse_decoder.decode(packed[LENGTH.size : start])
        state = packed[start:]
        if former is None or former.packed != state:
            former = State(state, _from_wire(_decoder.decode(_inflate(state)), sender, boot))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, zlib.error) as error:
        raise MalformedError(str(error)) from error
    known = former.beat.echo
    if len(known) != len(pulse.echoed):
        raise MalformedError(f"{len(pulse.echoed)} numbers for {len(known)} echoes")
    echo = {
        name: Echo(echo.boot, beat) for (name, echo), beat in zip(known.items(), pulse.echoed, strict=True)
    }
    return State(state, replace(former.beat, number=number, uptime=pulse.uptime, echo=echo))


def _inflate(state: bytes) -> bytes:
    inflating = zlib.decompressobj()
    whole = inflating.decompress(state, MAX_STATE)
    if not inflating.eof:
        raise MalformedError(f"a state of more than {MAX_STATE} bytes, or half of one")
    return whole


def _to_wire(beat: Beat) -> _Wire:
    return _Wire(
        dead_seconds=beat.dead_seconds,
        epoch=beat.epoch,
        resumes=beat.resumes,
        echo={name: echo.boot for name, echo in beat.echo.items()},
        unheard=beat.unheard,
        claims=beat.claims,
        released=beat.released,
        declines={group: _short(reason) for group, reason in beat.declines.items()},
        grants=beat.grants,
        heads={name: _wire_head(head) for name, head in beat.heads.items()},
        sets={name: _wire_set(view) for name, view in beat.sets.items()},
        digest=beat.digest,
        version=beat.version,
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
    return _WireHead(
        head.n,
        head.id,
        head.writer,
        head.origin_id,
        head.origin_run,
        head.started,
        head.origin_n,
        head.decided,
    )


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
        view.diverged,
    )


def _short(reason: str) -> str:
    """At most MAX_REASON characters; half characters of a file name become question marks."""
    return reason[:MAX_REASON].encode(errors="replace").decode()


def _from_wire(wire: _Wire, sender: str, boot: BootId) -> Beat:
    """Without what the pulse says."""
    return Beat(
        sender=sender,
        boot=boot,
        number=0,
        dead_seconds=wire.dead_seconds,
        epoch=wire.epoch,
        resumes=wire.resumes,
        echo={name: Echo(boot, 0) for name, boot in wire.echo.items()},
        unheard=wire.unheard,
        claims=wire.claims,
        released=wire.released,
        declines=wire.declines,
        grants=wire.grants,
        heads={name: Head(*msgspec.structs.astuple(head)) for name, head in wire.heads.items()},
        sets={name: SetView(*msgspec.structs.astuple(view)) for name, view in wire.sets.items()},
        digest=wire.digest,
        version=wire.version,
        leaving=wire.leaving,
        voters=wire.voters,
        proposal=_proposal(wire.proposal),
        accepted=_proposal(wire.accepted),
    )
