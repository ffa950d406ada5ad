#!/usr/bin/env python3
"""What strangers send: probes, responses and packets with whatever is in them (IPv4; wire format: docs/ted.md).

  strangers.py probe    FROM TO [--id ADDRESS] [--count N] [--every SECONDS] [--spoil HOW]
                        probes for a ping of FROM to TO
  strangers.py response FROM TO [--cookie HEX] [--local NET --remote NET]  a response, asked for or not
  strangers.py answer   INTERFACE FROM [--after SECONDS] [--local NET --remote NET] [--times N] [--ike WHAT]
                        answers every probe that arrives on INTERFACE, N times each, in the name of FROM
  strangers.py echo     FROM TO [--count N]                                pings, not waiting for answers
  strangers.py hold     ADDRESS PORT                                       a UDP port, taken

HOW: none, truncated, oversized, padded (1,201 octets or more), version, summary (another destination than the packet's).
WHAT comes along as an answer to the probe's IKE_SA_INIT: none, noise, or answer (as a stranger can give it, who has no secret).
`answer` prints the initiator cookie of each probe that it answered, once.
"""

import argparse
import hashlib
import ipaddress
import os
import socket
import struct
import sys
import time

VENDOR = hashlib.md5(b"xfrm-agent tunnel endpoint discovery, wire format 1").digest()
MAKER = hashlib.md5(b"xfrm-agent TED probe version 3").digest()
PROBE, RESPONSE = 240, 241
VENDOR_ID, ID, SUMMARY, OFFER, HINT, PADDING, IKE = 13, 5, 201, 202, 203, 204, 205
SA, KE, NONCE = 33, 34, 40
PROBE_LENGTH = 1200
ICMP, UDP = 1, 17


def address(text):
    return socket.inet_aton(text)


def message(exchange, initiator, responder, payloads, length=None, version=0x10):
    kinds = [kind for kind, _ in payloads] + [0]
    body = b"".join(
        struct.pack("!BBH", kinds[at + 1], 0, len(data) + 4) + data for at, (_, data) in enumerate(payloads)
    )
    head = struct.pack("!8s8sBBBBII", initiator, responder, kinds[0], version, exchange, 0, 0, length or 28 + len(body))
    return head + body


def vendor():
    return VENDOR_ID, VENDOR + struct.pack("!I", 1)


def identity(who):
    return ID, struct.pack("!BBH", 1, 0, 0) + address(who)


def probe(source, destination, who, cookie, spoil):
    described = "10.2.255.254" if spoil == "summary" else destination
    summary = MAKER + struct.pack("!BBBB", 3, 4, ICMP, 0) + address(source) + address(described)
    payloads = [vendor(), identity(who), (SUMMARY, summary)]
    room = PROBE_LENGTH - len(message(PROBE, cookie, bytes(8), payloads)) - 4
    payloads.append((PADDING, bytes(room + (1 if spoil == "padded" else 0))))
    octets = message(PROBE, cookie, bytes(8), payloads, version=0x1F if spoil == "version" else 0x10)
    return {"truncated": octets[:600], "oversized": octets + bytes(200)}.get(spoil, octets)


def chain(kind, data):
    """(number, body) of each payload."""
    while kind and len(data) >= 4:
        following, _, length = struct.unpack("!BBH", data[:4])
        yield kind, data[4:length]
        kind, data = following, data[length:]


def ike_answer(request):
    """An answer to IKE_SA_INIT (RFC 7296 §1.2) that takes the first of each kind of transform in the first proposal."""
    asked = dict(chain(request[16], request[28:]))
    proposal = asked[SA][: struct.unpack("!H", asked[SA][2:4])[0]]
    chosen, at = {}, 8
    while at < len(proposal):
        length = struct.unpack("!H", proposal[at + 2 : at + 4])[0]
        chosen.setdefault(proposal[at + 4], proposal[at + 1 : at + length])
        at += length
    last = len(chosen) - 1
    transforms = b"".join(bytes([3 if n < last else 0]) + octets for n, octets in enumerate(chosen.values()))
    sa = struct.pack("!BBHBBBB", 0, 0, 8 + len(transforms), proposal[4], proposal[5], 0, len(chosen)) + transforms
    bodies = [(SA, sa), (KE, asked[KE][:4] + os.urandom(len(asked[KE]) - 4)), (NONCE, os.urandom(32))]
    body = b"".join(
        struct.pack("!BBH", (bodies[n + 1 : n + 2] or [(0,)])[0][0], 0, len(data) + 4) + data
        for n, (_, data) in enumerate(bodies)
    )
    return request[:8] + os.urandom(8) + struct.pack("!BBBBII", SA, 0x20, 34, 0x20, 0, 28 + len(body)) + body


def response(who, cookie, local, remote, ike=None):
    def masked(text):
        net = ipaddress.ip_network(text)
        return net.network_address.packed + net.netmask.packed

    offer = struct.pack("!BBBBHH", 4, 0, 0, 0, 0, 0) + masked(local) + masked(remote)
    payloads = [vendor(), identity(who), (HINT, os.urandom(16)), (OFFER, offer)]
    if ike:
        payloads.append((IKE, ike))
    return message(RESPONSE, cookie, os.urandom(8), payloads)


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Sender:
    """Sends packets in anybody's name."""

    def __init__(self):
        self.raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def packet(self, source, destination, protocol, data):
        head = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, protocol, 0) + address(source) + address(destination)
        self.raw.sendto(head + data, (destination, 0))

    def datagram(self, source, destination, data, ports=(500, 500)):
        self.packet(source, destination, UDP, struct.pack("!HHHH", *ports, 8 + len(data), 0) + data)


def probes_on(interface):
    """(initiator cookie, ID, IKE message or None) of each probe that arrives."""
    link = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
    link.bind((interface, 0x0800))
    while True:
        packet, sender = link.recvfrom(65535)
        udp = (packet[0] & 15) * 4
        data = packet[udp + 8 :]
        if sender[2] == socket.PACKET_OUTGOING or packet[9] != UDP or data[17:19] != bytes([0x10, PROBE]):
            continue
        payloads = dict(chain(data[16], data[28:]))
        yield data[:8], socket.inet_ntoa(payloads[ID][4:8]), payloads.get(IKE)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["probe", "response", "answer", "echo", "hold"])
    parser.add_argument("source")
    parser.add_argument("destination")
    parser.add_argument("--id")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--every", type=float, default=0)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--after", type=float, default=0)
    parser.add_argument("--spoil", default="none")
    parser.add_argument("--cookie")
    parser.add_argument("--ike", choices=["none", "noise", "answer"], default="none")
    parser.add_argument("--local", default="10.2.0.0/16")
    parser.add_argument("--remote", default="10.1.0.0/16")
    wanted = parser.parse_args()
    cookie = bytes.fromhex(wanted.cookie) if wanted.cookie else os.urandom(8)
    sender = Sender()
    if wanted.what == "probe":
        for _ in range(wanted.count):
            octets = probe(wanted.source, wanted.destination, wanted.id or wanted.source, os.urandom(8), wanted.spoil)
            sender.datagram(wanted.source, wanted.destination, octets)
            time.sleep(wanted.every)
    elif wanted.what == "response":
        octets = response(wanted.id or wanted.source, cookie, wanted.local, wanted.remote)
        sender.datagram(wanted.source, wanted.destination, octets)
    elif wanted.what == "echo":
        for number in range(wanted.count):
            echo = struct.pack("!BBHHH", 8, 0, 0, 4711, number) + bytes(32)
            echo = echo[:2] + struct.pack("!H", checksum(echo)) + echo[4:]
            sender.packet(wanted.source, wanted.destination, ICMP, echo)
    elif wanted.what == "hold":
        held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        held.bind((wanted.source, int(wanted.destination)))
        print("holding", flush=True)
        time.sleep(3600)
    else:
        known = set()
        print("listening", flush=True)
        for cookie, initiator, asked in probes_on(wanted.source):
            time.sleep(wanted.after)
            ike = {"noise": os.urandom(200), "answer": ike_answer(asked) if asked else None}.get(wanted.ike)
            for _ in range(wanted.times):
                octets = response(wanted.destination, cookie, wanted.local, wanted.remote, ike)
                sender.datagram(wanted.id or wanted.destination, initiator, octets)
            if cookie not in known:
                known.add(cookie)
                print(cookie.hex(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
