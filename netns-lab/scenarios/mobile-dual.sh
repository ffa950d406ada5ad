# shellcheck shell=bash
# The dual client with our own VPN and home agents: inside (FIG. 11) S is in a tunnel between the adapter and the inner home agent, and outside
# (FIG. 9) in one within ESP within the outer tunnel, with the headers of FIG. 14; where there is no IPv4, within ESP over IPv6. One TCP session and a stream of packets live
# through every move, and outside nothing is in the clear but the requests that ask whether it is outside.
#
# topology: mip-fig13-15
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

offer_ipv6
configure_dual ''

state() { agent 103 mobility; tail -n 30 "$(agent_log 103)"; refusals 103; }
for network in x1 x2; do capture isp "to-$network" "$mobility_trace/$network.pcap" ip or ip6; done

move 103 x1
eventually 15 dwells 103 "outside, with a VPN adapter" x1 || fail "not outside: $(state)"
answers=$(on 103 ping -c 5 -i 0.1 -W 5 "$correspondent") || true
[[ $(received "$answers") == 5 ]] || fail "$answers $(state)"
answers=$(on 101 ping -c 5 -i 0.1 -W 5 "$intranet") || true
[[ $(received "$answers") == 5 ]] || fail "$answers $(state)"
seen=$(headers "$mobility_trace/x1.pcap" 103)
for nesting in 'X>T_HA (4) T>T_gw (50) V>S_HA (4) S>CN' 'T_HA>X (4) T_gw>T (50) S_HA>V (4) CN>S'; do
    [[ $seen == *"$nesting"* ]] || fail "no $nesting: $seen"
done

start_streams 101 103 "$intranet" 500 1000000
sleep 1
came x2 "outside, with a VPN adapter"
came 105a inside
# The VPN is warm, and carries nothing.
[[ $(ask 103 .vpn.state) == warm ]] || fail "the VPN is $(ask 103 .vpn.state)"
on 103 ip route show table 7380 | has "^default.*encap ip.* dst $inner_agent " || fail "$(on 103 ip route show table 7380)"
came 105b inside

# A network that has nothing but IPv6: the VPN runs over that, and the session goes on.
over_ipv6() {
    at 103 "outside, with a VPN adapter" && [[ $(ask 103 .vpn.local) == "$own6" ]]
}
move_without_ipv4 103
eventually 15 over_ipv6 || fail "not over IPv6: $(state)"
answers=$(on 103 ping -c 25 -i 0.05 -W 5 "$correspondent") || true
[[ $(received "$answers") == 25 ]] || fail "over IPv6: $answers $(state)"
sleep 1.5
came x1 "outside, with a VPN adapter"

# Killed outside: what it made stays; the VPN is negotiated anew, and S goes on.
stop_agent 103 KILL || true
on 103 ip route show table 7380 | has '^unreachable default' || fail "the table of S has no end"
start_agent 103
eventually 15 dwells 103 "outside, with a VPN adapter" x1 || fail "after the restart: $(state)"
sleep 3
end_streams
report_moves

nothing_clear x1 x2
only_vpn_in_ipv6 "$mobility_trace/x2.pcap"

# What was learnt is known after a restart: the guess is there before anybody has answered, and opens nothing.
came 105a inside
stop_agent 103 || fail "the agent did not end well"
stop_agent 102i || fail "the inner home agent did not end well"
start_agent 103
guesses_inside() {
    mobile 103 '.adapters[] | select(.name == "eth0") | "\(.domain) \(.guess) \(.hints)"' |
        has '^ inside .*this network was inside before'
}
eventually 5 guesses_inside || fail "nothing is expected: $(state)"
at 103 blocked || fail "a guess has opened something: $(state)"
start_agent 102i
eventually 15 dwells 103 inside 105a || fail "expected, and not proved: $(state)"

# A file that makes no sense costs what it held.
stop_agent 103 || fail "the agent did not end well"
echo nonsense >"$(agent_folder 103)/state/networks.json"
start_agent 103
grep -q 'does not hold what is known of networks' "$(agent_log 103)" || fail "nobody says so: $(state)"
eventually 15 dwells 103 inside 105a || fail "not without it: $(state)"
[[ $(mobile 103 '.networks | map(.domain) | join(" ")') == inside ]] || fail "$(mobile 103 .networks)"
