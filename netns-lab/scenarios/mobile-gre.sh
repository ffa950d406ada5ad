# shellcheck shell=bash
# Both systems of the dual client in GRE: S in its tunnel inside, T in its own outside with that of S in the VPN within. One TCP session
# and a stream live through the moves; behind a NAT the outer tunnel is in UDP. Packets as large as the tunnels take go through whole.
#
# topology: mip-fig7
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

# shellcheck disable=SC2034 # for mobility.sh
encapsulation=gre
configure_dual 10.20.0.0/24 10.11.0.0/24,10.12.0.0/24,10.20.0.0/24 to-105h
state() { agent 103 mobility; tail -n 30 "$(agent_log 103)"; refusals 103; agent 102o bindings; agent 102i bindings; }
capture isp to-x1 "$mobility_trace/x1.pcap" ip
capture isp to-home "$mobility_trace/home.pcap" ip
capture 102i to-105 "$mobility_trace/inside.pcap" ip

move 103 105a
eventually 15 dwells 103 inside 105a || fail "not inside: $(state)"
wrapped 102i gre || fail "not in GRE: $(state)"
fits 1472
start_streams 101 103 "$intranet" 100 100000
came x1 "outside, with a VPN adapter"
for node in 102o 102i; do wrapped "$node" gre || fail "not in GRE: $(state)"; done
mobile 103 '.addresses[] | select(.name == "T") | .way' | has '^tunnel of GRE 203.0.113.10 to' || fail "T: $(state)"
fits 1390
seen=$(headers "$mobility_trace/x1.pcap" 103)
for nesting in 'X>T_HA (47) T>T_gw (50) V>S_HA (47) S>CN' 'T_HA>X (47) T_gw>T (50) S_HA>V (47) CN>S'; do
    [[ $seen == *"$nesting"* ]] || fail "no $nesting: $seen"
done
# What fits through a narrower path is found out at each level, with a packet lost at it.
on isp ip route replace 192.0.2.0/24 dev to-106 mtu lock 1300
on 103 ping -c 6 -i 0.2 -W 1 -M 'do' -s 1362 "$correspondent" >/dev/null 2>&1 || true
fits 1198
on isp ip route replace 192.0.2.0/24 dev to-106
came x2 "outside, with a VPN adapter"
wrapped 102o "ipip in UDP" || fail "not in UDP: $(state)"
end_streams
report_moves
stop_capture 102i to-105
seen=$(headers "$mobility_trace/inside.pcap")
[[ $seen == *'(47) S>CN'* && $seen == *'(47) CN>S'* && $seen != *'(4) '* ]] || fail "inside: $seen"
nothing_clear x1 home
