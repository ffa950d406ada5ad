# shellcheck shell=bash
# One Mobile IP system and no VPN (FIG. 1): the agent registers with a home agent that shares no code with it, a TCP session
# and a stream of packets live through moves between two networks, always through the tunnel, and through the death of the
# agent, which leaves its adapters and blocks behind.
#
# topology: mip-fig1
# needs: agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

share_secret mobile.key 103 102o
configure 103 <<END
[identity]
id = "laptop.example"

[mobility]
home = "$mobility"
home-agent = "$outer_agent"
spi = 256
key-file = "mobile.key"
destinations = "192.0.2.0/24"
END
start_scapy_agent 102o "$outer_agent" "$(agent_folder 102o)/mobile.key" --home 198.51.100.0/24
start_agent 103
at 103 blocked || fail "not blocked: $(agent 103 mobility)"
! on 103 ping -c 1 -W 1 "$gateway" >/dev/null 2>&1 || fail "something leaves before there is a way"

# way NETWORK: through the tunnel from the lease there.
way() {
    local address
    read -r address _ < <(lease 103 "$1")
    on 103 ip route show table 7380 | grep "^default.*encap ip.* src ${address%/*} dst $outer_agent " >/dev/null || fail "$1: $(on 103 ip route show table 7380)"
    on 103 ip route show table 7380 | grep '^unreachable default' >/dev/null || fail "the table has no end"
    on 103 ip route get "$gateway" | has "src $mobility" || fail "not from $mobility: $(on 103 ip route get "$gateway")"
}
move 103 x1
eventually 10 dwells 103 "without VPN" x1 || fail "not registered: $(agent 103 mobility; cat "$(agent_log 103)")"
way x1
for network in x1 x2; do
    capture isp "to-$network" "$mobility_trace/$network.pcap" ip
done
answers=$(on 103 ping -c 5 -i 0.1 -W 5 "$gateway") || true
[[ $(received "$answers") == 5 ]] || fail "$answers"

start_streams 104 103 "$mobility" 500 1000000
for network in x2 x1; do
    sleep 1
    move 103 "$network"
    eventually 10 dwells 103 "without VPN" "$network" || fail "$network: $(agent 103 mobility)"
    way "$network"
done
sleep 1

# Killed: what it made stays, and leads where it led.
stop_agent 103 KILL || true
on 103 ip link show intranet0 | has 'UP' || fail "the adapter went with the agent"
way x1
sleep 0.5
start_agent 103
eventually 10 dwells 103 "without VPN" x1 || fail "after the restart: $(agent 103 mobility)"
sleep 1
end_streams
report_moves

# Where there is no network, nothing goes anywhere.
unplug 103
eventually 10 at 103 blocked || fail "$(agent 103 mobility)"
[[ $(on 103 ip route show table 7380) == unreachable* ]] || fail "$(on 103 ip route show table 7380)"

for network in x1 x2; do
    stop_capture isp "to-$network"
    clear=$(tshark -n -r "$mobility_trace/$network.pcap" -Y "ip.addr == $mobility && !(ip.addr == $outer_agent)" 2>/dev/null)
    [[ -z $clear ]] || fail "outside the tunnel in $network: $clear"
    seen=$(headers "$mobility_trace/$network.pcap")
    [[ $seen == *'X>T_HA (4) T>'* && $seen == *'T_HA>X (4) '* ]] || fail "$network shows $seen"
done
