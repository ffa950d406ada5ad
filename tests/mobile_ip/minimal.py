#!/usr/bin/python3 -B
"""One end of a tunnel of minimal encapsulation (RFC 2004) for tests, written from the standard alone: what the kernel routes into
an adapter leaves in protocol 55, fragments in IP in IP (§3.1), and what comes from the other end is written there. With --read it
says how the packets of a capture nest instead; with --once it sends one echo request and ends, as from an outer source that may
be forged."""

import argparse
import fcntl
import os
import select
import socket
import struct
import sys

from scapy.fields import BitField, ByteEnumField, ConditionalField, IPField, XShortField
from scapy.layers.inet import ICMP, IP, IP_PROTOS
from scapy.packet import Packet, bind_layers
from scapy.utils import PcapReader, checksum

import messages as mip

MINIMAL, IP_IN_IP = 55, 4
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


class Minimal(Packet):
    """RFC 2004 §3.1."""

    name = "Minimal Forwarding Header"
    fields_desc = [
        ByteEnumField("proto", 0, IP_PROTOS),
        BitField("has_source", 0, 1),
        BitField("reserved", 0, 7),
        XShortField("chksum", None),
        IPField("dst", "0.0.0.0"),
        ConditionalField(IPField("src", "0.0.0.0"), lambda it: it.has_source == 1),
    ]

    def post_build(self, header, payload):
        if self.chksum is None:
            sum_of = checksum(header[:2] + bytes(2) + header[4:])
            header = header[:2] + struct.pack("!H", sum_of) + header[4:]
        return header + payload

    def own_len(self):
        return 12 if self.has_source else 8

    def is_sound(self):
        return checksum(self.original[: self.own_len()]) == 0


bind_layers(IP, Minimal, proto=MINIMAL)


def wrapped(packet, local, remote):
    inner = IP(packet)
    if inner.flags.MF or inner.frag:
        return IP(src=local, dst=remote, proto=IP_IN_IP, tos=inner.tos, flags="DF" if inner.flags.DF else 0) / packet
    outer = IP(packet[: inner.ihl * 4])
    header = Minimal(proto=inner.proto, dst=inner.dst, has_source=int(inner.src != local), src=inner.src)
    outer.src, outer.dst, outer.proto, outer.len, outer.chksum = local, remote, MINIMAL, None, None
    outer.remove_payload()
    return outer / bytes(header) / packet[inner.ihl * 4 : inner.len]


def unwrapped(datagram):
    """The packet that was in a tunnel, or None."""
    outer = IP(datagram)
    rest = datagram[outer.ihl * 4 : outer.len]
    if outer.proto == IP_IN_IP:
        return rest
    header = Minimal(rest)
    if not header.is_sound():
        return None
    inner = IP(datagram[: outer.ihl * 4])
    inner.remove_payload()
    inner.proto, inner.dst, inner.len, inner.chksum = header.proto, header.dst, None, None
    inner.src = header.src if header.has_source else outer.src
    return bytes(inner / rest[header.own_len() :])


def read(capture):
    """A line for each way of nesting."""
    seen = set()
    for frame in PcapReader(capture):
        if IP not in frame or frame[IP].proto not in (MINIMAL, IP_IN_IP):
            continue
        octets = bytes(frame[IP])
        inner = unwrapped(octets)
        if inner is None:
            seen.add("wrong checksum")
            continue
        kind = "fragment" if IP(inner).flags.MF or IP(inner).frag else "whole"
        outer, packet = frame[IP], IP(inner)
        longer = outer.len - packet.len
        seen.add(f"{outer.src}>{outer.dst} ({outer.proto}) {packet.src}>{packet.dst} {kind} +{longer}")
    print("\n".join(sorted(seen)))


def carry(settings):
    adapter = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(adapter, TUNSETIFF, struct.pack("16sH22x", settings.device.encode(), IFF_TUN | IFF_NO_PI))
    comes = [socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol) for protocol in (MINIMAL, IP_IN_IP)]
    leaves = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    mip.tell("listening", device=settings.device)
    while True:
        for ready in select.select([adapter, *comes], [], [])[0]:
            if ready == adapter:
                packet = os.read(adapter, 65535)
                if packet[0] >> 4 == 4:
                    datagram = bytes(wrapped(packet, settings.local, settings.remote))
                    try:
                        leaves.sendto(datagram, (settings.remote, 0))
                    except OSError as why:
                        mip.tell("unsent", why=str(why), octets=len(datagram))
                continue
            datagram, source = ready.recvfrom(65535)
            packet = unwrapped(datagram) if source[0] == settings.remote else None
            mip.tell("came", source=source[0], protocol=datagram[9], octets=len(datagram), sound=packet is not None)
            if packet:
                os.write(adapter, packet)


def once(settings):
    inner, to = settings.once
    packet = bytes(IP(src=inner, dst=to, id=7) / ICMP(id=7, seq=7))
    datagram = bytes(wrapped(packet, settings.local, settings.remote))
    leaves = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    leaves.sendto(datagram, (settings.remote, 0))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("local", nargs="?", help="outer source")
    parser.add_argument("remote", nargs="?", help="outer destination, and the only outer source that is believed")
    parser.add_argument("--device", help="the adapter, which is made")
    parser.add_argument("--once", nargs=2, metavar=("SOURCE", "DESTINATION"), help="of the one echo request")
    parser.add_argument("--read", metavar="CAPTURE")
    settings = parser.parse_args()
    if settings.read:
        read(settings.read)
    elif settings.once:
        once(settings)
    else:
        carry(settings)


if __name__ == "__main__":
    sys.exit(main())
