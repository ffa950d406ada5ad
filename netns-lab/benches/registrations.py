#!/usr/bin/python3 -B
"""Many mobile nodes at once, for a stopwatch: `configuration` prints a [home-agent] with so many of them, `register` has
each register, all from one socket and at most so many unanswered, and prints how long that took. Written from RFC 5944,
with no scapy, which takes a millisecond for what has to take microseconds."""

import argparse
import hmac
import ipaddress
import select
import socket
import struct
import time

NTP_EPOCH = 2208988800  # 1900 to 1970, in seconds
SPI = 256


def homes(settings):
    first = int(ipaddress.ip_network(settings.network).network_address) + 1
    return [first + number for number in range(settings.nodes)]


def configuration(settings):
    print(f'[identity]\nid = "ha.example"\n[home-agent]\naddress = "{settings.agent}"\nhome-network = "{settings.network}"')
    for home in homes(settings):
        print(f'[[mobile-node]]\nhome = "{ipaddress.ip_address(home)}"\nspi = {SPI}\nkey-file = "node.key"')


def request(settings, home, care_of):
    now = time.time()
    timestamp = (int(now) + NTP_EPOCH) << 32 | int(now % 1 * (1 << 32)) & 0xFFFFFFFF
    # Flags D and T; then the Mobile-Home Authentication extension up to its SPI.
    covered = struct.pack("!BBHIIIQ", 1, 0x22, 1800, home, settings.agent_number, care_of, timestamp)
    covered += struct.pack("!BBI", 32, 20, SPI)
    return covered + hmac.digest(settings.octets, covered, "md5")


def register(settings):
    settings.octets, settings.agent_number = bytes.fromhex(settings.key), int(ipaddress.ip_address(settings.agent))
    port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    port.connect((settings.agent, 434))
    care_of = int(ipaddress.ip_address(port.getsockname()[0]))
    waiting, unanswered, denied = homes(settings)[::-1], {}, 0
    began = last = time.monotonic()
    while waiting or unanswered:
        while waiting and len(unanswered) < settings.window:
            home = waiting.pop()
            port.send(request(settings, home, care_of))
            unanswered[home] = time.monotonic()
        if select.select([port], [], [], 1)[0]:
            answer = port.recv(2000)
            home = struct.unpack("!I", answer[4:8])[0]
            denied += answer[1] > 1
            if unanswered.pop(home, None) is not None:
                last = time.monotonic()
        late = time.monotonic() - 2
        for home in [home for home, sent in unanswered.items() if sent < late]:
            del unanswered[home]
            waiting.append(home)
    took = last - began
    print(f"{settings.nodes} registrations in {took:.2f} s: {settings.nodes / took:.0f} a second, {denied} denied")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["configuration", "register"])
    parser.add_argument("agent", help="the home agent's address")
    parser.add_argument("nodes", type=int)
    parser.add_argument("--network", default="10.64.0.0/10", help="home network")
    parser.add_argument("--key", default="", metavar="HEX")
    parser.add_argument("--window", type=int, default=512, help="so many unanswered at once")
    settings = parser.parse_args()
    {"configuration": configuration, "register": register}[settings.what](settings)


if __name__ == "__main__":
    main()
