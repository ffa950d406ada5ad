#!/usr/bin/env python3
"""A numbered stream of datagrams, and what arrives of it.

stream.py send ADDRESS RATE SECONDS    numbers 0, 1, 2, ... to UDP port 7777, RATE a second
stream.py receive                      prints how many different numbers came, a second after the last
"""
import socket
import struct
import sys
import time

PORT = 7777


def send(address: str, rate: float, seconds: float) -> int:
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    start = time.monotonic()
    count = int(rate * seconds)
    for number in range(count):
        time.sleep(max(0.0, start + number / rate - time.monotonic()))
        sender.sendto(struct.pack("!Q", number), (address, PORT))
    return count


def receive() -> int:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("", PORT))
    receiver.settimeout(60)
    print("listening", flush=True)
    numbers = set()
    while True:
        try:
            numbers.add(struct.unpack("!Q", receiver.recv(64)))
        except TimeoutError:
            return len(numbers)
        receiver.settimeout(1)


if __name__ == "__main__":
    if sys.argv[1] == "send":
        print(send(sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))
    else:
        print(receive())
