"""Mobile IPv4 messages as scapy packets, for home_agent.py and mobile_node.py. Written from the RFCs, sharing nothing with
the agent that they test: RFC 5944 (registration), RFC 3519 (UDP tunnelling), RFC 5265 §3.4 (trusted networks)."""

import hashlib
import hmac
import json
import os
import struct
import sys
import time

from scapy.all import conf
from scapy.fields import (
    BitField,
    ByteField,
    FlagsField,
    IPField,
    LongField,
    ShortField,
    StrField,
    XIntField,
)
from scapy.layers.mobileip import MobileIP, MobileIPRRP, MobileIPRRQ
from scapy.packet import Packet, Raw

conf.verb = 0

PORT = 434
REQUEST, REPLY, TUNNEL_DATA = 1, 3, 4
MOBILE_HOME, UDP_TUNNEL_REPLY, NAI, UDP_TUNNEL_REQUEST, TRUSTED_NETWORK = 32, 44, 131, 144, 149
FLAGS = {"S": 0x80, "B": 0x40, "D": 0x20, "M": 0x10, "G": 0x08, "r": 0x04, "T": 0x02, "x": 0x01}
NTP_EPOCH = 2208988800  # 1900 to 1970, in seconds

# RFC 5944 §3.4, RFC 3024 §3.4, RFC 3519 §3.5: those that a home agent says.
ACCEPTED, NO_SIMULTANEOUS = 0, 1
PROHIBITED, FAILED_AUTHENTICATION, MISMATCH, POORLY_FORMED, UNKNOWN_HOME_AGENT = 129, 131, 133, 134, 136
REVERSE_TUNNEL_UNAVAILABLE, REVERSE_TUNNEL_MANDATORY, UDP_UNAVAILABLE = 137, 138, 142


class Authentication(Packet):
    """RFC 5944 §3.5.2. The length covers SPI and authenticator."""

    name = "Mobile-Home Authentication"
    fields_desc = [ByteField("type", MOBILE_HOME), ByteField("length", 20), XIntField("spi", 0x100), StrField("value", b"")]


class UdpTunnelRequest(Packet):
    """RFC 3519 §3.1."""

    name = "UDP Tunnel Request"
    fields_desc = [
        ByteField("type", UDP_TUNNEL_REQUEST),
        ByteField("length", 6),
        ByteField("subtype", 0),
        ByteField("reserved1", 0),
        FlagsField("flags", 0, 8, ["a", "b", "c", "d", "e", "f", "R", "F"]),
        ByteField("encapsulation", 0),
        ShortField("reserved3", 0),
    ]


class UdpTunnelReply(Packet):
    """RFC 3519 §3.2."""

    name = "UDP Tunnel Reply"
    fields_desc = [
        ByteField("type", UDP_TUNNEL_REPLY),
        ByteField("length", 6),
        ByteField("subtype", 0),
        ByteField("code", 0),
        BitField("forced", 0, 1),
        BitField("reserved", 0, 15),
        ShortField("keepalive", 110),
    ]


class TrustedNetwork(Packet):
    """RFC 5265 §3.4."""

    name = "Trusted Networks Configured"
    fields_desc = [ByteField("type", TRUSTED_NETWORK), ByteField("length", 2), ByteField("subtype", 0), ByteField("reserved", 0)]


KNOWN = {UDP_TUNNEL_REQUEST: UdpTunnelRequest, UDP_TUNNEL_REPLY: UdpTunnelReply, TRUSTED_NETWORK: TrustedNetwork}


class Malformed(Exception):
    """What arrived is no registration message."""


def authenticator(key, covered):
    """HMAC-MD5 over everything up to and including the SPI (RFC 5944 §3.5.1)."""
    return hmac.new(key, covered, hashlib.md5).digest()


def signed(message, extensions, spi, key):
    octets = bytes(message) + b"".join(bytes(extension) for extension in extensions)
    octets += bytes(Authentication(spi=spi))
    return octets + authenticator(key, octets)


class Message:
    """A received registration message: its fixed part as a scapy packet, its extensions in order, and whether its one
    Mobile-Home Authentication is right."""

    def __init__(self, octets, key):
        self.octets = octets
        fixed = {REQUEST: (MobileIPRRQ, 24), REPLY: (MobileIPRRP, 20)}.get(octets[0] if octets else 0)
        if fixed is None or len(octets) < fixed[1]:
            raise Malformed(f"type {octets[:1].hex()}, {len(octets)} octets")
        self.type = octets[0]
        self.fixed = MobileIP(octets[: fixed[1]])[fixed[0]]
        self.extensions = []
        self.spi, self.authentic, authentications, at = None, False, 0, fixed[1]
        while at < len(octets):
            kind = octets[at]
            # Type 0 is one octet of padding (RFC 5944 §1.10); it has no length.
            if kind == 0:
                at += 1
                continue
            if at + 2 > len(octets) or at + 2 + octets[at + 1] > len(octets):
                raise Malformed(f"extension {kind} is cut off")
            data = octets[at + 2 : at + 2 + octets[at + 1]]
            if kind == MOBILE_HOME and len(data) >= 4:
                authentications += 1
                self.spi = struct.unpack("!I", data[:4])[0]
                self.authentic = hmac.compare_digest(authenticator(key, octets[: at + 6]), data[4:])
            # What follows the authentication is for a foreign agent: not authentic, so not believed.
            elif not authentications:
                if kind < 128 and kind not in KNOWN:
                    raise Malformed(f"extension {kind} is not skippable")
                self.extensions.append(KNOWN.get(kind, Raw)(octets[at : at + 2 + len(data)]))
            at += 2 + len(data)
        self.authentic = self.authentic and authentications == 1

    def extension(self, kind):
        return next((found for found in self.extensions if isinstance(found, kind)), None)

    def flags(self):
        return "".join(name for name, bit in FLAGS.items() if self.fixed.flags & bit)


def timestamp(now=None):
    """The time in NTP form (RFC 5944 §5.7.1)."""
    now = time.time() if now is None else now
    return (int(now) + NTP_EPOCH) << 32 | int(now % 1 * (1 << 32)) & 0xFFFFFFF0 | os.urandom(1)[0] & 15


def described(message):
    """A message as plain data, for the line that says that it came or went."""
    fixed = message.fixed
    line = {"type": {REQUEST: "request", REPLY: "reply"}[message.type]}
    if message.type == REQUEST:
        line |= {"flags": message.flags(), "care_of": fixed.coaddr}
    else:
        line |= {"code": fixed.code}
    line |= {"lifetime": fixed.lifetime, "home": fixed.homeaddr, "home_agent": fixed.haaddr, "identification": f"{fixed.id:016x}"}
    line |= {"spi": message.spi, "authentic": message.authentic}
    request, reply = message.extension(UdpTunnelRequest), message.extension(UdpTunnelReply)
    if request:
        line["udp_tunnel_request"] = {"forced": bool(request.flags & 0x80), "encapsulation": request.encapsulation}
    if reply:
        line["udp_tunnel_reply"] = {"code": reply.code, "forced": bool(reply.forced), "keepalive": reply.keepalive}
    line["trusted_network"] = message.extension(TrustedNetwork) is not None
    line["extensions"] = [bytes(extension)[0] for extension in message.extensions]
    return line


def tell(event, **what):
    """One JSON line."""
    json.dump({"event": event} | what, sys.stdout)
    sys.stdout.write("\n")
    sys.stdout.flush()
