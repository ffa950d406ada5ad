# shellcheck shell=bash
# Our home agent and a mobile node that shares nothing with it: whoever is registered is reached in IP in IP and answers
# through the reverse tunnel, whoever is not authentic changes nothing, and kill -9 costs no packet and no registration. Who has
# a name and no home address is given one; who asks for it has two care-of addresses at a time. It is told that it was withdrawn,
# behind a foreign agent too, which withdraws it itself; tshark reads all messages as it does.
#
# topology: mip-fig1
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

key=000102030405060708090a0b0c0d0e0f
agent_key=f0e0d0c0b0a090807060504030201000
peers=${repository:?}/tests/mobile_ip
lines=$mobility_trace/lines
care_of=203.0.113.10
foreign_agent=203.0.113.140
asker=192.0.2.254

configure 102o <<TOML
[identity]
id = "ha.example"
[home-agent]
address = "$outer_agent"
home-network = "198.51.100.0/24"
lifetime = "10m"
encapsulations = "gre"
pool = "198.51.100.128/30"
bindings-each = 2
[[mobile-node]]
home = "$mobility"
spi = 256
key-file = "node.key"
[[agent-key]]
foreign-agent = "$foreign_agent"
spi = 400
key-file = "agents.key"
$(for name in alice bob carol; do printf '[[mobile-node]]\nnai = "%s@example.org"\nspi = 256\nkey-file = "node.key"\n' "$name"; done)
TOML
(umask 077 && echo "0x$key" >"$(agent_folder 102o)/node.key" && echo "0x$agent_key" >"$(agent_folder 102o)/agents.key")
leave_nothing 102o
has_tunnels() {
    on 102o ip link add probe type ipip external && on 102o ip link set probe up &&
        on 102o ip route add "$mobility" encap ip src "$outer_agent" dst "$care_of" dev probe && on 102o ip link del probe
}
has_tunnels 2>/dev/null || skip "this kernel has no ipip, or no encapsulation by route (CONFIG_LWTUNNEL)"
# What is there of ours, and what we changed.
ours() {
    on 102o ip route show table all proto 88
    on 102o ip -oneline link show | grep -o 'xa-[a-z]*' || true
    on 102o nft list tables | grep xfrm-agent || true
    on 102o sysctl net.ipv4.conf.all.forwarding net.ipv4.conf.all.rp_filter
}
# It needs to forward, whoever said so before.
on 102o sysctl -q net.ipv4.conf.all.forwarding=0
before=$(ours)
start_agent 102o
capture 102o to-106 "$mobility_trace/registrations" udp port 434

# registers STATUS WORD...: the lines of what was said are in $said.
registers() {
    local status=0
    said=$(on 103 "$peers/mobile_node.py" "$outer_agent" --home "$mobility" --key "$key" "${@:2}") || status=$?
    echo "$said" >>"$lines"
    [[ $status == "$1" ]] || fail "exit status $status, not $1, of $* $said $(tail -n 4 "$(agent_log 102o)")"
}
# answered NAME: a field of the last answer, as `identification`.
answered() { jq -sr "last(.[] | select(.event == \"received\")) | .$1" <<<"$said"; }
bindings() { agent 102o bindings --json | jq -c '[.[] | [.home, .care_of, .reverse]]'; }
bound="[[\"$mobility\",\"$care_of\",true]]"
is_bound() { [[ $(bindings) == "${1-$bound}" ]] || fail "bindings: $(bindings), not ${1-$bound}"; }
reached() { on isp ping -c "${1:-3}" -i 0.2 -W 5 -I "$asker" "$mobility" >"$mobility_trace/ping"; }

move 103 x1
# The mobile node's end of the tunnel, by hand.
on 103 ip link add mobile0 type ipip local "$care_of" remote "$outer_agent"
on 103 ip address add "$mobility/32" dev mobile0
on 103 ip link set mobile0 up
on 103 ip route add "$asker" dev mobile0 src "$mobility"

# Nobody is registered: who asks is told, and nothing goes round in circles.
is_bound '[]'
! reached 1 || fail "reached without a registration"
grep -q "From $outer_agent .*Unreachable" "$mobility_trace/ping" || fail "no word that nobody is there: $(cat "$mobility_trace/ping")"

# What is not authentic, or of nobody, changes nothing.
registers 0 --spoil authenticator --expect 131
registers 2 --spoil unsigned --wait 0.5
registers 2 --home 198.51.100.9 --wait 0.5
registers 0 --field 192.0.2.9 --expect 136
[[ $(answered home_agent) == "$outer_agent" ]] || fail "it does not say who it is: $said"
is_bound '[]'

# Renewed before it ends, with what is granted at most.
registers 0 --lifetime 30
is_bound
registers 0 --lifetime 3000
[[ $(agent 102o bindings --json | jq '.[0].left_seconds > 300') == true ]] || fail "not renewed: $(agent 102o bindings)"
first=$(answered identification)
jq -se 'last(.[] | select(.event == "received")) | .code <= 1 and .lifetime == 600' <<<"$said" >/dev/null || fail "the answer: $said"
is_bound
[[ $(ask 102o .home_agent.bindings) == 1 ]] || fail "status knows no binding"
capture isp to-x1 "$mobility_trace/cable" ip
reached || fail "not reached: $(cat "$mobility_trace/ping")"
stop_capture isp to-x1
nested=$(headers "$mobility_trace/cable")
expected="T_HA>X (4) $asker>T
X>T_HA (4) T>$asker"
[[ $nested == "$(sort <<<"$expected")" ]] || fail "on the cable: $nested"

# Only its own packets come out of the tunnel.
on 103 ip address add 198.51.100.77/32 dev mobile0
! on 103 ping -c 2 -i 0.2 -W 1 -I 198.51.100.77 "$asker" >"$mobility_trace/forged" || fail "another source came out of the tunnel"
on 103 ip address del 198.51.100.77/32 dev mobile0

# In GRE, which it has to ask for; what is not offered is denied, and what goes into a tunnel has to fit.
registers 0 --flags DTM --expect 139
registers 0 --flags DTG
[[ $(agent 102o bindings --json | jq -r '.[].encapsulation') == gre ]] || fail "not in GRE: $(agent 102o bindings)"
on 103 ip link add wrapped type gre local "$care_of" remote "$outer_agent"
on 103 ip link set wrapped up
on 103 ip route replace "$asker" dev wrapped src "$mobility"
capture isp to-x1 "$mobility_trace/gre" ip
reached || fail "not reached in GRE: $(cat "$mobility_trace/ping")"
on isp ping -c 2 -i 0.2 -W 5 -I "$asker" -M 'do' -s 1448 "$mobility" >"$mobility_trace/ping" || fail "1476 octets: $(cat "$mobility_trace/ping")"
! on isp ping -c 1 -W 5 -I "$asker" -M 'do' -s 1449 "$mobility" >"$mobility_trace/ping" 2>&1 || fail "1477 octets: $(cat "$mobility_trace/ping")"
grep -q 'mtu = 1476' "$mobility_trace/ping" || fail "nobody says how much fits: $(cat "$mobility_trace/ping")"
# Nobody has agreed on another source, or a key.
on 103 ip address add 198.51.100.77/32 dev wrapped
! on 103 ping -c 2 -i 0.2 -W 1 -I 198.51.100.77 "$asker" >"$mobility_trace/forged" || fail "another source came out of the tunnel"
on 103 ip link set wrapped type gre local "$care_of" remote "$outer_agent" key 7
! reached 1 || fail "a key: $(cat "$mobility_trace/ping")"
on 103 ip link del wrapped
stop_capture isp to-x1
nested=$(headers "$mobility_trace/gre")
for nesting in "T_HA>X (47) $asker>T" "X>T_HA (47) T>$asker"; do
    [[ $nested == *"$nesting"* ]] || fail "no $nesting: $nested"
done
[[ $nested != *"(4)"* ]] || fail "IP in IP: $nested"
on 103 ip route replace "$asker" dev mobile0 src "$mobility"
registers 0
is_bound
reached 1 || fail "not in IP in IP again: $(cat "$mobility_trace/ping")"

# kill -9 in the middle of a stream: the binding is there again, nothing was lost, and what was used stays used.
start_stream isp "$mobility"
eventually 10 flows || fail "no stream"
stop_agent 102o KILL || true
start_agent 102o
is_bound
flows || fail "the stream ended"
read -r sent lost gap <<<"$(end_stream)"
report "kill -9 and restart: $lost of $sent pings lost, $gap in a row"
((lost == 0)) || fail "$lost of $sent pings were lost"
registers 0 --identification "$first" --expect 133
registers 0 --age 30 --resynchronize

# A move: the newest request counts. Then home, or wherever nobody needs a tunnel.
move 103 x2
on 103 ip link set mobile0 type ipip local 203.0.113.138 remote "$outer_agent"
registers 0
is_bound "[[\"$mobility\",\"203.0.113.138\",true]]"
reached || fail "not reached after the move: $(cat "$mobility_trace/ping")"
registers 0 --lifetime 0 --care-of "$mobility"
is_bound '[]'
[[ -z $(on 102o ip route show table all proto 88 "$mobility") ]] || fail "the route stayed: $(ours)"
! on 102o nft list ruleset | grep -q "203.0.113.138" || fail "an entry stayed: $(on 102o nft list ruleset)"

# Who has a name and no address is given one, is reached there, and keeps it, away or not and over kill -9, until others need it.
named() { registers "${@:3}" --home "$2" --nai "$1@example.org"; }
given() { jq -sr 'last(.[] | select(.event == "received")) | .home' <<<"$said"; }
is_given() {
    named "$1" 0.0.0.0 0
    [[ $(given) == "198.51.100.$2" ]] || fail "$1 was given $(given), not 198.51.100.$2"
}
is_given alice 129
alice=$(given)
on 103 ip address add "$alice/32" dev mobile0
on isp ping -c 3 -i 0.2 -W 5 -I "$asker" "$alice" >"$mobility_trace/ping" || fail "not reached at what it was given: $(cat "$mobility_trace/ping")"
agent 102o bindings | grep -q "^$alice  *alice@example.org " || fail "no name: $(agent 102o bindings)"
named alice "$alice" 0 --lifetime 0
stop_agent 102o KILL || true
start_agent 102o
is_bound '[]'
is_given bob 130
is_given alice 129
named carol 0.0.0.0 0 --expect 130
for given in 198.51.100.129 198.51.100.130; do
    agent 102o revoke "$given" || fail "$given is not revoked"
done
is_bound '[]'

# Two care-of addresses at a time, each in UDP: one packet arrives at both. Where one of them is the kernel's, it is alone.
plug 103 x1 wlan0
listens() {
    start_process 103 "copies-$1" "$peers/mobile_node.py" "$outer_agent" --home "$mobility" --key "$key" --flags SDT --udp force \
        --device "$1" --bind "$2" --receive 1 --wait 20 --expect 0
    eventually 20 grep -q '"received"' "$mobility_trace/copies-$1.log" || fail "$1: $(cat "$mobility_trace/copies-$1.log")"
}
copied() { sed -n 's/.*"packet".*"octets": "\([^"]*\)".*/\1/p' "$mobility_trace/copies-$1.log"; }
both_have() { [[ -n $(copied eth0) && $(copied eth0) == "$(copied wlan0)" ]]; }
listens eth0 203.0.113.138
listens wlan0 203.0.113.10
is_bound "[[\"$mobility\",\"203.0.113.138\",true],[\"$mobility\",\"203.0.113.10\",true]]"
on isp ping -c 1 -W 1 -I "$asker" "$mobility" >/dev/null || true
eventually 20 both_have || fail "no copies: $(cat "$mobility_trace"/copies-*.log)"
cat "$mobility_trace"/copies-*.log >>"$lines"
registers 0 --flags SDT --bind 203.0.113.138 --expect 1
is_bound "[[\"$mobility\",\"203.0.113.138\",true]]"
unplug 103 wlan0

# In UDP, and the home agent answers what keeps it alive (RFC 3519).
registers 0 --udp force --keep-alives 2
jq -se '.[1].udp_tunnel_reply == {code: 0, forced: true, keepalive: 110}' <<<"$said" >/dev/null || fail "the answer: $said"
[[ $(jq -se '[.[] | select(.event == "echo" and .answered)] | length' <<<"$said") == 2 ]] || fail "no echo: $said"
[[ $(agent 102o bindings --json | jq -r '.[].encapsulation') == "ipip in UDP" ]] || fail "not in UDP: $(agent 102o bindings)"

# An administrator throws it out, and it is told so if it asked for that (RFC 3543).
waits() { grep -q '"waiting"' "$mobility_trace/$1.log"; }
acknowledged() { [[ $(grep -c revocation-acknowledged "$(agent_log 102o)") == "$1" ]]; }
withdrawn() {
    start_process 103 "$1" "$peers/mobile_node.py" "$outer_agent" --home "$mobility" --key "$key" --revocation --await-revocation 30 "${@:3}"
    eventually 20 waits "$1" || fail "not registered: $(cat "$mobility_trace/$1.log")"
    [[ $(bindings) != '[]' ]] || fail "no binding"
    agent 102o revoke "$mobility" || fail "not revoked"
    eventually 10 acknowledged "$2" || fail "not acknowledged: $(cat "$mobility_trace/$1.log") $(tail -n 5 "$(agent_log 102o)")"
    is_bound '[]'
    cat "$mobility_trace/$1.log" >>"$lines"
}
withdrawn told 1
! reached 1 || fail "reached after the revocation"

# A foreign agent that shares a key with the home agent: without it there is no registration, with it both withdraw, nobody else.
on 103 ip address add "$foreign_agent/25" dev eth0
visits() { registers "$1" --bind "$foreign_agent" --flags T --agent-key "$agent_key" --revocation "${@:2}"; }
visits 0 --agent-key "$key" --expect 132
is_bound '[]'
visits 0
[[ $(answered agent_authentic) == true ]] || fail "not signed for the agent: $said"
at_agent="[[\"$mobility\",\"$foreign_agent\",true]]"
is_bound "$at_agent"
withdraws() {
    local status=0
    said=$(on 103 "$peers/revoker.py" "$outer_agent" --bind "$foreign_agent" --foreign --home "$mobility" --home-agent "$outer_agent" \
        --care-of "$foreign_agent" --key "$agent_key" "${@:2}") || status=$?
    echo "$said" >>"$lines"
    [[ $status == "$1" ]] || fail "exit status $status, not $1, of $* $said $(tail -n 4 "$(agent_log 102o)")"
}
withdraws 2 --spoil authenticator --wait 0.5
withdraws 2 --spoil unsigned --wait 0.5
withdraws 2 --age 60 --wait 0.5
is_bound "$at_agent"
withdraws 0
is_bound '[]'
withdrawn through 2 --bind "$foreign_agent" --flags T --agent-key "$agent_key"
stop_capture 102o to-106
dissect "$mobility_trace/registrations" "$lines"

# The agent goes while somebody is registered, and leaves nothing.
registers 0
stop_agent 102o
[[ $(ours) == "$before" ]] || fail "left behind: $(diff <(echo "$before") <(ours))"
