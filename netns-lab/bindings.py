#!/usr/bin/python3 -B
"""The data path of tests/mobile_ip/home_agent.py, whose lines it reads: a route into a tunnel for each binding.

usage: home_agent.py ... | bindings.py AGENT DEVICE GRE-DEVICE, where DEVICE is an `ipip external` and the other a `gre external`."""

import json
import subprocess
import sys

agent, device, gre_device = sys.argv[1:]
for line in sys.stdin:
    sys.stdout.write(line)
    sys.stdout.flush()
    said = json.loads(line)
    if said["event"] not in ("bindings", "expired"):
        continue
    home, care_of = said["home"], said["care_of"]
    route = ["ip", "route", "replace", f"{home}/32"]
    if said["event"] == "bindings" and care_of:
        way = ["encap", "ip", "id", "0", "src", agent, "dst", care_of[0], "ttl", "64", "dev", gre_device if said["gre"] else device]
        subprocess.run(route + way, check=True)
    else:
        subprocess.run(route[:2] + ["delete", f"{home}/32"], check=False)
