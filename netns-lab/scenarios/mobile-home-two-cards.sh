# shellcheck shell=bash
# Two adapters in the home network of S (FIG. 7), as a dock and a WLAN are: whichever carries, S stays native. Pulled out, the
# cable takes with it what is underway; put back in, it is asked over before the other one is let go of, and nothing is lost.
#
# topology: mip-fig7
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

configure_dual 10.20.0.0/24 10.11.0.0/24,10.12.0.0/24,10.20.0.0/24 to-105h

state() { agent 103 mobility; tail -n 30 "$(agent_log 103)"; agent 102i bindings; tail -n 5 "$(agent_log 102i)"; }
# native CARD: S is at home by it.
native() {
    eventually 5 by_card "$1" || fail "not at home by $1: $(state)"
    [[ $(agent 102i bindings --json | jq length) == 0 ]] || fail "bound at home: $(agent 102i bindings)"
}
by_card() { at 103 inside && mobile 103 '.addresses[0].way' | has "^native over $1"; }
# enter ADDRESS CARD: joins the home network as well.
enter() {
    echo "$(date +%s.%N) $2-in" >>"$mobility_trace/moves"
    plug_with 103 105h "$1/24" 10.20.0.1 "$2"
}
leave() {
    echo "$(date +%s.%N) $1-out" >>"$mobility_trace/moves"
    unplug 103 "$1"
}

plug_with 103 105h 10.20.0.50/24 10.20.0.1 eth0
native eth0
start_streams 101 103 "$intranet" 500 200000
sleep 1
enter 10.20.0.51 wlan0
sleep 2
native eth0
leave eth0
native wlan0
sleep 2
enter 10.20.0.50 eth0
native eth0
sleep 2
leave wlan0
native eth0
sleep 2
end_streams
report_moves
lost=$(report_streams | awk '$1 != "eth0-out" { lost += $2 } END { print lost + 0 }')
((lost == 0)) || fail "$lost packets are lost: $(state)"
# The warm VPN may be there first, for a moment: what is pulled out costs no more than the answer at home.
lost=$(report_streams | awk '$1 == "eth0-out" { print $2 }')
((lost < 100)) || fail "$lost packets are lost, and it was outside meanwhile: $(state)"
