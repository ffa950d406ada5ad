#!/usr/bin/env python3
"""Sends mutated datagrams to a gateway, as fast as its agent takes them.

  mutants.py CORPUS GATEWAY HOST PID COUNT SECONDS [SEED]

CORPUS is the folder fuzz/corpus. What is IKE or a response goes to the ports 500 and 4500 of GATEWAY, probes mostly to HOST,
which is behind it, as intercepted. Ends after COUNT datagrams or SECONDS. PID is the agent: its sockets' queues are
watched, so that it really gets what is sent. Prints how many were sent and how many found a queue full.
"""

import os
import random
import socket
import struct
import sys
import time

BURST = 200
QUEUED = 60_000  # octets that may wait in one of the agent's sockets


def seeds(corpus):
    """(whether it is a probe, octets)"""
    for folder in "ted_probe", "ted_response", "ike_message":
        for name in sorted(os.listdir(os.path.join(corpus, folder))):
            with open(os.path.join(corpus, folder, name), "rb") as seed:
                yield folder == "ted_probe", seed.read()


def mutate(chance, octets, others):
    octets = bytearray(octets)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(octets) + 1)
        how = chance.randrange(6)
        if how < 2 and at < len(octets):
            octets[at] ^= 1 << chance.randrange(8)
        elif how == 2 and at < len(octets):
            octets[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif how == 3:
            del octets[at:]
        elif how == 4:
            octets[at:at] = chance.randbytes(chance.randrange(9))
        elif how == 5:
            octets[at:] = chance.choice(others)[1][at:]
    return bytes(octets[:1400])


class Queues:
    """What waits in the sockets of an agent, and what was dropped there."""

    def __init__(self, pid):
        self.files = [f"/proc/{pid}/net/{name}" for name in ("udp", "udp6", "raw")]

    def lines(self):
        for path in self.files:
            with open(path) as table:
                next(table)
                for line in table:
                    yield line.split()

    def waiting(self):
        return max((int(words[4].split(":")[1], 16) for words in self.lines()), default=0)

    def dropped(self):
        return sum(int(words[-1]) for words in self.lines())


def main(corpus, gateway, host, pid, count, seconds, seed="1"):
    chance = random.Random(int(seed))
    all_seeds = list(seeds(corpus))
    queues = Queues(pid)
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    strangers = ["192.0.2.104", "10.1.0.102"] + [f"198.51.100.{n}" for n in range(1, 200)]
    gateway, host = socket.inet_aton(gateway), socket.inet_aton(host)
    sent, end, before = 0, time.monotonic() + float(seconds), queues.dropped()
    while sent < int(count) and time.monotonic() < end:
        for _ in range(BURST):
            is_probe, octets = chance.choice(all_seeds)
            octets = mutate(chance, octets, all_seeds)
            source, target, port = socket.inet_aton(chance.choice(strangers)), gateway, 500
            if is_probe and chance.random() < 0.8:
                source, target = socket.inet_aton("10.1.0.102"), host
            elif chance.random() < 0.4:
                port = 4500
                if chance.random() < 0.8:
                    octets = bytes(4) + octets
            udp = struct.pack("!HHHH", chance.choice((500, 4500, 40000)), port, 8 + len(octets), 0)
            ip = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, 17, 0) + source + target
            raw.sendto(ip + udp + octets, (socket.inet_ntoa(target), 0))
        sent += BURST
        while queues.waiting() > QUEUED and time.monotonic() < end:
            time.sleep(0.001)
    print(f"{sent} sent, {queues.dropped() - before} found a queue full")


if __name__ == "__main__":
    main(*sys.argv[1:])
