#!/usr/bin/env python3
"""The air between simulated radios: what one of them sends all others hear, as strong as is said.

  air.py FILE MAC...    takes over from the kernel, whose air is always the same, until it ends; prints `open` when it has. MAC are the
                        radios' own, and FILE has how strong they hear each other, in dBm: it is read again ten times a second.

To be run where the radios were made (mac80211_hwsim asks whose medium it is by that), whichever namespaces they are in now.
"""

import socket
import struct
import sys
import time

# From <linux/netlink.h> and <linux/genetlink.h>.
NETLINK_GENERIC = 16
NLM_F_REQUEST = 1
NLMSG_ERROR = 2
GENL_ID_CTRL = 16
CTRL_CMD_GETFAMILY = 3
CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 1, 2
SOL_SOCKET_RCVBUFFORCE = 33

# From mac80211_hwsim.h of the kernel's drivers.
REGISTER, FRAME, TX_INFO_FRAME = 1, 2, 3
RECEIVER, TRANSMITTER, OCTETS, FLAGS, RATE, SIGNAL, TX_INFO, COOKIE, FREQUENCY = 1, 2, 3, 4, 5, 6, 7, 8, 19
NO_ACK, ACKNOWLEDGED = 2, 4


def attribute(kind, value):
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def u32(value):
    return struct.pack("=I", value & 0xFFFFFFFF)


def message(family, command, attributes):
    body = struct.pack("=BBH", command, 1, 0) + b"".join(attribute(*pair) for pair in attributes)
    return struct.pack("=IHHII", 16 + len(body), family, NLM_F_REQUEST, 0, 0) + body


def messages(octets):
    """The kind of each, and what follows its header."""
    while len(octets) >= 16:
        length, kind = struct.unpack_from("=IH", octets)
        yield kind, octets[16:length]
        octets = octets[(length + 3) & ~3 :]


def attributes(octets):
    found = {}
    while len(octets) >= 4:
        length, kind = struct.unpack_from("=HH", octets)
        found[kind & 0x3FFF] = octets[4:length]
        octets = octets[(length + 3) & ~3 :]
    return found


def family_of(name, kernel):
    kernel.send(message(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, [(CTRL_ATTR_FAMILY_NAME, name + b"\0")]))
    kind, body = next(messages(kernel.recv(65536)))
    if kind == NLMSG_ERROR:
        sys.exit("no simulated radios (mac80211_hwsim)")
    return struct.unpack("=H", attributes(body[4:])[CTRL_ATTR_FAMILY_ID])[0]


class Strength:
    def __init__(self, name):
        self.name, self.dbm, self.read_at = name, None, 0.0

    def now(self):
        if time.monotonic() > self.read_at + 0.1:
            self.read_at = time.monotonic()
            with open(self.name) as file:
                text = file.read().strip()
            # It may be being written.
            self.dbm = int(text) if text else self.dbm
        return self.dbm


def carry(kernel, family, radios, strength, sent):
    """To everybody else, and back whether somebody has acknowledged it."""
    sender, octets = sent[TRANSMITTER], sent[OCTETS]
    flags = struct.unpack("=I", sent[FLAGS])[0]
    common = [(RATE, u32(0)), (SIGNAL, u32(strength.now())), (FREQUENCY, sent[FREQUENCY])]
    for radio in radios:
        if radio != sender:
            kernel.send(message(family, FRAME, [(RECEIVER, radio), (OCTETS, octets), *common]))
    is_for_one = not octets[4] & 1
    if is_for_one and not flags & NO_ACK:
        flags |= ACKNOWLEDGED
    # At the first attempt.
    rate = bytes([sent[TX_INFO][0], 1]) + b"\xff\0" * 3
    report = [(TRANSMITTER, sender), (FLAGS, u32(flags)), (SIGNAL, u32(strength.now())), (TX_INFO, rate), (COOKIE, sent[COOKIE])]
    kernel.send(message(family, TX_INFO_FRAME, report))


def main():
    name, *own = sys.argv[1:]
    # Where the driver is told of a radio, this bit is set.
    radios = [bytes([octets[0] | 0x40]) + octets[1:] for octets in (bytes.fromhex(mac.replace(":", "")) for mac in own)]
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
    kernel.setsockopt(socket.SOL_SOCKET, SOL_SOCKET_RCVBUFFORCE, 8 << 20)
    kernel.bind((0, 0))
    family = family_of(b"MAC80211_HWSIM", kernel)
    strength = Strength(name)
    kernel.send(message(family, REGISTER, []))
    print("open", flush=True)
    while True:
        for kind, body in messages(kernel.recv(65536)):
            # What could not be delivered, because a radio is off or listens elsewhere, is told as an error.
            if kind == family and body[0] == FRAME:
                carry(kernel, family, radios, strength, attributes(body[4:]))


if __name__ == "__main__":
    main()
