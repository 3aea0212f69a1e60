"""The client's eye: an ICMP echo to one address every few milliseconds, until it is killed.

A script of its own (standard library only). Writes one line an answer, in seconds of CLOCK_BOOTTIME:
`answer TIME`; and `alive TIME` at every wake-up that brought none, at most ten a second, so that a reader
knows how far "no answer" reaches.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import sys
import time

ECHO_REQUEST, ECHO_REPLY = 8, 0
IDENTITY = os.getpid() & 0xFFFF
ALIVE_SECONDS = 0.1


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def echo(sequence: int) -> bytes:
    body = struct.pack("!HH", IDENTITY, sequence & 0xFFFF)
    return struct.pack("!BBH", ECHO_REQUEST, 0, checksum(bytes([ECHO_REQUEST, 0]) + body)) + body


def is_answer(packet: bytes) -> bool:
    header = (packet[0] & 0x0F) * 4
    kind, _, _, identity, _ = struct.unpack_from("!BBHHH", packet, header)
    return bool(kind == ECHO_REPLY and identity == IDENTITY)


def main(address: str, interval: float) -> None:
    with contextlib.suppress(PermissionError):  # measure the network, not our own turn for the processor
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(10))
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as wire:
        wire.setblocking(False)
        sequence, due, told = 0, now(), 0.0
        while True:
            if now() >= due:
                with contextlib.suppress(OSError):  # no route, no neighbour: an outage like any other
                    wire.sendto(echo(sequence), (address, 0))
                sequence, due = sequence + 1, max(due + interval, now())
            select.select([wire], [], [], max(0.0, due - now()))
            with contextlib.suppress(BlockingIOError):
                while True:
                    packet, (sender, _) = wire.recvfrom(2048)
                    if sender == address and is_answer(packet):
                        told = now()
                        print(f"answer {told:.6f}", flush=True)
            if now() - told >= ALIVE_SECONDS:
                told = now()
                print(f"alive {told:.6f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
