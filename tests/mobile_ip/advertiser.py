#!/usr/bin/python3 -B
"""A mobility agent that only advertises itself (RFC 5944 §2.1), for tests: whoever believes it is led astray. With --noise it
says what no advertisement is, too."""

import argparse
import os
import socket
import struct
import time

ALL_SYSTEMS = "224.0.0.1"


def checksum(octets):
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def with_checksum(kind, rest):
    octets = bytes([kind, 0, 0, 0]) + rest
    octets += b"\0" * (len(octets) % 2)
    return octets[:2] + struct.pack("!H", checksum(octets)) + octets[4:]


def advertisement(settings, sequence):
    address = socket.inet_aton(settings.address)
    extension = struct.pack("!BBHHH", 16, 10, sequence, 600, settings.flags) + socket.inet_aton(settings.care_of or settings.address)
    return with_checksum(9, struct.pack("!BBH", 1, 2, settings.lifetime) + address + bytes(4) + extension)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="of ours, to advertise from")
    parser.add_argument("--care-of", metavar="ADDRESS")
    parser.add_argument("--flags", type=lambda text: int(text, 0), default=0x9100, help="R, F and T unless given")
    parser.add_argument("--lifetime", type=int, default=1800)
    parser.add_argument("--sequence", type=int, default=0)
    parser.add_argument("--every", type=float, default=0.2, metavar="SECONDS")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--ttl", type=int, default=1)
    parser.add_argument("--noise", action="store_true")
    settings = parser.parse_args()
    port = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    port.bind((settings.address, 0))
    port.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(settings.address))
    port.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, settings.ttl)
    for number in range(settings.count):
        port.sendto(advertisement(settings, settings.sequence + number), (ALL_SYSTEMS, 0))
        if settings.noise:
            port.sendto(bytes([9, 0]) + os.urandom(30), (ALL_SYSTEMS, 0))
            port.sendto(with_checksum(9, os.urandom(number % 60)), (ALL_SYSTEMS, 0))
        time.sleep(settings.every)


if __name__ == "__main__":
    main()
