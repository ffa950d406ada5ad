"""Mobile IPv4 messages as scapy packets, for the peers beside this file. Written from the RFCs, sharing nothing with the agent
that they test: RFC 5944 (registration), RFC 3519 (UDP tunnelling), RFC 3543 (revocation), RFC 4721 (challenges), RFC 5265 §3.4
(trusted networks), RFC 5454 (IPv6 prefixes)."""

import hashlib
import hmac
import ipaddress
import json
import os
import sys
import time

from scapy.config import conf
from scapy.fields import BitField, ByteField, FlagsField, IntField, IPField, ShortField, StrField, XIntField
from scapy.layers.mobileip import MobileIP, MobileIPRRP, MobileIPRRQ
from scapy.packet import Packet, Raw, bind_layers

conf.verb = 0

PORT = 434
REQUEST, REPLY, TUNNEL_DATA, REVOCATION, ACKNOWLEDGEMENT = 1, 3, 4, 7, 15
MOBILE_HOME, MOBILE_FOREIGN, FOREIGN_HOME, UDP_TUNNEL_REPLY = 32, 33, 34, 44
NAI, CHALLENGE, REVOCATION_SUPPORT, UDP_TUNNEL_REQUEST, TRUSTED_NETWORK, IPV6 = 131, 132, 137, 144, 149, 152
FLAGS = {"S": 0x80, "B": 0x40, "D": 0x20, "M": 0x10, "G": 0x08, "r": 0x04, "T": 0x02, "x": 0x01}
NTP_EPOCH = 2208988800  # 1900 to 1970, in seconds

# RFC 5944 §3.4, RFC 3024 §3.4, RFC 3519 §3.5: those that a home agent says.
ACCEPTED, NO_SIMULTANEOUS = 0, 1
PROHIBITED, FAILED_AUTHENTICATION, FOREIGN_AUTHENTICATION = 129, 131, 132
MISMATCH, POORLY_FORMED, UNKNOWN_HOME_AGENT = 133, 134, 136
REVERSE_TUNNEL_UNAVAILABLE, REVERSE_TUNNEL_MANDATORY, UDP_UNAVAILABLE = 137, 138, 142


class Revocation(Packet):
    """RFC 3543 §3.3, behind its type."""

    name = "Registration Revocation"
    fields_desc = [
        ByteField("reserved1", 0),
        BitField("by_home_agent", 0, 1),
        BitField("inform", 0, 1),
        BitField("reserved2", 0, 14),
        IPField("homeaddr", "0.0.0.0"),
        IPField("home_domain", "0.0.0.0"),
        IPField("foreign_domain", "0.0.0.0"),
        IntField("identifier", 0),
    ]


class Acknowledgement(Packet):
    """RFC 3543 §3.4, behind its type."""

    name = "Registration Revocation Acknowledgment"
    fields_desc = [
        ByteField("reserved1", 0),
        BitField("inform", 0, 1),
        BitField("reserved2", 0, 15),
        IPField("homeaddr", "0.0.0.0"),
        IntField("identifier", 0),
    ]


bind_layers(MobileIP, Revocation, type=REVOCATION)
bind_layers(MobileIP, Acknowledgement, type=ACKNOWLEDGEMENT)


class Authentication(Packet):
    """RFC 5944 §3.5.2–§3.5.4, by its type. The length covers SPI and authenticator."""

    name = "Authentication"
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


class RevocationSupport(Packet):
    """RFC 3543 §3.2."""

    name = "Revocation Support"
    fields_desc = [
        ByteField("type", REVOCATION_SUPPORT),
        ByteField("length", 6),
        BitField("inform", 0, 1),
        BitField("reserved", 0, 15),
        IntField("timestamp", 0),
    ]


class Challenge(Packet):
    """RFC 4721 §4."""

    name = "Mobile-Foreign Challenge"
    fields_desc = [ByteField("type", CHALLENGE), ByteField("length", 0), StrField("value", b"")]


FIXED = {REQUEST: (MobileIPRRQ, 24), REPLY: (MobileIPRRP, 20), REVOCATION: (Revocation, 20), ACKNOWLEDGEMENT: (Acknowledgement, 12)}
AUTHENTICATIONS = (MOBILE_HOME, MOBILE_FOREIGN, FOREIGN_HOME)
KNOWN = {
    UDP_TUNNEL_REQUEST: UdpTunnelRequest,
    UDP_TUNNEL_REPLY: UdpTunnelReply,
    TRUSTED_NETWORK: TrustedNetwork,
    REVOCATION_SUPPORT: RevocationSupport,
    CHALLENGE: Challenge,
} | {kind: Authentication for kind in AUTHENTICATIONS}


def ipv6_prefix_request(prefix):
    """RFC 5454 §2.1."""
    net = ipaddress.IPv6Network(prefix)
    return Raw(bytes([IPV6, 18, 1, net.prefixlen]) + net.network_address.packed)


def ipv6_tunnelling_mode():
    """RFC 5454 §2.3."""
    return Raw(bytes([IPV6, 2, 3, 0]))


class Malformed(Exception):
    """What arrived is no registration message."""


def authenticator(key, covered):
    """HMAC-MD5 over everything up to and including the SPI (RFC 5944 §3.5.1)."""
    return hmac.new(key, covered, hashlib.md5).digest()


def signed(message, extensions, spi, key, kind=MOBILE_HOME):
    """With extensions, and an authentication over all that is there."""
    octets = bytes(message) + b"".join(bytes(extension) for extension in extensions)
    octets += bytes(Authentication(type=kind, spi=spi))
    return octets + authenticator(key, octets)


class Message:
    """A message: its fixed part as a scapy packet, and its extensions in order. `key` is that of the mobile node and its home
    agent, whose one authentication says what is authentic."""

    def __init__(self, octets, key):
        self.octets = octets
        fixed = FIXED.get(octets[0] if octets else 0)
        if fixed is None or len(octets) < fixed[1]:
            raise Malformed(f"type {octets[:1].hex()}, {len(octets)} octets")
        self.type = octets[0]
        self.fixed = MobileIP(octets[: fixed[1]])[fixed[0]]
        self.placed = []  # (where it begins, the extension)
        at = fixed[1]
        while at < len(octets):
            kind = octets[at]
            # Type 0 is one octet of padding (RFC 5944 §1.10); it has no length.
            if kind == 0:
                at += 1
                continue
            if at + 2 > len(octets) or at + 2 + octets[at + 1] > len(octets):
                raise Malformed(f"extension {kind} is cut off")
            if kind < 128 and kind not in KNOWN:
                raise Malformed(f"extension {kind} is not skippable")
            end = at + 2 + octets[at + 1]
            self.placed.append((at, KNOWN.get(kind, Raw)(octets[at:end])))
            at = end
        home = self.only(MOBILE_HOME)
        self.spi = home[1].spi if home else None
        self.authentic = self.is_signed(key)
        # What follows that authentication is for a foreign agent, or from one: not authentic, so not believed.
        self.extensions = [found for at, found in self.placed if not home or at < home[0]]

    def only(self, kind):
        """The one authentication of a kind, with where it begins, or None where there is none or several."""
        found = [(at, extension) for at, extension in self.placed if bytes(extension)[0] == kind]
        return found[0] if len(found) == 1 else None

    def is_signed(self, key, kind=MOBILE_HOME):
        placed = self.only(kind)
        if not placed:
            return False
        at, found = placed
        return hmac.compare_digest(authenticator(key, self.octets[: at + 6]), found.value)

    def extension(self, kind):
        return next((found for found in self.extensions if isinstance(found, kind)), None)

    def of_foreign_agent(self, kind):
        """An extension that the foreign agent added: behind that of the mobile node, and under its own."""
        home, foreign = self.only(MOBILE_HOME), self.only(FOREIGN_HOME)
        if not home or not foreign:
            return None
        between = (found for at, found in self.placed if home[0] < at < foreign[0])
        return next((found for found in between if isinstance(found, kind)), None)

    def flags(self):
        return "".join(name for name, bit in FLAGS.items() if self.fixed.flags & bit)


def timestamp(now=None):
    """The time in NTP form (RFC 5944 §5.7.1)."""
    now = time.time() if now is None else now
    return (int(now) + NTP_EPOCH) << 32 | int(now % 1 * (1 << 32)) & 0xFFFFFFF0 | os.urandom(1)[0] & 15


def described(message):
    """A message as plain data, for the line that says that it came or went: every field, and every extension in order."""
    fixed = message.fixed
    names = {REQUEST: "request", REPLY: "reply", REVOCATION: "revocation", ACKNOWLEDGEMENT: "acknowledgement"}
    line = {"type": names[message.type], "home": fixed.homeaddr}
    if message.type == REQUEST:
        line |= {"flags": message.flags(), "care_of": fixed.coaddr}
    elif message.type == REPLY:
        line |= {"code": fixed.code}
    elif message.type == REVOCATION:
        line |= {"by_home_agent": bool(fixed.by_home_agent), "home_domain": fixed.home_domain, "foreign_domain": fixed.foreign_domain}
    if message.type in (REQUEST, REPLY):
        line |= {"lifetime": fixed.lifetime, "home_agent": fixed.haaddr, "identification": f"{fixed.id:016x}"}
        line["trusted_network"] = message.extension(TrustedNetwork) is not None
    else:
        line |= {"inform": bool(fixed.inform), "identifier": fixed.identifier}
    line |= {"spi": message.spi, "authentic": message.authentic}
    request, reply = message.extension(UdpTunnelRequest), message.extension(UdpTunnelReply)
    if request:
        line["udp_tunnel_request"] = {"forced": bool(request.flags & 0x80), "encapsulation": request.encapsulation}
    if reply:
        line["udp_tunnel_reply"] = {"code": reply.code, "forced": bool(reply.forced), "keepalive": reply.keepalive}
    line["extensions"] = [extension_described(found) for _, found in message.placed]
    return line


def extension_described(found):
    octets = bytes(found)
    line = {"type": octets[0], "length": octets[1]}
    if isinstance(found, Authentication):
        line |= {"spi": found.spi, "authenticator": found.value.hex()}
    elif isinstance(found, RevocationSupport):
        line |= {"inform": bool(found.inform), "timestamp": found.timestamp}
    elif octets[0] == NAI:
        line["nai"] = octets[2:].decode()
    elif not isinstance(found, (UdpTunnelRequest, UdpTunnelReply)):
        line["data"] = octets[2:].hex()
    return line


def tell(event, **what):
    """One JSON line."""
    json.dump({"event": event} | what, sys.stdout)
    sys.stdout.write("\n")
    sys.stdout.flush()


def heard(port, key, wait):
    """The messages that come within so many seconds, each with its source."""
    deadline = time.monotonic() + wait
    while (left := deadline - time.monotonic()) > 0:
        port.settimeout(left)
        try:
            octets, source = port.recvfrom(65535)
            message = Message(octets, key)
        except (TimeoutError, ConnectionError, Malformed):
            continue
        yield message, source
