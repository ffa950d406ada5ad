# shellcheck shell=bash
# A physical home network: our home agent answers ARP for who has left it, and says so at once, so that a neighbour's stream
# goes on; when the mobile node is back and has said so, the neighbour reaches it directly again.
#
# topology: mip-fig1
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

key=000102030405060708090a0b0c0d0e0f
mobile_node=${repository:?}/tests/mobile_ip/mobile_node.py
home=192.0.2.77
care_of=203.0.113.10
neighbour=192.0.2.254

# The DMZ is its home network here, and its lease there the home address.
lease() { if [[ $2 == 106 ]]; then echo "$home/24 $neighbour"; else echo "$care_of/25 203.0.113.1"; fi; }

has_tunnels() {
    on 102o ip link add probe type ipip external && on 102o ip link set probe up &&
        on 102o ip route add "$home" encap ip src "$outer_agent" dst "$care_of" dev probe && on 102o ip link del probe
}
has_tunnels 2>/dev/null || skip "this kernel has no ipip, or no encapsulation by route (CONFIG_LWTUNNEL)"
configure 102o <<TOML
[identity]
id = "ha.example"
[home-agent]
address = "$outer_agent"
home-network = "192.0.2.0/24"
link = "to-106"
pool = "192.0.2.64/29"
[[mobile-node]]
nai = "alice@example.org"
spi = 256
key-file = "node.key"
[[mobile-node]]
home = "$home"
spi = 256
key-file = "node.key"
TOML
(umask 077 && echo "0x$key" >"$(agent_folder 102o)/node.key")
leave_nothing 102o
start_agent 102o

# knows NODE: whether the neighbour sends what is for the mobile node to that node's card.
knows() {
    local card
    card=$(on "$1" cat "/sys/class/net/$2/address")
    on isp ip neighbour show "$home" | grep -q "lladdr $card"
}
# away: what the mobile node has of its own.
away() {
    on 103 ip link add mobile0 type ipip local "$care_of" remote "$outer_agent"
    on 103 ip address add "$home/32" dev mobile0
    on 103 ip link set mobile0 up
    on 103 ip route add "$neighbour" dev mobile0 src "$home"
}

move 103 106
on isp ping -c 1 -W 5 -I "$neighbour" "$home" >/dev/null || fail "not reached at home"
knows 103 eth0 || fail "at home it has no card: $(on isp ip neighbour)"
on 103 "$mobile_node" "$outer_agent" --home "$home" --bind "$home" --care-of "$home" --lifetime 0 --key "$key" >/dev/null ||
    fail "not deregistered from home: $(tail -n 4 "$(agent_log 102o)")"

start_stream isp "$home"
eventually 10 flows || fail "no stream"
move 103 x1
away
left=$(date +%s.%N)
on 103 "$mobile_node" "$outer_agent" --home "$home" --key "$key" >"$mobility_trace/said" || fail "not registered: $(cat "$mobility_trace/said")"
eventually 3 knows 102o to-106 || fail "the neighbour was not told: $(on isp ip neighbour)"
report "the neighbour was told $(awk -v left="$left" -v now="$(date +%s.%N)" 'BEGIN { printf "%.1f", now - left }') s after the cable was in"
eventually 5 flows || fail "the stream did not go on: $(tail -n 2 "$mobility_trace/stream.log")"
[[ -n $(on 102o ip neighbour show proxy "$home") ]] || fail "no proxy neighbour"
# Whoever asks now is answered by the home agent.
on isp ip neighbour del "$home" dev to-106
eventually 5 flows || fail "ARP is not answered: $(on isp ip neighbour)"
knows 102o to-106 || fail "ARP is answered by somebody else: $(on isp ip neighbour)"

on 103 ip link del mobile0
move 103 106
on 103 "$mobile_node" "$outer_agent" --home "$home" --bind "$home" --care-of "$home" --lifetime 0 --key "$key" >"$mobility_trace/said" ||
    fail "not deregistered: $(cat "$mobility_trace/said")"
[[ -z $(on 102o ip neighbour show proxy "$home") ]] || fail "the home agent still answers ARP"
[[ $(agent 102o bindings --json) == '[]' ]] || fail "still bound"
on 103 arping -c 1 -U -I eth0 "$home" >/dev/null 2>&1 || on isp ip neighbour del "$home" dev to-106
eventually 5 flows || fail "the stream did not come home"
knows 103 eth0 || fail "the neighbour does not send it home: $(on isp ip neighbour)"
read -r sent lost _ <<<"$(end_stream)"
report "$lost of $sent pings lost in both moves"

# So it is with an address that a mobile node is given.
move 103 x1
home=192.0.2.65
away
on 103 "$mobile_node" "$outer_agent" --home 0.0.0.0 --nai alice@example.org --key "$key" >"$mobility_trace/said" ||
    fail "not registered by name: $(cat "$mobility_trace/said")"
on isp ping -c 1 -W 5 -I "$neighbour" "$home" >/dev/null || fail "not reached at what it was given: $(cat "$mobility_trace/said")"
knows 102o to-106 || fail "ARP is answered by somebody else: $(on isp ip neighbour)"
stop_agent 102o
[[ -z $(on 102o ip neighbour show proxy) && -z $(on 102o ip route show table all proto 88) ]] || fail "something stayed behind"
