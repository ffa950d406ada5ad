# shellcheck shell=bash
# Both systems of the dual client in minimal encapsulation: S in its tunnel inside, T in its own outside with that of S in the VPN
# within. One TCP session and a stream live through the moves; behind a NAT the outer tunnel is in UDP. Packets as large as the
# tunnels take go through whole.
#
# topology: mip-fig7
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

# shellcheck disable=SC2034 # for mobility.sh
encapsulation=minimal
configure_dual 10.20.0.0/24 10.11.0.0/24,10.12.0.0/24,10.20.0.0/24 to-105h
state() { agent 103 mobility; tail -n 30 "$(agent_log 103)"; refusals 103; agent 102o bindings; agent 102i bindings; }
# seen FILE FROM TO: packets of minimal encapsulation between them.
seen() { [[ -n $(tshark -n -r "$mobility_trace/$1" -Y "ip.proto == 55 && ip.src == $2 && ip.dst == $3" 2>/dev/null | head -n 1) ]]; }
both_ways() {
    seen "$@" || fail "$1: nothing in minimal encapsulation from $2 to $3"
    seen "$1" "$3" "$2" || fail "$1: nothing in minimal encapsulation from $3 to $2"
}
capture isp to-x1 "$mobility_trace/x1.pcap" ip
capture isp to-home "$mobility_trace/home.pcap" ip
capture 102i to-105 "$mobility_trace/inside.pcap" ip

move 103 105a
eventually 15 dwells 103 inside 105a || fail "not inside: $(state)"
wrapped 102i minimal || fail "inside it is something else: $(state)"
fits 1488
start_streams 101 103 "$intranet" 100 100000
came x1 "outside, with a VPN adapter"
for node in 102o 102i; do wrapped "$node" minimal || fail "$node has something else: $(state)"; done
for way in S.10.30.0.5 T.203.0.113.10; do
    mobile 103 ".addresses[] | select(.name == \"${way%%.*}\") | .way" | has "^minimal tunnel ${way#*.} to" || fail "${way%%.*}: $(state)"
done
fits 1402
came x2 "outside, with a VPN adapter"
wrapped 102o "ipip in UDP" || fail "not in UDP: $(state)"
wrapped 102i minimal || fail "within the VPN it is something else: $(state)"
came 105a inside
end_streams
report_moves
stop_capture 102i to-105
nothing_clear x1 home
both_ways x1.pcap 203.0.113.10 "$outer_agent"
# Within the VPN, as its other end lets it out.
both_ways inside.pcap 10.30.0.5 "$inner_agent"
