"""A member with a bug: it has the key, proves that it hears the others, and sends rubbish. For a lab host.

    SENDER PORT SEED MESSAGES PER_SECOND TARGET=IP...    print how many datagrams went out

Of twenty messages one is a whole beat that its receiver believes, full of claims, heads and reasons for
things that nobody has; the others are no beats: noise, wrong types, absurd numbers, states that inflate to
megabytes, parts of beats that never come.
"""

from __future__ import annotations

import os
import random
import select
import socket
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

import msgspec

from drcm.cluster.messages import Beat, BootId, Echo, Head, HoldState, SetView
from drcm.cluster.transport.assembler import Assembler
from drcm.cluster.transport.beatcodec import KIND, LENGTH, PART, encode
from drcm.cluster.transport.datagram import Opener, Sealer, body_room
from drcm.cluster.transport.keys import load

FOREIGN = 700  # claims, heads and so on in one beat
BOMB = zlib.compress(bytes(4 << 20), 9)
PULSE = msgspec.msgpack.encode([1.0, []])


class Faulty:
    """Sends what it is told to; listens meanwhile, so that its beats echo what the others sent last."""

    def __init__(self, sender: str, port: int, seed: int, targets: dict[str, str]) -> None:
        keys = load(Path("/etc/drcm/.auth"))
        self.sender, self.port, self.targets = sender, port, targets
        self.dice = random.Random(seed)
        self.boot: BootId = os.urandom(16)
        self.number = 0
        self.sealer = Sealer(keys.current, sender, self.boot)
        self.opener, self.assembler = Opener(keys.all, targets), Assembler()
        self.heard: dict[str, Beat] = {}
        self.wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.wire.bind(("0.0.0.0", port))

    def listen(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while select.select([self.wire], [], [], max(0.0, end - time.monotonic()))[0]:
            opened = self.opener.open(self.wire.recv(2048))
            beat = opened and self.assembler.add(opened.sender, opened.boot, opened.body)
            if beat:
                self.heard[beat.sender] = beat

    def send(self, target: str) -> int:
        self.number += 1
        bodies = self.absurd() if self.number % 20 == 0 and self.heard else [self.rubbish()]
        for body in bodies:
            self.wire.sendto(self.sealer.seal(body), (self.targets[target], self.port))
        return len(bodies)

    def absurd(self) -> list[bytes]:
        """A beat that is one, in a cluster that is none. What it says of votes is true."""
        known = next(iter(self.heard.values()))
        names = [f"{self.dice.getrandbits(32):x}/ip:foreign" for _ in range(FOREIGN)]
        head, view = Head(2**40, "f" * 16, "nobody", started=True), SetView(2**40, "", "", True, True)
        return encode(
            replace(
                known,
                sender=self.sender,
                boot=self.boot,
                number=self.number,
                echo={name: Echo(beat.boot, beat.number) for name, beat in self.heard.items()},
                claims=dict.fromkeys(names, HoldState.RUNNING),
                declines={name: "\x1b[2J" + "x" * 100 for name in names[:50]},
                released=dict.fromkeys(names[:50], "nobody"),
                heads=dict.fromkeys(names, head),
                sets=dict.fromkeys(names[:100], view),
                unheard=tuple(names[:50]),
                uptime=1e9,
            )
        )

    def rubbish(self) -> bytes:
        """A body that is no beat, sealed as it should be."""
        dice, room = self.dice, body_room(self.sender) - PART.size
        part = PART.pack(KIND, self.number, 0, 1)
        numbers = LENGTH.pack(len(PULSE)) + msgspec.msgpack.encode([1e300, [2**63]])
        kinds = (
            dice.randbytes(dice.randrange(1, room)),
            part + dice.randbytes(dice.randrange(room)),
            part + LENGTH.pack(len(PULSE)) + PULSE + BOMB[: room - len(PULSE) - LENGTH.size],
            part + numbers + zlib.compress(msgspec.msgpack.encode([None, "two", {3: [4.0]}] * 9)),
            PART.pack(KIND, 2**64 - 1, 0, 1) + b"x",
            PART.pack(KIND, self.number, 0, 64) + dice.randbytes(room),
        )
        return dice.choice(kinds)


def main() -> None:
    sender, port, seed, messages, rate, *places = sys.argv[1:]
    targets = dict(place.split("=") for place in places)
    faulty = Faulty(sender, int(port), int(seed), targets)
    faulty.listen(1.0)
    begun, sent, names = time.monotonic(), 0, list(targets)
    for number in range(int(messages)):
        sent += faulty.send(names[number % len(names)])
        faulty.listen(max(0.0, begun + number / float(rate) - time.monotonic()))
    print(sent)


if __name__ == "__main__":
    main()
