#!/usr/bin/python3 -B
"""An agent of Mobile IPv4 that withdraws a registration (RFC 3543), for tests: a home agent, or with --foreign a foreign agent.
It sends one revocation, waits for the acknowledgement, and prints a JSON line for each. Exit status: 0 acknowledged, 2 not."""

import argparse
import socket
import sys
import time

import messages as mip
from messages import MobileIP


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", help="who is told")
    parser.add_argument("--bind", required=True, metavar="ADDRESS", help="sends from this address")
    parser.add_argument("--home", required=True, metavar="ADDRESS")
    parser.add_argument("--home-agent", required=True, metavar="ADDRESS", help="the home domain")
    parser.add_argument("--care-of", required=True, metavar="ADDRESS", help="the foreign domain")
    parser.add_argument("--foreign", action="store_true", help="without the A bit")
    parser.add_argument("--mobile", action="store_true", help="to the mobile node itself, with its key")
    parser.add_argument("--key", required=True, metavar="HEX")
    parser.add_argument("--spi", type=lambda text: int(text, 0), default=400)
    parser.add_argument("--age", type=int, default=0, metavar="SECONDS", help="of the identifier: a replay")
    parser.add_argument("--spoil", choices=["none", "authenticator", "unsigned"], default="none")
    parser.add_argument("--wait", type=float, default=2, metavar="SECONDS")
    settings = parser.parse_args()

    key, kind = bytes.fromhex(settings.key), mip.MOBILE_HOME if settings.mobile else mip.FOREIGN_HOME
    identifier = int(time.time()) - settings.age
    message = MobileIP(type=mip.REVOCATION) / mip.Revocation(
        by_home_agent=not settings.foreign, inform=1, homeaddr=settings.home, home_domain=settings.home_agent,
        foreign_domain=settings.care_of, identifier=identifier,
    )
    octets = mip.signed(message, [], settings.spi, key, kind)
    if settings.spoil == "authenticator":
        octets = octets[:-1] + bytes([octets[-1] ^ 1])
    elif settings.spoil == "unsigned":
        octets = bytes(message)
    port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    port.bind((settings.bind, 0))
    port.sendto(octets, (settings.peer, mip.PORT))
    mip.tell("sent", source=list(port.getsockname()), **mip.described(mip.Message(octets, key)))
    for answer, source in mip.heard(port, key, settings.wait):
        believed = answer.type == mip.ACKNOWLEDGEMENT and answer.is_signed(key, kind)
        believed = believed and (answer.fixed.homeaddr, answer.fixed.identifier) == (settings.home, identifier)
        mip.tell("received", source=list(source), believed=believed, **mip.described(answer))
        if believed:
            return 0
    mip.tell("not-acknowledged")
    return 2


if __name__ == "__main__":
    sys.exit(main())
