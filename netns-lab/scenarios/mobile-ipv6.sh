# shellcheck shell=bash
# IPv6 inside and IPv4 outside (RFC 5454): a prefix behind the mobile node and an IPv6 address of its own move with its home address,
# through IP in IP, GRE and, behind a NAT, in UDP. A TCP session of IPv6 lives through the moves and kill -9; nothing of the prefixes
# leaves by the IPv6 that the network gives, nor when there is no tunnel. The home agent takes out of tunnels what is from the
# prefix of who sends it, and says what it does not carry.
#
# topology: mip-fig1
# needs: agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

prefix=2001:db8:5::/64
behind=2001:db8:5::1
own=2001:db8:6::5
asker=2001:db8:106::254

share_secret mobile.key 103 102o
configure 102o <<TOML
[identity]
id = "ha.example"
[home-agent]
address = "$outer_agent"
home-network = "198.51.100.0/24"
[[mobile-node]]
home = "$mobility"
spi = 256
key-file = "mobile.key"
networks = ["$prefix", "$own/128"]
TOML
configure 103 <<TOML
[identity]
id = "laptop.example"
[mobility]
home = "$mobility"
home-agent = "$outer_agent"
spi = 256
key-file = "mobile.key"
networks = ["$prefix", "$own/128"]
destinations = ["192.0.2.0/24", "2001:db8:106::/64"]
TOML
leave_nothing 102o 103
has_tunnels() {
    local kind
    for kind in 'sit local 192.0.2.1' 'ipip external' 'gre external' dummy; do
        # shellcheck disable=SC2086 # a kind and its words
        on 102o ip link add probe type $kind && on 102o ip link del probe || return
    done
}
has_tunnels 2>/dev/null || skip "this kernel has no sit, ipip, gre or dummy"
on isp ip address add "$asker/64" dev to-106 nodad
on 102o ip address add 2001:db8:106::2/64 dev to-106 nodad
for there in 2001:db8:5::/64 2001:db8:6::/64; do on isp ip route add "$there" via 2001:db8:106::2; done
on 103 ip link add lan0 type dummy
on 103 ip address add "$behind/64" dev lan0 nodad
on 103 ip link set lan0 up
# Each network gives IPv6 of its own as well, which leads everywhere.
on isp sysctl -q net.ipv6.conf.all.forwarding=1
on isp ip address add 2001:db8:71::1/64 dev to-x1 nodad
on isp ip address add 2001:db8:72::1/64 dev to-x2 nodad
plugs() {
    move 103 "x$1"
    on 103 ip address add "2001:db8:7$1::10/64" dev eth0 nodad
    on 103 ip route replace default via "2001:db8:7$1::1" dev eth0
    on 103 ping -q -c 1 -W 5 -I "2001:db8:7$1::10" "$asker" >/dev/null || fail "x$1 has no IPv6"
}
goes() {
    plugs "$1"
    eventually 10 dwells 103 "without VPN" "x$1" || fail "x$1: $(state)"
}
state() { agent 103 mobility; agent 102o bindings; tail -n 20 "$(agent_log 103)"; refusals 103; refusals 102o; on 103 ip -6 rule; on 103 ip -6 route show table 7380; }
# What is there of ours, and what we changed.
ours() {
    on "$1" ip route show table all proto 88
    on "$1" ip -6 route show table all proto 88
    on "$1" ip -6 rule show proto 88
    on "$1" ip -oneline link show | grep -o 'xa-[a-z0-9]*' || true
    on "$1" sysctl net.ipv6.conf.all.forwarding
}
on 102o sysctl -q net.ipv6.conf.all.forwarding=0
before=$(ours 102o)$(ours 103)
reached() { on isp ping -c "${2:-3}" -i 0.2 -W 5 "$1" >"$mobility_trace/ping"; }

# Nobody is registered: who asks for them is told, and nothing of the prefixes leaves by the way that there is.
start_agent 102o
! reached "$own" 1 || fail "reached without a registration"
grep -q 'unreachable' "$mobility_trace/ping" || fail "no word that nobody is there: $(cat "$mobility_trace/ping")"
stop_agent 102o || fail "it does not stop"
for network in x1 x2; do capture isp "to-$network" "$mobility_trace/$network.pcap" ip or ip6; done
start_agent 103
plugs 1
for address in "$behind" "$own"; do
    ! on 103 ping -c 1 -W 1 -I "$address" "$asker" >/dev/null 2>&1 || fail "$address leaves before there is a way"
done
start_agent 102o
goes 1
for address in "$behind" "$own"; do reached "$address" || fail "$address is not reached: $(cat "$mobility_trace/ping") $(state)"; done
# An application that asks for nothing speaks from the address of its own.
on 103 ip route get "$asker" | has "src $own" || fail "not from $own: $(on 103 ip route get "$asker")"
on 103 ping -c 3 -i 0.2 -W 5 "$asker" >"$mobility_trace/ping" || fail "$(cat "$mobility_trace/ping") $(state)"
[[ $(agent 102o bindings --json | jq -c '.[].networks') == "[\"$prefix\",\"$own/128\"]" ]] || fail "$(agent 102o bindings)"

# Only its own prefixes come out of the tunnel, and nothing that did not come through it.
dropped() { on 102o nft list counter ip xfrm-agent-tunnels refused | sed -n 's/.*packets \([0-9]*\).*/\1/p'; }
was=$(dropped)
on 103 ip address add 2001:db8:9::1/128 dev lan0 nodad
on 103 ip -6 rule add from 2001:db8:9::1 lookup 7380 priority 100
! on 103 ping -c 2 -i 0.2 -W 1 -I 2001:db8:9::1 "$asker" >/dev/null || fail "another source came out of the tunnel"
(($(dropped) == was + 2)) || fail "$(dropped) dropped, before $was"
on 103 ip -6 rule del from 2001:db8:9::1 lookup 7380 priority 100
on isp ip address add "$mobility/32" dev lo
on isp ip link add forged type sit local "$mobility" remote "$outer_agent"
on isp ip link set forged up
on isp ip address add "$own/128" dev forged nodad
on isp ip route add 2001:db8:106::2/128 dev forged
! on isp ping -c 2 -i 0.2 -W 1 -I "$own" 2001:db8:106::2 >/dev/null || fail "it came in the clear from who says that it is the mobile node"
(($(dropped) == was + 4)) || fail "$(dropped) dropped, before $was"
on isp ip link del forged
on isp ip address del "$mobility/32" dev lo

# A session lives through moves, a NAT, and the death of both agents.
start_process isp streams-serve6 python3 "$lab_folder/moving.py" serve 5005 2000000
eventually 40 streams_say serve6 listening || fail "it does not listen"
start_process 103 streams-take6 python3 "$lab_folder/moving.py" take "$asker" 5005 "$mobility_trace/taken6" "$behind"
eventually 40 streams_say take6 connected || fail "no TCP session: $(state)"
on isp nft -f - <<'NFT'
table ip lab-nat {
    chain leaving {
        type nat hook postrouting priority srcnat
        oifname "to-106" ip saddr 203.0.113.128/25 masquerade
    }
}
NFT
# Nothing yet is 0.
taken() { { echo 0; cat "$mobility_trace/taken6"; } | tail -n 1 | cut -d ' ' -f 1; }
more_than() { (($(taken) > $1)); }
flows6() { eventually 20 more_than $(($(taken) + 500000)) || fail "the session stands still: $(state)"; }
flows6
goes 2
flows6
reached "$own" || fail "not reached in UDP: $(cat "$mobility_trace/ping") $(state)"
start_again() {
    local node
    for node in 102o 103; do
        stop_agent "$node" KILL || true
        start_agent "$node"
    done
}
start_again
eventually 10 dwells 103 "without VPN" x2 || fail "after the restart: $(state)"
flows6
goes 1
flows6

# And in GRE, when both have been told to and started again.
sed -i '/^\[home-agent\]/a encapsulations = "gre"' "$(agent_folder 102o)/agent.toml"
sed -i '/^\[mobility\]/a encapsulation = "gre"' "$(agent_folder 103)/agent.toml"
start_again
eventually 10 wrapped 102o gre || fail "not in GRE: $(state)"
flows6
reached "$own" || fail "not reached in GRE: $(cat "$mobility_trace/ping") $(state)"
end_process streams-take6 INT || fail "TCP: $(cat "$mobility_trace/streams-take6.log")"
end_process streams-serve6 INT || true

# What the home agent says, to one that shares nothing with it: towards the home address, not the care-of address, and nobody else's.
stop_agent 103 || fail "it does not stop"
key=$(tr -d '\n' <"$(agent_folder 103)/mobile.key" | od -An -v -tx1 | tr -d ' \n')
answers() {
    local said codes
    said=$(on 103 "${repository:?}/tests/mobile_ip/mobile_node.py" "$outer_agent" --home "$mobility" --key "$key" "${@:2}") || fail "$said"
    codes=$(jq -sr '[last(.[] | select(.event == "received")).extensions[] | select(.type == 152) | .data[2:4]] | join(" ")' <<<"$said")
    [[ $codes == "$1" ]] || fail "codes $codes, not $1: $said"
}
answers "00 09" --prefix "$prefix" --prefix 2001:db8:9::/64
answers "08" --prefix "$prefix" --to-care-of

for network in x1 x2; do stop_capture isp "to-$network"; done
# nestings FILE: the headers around packets of the prefixes, and their protocols; not what an ICMP error quotes.
nestings() {
    tshark -n -r "$1" -Y '(ipv6.addr == 2001:db8:5::/64 || ipv6.addr == 2001:db8:6::/64) && !icmp' -T fields -e frame.protocols -e ip.proto 2>/dev/null |
        sed 's/^eth:ethertype://; s/:\(tcp\|icmpv6\).*\t/ /; s/\t/ /' | sort -u
}
for expected in 'x1 ip:gre:ip:ipv6 47,41 ip:ip:ipv6 4,41' 'x2 ip:udp:mip:ip:ipv6 17,41'; do
    read -r network expected <<<"$expected"
    seen=$(nestings "$mobility_trace/$network.pcap" | tr '\n' ' ')
    seen=${seen% }
    [[ $seen == "$expected" ]] || fail "$network shows $seen"
done

# The agents go and leave nothing.
stop_agent 102o || fail "it does not stop"
after=$(ours 102o)$(ours 103)
[[ $after == "$before" ]] || fail "left behind: $after, before $before"
