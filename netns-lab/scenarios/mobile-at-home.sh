# shellcheck shell=bash
# The inner system has a physical home network (FIG. 7): there S is native, without a tunnel, and the home agent has let go of it.
# It keeps its address from there into another network inside, outside, and back; outside, nothing is in the clear.
#
# topology: mip-fig7
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

configure_dual 10.20.0.0/24 10.11.0.0/24,10.12.0.0/24,10.20.0.0/24 to-105h

state() { agent 103 mobility; tail -n 30 "$(agent_log 103)"; refusals 103; agent 102i bindings; tail -n 5 "$(agent_log 102i)"; }
reaches() {
    local answers
    answers=$(on 103 ping -c 3 -i 0.2 -W 5 -I "$intranet" "$correspondent") || true
    [[ $(received "$answers") == 3 ]] || fail "$1: $answers $(state)"
}
at_home() { at 103 inside && mobile 103 '.addresses[0].way' | has '^native over eth0'; }
capture isp to-x1 "$mobility_trace/x1.pcap" ip

move 103 105h
eventually 15 at_home || fail "not at home: $(state)"
[[ $(agent 102i bindings --json | jq length) == 0 ]] || fail "bound at home: $(agent 102i bindings)"
reaches home
start_streams 101 103 "$intranet" 200 200000
move 103 105a
eventually 15 dwells 103 inside 105a || fail "not inside: $(state)"
reaches inside
move 103 x1
eventually 15 dwells 103 "outside, with a VPN adapter" x1 || fail "not outside: $(state)"
reaches outside
move 103 105h
eventually 20 at_home || fail "not at home again: $(state)"
sleep 3
reaches home
end_streams
report_moves
nothing_clear x1
