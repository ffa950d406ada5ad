# shellcheck shell=bash
# A visitor of our foreign agent that asks for minimal encapsulation (RFC 2004): user space carries it between the agents, and fragments
# beside it are in IP in IP; nothing is wrapped on the last link. A stream lives through a move to an address of its own, where both
# ends carry it, and back; what another sends in the home agent's name comes to nobody.
#
# topology: mip-agents
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

correspondent=192.0.2.101
care_of=198.18.0.2
peers=${repository:?}/tests/mobile_ip
encapsulation=minimal

share_secret outer.key 103 102o
configure 103 <<END
[identity]
id = "laptop.example"

[mobility]
home = "$mobility"
home-agent = "$outer_agent"
spi = 256
algorithm = "hmac-sha256"
key-file = "outer.key"
encapsulation = "minimal"
destinations = "192.0.2.0/24"
foreign-agents = "any"
END
configure 109 <<END
[identity]
id = "fa.example"

[foreign-agent]
link = "to-x3"
address = "203.0.112.1"
prefix-length = 24
care-of = "$care_of"
interval = "2s"
encapsulations = "minimal"
END
start_own_agent 102o "$outer_agent" 198.51.100.0/24 "$mobility" outer.key
leave_nothing 109
start_agent 109
start_agent 103

state() { agent 103 mobility; agent 109 visitors; agent 102o bindings; tail -n 10 "$(agent_log 103)" "$(agent_log 109)" "$(agent_log 102o)"; }
is_visiting() {
    agent 109 visitors --json | jq -r '.[].encapsulation' | has -x minimal && wrapped 102o minimal &&
        mobile 103 '.registrations[] | select(.state == "registered") | .care_of' | has -xF "$care_of"
}
passes() { on "$@" >"$mobility_trace/ping" 2>&1 || fail "$*: $(cat "$mobility_trace/ping") $(state)"; }

move 103 x3
eventually 10 is_visiting || fail "not registered through the agent: $(state)"
sleep 0.3
capture 109 to-isp "$mobility_trace/between" ip
capture 109 to-x3 "$mobility_trace/link" ip
fits 1488
passes 101 ping -c 2 -i 0.2 -W 5 "$mobility"
passes 103 ping -c 2 -i 0.2 -W 5 -s 4000 "$correspondent"
stop_capture 109 to-isp
stop_capture 109 to-x3
"$peers/minimal.py" --read "$mobility_trace/between" >"$mobility_trace/nested"
there="$outer_agent>$care_of" back="$care_of>$outer_agent"
# What the agent answers to what does not fit goes to the home network first.
diff <(printf '%s\n' "$there (55) $care_of>$mobility whole +12" "$there (4) $correspondent>$mobility fragment +20" "$there (55) $correspondent>$mobility whole +12" \
    "$back (4) $mobility>$correspondent fragment +20" "$back (55) $mobility>$correspondent whole +12" | sort) \
    <(sort "$mobility_trace/nested") || fail "between the agents: $(cat "$mobility_trace/nested")"
[[ -z $(tshark -n -r "$mobility_trace/link" -Y 'ip.proto == 4 || ip.proto == 55' 2>/dev/null) ]] || fail "wrapped on the link"

# From another than the home agent, and in its name to who is no visitor.
capture 109 to-x3 "$mobility_trace/forged" "icmp[icmptype] == icmp-echo"
on isp "$peers/minimal.py" 203.0.113.1 "$care_of" --once 203.0.113.1 "$mobility"
on isp "$peers/minimal.py" "$outer_agent" "$care_of" --once 203.0.113.1 203.0.112.66
sleep 0.5
stop_capture 109 to-x3
[[ -z $(tshark -n -r "$mobility_trace/forged" 2>/dev/null) ]] || fail "it came out of the tunnel: $(tshark -n -r "$mobility_trace/forged" 2>/dev/null)"

# A stream lives through moves to an address of its own and back.
start_streams 101 103 "$mobility" 500 1000000
sleep 1
move 103 x1
eventually 10 dwells 103 "without VPN" x1 || fail "x1: $(state)"
wrapped 102o minimal || fail "x1: $(state)"
sleep 1
move 103 x3
eventually 10 is_visiting || fail "not registered again: $(state)"
sleep 1
end_streams
report_moves
stop_agent 109
