#!/usr/bin/env python3
"""Turns what was recorded in the lab into seeds for the fuzz targets (fuzz/record.sh).

  seeds.py listen FILE             the kernel's XFRM messages, each with four octets of length, until it is ended
  seeds.py messages FILE FOLDER    one seed for each kind of message in there
  seeds.py datagrams PCAP FOLDER   UDP datagrams of ports 500 and 4500, sorted by what they are
  seeds.py payloads FOLDER         what is encrypted in IKE, made by hand
  seeds.py mobile_ip FOLDER        registrations, packets in tunnels and a conversation, made by hand
  seeds.py headers FOLDER          beginnings of packets of both IP versions, made by hand
  seeds.py vici FOLDER             what strongSwan's charon says on its socket, made by hand
  seeds.py lines FILE FOLDER       a status as a line of the control socket, and requests
  seeds.py vectors PAGE FOLDER     the vectors of a page of docs/
"""

import hmac
import json
import os
import signal
import socket
import struct
import sys

NETLINK_XFRM, SOL_NETLINK, ADD_MEMBERSHIP = 6, 270, 1
GROUPS = range(1, 9)  # ACQUIRE, EXPIRE, SA, POLICY, AEVENTS, REPORT, MIGRATE, MAPPING
PROBE, RESPONSE = 240, 241
IKE = 205  # a payload of discovery
MOST = 4  # seeds of a kind


def listen(path):
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_XFRM)
    kernel.bind((0, 0))
    for group in GROUPS:
        kernel.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
    with open(path, "wb") as out:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        print("listening", flush=True)
        while True:
            message = kernel.recv(65536)
            out.write(struct.pack("!I", len(message)) + message)
            out.flush()


def write(folder, name, octets):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as out:
        out.write(octets)


def messages(path, folder):
    octets, seen = open(path, "rb").read(), {}
    while octets:
        (length,) = struct.unpack("!I", octets[:4])
        message, octets = octets[4 : 4 + length], octets[4 + length :]
        (kind,) = struct.unpack("=H", message[4:6])
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] <= MOST:
            write(folder, f"{kind:#04x}-{seen[kind]}", message)


def udp(packet):
    """(source, destination port, payload) of a packet behind an Ethernet header, or None."""
    if packet[12:14] == b"\x08\x00" and packet[23] == 17:
        source, at = packet[26:30], 14 + (packet[14] & 15) * 4
    elif packet[12:14] == b"\x86\xdd" and packet[20] == 17:
        source, at = packet[22:38], 54
    else:
        return None
    _, port, length, _ = struct.unpack("!HHHH", packet[at : at + 8])
    return source, port, packet[at + 8 : at + length]


def messages_in(path):
    """Those of discovery and of IKE, and those of IKE that came along with discovery."""
    pcap, at = open(path, "rb").read(), 24
    while at < len(pcap):
        (length,) = struct.unpack("=I", pcap[at + 8 : at + 12])
        found, at = udp(pcap[at + 16 : at + 16 + length]), at + 16 + length
        if not found or found[1] not in (500, 4500):
            continue
        _, port, payload = found
        payload = payload[4:] if port == 4500 else payload
        yield payload
        kind, here = payload[16], 28
        while payload[18] in (PROBE, RESPONSE) and kind:
            following, _, size = struct.unpack("!BBH", payload[here : here + 4])
            if kind == IKE:
                yield payload[here + 4 : here + size]
            kind, here = following, here + size


def datagrams(path, folder):
    seen, conversation = {}, b""
    for payload in messages_in(path):
        exchange = payload[18]
        target = {PROBE: "ted_probe", RESPONSE: "ted_response"}.get(exchange, "ike_message")
        seen[exchange] = seen.get(exchange, 0) + 1
        if seen[exchange] <= MOST:
            write(os.path.join(folder, target), f"{exchange}-{seen[exchange]}", payload)
            choice = 2 if exchange == PROBE else 0
            conversation += struct.pack("!HB", len(payload), choice) + payload
            if target == "ike_message":
                # What is to be decrypted has the same form as what is not.
                write(os.path.join(folder, "ike_payloads"), f"{exchange}-{seen[exchange]}", payload[16:17] + payload[28:])
    for target in ("ike_datagrams", "agent_datagrams"):
        write(os.path.join(folder, target), "conversation", conversation)


def payloads(folder):
    """What is encrypted on the wire: IKE_AUTH and INFORMATIONAL, by hand (RFC 7296 §3)."""
    ends = lambda n: bytes((7, 0)) + struct.pack("!HHH", 16, 0, 65535) + bytes((10, n, 0, 0, 10, n, 255, 255))
    transforms = bytes.fromhex("0300000c01000014800e0100") + bytes.fromhex("0000000805000000")
    proposal = struct.pack("!BBHBBBB", 0, 0, 12 + len(transforms), 1, 3, 4, 2) + bytes((1, 2, 3, 4)) + transforms
    auth = [
        (35, b"\x02\0\0\0gw104.example"),
        (41, bytes.fromhex("00004000")),
        (36, b"\x02\0\0\0gw106.example"),
        (39, b"\x02\0\0\0" + bytes(32)),
        (33, proposal),
        (44, bytes((1, 0, 0, 0)) + ends(1)),
        (45, bytes((1, 0, 0, 0)) + ends(2)),
    ]
    integrity = bytes.fromhex("030000080300000c") + bytes.fromhex("0000000805000001")
    of_ah = struct.pack("!BBHBBBB", 0, 0, 12 + len(integrity), 1, 2, 4, 2) + bytes((1, 2, 3, 4)) + integrity
    made = [
        ("auth", auth),
        ("configuration-request", [(47, bytes.fromhex("010000000001000000030000000d000000080000"))] + auth[4:]),
        (
            "configuration-reply",
            [(47, bytes.fromhex("02000000000100040a1e000500030004" "0a0a0035000d00080a0a0000ffff0000"))] + auth[4:],
        ),
        ("delete", [(42, bytes.fromhex("0304000101020304"))]),
        ("delete-ah", [(42, bytes.fromhex("0204000101020304"))]),
        ("rekey", [(41, bytes.fromhex("0304400901020304"))] + auth[4:]),
        ("rekey-ah", [(41, bytes.fromhex("0204400901020304")), (41, bytes.fromhex("00004007")), (33, of_ah)] + auth[5:]),
        ("question", [(41, bytes.fromhex("0000a00a") + b"what do you apply to me?")]),
    ]
    for name, chain in made:
        kinds = [kind for kind, _ in chain] + [0]
        octets = b"".join(struct.pack("!BBH", kinds[at + 1], 0, 4 + len(body)) + body for at, (_, body) in enumerate(chain))
        write(folder, name, bytes(kinds[:1]) + octets)


def mobile_ip(folder):
    """Mobile IPv4 (RFC 5944 §3), with the key and the clock of the target `mobile_ip_datagrams`."""
    key, spi = b"0123456789abcdef", struct.pack("!I", 256)
    home, agent, care_of = bytes((10, 20, 0, 5)), bytes((10, 10, 0, 2)), bytes((203, 0, 113, 10))
    stamp = lambda low, after=0: struct.pack("!II", 1_700_000_000 + 2_208_988_800 + after, low)

    def signed(message):
        message += bytes((32, 20)) + spi
        return message + hmac.digest(key, message, "md5")

    request = lambda flags, life, stamp, more=b"": signed(bytes((1, flags)) + struct.pack("!H", life) + home + agent + care_of + stamp + more)
    reply = lambda code, stamp, more=b"": signed(bytes((3, code)) + struct.pack("!H", 300) + home + agent + stamp + more)
    udp, support = bytes.fromhex("9006000000000000"), bytes.fromhex("89060000") + struct.pack("!I", 9)
    data = lambda body: bytes((4, 4, 0, 0)) + body

    def sealed(packet):
        total = sum(struct.unpack("!10H", packet[:20]))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        return packet[:10] + struct.pack("!H", total ^ 0xFFFF) + packet[12:]

    def ip(protocol, source, destination, body):
        return sealed(struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0x4000, 64, protocol, 0) + source + destination + body)

    inner = ip(1, bytes((10, 10, 0, 101)), home, bytes.fromhex("0800f7fd00010001"))

    def forwarded(destination, source):
        header = bytes((1, 0x80, 0, 0)) + destination + source
        words = sum(struct.unpack("!6H", header))
        while words >> 16:
            words = (words & 0xFFFF) + (words >> 16)
        return header[:2] + struct.pack("!H", words ^ 0xFFFF) + header[4:]

    correspondent = inner[12:16]
    forward = forwarded(home, correspondent)

    made = {
        "request": request(0x22, 300, stamp(1)),
        "request-extensions": request(
            0x22, 300, stamp(1), bytes.fromhex("83057540622e63") + udp + bytes.fromhex("940600180a160000" "c802beef") + support
        ),
        "deregistration": request(0x22, 0, stamp(2, 1)),
        "reply": reply(0, stamp(1), support),
        "reply-udp": reply(0, stamp(1), bytes.fromhex("2c0600004000006e")),
        "reply-mismatch": reply(133, stamp(1)),
        "revocation": signed(bytes((7, 0, 0, 0)) + home + care_of + agent + struct.pack("!I", 9)),
        "tunnel-data": data(inner),
    }
    for name, octets in made.items():
        write(os.path.join(folder, "mobile_ip_message"), name, octets)
    tunnels = {
        "ip-in-ip": ip(4, agent, care_of, inner),
        "minimal": ip(55, agent, care_of, forward + inner[20:]),
        "gre": ip(47, agent, care_of, bytes((0, 0, 8, 0)) + inner),
        "gre-key": ip(47, agent, care_of, bytes((0x30, 0, 8, 0)) + struct.pack("!II", 1, 2) + inner),
        "packet": inner,
    }
    for name, octets in tunnels.items():
        write(os.path.join(folder, "mobile_ip_encapsulation"), name, octets)
    piece = lambda choice, octets: struct.pack("!HB", len(octets), choice) + octets
    # Of the mobile node's first identification the last two bits are random.
    answers = lambda code, more=b"": b"".join(piece(1, reply(code, stamp(low), more)) for low in range(4))
    talks = {
        "registration": piece(0, made["request"]) + answers(0) + piece(252, b"") + piece(0, made["deregistration"]),
        "translated": piece(2, made["request-extensions"]) + piece(2, request(0x22, 300, stamp(3), udp)) + piece(2, data(inner)),
        "refused": piece(0, made["request"]) + piece(0, made["request"]) + answers(133),
        "revoked": answers(0, support) + piece(1, made["revocation"]) + piece(0, made["revocation"]),
    }
    for name, octets in talks.items():
        write(os.path.join(folder, "mobile_ip_datagrams"), name, octets)

    def tcp(at, length, flags=0x10, there=agent, back=home):
        body = struct.pack("!HHIIBBHHH", 4000, 80, 1000 + 200 * at, 7, 0x50, flags, 500, 0, 0) + bytes(length)
        words = sum(struct.unpack(f"!{len(body) // 2}H", body)) + sum(struct.unpack("!4H", back + there)) + 6 + len(body)
        while words >> 16:
            words = (words & 0xFFFF) + (words >> 16)
        body = body[:16] + struct.pack("!H", words ^ 0xFFFF) + body[18:]
        head = struct.pack("!BBHHHBBH", 0x45, 2, 20 + len(body), 1 + at, 0x4000, 64, 6, 0) + back + there
        return sealed(head) + body

    # As linux/virtio_net.h has it, on a machine that puts the low octet first.
    frame = lambda kind, size, packet, flags=1, offset=16: struct.pack("<BBHHHH", flags, kind, 40, size, 20, offset) + packet
    to_node = lambda at, length: tcp(at, length, there=home, back=agent)
    frames = {
        "plain": frame(0, 0, to_node(0, 100), 0),
        "checksum": frame(0, 0, to_node(0, 100)),
        "segments": frame(1, 300, to_node(0, 1000)),
        "too-large": frame(0, 0, to_node(0, 700), 0),
        "datagrams": frame(5, 100, ip(17, agent, home, struct.pack("!HHHH", 53, 4000, 408, 0) + bytes(400)), 1, 6),
        "fragments": frame(0, 0, sealed(to_node(0, 700)[:6] + bytes(2) + to_node(0, 700)[8:10] + bytes(2) + to_node(0, 700)[12:20]) + bytes(720), 0),
    }
    for name, octets in frames.items():
        write(os.path.join(folder, "tun_frame"), name, octets)
    came = lambda octets, tos=0: struct.pack("!HB", len(octets), tos) + octets
    datagrams = {
        "stream": b"".join(came(data(tcp(at, 200))) for at in range(4)) + came(data(tcp(4, 50, 0x18))),
        "marked": came(data(tcp(0, 200)), 3) + came(data(inner), 3),
        "keepalive": came(data(ip(1, home, agent, bytes.fromhex("0800f7fd00010001")))) + came(made["request"]),
        "minimal": came(ip(55, care_of, agent, forwarded(correspondent, home) + inner[20:]))
        + came(ip(4, care_of, agent, sealed(inner[:6] + b"\x20\0" + inner[8:10] + bytes(2) + home + correspondent) + inner[20:])),
        "mixed": came(data(tcp(0, 200))) + came(data(tcp(1, 200, 0x11))) + came(data(tcp(1, 200))) + came(b"\x04\x2f\0\0"),
    }
    for name, octets in datagrams.items():
        write(os.path.join(folder, "tun_datagrams"), name, octets)


def headers(folder):
    ports = struct.pack("!HH", 40000, 80)
    west, east = socket.inet_aton("10.1.0.102"), socket.inet_aton("10.2.0.108")
    west6, east6 = (socket.inet_pton(socket.AF_INET6, f"2001:db8:{n}::10{n}") for n in (1, 2))
    v4 = lambda protocol, body, words=5, offset=0x4000: (
        struct.pack("!BBHHHBBH", 0x40 | words, 0, words * 4 + len(body), 7, offset, 64, protocol, 0)
        + west + east + b"\x01" * (words * 4 - 20) + body
    )
    v6 = lambda following, body: struct.pack("!IHBB", 6 << 28, len(body), following, 64) + west6 + east6 + body
    extension = lambda following, body=b"\x00" * 6: bytes([following, (len(body) + 2) // 8 - 1]) + body
    seeds = {
        "tcp": v4(6, ports + b"\x00" * 16),
        "options": v4(17, ports + b"\x00" * 4, words=7),
        "echo": v4(1, b"\x08\x00\x00\x00\x00\x01\x00\x01"),
        "first-fragment": v4(17, ports + b"\x00" * 4, offset=0x2000),
        "later-fragment": v4(17, b"\x00" * 8, offset=0x2001),
        "ipv6-udp": v6(17, ports + b"\x00" * 4),
        "ipv6-extensions": v6(0, extension(60) + extension(43) + extension(44) + struct.pack("!BBHI", 6, 0, 1, 9) + ports),
        "ipv6-echo": v6(58, b"\x80\x00\x00\x00\x00\x01\x00\x01"),
    }
    for name, octets in seeds.items():
        write(folder, name, octets)


def vici(folder):
    named = lambda name: bytes([len(name)]) + name.encode()
    sized = lambda value: struct.pack("!H", len(value)) + value.encode()
    value = lambda name, text: b"\x03" + named(name) + sized(text)
    several = lambda name, items: b"\x04" + named(name) + b"".join(b"\x05" + sized(item) for item in items) + b"\x06"
    section = lambda name, *elements: b"\x01" + named(name) + b"".join(elements) + b"\x02"
    packet = lambda body: struct.pack("!I", len(body)) + body
    child = section("intranet-1", value("name", "intranet"), value("state", "INSTALLED"), value("mode", "TUNNEL"))
    sa = section("office", value("uniqueid", "1"), value("state", "ESTABLISHED"), value("local-host", "198.51.100.5"),
                 several("local-vips", ["10.30.0.5"]), section("child-sas", child))
    said = {
        "listed": packet(b"\x07" + named("list-sa") + sa) + packet(b"\x01"),
        "changed": packet(b"\x07" + named("child-updown") + value("up", "yes") + sa),
        "confirmed": packet(b"\x05") + packet(b"\x06") + packet(b"\x02"),
        "refused": packet(b"\x01" + value("success", "no") + value("errmsg", "CHILD_SA config 'net' not found")),
        "asked": packet(b"\x00" + named("initiate") + value("ike", "office")) + packet(b"\x03" + named("list-sa")),
    }
    for name, octets in said.items():
        write(folder, name, octets)


def lines(path, folder):
    said = {
        "status": {"response": {"status": json.load(open(path))}},
        "ask-status": {"request": "status"},
        "ask-discover": {"request": {"discover": {"address": "10.2.0.8", "from": "10.1.0.9", "protocol": 6, "port": 80}}},
        "ask-forget": {"request": {"forget": {"prefix": "10.2.0.0/16"}}},
        "ask-vpn": {"request": {"vpn": {"up": {"name": "north"}}}},
        "failed": {"response": {"failed": {"kind": "denied", "message": "no"}}},
        "event": {"response": {"event": {"at": 1.5, "kind": "tunnel-up", "detail": "gw106.example"}}},
    }
    for name, line in said.items():
        write(folder, name, json.dumps({"version": 1} | line).encode() + b"\n")


def vectors(page, folder):
    for section in open(page).read().split("### Vector ")[1:]:
        block = section.split("```")[1].strip().splitlines()
        write(folder, section.split(":")[0], bytes.fromhex("".join(line.split("  ")[0] for line in block)))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
