# shellcheck shell=bash
# The enterprise's WLAN is the home network of the outer system (FIG. 8): there T is native, without an outer tunnel, and the VPN runs as
# it does outside. A TCP session and a stream live through inside, the WLAN, a network outside, one behind a NAT, and back; the VPN is
# set up once, and nothing is in the clear on the WLAN or outside.
#
# topology: mip-fig8
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

configure_dual '' '' '' 198.51.100.0/24 to-109

state() { agent 103 mobility; tail -n 30 "$(agent_log 103)"; refusals 103; agent 102o bindings; tail -n 5 "$(agent_log 102o)"; }
# way NAME PATTERN: what carries S, T or V.
way() { mobile 103 ".addresses[] | select(.name == \"$1\") | .way" | has "$2"; }
on_wlan() { at 103 "outside, with a VPN adapter" && way T '^native over eth0'; }
capture isp to-x1 "$mobility_trace/x1.pcap" ip
capture isp to-home "$mobility_trace/home.pcap" ip
capture 102o to-109 "$mobility_trace/wlan.pcap" ip
capture 104 to-109 "$mobility_trace/wlan-gateway.pcap" 'ip or arp'

move 103 105a
eventually 15 dwells 103 inside 105a || fail "not inside: $(state)"
start_streams 101 103 "$intranet" 500 1000000
sleep 1
move 103 109
eventually 20 on_wlan || fail "not on the WLAN: $(state)"
# Its home agent answers for T as long as T is away; the gateway has learnt where it is before it could ask anybody.
card=$(on 103 cat /sys/class/net/eth0/address)
found=$(on 104 ip neigh show "$mobility")
[[ $found == *"lladdr $card "* ]] || fail "the gateway sends what is for T to ${found:-nobody}, not to $card: $(state)"
sleep 1.5
[[ $(agent 102o bindings --json | jq length) == 0 ]] || fail "T is bound at home: $(agent 102o bindings)"
seen=$(headers "$mobility_trace/wlan-gateway.pcap" 103)
for nesting in 'T>T_gw (50) V>S_HA (4) S>CN' 'T_gw>T (50) S_HA>V (4) CN>S'; do
    [[ $seen == *"$nesting"* && $seen != *"X>T_HA"* ]] || fail "no $nesting: $seen"
done
announced=$(tshark -n -r "$mobility_trace/wlan-gateway.pcap" -Y "arp.isgratuitous && arp.src.proto_ipv4 == $mobility && arp.src.hw_mac == $card" 2>/dev/null | wc -l)
[[ $announced == 2 ]] || fail "announced $announced times instead of before and after the request"
for network in x1 x2 109 105b; do
    move 103 "$network"
    case $network in
    109) eventually 20 on_wlan || fail "not on the WLAN: $(state)" ;;
    105b) eventually 20 dwells 103 inside 105b || fail "not inside: $(state)" ;;
    *) eventually 20 dwells 103 "outside, with a VPN adapter" "$network" || fail "not in $network: $(state)" ;;
    esac
    sleep 1.5
done
end_streams
report_moves
[[ $(grep -c 'kind="vpn-connecting"' "$(agent_log 103)") == 1 ]] || fail "the VPN was set up more than once: $(state)"

for network in isp:x1 isp:home 102o:109 104:109; do stop_capture "${network%:*}" "to-${network#*:}"; done
# From inside too, the outer home agent is told where T is, and what is still on its way follows it there.
outer_system="(mip.type == 1 || mip.type == 3 || isakmp || esp) && ip.addr == $outer_agent"
for trace in x1 home wlan; do
    clear=$(clear_outside "$mobility_trace/$trace.pcap" "$registration_probe || $outer_system")
    [[ -z $clear ]] || fail "in the clear on $trace: $clear"
done
