#!/usr/bin/python3 -B
"""A Mobile IPv4 mobile node for tests, with a co-located care-of address: it sends one registration request, waits for the
reply, and prints a JSON line for each. Exit status: 0 accepted, 1 denied, 2 no believable reply, 3 other than expected."""

import argparse
import socket
import sys
import time

from scapy.layers.inet import ICMP, IP

import messages as mip
from messages import MobileIP, MobileIPRRQ


def request(settings, care_of, identification):
    flags = 0
    for name in settings.flags:
        flags |= mip.FLAGS[name]
    extensions = []
    if settings.udp != "no":
        extensions.append(mip.UdpTunnelRequest(flags=0x80 if settings.udp == "force" else 0, encapsulation=settings.encapsulation))
    message = MobileIP(type=mip.REQUEST) / MobileIPRRQ(
        flags=flags, lifetime=settings.lifetime, homeaddr=settings.home, haaddr=settings.field or settings.home_agent,
        coaddr=care_of, id=identification,
    )
    octets = mip.signed(message, extensions, settings.spi, bytes.fromhex(settings.key))
    if settings.spoil == "authenticator":
        octets = octets[:-1] + bytes([octets[-1] ^ 1])
    elif settings.spoil == "truncated":
        octets = octets[:-10]
    elif settings.spoil == "unsigned":
        octets = octets[:-22]
    return octets


def believable(reply, identification):
    """RFC 5944 §3.6.2.1: authentic, and an answer to this very request."""
    return reply.type == mip.REPLY and reply.authentic and reply.fixed.id & 0xFFFFFFFF == identification & 0xFFFFFFFF


def exchange(port, settings, octets, identification):
    """The believable reply, or None. One that comes in vain is told all the same."""
    key = bytes.fromhex(settings.key)
    for attempt in range(settings.tries):
        port.sendto(octets, (settings.home_agent, settings.port))
        mip.tell("sent", attempt=attempt + 1, source=list(port.getsockname()), octets=octets.hex())
        deadline = time.monotonic() + settings.wait
        while (left := deadline - time.monotonic()) > 0:
            port.settimeout(left)
            try:
                answer, source = port.recvfrom(65535)
            except (TimeoutError, ConnectionError):
                break
            try:
                reply = mip.Message(answer, key)
            except mip.Malformed as why:
                mip.tell("malformed", source=list(source), why=str(why), octets=answer.hex())
                continue
            believed = believable(reply, identification)
            mip.tell("received", source=list(source), believed=believed, **mip.described(reply))
            if believed:
                return reply
    return None


def keep_alive(port, settings, sequence):
    """An echo request of the home address through the tunnel (RFC 3519 §4.10): whether it was answered."""
    ping = IP(src=settings.home, dst=settings.home_agent) / ICMP(id=sequence, seq=sequence)
    port.sendto(bytes([mip.TUNNEL_DATA, 4, 0, 0]) + bytes(ping), (settings.home_agent, settings.port))
    port.settimeout(settings.wait)
    try:
        answer, source = port.recvfrom(65535)
    except TimeoutError:
        mip.tell("no-echo")
        return False
    inner = IP(answer[4:])
    echoed = answer[:2] == bytes([mip.TUNNEL_DATA, 4]) and ICMP in inner and inner[ICMP].type == 0
    mip.tell("echo", source=list(source), inner_source=inner.src, inner_destination=inner.dst, answered=echoed)
    return echoed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home_agent", help="where requests are sent")
    parser.add_argument("--home", required=True, metavar="ADDRESS", help="the home address")
    parser.add_argument("--care-of", metavar="ADDRESS", help="the address that the request leaves from, unless given")
    parser.add_argument("--field", metavar="ADDRESS", help="another Home Agent field than the destination")
    parser.add_argument("--bind", default="", metavar="ADDRESS", help="sends from this address")
    parser.add_argument("--device", help="sends by this interface")
    parser.add_argument("--ttl", type=int, help="of requests; a foreign agent wants 255 for a reverse tunnel (RFC 3024 §4.2.1)")
    parser.add_argument("--key", required=True, metavar="HEX")
    parser.add_argument("--spi", type=lambda text: int(text, 0), default=0x100)
    parser.add_argument("--port", type=int, default=mip.PORT)
    parser.add_argument("--lifetime", type=int, default=300, help="seconds; 0 deregisters")
    parser.add_argument("--flags", default="DT", help="of SBDMGrTx")
    parser.add_argument("--udp", choices=["no", "ask", "force"], default="no", help="UDP tunnelling")
    parser.add_argument("--encapsulation", type=int, default=0, help="in the UDP tunnel request: 0, 4, 47, 55")
    parser.add_argument("--keep-alives", type=int, default=0, metavar="N", help="so many through the UDP tunnel, afterwards")
    parser.add_argument("--age", type=float, default=0, metavar="SECONDS", help="of the timestamp: a stale request")
    parser.add_argument("--identification", metavar="HEX", help="instead of the time: a replay")
    parser.add_argument("--resynchronize", action="store_true", help="once more with the home agent's time after code 133")
    parser.add_argument("--tries", type=int, default=1)
    parser.add_argument("--wait", type=float, default=2, metavar="SECONDS")
    parser.add_argument("--expect", type=int, metavar="CODE", help="exit status 0 for this code, 3 for others")
    parser.add_argument("--spoil", choices=["none", "authenticator", "truncated", "unsigned"], default="none")
    settings = parser.parse_args()

    port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if settings.device:
        port.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, settings.device.encode())
    port.bind((settings.bind, 0))
    if not settings.bind:
        port.connect((settings.home_agent, settings.port))
        own = port.getsockname()
        port.close()
        port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        if settings.device:
            port.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, settings.device.encode())
        port.bind(own)
    if settings.ttl:
        port.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, settings.ttl)
    care_of = settings.care_of or port.getsockname()[0]

    identification = int(settings.identification, 16) if settings.identification else mip.timestamp(time.time() - settings.age)
    reply = exchange(port, settings, request(settings, care_of, identification), identification)
    if reply and reply.fixed.code == mip.MISMATCH and settings.resynchronize:
        # The home agent's seconds, and new low bits: RFC 5944 §5.7.1.
        identification = reply.fixed.id >> 32 << 32 | mip.timestamp() & 0xFFFFFFFF
        reply = exchange(port, settings, request(settings, care_of, identification), identification)
    if reply is None:
        mip.tell("no-reply")
        return 2
    code = reply.fixed.code
    for sequence in range(settings.keep_alives):
        if not keep_alive(port, settings, sequence + 1):
            return 2
    if settings.expect is not None:
        return 0 if code == settings.expect else 3
    return 0 if code in (mip.ACCEPTED, mip.NO_SIMULTANEOUS) else 1


if __name__ == "__main__":
    sys.exit(main())
