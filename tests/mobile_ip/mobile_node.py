#!/usr/bin/python3 -B
"""A Mobile IPv4 mobile node for tests, with a co-located care-of address: it sends one registration request, waits for the
reply, and prints a JSON line for each. With --agent-key it is its foreign agent as well. Exit status: 0 accepted, 1 denied,
2 no believable reply, 3 other than expected."""

import argparse
import socket
import sys
import time

from scapy.layers.inet import ICMP, IP
from scapy.packet import Raw

import messages as mip
from messages import MobileIP, MobileIPRRQ

ALL_ROUTERS = "224.0.0.2"


def request(settings, care_of, identification, challenge):
    flags = 0
    for name in settings.flags:
        flags |= mip.FLAGS[name]
    extensions = [name_of(settings.nai)] if settings.nai else []
    if settings.udp != "no":
        extensions.append(mip.UdpTunnelRequest(flags=0x80 if settings.udp == "force" else 0, encapsulation=settings.encapsulation))
    extensions += [mip.ipv6_prefix_request(prefix) for prefix in settings.prefix]
    extensions += [mip.ipv6_tunnelling_mode()] if settings.to_care_of else []
    support = mip.RevocationSupport(inform=1, timestamp=int(time.time()))
    if settings.revocation and not settings.agent_key:
        extensions.append(support)
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
    # Behind what is for the home agent alone (RFC 5944 §3.6.1.3, §3.7.2.2).
    if challenge:
        octets += bytes(mip.Challenge(length=len(challenge), value=challenge))
    if settings.visit_key:
        octets = mip.signed(octets, [], settings.visit_spi, bytes.fromhex(settings.visit_key), mip.MOBILE_FOREIGN)
    if settings.agent_key:
        support = [support] if settings.revocation else []
        octets = mip.signed(octets, support, settings.agent_spi, bytes.fromhex(settings.agent_key), mip.FOREIGN_HOME)
    return octets


def name_of(nai):
    """The extension that names the mobile node (RFC 2794 §2)."""
    return Raw(bytes([mip.NAI, len(nai)]) + nai.encode())


def believable(reply, settings, identification):
    """RFC 5944 §3.6.2.1: authentic, and an answer to this very request; with its name, where that had one (RFC 2794 §3)."""
    named = not settings.nai or bytes(name_of(settings.nai)) in [bytes(extension) for extension in reply.extensions]
    return reply.type == mip.REPLY and reply.authentic and named and reply.fixed.id & 0xFFFFFFFF == identification & 0xFFFFFFFF


def exchange(port, settings, octets, identification):
    """The believable reply, or None. One that comes in vain is told all the same."""
    key = bytes.fromhex(settings.key)
    for attempt in range(settings.tries):
        port.sendto(octets, (settings.home_agent, settings.port))
        try:
            said = mip.described(mip.Message(octets, key))
        except mip.Malformed as why:
            said = {"spoilt": str(why)}
        mip.tell("sent", attempt=attempt + 1, source=list(port.getsockname()), **said)
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
            believed = believable(reply, settings, identification)
            said = mip.described(reply)
            if settings.agent_key:
                said["agent_authentic"] = reply.is_signed(bytes.fromhex(settings.agent_key), mip.FOREIGN_HOME)
            mip.tell("received", source=list(source), believed=believed, **said)
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


def challenged(settings):
    """Asks the agents of the link, and gives the challenge of the first advertisement that has one (RFC 4721 §2)."""
    port = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    port.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, settings.device.encode())
    port.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
    port.bind((settings.bind, 0))
    port.settimeout(settings.wait)
    port.sendto(bytes(ICMP(type=10) / bytes(4))[:8], (ALL_ROUTERS, 0))
    while True:
        try:
            packet, source = port.recvfrom(65535)
        except TimeoutError:
            mip.tell("no-advertisement")
            return None
        message = packet[(packet[0] & 15) * 4 :]
        if message[0] != 9:
            continue
        # Behind the routers, each of two words; type 0 is padding of one octet.
        at = 8 + message[4] * message[5] * 4
        while at + 1 < len(message):
            kind, length = message[at], message[at + 1]
            if kind == 24:  # RFC 4721 §2
                challenge = message[at + 2 : at + 2 + length]
                mip.tell("advertisement", source=source[0], challenge=challenge.hex())
                return challenge
            at += 1 if kind == 0 else 2 + length


def await_revocation(port, settings):
    """Acknowledges a revocation that is authentic and of this registration (RFC 3543 §3.4). Whether one came."""
    own = bytes.fromhex(settings.key)
    key, kind, spi = own, mip.MOBILE_HOME, settings.spi
    if settings.agent_key:
        key, kind, spi = bytes.fromhex(settings.agent_key), mip.FOREIGN_HOME, settings.agent_spi
    mip.tell("waiting")
    for revocation, source in mip.heard(port, own, settings.await_revocation):
        believed = revocation.type == mip.REVOCATION and revocation.is_signed(key, kind)
        believed = believed and revocation.fixed.by_home_agent and revocation.fixed.homeaddr == settings.home
        mip.tell("received", source=list(source), believed=bool(believed), **mip.described(revocation))
        if not believed:
            continue
        fixed = revocation.fixed
        answer = MobileIP(type=mip.ACKNOWLEDGEMENT) / mip.Acknowledgement(
            inform=fixed.inform, homeaddr=fixed.homeaddr, identifier=fixed.identifier
        )
        answer = mip.signed(answer, [], spi, key, kind)
        port.sendto(answer, source)
        mip.tell("sent", destination=list(source), **mip.described(mip.Message(answer, own)))
        return True
    mip.tell("not-revoked")
    return False


def receive(port, settings):
    """What comes through the UDP tunnel, a line each: whether it were as many packets for the home address as wanted."""
    left = settings.receive
    port.settimeout(settings.wait)
    while left:
        try:
            datagram, source = port.recvfrom(65535)
        except TimeoutError:
            mip.tell("nothing", left=left)
            return False
        if datagram[:2] != bytes([mip.TUNNEL_DATA, 4]):
            continue
        inner = IP(datagram[4:])
        mip.tell("packet", source=list(source), inner_source=inner.src, inner_destination=inner.dst, octets=bytes(inner).hex())
        left -= inner.dst == settings.home
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home_agent", help="where requests are sent")
    parser.add_argument("--home", required=True, metavar="ADDRESS", help="the home address; 0.0.0.0 asks for one")
    parser.add_argument("--nai", help="its name: user@realm")
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
    parser.add_argument("--receive", type=int, default=0, metavar="N", help="so many packets through the UDP tunnel, afterwards")
    parser.add_argument("--prefix", action="append", default=[], help="of IPv6, registered too (RFC 5454)")
    parser.add_argument("--to-care-of", action="store_true", help="asks for it in the tunnel to the care-of address itself")
    parser.add_argument("--age", type=float, default=0, metavar="SECONDS", help="of the timestamp: a stale request")
    parser.add_argument("--identification", metavar="HEX", help="instead of the time: a replay")
    parser.add_argument("--resynchronize", action="store_true", help="once more with the home agent's time after code 133")
    parser.add_argument("--challenge", metavar="HEX", help="for the foreign agent (RFC 4721)")
    parser.add_argument("--solicit", action="store_true", help="asks the link's agents for a challenge, and answers it")
    parser.add_argument("--visit-key", metavar="HEX", help="shared with the foreign agent")
    parser.add_argument("--visit-spi", type=int, default=300)
    parser.add_argument("--agent-key", metavar="HEX", help="shared by the foreign agent that this is, and the home agent")
    parser.add_argument("--agent-spi", type=int, default=400)
    parser.add_argument("--revocation", action="store_true", help="is to be told of it (RFC 3543)")
    parser.add_argument("--await-revocation", type=float, default=0, metavar="SECONDS", help="for so long, once registered")
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
    challenge = bytes.fromhex(settings.challenge) if settings.challenge else challenged(settings) if settings.solicit else None
    reply = exchange(port, settings, request(settings, care_of, identification, challenge), identification)
    if reply and reply.fixed.code == mip.MISMATCH and settings.resynchronize:
        # The home agent's seconds, and new low bits: RFC 5944 §5.7.1.
        identification = reply.fixed.id >> 32 << 32 | mip.timestamp() & 0xFFFFFFFF
        reply = exchange(port, settings, request(settings, care_of, identification, challenge), identification)
    if reply is None:
        mip.tell("no-reply")
        return 2
    code = reply.fixed.code
    settings.home = reply.fixed.homeaddr
    for sequence in range(settings.keep_alives):
        if not keep_alive(port, settings, sequence + 1):
            return 2
    if settings.await_revocation and not await_revocation(port, settings):
        return 2
    if not receive(port, settings):
        return 2
    if settings.expect is not None:
        return 0 if code == settings.expect else 3
    return 0 if code in (mip.ACCEPTED, mip.NO_SIMULTANEOUS) else 1


if __name__ == "__main__":
    sys.exit(main())
