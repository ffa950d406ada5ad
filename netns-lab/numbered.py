#!/usr/bin/env python3
"""A stream of numbered UDP packets (IPv4), to tell which were lost.

  numbered.py send ADDRESS PORT RATE   RATE packets a second, until SIGINT; then prints how many were sent
  numbered.py receive PORT             until SIGINT; then prints how many different ones arrived

A packet that the kernel refuses to take counts as sent: its number was spent.
"""

import signal
import socket
import struct
import sys
import time


def send(address, port, rate):
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.setblocking(False)
    number, start = 0, time.monotonic()
    while not ended:
        try:
            out.sendto(struct.pack("!I", number), (address, port))
        except OSError:
            pass
        number += 1
        time.sleep(max(0.0, start + number / rate - time.monotonic()))
    print(number, flush=True)


def receive(port):
    into = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    into.bind(("", port))
    into.settimeout(0.2)
    print("listening", flush=True)
    seen = set()
    while not ended:
        try:
            seen.add(into.recv(64)[:4])
        except TimeoutError:
            pass
    print(len(seen), flush=True)


ended = []
signal.signal(signal.SIGINT, lambda *_: ended.append(True))
match sys.argv[1:]:
    case ["send", address, port, rate]:
        send(address, int(port), float(rate))
    case ["receive", port]:
        receive(int(port))
    case _:
        sys.exit(__doc__)
