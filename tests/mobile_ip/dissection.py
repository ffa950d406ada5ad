#!/usr/bin/python3 -B
"""What tshark makes of Mobile IPv4 messages, field by field, beside what the peers of this folder say that they sent and got.

usage: dissection.py CAPTURE[,CAPTURE...] LINES..., where LINES are files of what peers printed.

tshark and the peers must have the same messages, each with the same fields and the same extensions in the same order. Prints how many
of each kind were compared, and in what; exit status 1 where something is different or missing, or malformed where no peer says so."""

import collections
import json
import subprocess
import sys
from xml.etree import ElementTree

# What peers call it: as tshark has it. Of the fixed parts, by the number of the message.
FIXED = {
    ("request", 1): {"lifetime": "mip.life", "home": "mip.homeaddr", "home_agent": "mip.haaddr", "care_of": "mip.coa",
                     "identification": "mip.ident"},
    ("reply", 3): {"code": "mip.code", "lifetime": "mip.life", "home": "mip.homeaddr", "home_agent": "mip.haaddr",
                   "identification": "mip.ident"},
    ("revocation", 7): {"by_home_agent": "mip.rev.a", "inform": "mip.rev.i", "home": "mip.homeaddr", "home_domain": "mip.rev.hda",
                        "foreign_domain": "mip.rev.fda", "identifier": "mip.revid"},
    ("acknowledgement", 15): {"inform": "mip.ack.i", "home": "mip.homeaddr", "identifier": "mip.revid"},
}
KINDS = {name: number for name, number in FIXED}
FLAGS = {"S": "mip.s", "B": "mip.b", "D": "mip.d", "M": "mip.m", "G": "mip.g", "r": "mip.v", "T": "mip.t", "x": "mip.x"}
# Of extensions.
EXTENSION = {
    "type": "mip.ext.type", "length": "mip.ext.len", "spi": "mip.auth.spi", "authenticator": "mip.auth.auth",
    "inform": "mip.ext.rev.i", "timestamp": "mip.ext.rev.tstamp", "nai": "mip.nai",
    "data": "mip.extension",
}
UDP_TUNNEL = {
    "udp_tunnel_request": {"forced": "mip.ext.utrq.f", "encapsulation": "mip.ext.utrq.encaptype"},
    "udp_tunnel_reply": {"forced": "mip.ext.utrp.f", "code": "mip.ext.utrp.code", "keepalive": "mip.ext.utrp.keepalive"},
}
UDP_TUNNEL_TYPES = {144: "udp_tunnel_request", 44: "udp_tunnel_reply"}


def told(line):
    """A message as a peer has it: (fields, extensions)."""
    names = FIXED[line["type"], KINDS[line["type"]]]
    fields = {"mip.type": KINDS[line["type"]]} | {shark: line[name] for name, shark in names.items()}
    if line["type"] == "request":
        fields |= {shark: name in line["flags"] for name, shark in FLAGS.items()}
    extensions = []
    for extension in line["extensions"]:
        found = {EXTENSION[name]: value for name, value in extension.items()}
        tunnel = UDP_TUNNEL_TYPES.get(extension["type"])
        if tunnel in line:
            found |= {shark: line[tunnel][name] for name, shark in UDP_TUNNEL[tunnel].items()}
        extensions.append(found)
    return fields, extensions


def value(field):
    """Of a field of tshark: numbers and addresses as it shows them, times and strings of octets as they are on the wire."""
    name, shows = field.get("name"), field.get("show")
    if name in ("mip.ident", "mip.auth.auth", "mip.extension"):
        return field.get("value")
    if name in FLAGS.values() or name in ("mip.rev.a", "mip.rev.i", "mip.ack.i", "mip.ext.rev.i", "mip.ext.utrq.f", "mip.ext.utrp.f"):
        return shows in ("1", "True")
    return shows if "." in shows or name == "mip.nai" else int(shows, 0)


def dissected(capture):
    """Messages as tshark has them: (number of the frame, fields, extensions); those that it cannot read whole have no fields."""
    wanted = {name for names in FIXED.values() for name in names.values()} | set(FLAGS.values()) | {"mip.type"}
    in_extensions = set(EXTENSION.values()) | {name for names in UDP_TUNNEL.values() for name in names.values()}
    command = ["tshark", "-n", "-r", capture, "-Y", "mip.type in {1, 3, 7, 15} && !icmp", "-T", "pdml"]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    for packet in ElementTree.fromstring(said).iter("packet"):
        number = int(packet.find("./proto[@name='geninfo']/field[@name='num']").get("show"))
        message = packet.find("./proto[@name='mip']")
        if packet.find(".//*[@name='_ws.malformed']") is not None or message.find(".//*[@name='mip.data_not_dissected']") is not None:
            yield number, {}, []
            continue
        extensions = [found for found in message.iter("field") if found.find("./field[@name='mip.ext.type']") is not None]
        within = {part for extension in extensions for part in extension.iter("field")}
        fixed = (part for part in message.iter("field") if part not in within)
        yield number, read(fixed, wanted), [read(extension.iter("field"), in_extensions) for extension in extensions]


def read(parts, wanted):
    return {part.get("name"): value(part) for part in parts if part.get("name") in wanted}


def main():
    captures, *files = sys.argv[1:]
    lines = [json.loads(line) for name in files for line in open(name, encoding="utf-8")]
    spoilt = sum("spoilt" in line or line["event"] == "malformed" for line in lines)
    # Each side of an exchange may have told of a message.
    messages = {json.dumps(message, sort_keys=True): message for message in (told(line) for line in lines if line.get("type") in KINDS)}
    compared, wrong, seen = collections.defaultdict(collections.Counter), [], set()
    for number, fields, extensions in (message for capture in captures.split(",") for message in dissected(capture)):
        if not fields and spoilt:
            spoilt -= 1
            continue
        text = json.dumps((fields, extensions), sort_keys=True)
        seen.add(text)
        if text not in messages:
            wrong.append(f"frame {number}: tshark has {text}")
        for name in fields:
            compared[f"message {fields['mip.type']}"][name] += 1
        for extension in extensions:
            for name in extension:
                compared[f"extension {extension['mip.ext.type']}"][name] += 1
    wrong += [f"a peer has {text}" for text in messages if text not in seen]
    for what, names in sorted(compared.items()):
        print(f"{max(names.values()):4} {what:14}", *names)
    for line in wrong:
        print(line)
    return 1 if wrong or not seen else 0


if __name__ == "__main__":
    sys.exit(main())
