#!/usr/bin/python3 -B
"""A Mobile IPv4 home agent for tests: it answers registration requests, and prints a JSON line for each message that comes
or goes and each change of its bindings. It keeps no data path, but answers keep-alives and counts tunnelled packets."""

import argparse
import ipaddress
import socket
import time

from scapy.layers.inet import ICMP, IP

import messages as mip
from messages import MobileIP, MobileIPRRP


class HomeAgent:
    def __init__(self, settings):
        self.settings = settings
        self.key = bytes.fromhex(settings.key)
        self.agent_key = bytes.fromhex(settings.agent_key) if settings.agent_key else None
        self.homes = [ipaddress.ip_network(net) for net in settings.home]
        self.trusted = [ipaddress.ip_network(net) for net in settings.trusted]
        self.newest = {}  # home address -> the highest identification accepted (RFC 5944 §5.7.1)
        self.bindings = {}  # home address -> {care-of address: (end, source)}

    def clock(self):
        return mip.timestamp(time.time() + self.settings.offset)

    def code(self, request, source):
        """What to say to a request, first reason first."""
        fixed = request.fixed
        if self.settings.code is not None:
            return self.settings.code
        if not request.authentic or request.spi != self.settings.spi:
            return mip.FAILED_AUTHENTICATION
        if self.agent_key and not fixed.flags & mip.FLAGS["D"] and not request.is_signed(self.agent_key, mip.FOREIGN_HOME):
            return mip.FOREIGN_AUTHENTICATION
        # r and x are sent as zero; x is ignored on reception like r (RFC 5944 §3.3), but see --reserved.
        if self.settings.reserved and fixed.flags & 0x05:
            return mip.POORLY_FORMED
        if fixed.haaddr != self.settings.address:
            return mip.UNKNOWN_HOME_AGENT
        if not any(ipaddress.ip_address(fixed.homeaddr) in home for home in self.homes):
            return mip.PROHIBITED
        age = abs((fixed.id >> 32) - (self.clock() >> 32))
        if age > self.settings.window or fixed.id <= self.newest.get(fixed.homeaddr, 0):
            return mip.MISMATCH
        if self.settings.reverse == "never" and fixed.flags & mip.FLAGS["T"]:
            return mip.REVERSE_TUNNEL_UNAVAILABLE
        if self.settings.reverse == "always" and fixed.lifetime and not fixed.flags & mip.FLAGS["T"]:
            return mip.REVERSE_TUNNEL_MANDATORY
        wanted = request.extension(mip.UdpTunnelRequest)
        if wanted and wanted.reserved3 == 0 and wanted.encapsulation not in (0, 4):
            return mip.UDP_UNAVAILABLE
        return mip.ACCEPTED

    def names(self, request):
        """What names the mobile node, and goes back in the reply (RFC 2794 §3)."""
        return [extension for extension in request.extensions if bytes(extension)[0] == mip.NAI]

    def reply(self, request, source, code):
        fixed = request.fixed
        extensions, identification, lifetime = self.names(request), fixed.id, min(fixed.lifetime, self.settings.lifetime)
        if code == mip.MISMATCH:
            identification = self.clock() >> 32 << 32 | fixed.id & 0xFFFFFFFF
        if code in (mip.ACCEPTED, mip.NO_SIMULTANEOUS):
            wanted = request.extension(mip.UdpTunnelRequest)
            # Of no use to a deregistration, nor without D (RFC 3519 §3.1.5).
            if wanted and wanted.reserved3 == 0 and fixed.flags & mip.FLAGS["D"] and fixed.lifetime:
                forced, nat = bool(wanted.flags & 0x80), source[0] != fixed.coaddr
                if self.settings.udp == "decline":
                    extensions.append(mip.UdpTunnelReply(code=64))
                elif self.settings.udp == "accept" and (nat or forced):
                    extensions.append(mip.UdpTunnelReply(forced=forced and not nat, keepalive=self.settings.keepalive))
                elif self.settings.udp == "accept":
                    extensions.append(mip.UdpTunnelReply(code=64))
            if any(ipaddress.ip_address(source[0]) in net for net in self.trusted) and source[0] == fixed.coaddr:
                extensions.append(mip.TrustedNetwork())
        message = MobileIP(type=mip.REPLY) / MobileIPRRP(
            code=code, lifetime=lifetime, homeaddr=fixed.homeaddr, haaddr=self.settings.address, id=identification
        )
        support = mip.RevocationSupport(inform=1, timestamp=int(time.time()))
        if code in (mip.ACCEPTED, mip.NO_SIMULTANEOUS) and request.extension(mip.RevocationSupport):
            extensions.append(support)
        octets = mip.signed(message, extensions, self.settings.spi, self.key)
        if self.agent_key and request.only(mip.FOREIGN_HOME):
            for_agent = [support] if request.of_foreign_agent(mip.RevocationSupport) else []
            octets = mip.signed(octets, for_agent, self.settings.agent_spi, self.agent_key, mip.FOREIGN_HOME)
        if self.settings.spoil == "authenticator":
            octets = octets[:-1] + bytes([octets[-1] ^ 1])
        elif self.settings.spoil == "truncated":
            octets = octets[:-10]
        return octets

    def bind(self, request, source):
        fixed = request.fixed
        self.newest[fixed.homeaddr] = fixed.id
        held = self.bindings.setdefault(fixed.homeaddr, {})
        if fixed.lifetime and not (fixed.flags & mip.FLAGS["S"] and self.settings.simultaneous):
            held.clear()
        if fixed.lifetime:
            held[fixed.coaddr] = (time.time() + min(fixed.lifetime, self.settings.lifetime), source)
        elif fixed.coaddr == fixed.homeaddr:
            held.clear()
        else:
            held.pop(fixed.coaddr, None)
        mip.tell("bindings", home=fixed.homeaddr, care_of=sorted(held), gre=bool(fixed.flags & mip.FLAGS["G"]))

    def expire(self):
        for home, held in self.bindings.items():
            for care_of in [care_of for care_of, (end, _) in held.items() if end < time.time()]:
                del held[care_of]
                mip.tell("expired", home=home, care_of=care_of)

    def tunnelled(self, octets, source):
        """Tunnel data (RFC 3519 §3.3). A keep-alive is an echo request to us; we answer it the same way."""
        inner = IP(octets[4:])
        mip.tell("data", source=list(source), next_header=octets[1], inner_source=inner.src, inner_destination=inner.dst)
        if ICMP in inner and inner[ICMP].type == 8 and inner.dst == self.settings.address:
            echo = IP(src=inner.dst, dst=inner.src) / ICMP(type=0, id=inner[ICMP].id, seq=inner[ICMP].seq) / inner[ICMP].payload
            return octets[:4] + bytes(echo)
        return None

    def run(self):
        port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        port.bind((self.settings.address, self.settings.port))
        port.settimeout(0.2)
        mip.tell("listening", address=self.settings.address, port=self.settings.port)
        while True:
            self.expire()
            try:
                octets, source = port.recvfrom(65535)
            except TimeoutError:
                continue
            if octets[:1] == bytes([mip.TUNNEL_DATA]) and len(octets) >= 24:
                answer = self.tunnelled(octets, source)
                if answer:
                    port.sendto(answer, source)
                continue
            try:
                request = mip.Message(octets, self.key)
            except mip.Malformed as why:
                mip.tell("malformed", source=list(source), why=str(why), octets=octets.hex())
                continue
            mip.tell("received", source=list(source), **mip.described(request))
            if request.type != mip.REQUEST:
                continue
            # An inner home agent that knows trusted networks says nothing to others (RFC 5265 §4.3).
            if self.trusted and not any(ipaddress.ip_address(source[0]) in net for net in self.trusted):
                mip.tell("silent", source=list(source))
                continue
            if request.fixed.homeaddr == "0.0.0.0" and self.settings.give and self.names(request):
                request.fixed.homeaddr = self.settings.give
            code = self.code(request, source)
            if code == mip.ACCEPTED:
                self.bind(request, source)
                if request.fixed.flags & mip.FLAGS["S"] and not self.settings.simultaneous:
                    code = mip.NO_SIMULTANEOUS
            elif code == mip.FAILED_AUTHENTICATION and self.settings.silent:
                continue
            answer = self.reply(request, source, code)
            time.sleep(self.settings.delay)
            port.sendto(answer, source)
            if self.settings.spoil == "none":
                mip.tell("sent", destination=list(source), **mip.described(mip.Message(answer, self.key)))
            else:
                mip.tell("sent", destination=list(source), spoilt=self.settings.spoil)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="the home agent's address, to listen on and to answer in the name of")
    parser.add_argument("--home", action="append", required=True, metavar="NET", help="home networks, as 10.20.0.0/24")
    parser.add_argument("--give", metavar="ADDRESS", help="to a mobile node that has a name and no home address (RFC 2794)")
    parser.add_argument("--key", required=True, metavar="HEX", help="the key shared with mobile nodes")
    parser.add_argument("--spi", type=lambda text: int(text, 0), default=0x100)
    parser.add_argument("--port", type=int, default=mip.PORT)
    parser.add_argument("--lifetime", type=int, default=600, help="the longest granted, in seconds")
    parser.add_argument("--window", type=int, default=7, help="how far clocks may differ, in seconds")
    parser.add_argument("--offset", type=float, default=0, metavar="SECONDS", help="how far its clock is ahead")
    parser.add_argument("--agent-key", metavar="HEX", help="shared with foreign agents")
    parser.add_argument("--agent-spi", type=int, default=400)
    parser.add_argument("--trusted", action="append", default=[], metavar="NET",
                        help="trusted networks: extension 149 for requests from there, silence for others")
    parser.add_argument("--udp", choices=["accept", "decline", "ignore"], default="accept",
                        help="what becomes of UDP tunnel requests; accept: behind a NAT, or when forced")
    parser.add_argument("--keepalive", type=int, default=110, metavar="SECONDS")
    parser.add_argument("--reverse", choices=["allowed", "always", "never"], default="allowed")
    parser.add_argument("--simultaneous", action="store_true", help="keeps bindings when S is set, rather than saying 1")
    parser.add_argument("--reserved", action="store_true", help="says 134 when r or x is set")
    parser.add_argument("--silent", action="store_true", help="says nothing to what is not authentic, rather than 131")
    parser.add_argument("--code", type=int, help="says this to everything")
    parser.add_argument("--delay", type=float, default=0, metavar="SECONDS", help="before each answer")
    parser.add_argument("--spoil", choices=["none", "authenticator", "truncated"], default="none")
    HomeAgent(parser.parse_args()).run()


if __name__ == "__main__":
    main()
