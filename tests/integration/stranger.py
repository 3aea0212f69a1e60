"""What somebody on the LAN can do without the key. A script for a lab host; standard library only.

    record COUNT PORT SOURCE            print COUNT UDP payloads from SOURCE to PORT as they arrive here, hex
    send TARGET PORT                    send each hex line of standard input; print how many came back
    noise TARGET PORT COUNT SEED NAME   send COUNT random datagrams, some with the header of sender NAME;
                                        print how many came back
    arp IP SECONDS                      print the sender's MAC of each gratuitous ARP for IP

"came back" counts every IPv4 packet of TARGET that reaches this host, of any protocol.
"""

from __future__ import annotations

import random
import select
import socket
import struct
import sys
import time

ETH_P_IP, ETH_P_ARP = 0x0800, 0x0806
UDP = 17
LISTEN_SECONDS = 0.5  # an answer on this LAN comes within a millisecond
BURST, PAUSE = 200, 0.01  # as fast as a daemon can read them: what overflows its buffer tests nothing


def listener(kind: int) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
    made.bind(("eth0", kind))
    return made


def record(count: int, port: int, source: str) -> None:
    with listener(ETH_P_IP) as heard:
        while count:
            frame = heard.recv(65535)
            header = 14 + (frame[14] & 15) * 4
            to = struct.unpack_from("!H", frame, header + 2)[0]
            if frame[23] == UDP and to == port and frame[26:30] == socket.inet_aton(source):
                print(frame[header + 8 :].hex(), flush=True)
                count -= 1


def came_back(heard: socket.socket, target: str) -> int:
    """Frames of `target` since the socket was opened, and for a moment more."""
    count, end = 0, time.monotonic() + LISTEN_SECONDS
    while select.select([heard], [], [], max(0.0, end - time.monotonic()))[0]:
        count += heard.recv(65535)[26:30] == socket.inet_aton(target)
    return count


def send(target: str, port: int) -> None:
    with listener(ETH_P_IP) as heard, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        for line in sys.stdin:
            channel.sendto(bytes.fromhex(line), (target, port))
        print(came_back(heard, target))


def noise(target: str, port: int, count: int, seed: int, name: str) -> None:
    source = random.Random(seed)
    with listener(ETH_P_IP) as heard, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        for number in range(count):
            channel.sendto(datagram(source, name.encode()), (target, port))
            if number % BURST == 0:
                time.sleep(PAUSE)
        print(came_back(heard, target))


def datagram(source: random.Random, name: bytes) -> bytes:
    """Of 0 to 1500 bytes: plain noise, or noise behind a good magic, or behind a good header."""
    body = source.randbytes(source.randrange(1501))
    kind = source.randrange(4)
    if kind == 0:
        return (b"DRCM" + body)[:1500]
    if kind == 1:
        return (b"DRCM\x01" + body[:28].ljust(28, b"\0") + bytes([len(name)]) + name + body)[:1500]
    return body


def arp(ip: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    with listener(ETH_P_ARP) as heard:
        print("listening", flush=True)
        while select.select([heard], [], [], max(0.0, end - time.monotonic()))[0]:
            frame = heard.recv(65535)
            if frame[28:32] == frame[38:42] == socket.inet_aton(ip):
                print(frame[22:28].hex(":"), flush=True)


def main() -> None:
    what, *words = sys.argv[1:]
    if what == "record":
        record(int(words[0]), int(words[1]), words[2])
    elif what == "send":
        send(words[0], int(words[1]))
    elif what == "noise":
        noise(words[0], int(words[1]), int(words[2]), int(words[3]), words[4])
    else:
        arp(words[0], float(words[1]))


if __name__ == "__main__":
    main()
