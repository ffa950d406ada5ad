# shellcheck shell=bash
# Two adapters up, and the better one changes: the old one carries until the new one is registered, so that of 1,000 packets
# a second each way none is lost, between two networks outside, from outside to inside, and between two inside. The TCP
# session lives, and outside nothing is in the clear.
#
# topology: mip-fig13-15
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

configure_dual ''

state() { agent 103 mobility; tail -n 30 "$(agent_log 103)"; refusals 103; refusals 102o; refusals 102i; }
for network in x1 x2; do
    # What is not in the outer tunnel.
    capture isp "to-$network" "$mobility_trace/$network.pcap" "ip and not host $outer_agent"
done

# prefer NETWORK CARD METRIC: of the card there, which is best, or not any more; nothing is pulled. Both routes are there for a
# moment, so that the card is never without.
prefer() {
    local gateway metric before
    read -r _ gateway < <(lease 103 "$1")
    before=$(on 103 ip route show default dev "$2" | sed -n 's/.* metric \([0-9]*\).*/\1/p')
    echo "$(date +%s.%N) $1" >>"$mobility_trace/moves"
    on 103 ip route add default via "$gateway" dev "$2" proto dhcp metric "$3"
    for metric in $before; do on 103 ip route del default via "$gateway" dev "$2" metric "$metric"; done
}
# settles NETWORK PLACE: it gets there, and what is on its way has come.
settles() {
    eventually 15 dwells 103 "$2" "$1" || fail "$1: $(state)"
    sleep 2.5
}
# join NETWORK CARD: into another network with a card that carries nothing.
join() {
    echo "$(date +%s.%N) $1" >>"$mobility_trace/moves"
    unplug 103 "$2"
    plug 103 "$1" "$2"
}

move 103 x1 eth0
eventually 15 dwells 103 "outside, with a VPN adapter" x1 || fail "not outside: $(state)"
plug 103 x2 wlan0
start_streams 101 103 "$intranet" 1000 100000
start_streams_back 1000
sleep 1

outside="outside, with a VPN adapter"
prefer x2 wlan0 50
settles x2 "$outside"
prefer x2 wlan0 600
settles x1 "$outside"
prefer x2 wlan0 50
settles x2 "$outside"
# The cable, which carries nothing now, leads inside.
join 105a eth0
settles 105a inside
join 105b wlan0
sleep 1
prefer 105b wlan0 50
settles 105b inside
prefer 105b wlan0 600
settles 105a inside

none_lost

nothing_clear x1 x2
