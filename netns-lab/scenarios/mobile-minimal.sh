# shellcheck shell=bash
# Minimal encapsulation: first both ends are ours, with a TCP session, packets as large as the tunnel takes and fragments, which go in IP
# in IP, out of the one care-of address and the next; then either end is a program that shares nothing with ours. What another sends in
# the name of the mobile node changes nothing, and kill -9 of the home agent costs no registration.
#
# topology: mip-fig1
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

key=000102030405060708090a0b0c0d0e0f
peers=${repository:?}/tests/mobile_ip
asker=192.0.2.254
care_of=203.0.113.10

configure 102o <<TOML
[identity]
id = "ha.example"
[home-agent]
address = "$outer_agent"
home-network = "198.51.100.0/24"
encapsulations = "minimal"
[[mobile-node]]
home = "$mobility"
spi = 256
key-file = "node.key"
TOML
configure 103 <<TOML
[identity]
id = "laptop.example"
[mobility]
home = "$mobility"
home-agent = "$outer_agent"
spi = 256
key-file = "node.key"
encapsulation = "minimal"
destinations = "192.0.2.0/24"
home-network = "198.51.100.0/24"
TOML
for node in 102o 103; do (umask 077 && echo "0x$key" >"$(agent_folder "$node")/node.key"); done
leave_nothing 102o 103
start_agent 102o
start_agent 103

state() { agent 103 mobility; tail -n 5 "$(agent_log 103)"; agent 102o bindings; tail -n 5 "$(agent_log 102o)"; refusals 103 102o; }
# T from the provider, and the provider from T.
to_mobile=(isp ping -c 2 -i 0.2 -W 5 -I "$asker" "$mobility")
from_mobile=(103 ping -c 2 -i 0.2 -W 5 -I "$mobility" "$asker")
passes() { on "$@" >"$mobility_trace/ping" 2>&1 || fail "$*: $(cat "$mobility_trace/ping") $(state)"; }
unanswered() { ! on "$@" >"$mobility_trace/ping" 2>&1 || fail "$* was answered: $(cat "$mobility_trace/ping")"; }
# seen NESTING...: all that has passed the cable in tunnels, as scapy reads it.
seen() {
    stop_capture isp to-x1
    "$peers/minimal.py" --read "$mobility_trace/cable" >"$mobility_trace/nested"
    diff <(printf '%s\n' "$@" | sort) <(sort "$mobility_trace/nested") || fail "on the cable: $(cat "$mobility_trace/nested")"
}
there="$outer_agent>$care_of"
back="$care_of>$outer_agent"
all=("$there (55) $asker>$mobility whole +12" "$back (55) $mobility>$asker whole +12"
    "$there (4) $asker>$mobility fragment +20" "$back (4) $mobility>$asker fragment +20")

# Ours at both ends.
move 103 x1
eventually 15 wrapped 102o minimal || fail "not in minimal encapsulation: $(state)"
eventually 15 dwells 103 "without VPN" x1 || fail "no way: $(state)"
capture isp to-x1 "$mobility_trace/cable" ip
passes "${to_mobile[@]}"
passes "${from_mobile[@]}" -M 'do' -s 1460
unanswered "${from_mobile[@]}" -M 'do' -s 1461
has 'mtu[ =:]*1488' <"$mobility_trace/ping" || fail "nobody says how much fits: $(cat "$mobility_trace/ping")"
passes "${from_mobile[@]}" -s 4000
passes "${to_mobile[@]}" -s 4000
seen "${all[@]}"
[[ $(tshark -n -r "$mobility_trace/cable" -Y 'ip.proto == 55 && ip.checksum.status == 0' -o ip.check_checksum:TRUE 2>/dev/null) == '' ]] ||
    fail "tshark finds a wrong checksum"

# What a narrower path takes is found out, with a packet lost.
on isp ip route replace 203.0.113.0/25 dev to-x1 mtu lock 1300
on isp ping -c 1 -W 1 -I "$asker" -M 'do' -s 1460 "$mobility" >/dev/null 2>&1 || true
unanswered "${to_mobile[@]}" -M 'do' -s 1261
passes "${to_mobile[@]}" -M 'do' -s 1260
on isp ip route replace 203.0.113.0/25 dev to-x1
on 102o ip route flush cache

# In the name of the mobile node, from elsewhere.
not_admitted() { ask 102o '.counters["udp-tunnel-not-admitted"]'; }
before=$(not_admitted)
on isp "$peers/minimal.py" "$asker" "$outer_agent" --once "$mobility" "$asker"
eventually 10 test "$((before + 1))" = "$(not_admitted)" || fail "a forged outer source: $(not_admitted)"

start_streams isp 103 "$mobility" 200 1000000
move 103 x2
eventually 15 dwells 103 "without VPN" x2 || fail "no way: $(state)"
wrapped 102o minimal || fail "not in minimal encapsulation: $(state)"
passes "${from_mobile[@]}" -s 4000
stop_agent 102o KILL || true
start_agent 102o
wrapped 102o minimal || fail "the binding is lost: $(state)"
passes "${from_mobile[@]}" -s 4000
end_streams
report_moves
stop_agent 103

# Theirs away from home.
register() { on 103 "$peers/mobile_node.py" "$outer_agent" --home "$mobility" --key "$key" --flags "$1" "${@:2}"; }
# end NODE LOCAL REMOTE WORD...: the other program, with an adapter.
their_end() {
    start_process "$1" minimal "$peers/minimal.py" "${@:2:2}" --device minimal0
    eventually 60 grep -q listening "$mobility_trace/minimal.log" || fail "no tunnel: $(cat "$mobility_trace/minimal.log")"
    on "$1" ip link set minimal0 mtu 1480 up
}
move 103 x1
register DTM >"$mobility_trace/said" || fail "$(cat "$mobility_trace/said")"
wrapped 102o minimal || fail "not in minimal encapsulation: $(state)"
their_end 103 "$care_of" "$outer_agent"
on 103 ip address add "$mobility/32" dev minimal0
on 103 ip route add "$asker" dev minimal0 src "$mobility"
capture isp to-x1 "$mobility_trace/cable" ip
passes "${to_mobile[@]}" -s 4000
passes "${from_mobile[@]}"
seen "${all[@]}"
end_process minimal TERM || true
stop_agent 102o

# Theirs at home.
start_process 102o home "$peers/home_agent.py" "$outer_agent" --home 198.51.100.0/24 --key "$key"
eventually 60 grep -q listening "$mobility_trace/home.log" || fail "no home agent: $(cat "$mobility_trace/home.log")"
their_end 102o "$outer_agent" "$care_of"
on 102o ip route replace "$mobility" dev minimal0
start_agent 103
eventually 15 dwells 103 "without VPN" x1 || fail "no way: $(state)"
mobile 103 '.addresses[].way' | has "^minimal tunnel $care_of to $outer_agent" || fail "no minimal tunnel: $(state)"
capture isp to-x1 "$mobility_trace/cable" ip
passes "${to_mobile[@]}" -s 4000
passes "${from_mobile[@]}"
seen "${all[@]}"
