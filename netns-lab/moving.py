#!/usr/bin/env python3
"""Streams that go on while their end moves (UDP of IPv4, TCP of both), and what each move cost them.

  moving.py send ADDRESS PORT RATE [FROM]      RATE numbered UDP packets a second, until SIGINT; prints when the first was
                                               due, the rate and how many were sent
  moving.py receive PORT FILE                  until SIGINT; writes `NUMBER TIME` of each to FILE: when it came to the
                                               machine, however long afterwards this program had its turn
  moving.py serve PORT OCTETS                  takes one TCP session and sends it OCTETS a second, until it ends
  moving.py take ADDRESS PORT FILE [FROM]      the other end: writes `OCTETS TIME` of what arrived, until SIGINT; prints
                                               `octets N`, or `broken WHY` when the session or the order of its octets broke
  moving.py report MOVES SENT NUMBERS [TAKEN [ROUTES]]
                                               a line for each move: PLACE LOST GAP [TCP-GAP [WAIT]], in milliseconds

MOVES has `TIME PLACE` a line, ROUTES what `ip -ts -o monitor route` said at the end that moves. A packet that was not heard
of is lost by the last move before it was due. A gap is the longest time without an arrival from the arrival before the move
until the next move. WAIT is how long after the first default route after the move the first UDP packet arrives behind which
none is missing until the next move: no end can do better than the round trips that it needs from then on. It is -1 where
there was no such route, or no such packet.
"""

import signal
import socket
import struct
import sys
import time
from datetime import datetime

BLOCK = 8192
# From <asm/socket.h>: a `struct timespec` beside each datagram.
SO_TIMESTAMPNS = SCM_TIMESTAMPNS = 35
TIMESPEC = struct.Struct("@ll")


def send(address, port, rate, source):
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.bind((source, 0))
    out.setblocking(False)
    number, start = 0, time.time()
    print("sending", flush=True)
    while not ended:
        # A packet that the kernel refuses to take counts as sent: its number was spent.
        try:
            out.sendto(struct.pack("!I", number), (address, port))
        except OSError:
            pass
        number += 1
        time.sleep(max(0.0, start + number / rate - time.time()))
    print(f"{start:.6f} {rate:g} {number}", flush=True)


def receive(port, name):
    into = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    into.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    into.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    into.bind(("", port))
    into.settimeout(0.2)
    print("listening", flush=True)
    with open(name, "w") as log:
        while not ended:
            try:
                data, beside, *_ = into.recvmsg(64, socket.CMSG_SPACE(TIMESPEC.size))
            except TimeoutError:
                continue
            number = struct.unpack("!I", data[:4])[0]
            seconds, nanoseconds = next(TIMESPEC.unpack(at) for _, kind, at in beside if kind == SCM_TIMESTAMPNS)
            log.write(f"{number} {seconds}.{nanoseconds // 1000:06}\n")


def block(number):
    return struct.pack("!Q", number) * (BLOCK // 8)


def serve(port, rate):
    listener = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    print("listening", flush=True)
    session, _ = listener.accept()
    number, start = 0, time.monotonic()
    try:
        while not ended:
            session.sendall(block(number))
            number += 1
            # After a gap, what is owed goes at once, a quarter of a second's worth at most.
            start = max(start, time.monotonic() - number * BLOCK / rate - 0.25)
            time.sleep(max(0.0, start + number * BLOCK / rate - time.monotonic()))
    except OSError as why:
        print(f"broken {why}", flush=True)


def take(address, port, name, source):
    session = socket.create_connection((address, port), timeout=30, source_address=(source, 0))
    session.settimeout(0.2)
    print("connected", flush=True)
    held, number, octets = b"", 0, 0
    with open(name, "w") as log:
        while not ended:
            try:
                data = session.recv(1 << 20)
            except TimeoutError:
                continue
            except OSError as why:
                return print(f"broken {why}", flush=True)
            if not data:
                return print("broken ended by the other side", flush=True)
            octets += len(data)
            log.write(f"{octets} {time.time():.6f}\n")
            held += data
            while len(held) >= BLOCK:
                if held[:BLOCK] != block(number):
                    return print(f"broken block {number} is not what was sent", flush=True)
                held, number = held[BLOCK:], number + 1
    print(f"octets {octets}", flush=True)


def longest_gap(times, begin, end):
    """Of what arrived from the last arrival before `begin` up to `end`; a stream that stays silent has a gap up to there."""
    inside = [at for at in times if begin <= at < end]
    before = max((at for at in times if at < begin), default=begin)
    points = [before, *inside, *([] if inside and end == float("inf") else [min(end, times[-1] if times else end)])]
    return max((later - earlier for earlier, later in zip(points, points[1:])), default=0.0)


def restored(arrived, lost, came, end):
    """When the first packet after `came` arrived behind which none was lost. Where nobody sends for a while, because others have
    the processor, nothing arrives either, and nothing is interrupted. What was underway when the next move began is not counted:
    nothing arrived behind that."""
    there = {number: at for number, at in arrived.items() if came < at < end}
    latest = max(there, default=-1)
    behind = max((number for number in lost if number < latest), default=-1)
    return min((at for number, at in there.items() if number > behind), default=None)


def default_routes(name):
    """When each came, as the clock of the machine has it."""
    with open(name) as file:
        lines = [line.split() for line in file]
    return [datetime.fromisoformat(words[0].strip("[]")).timestamp() for words in lines if words[1:2] == ["default"]]


def report(moves, sent, numbers, taken=None, routes=None):
    with open(moves) as file:
        places = [(float(line.split()[0]), line.split()[1]) for line in file]
    with open(sent) as file:
        start, rate, count = (float(word) for word in file.read().split("\n")[-2].split())
    with open(numbers) as file:
        arrived = {int(number): float(at) for number, at in (line.split() for line in file)}
    streams = [sorted(arrived.values())]
    if taken:
        with open(taken) as file:
            streams.append(sorted(float(line.split()[1]) for line in file))
    there = default_routes(routes) if routes else []
    missing = {number: start + number / rate for number in range(int(count)) if number not in arrived}
    for index, (at, place) in enumerate(places):
        end = places[index + 1][0] if index + 1 < len(places) else float("inf")
        lost = [number for number, due in missing.items() if at <= due < end]
        gaps = [f"{longest_gap(stream, at, end) * 1000:.1f}" for stream in streams]
        if routes:
            came = next((route for route in there if at <= route < end), None)
            goes_on = restored(arrived, lost, came, end) if came else None
            gaps.append(f"{(goes_on - came) * 1000:.1f}" if goes_on else "-1")
        print(place, len(lost), *gaps)


ended = []
signal.signal(signal.SIGINT, lambda *_: ended.append(True))
match sys.argv[1:]:
    case ["send", address, port, rate, *source]:
        send(address, int(port), float(rate), source[0] if source else "")
    case ["receive", port, name]:
        receive(int(port), name)
    case ["serve", port, octets]:
        serve(int(port), float(octets))
    case ["take", address, port, name, *source]:
        take(address, int(port), name, source[0] if source else "")
    case ["report", *files] if 3 <= len(files) <= 5:
        report(*files)
    case _:
        sys.exit(__doc__)
