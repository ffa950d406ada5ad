# shellcheck shell=bash
# One Mobile IP system and no VPN (FIG. 1): a home agent that shares no code with it gives the agent its home address, a TCP session
# and a stream of packets live through moves between two networks, always through the tunnel, and through the death of the
# agent, which leaves its adapters and blocks behind. Then the home agent has another clock, another key, another name, and the
# network a NAT; tshark reads all messages as the home agent does.
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
nai = "laptop@example.org"
home-agent = "$outer_agent"
spi = 256
key-file = "mobile.key"
destinations = "192.0.2.0/24"
home-network = "198.51.100.0/24"
END
other_key=$mobility_trace/other.key
echo 000102030405060708090a0b0c0d0e0f >"$other_key"
said=$mobility_trace/scapy-$outer_agent.log
# home_agent KEY-FILE WORD...: from now on. What the former one said is kept; nobody asks while there is none.
home_agent() {
    if runs "scapy-$outer_agent"; then
        unplug 103
        end_process "scapy-$outer_agent" TERM || true
        cat "$said" >>"$mobility_trace/lines"
    fi
    start_scapy_agent 102o "$outer_agent" "$1" --home 198.51.100.0/24 --give "$mobility" "${@:2}"
}
# The answer to who goes home may still go through the tunnel.
capture 102o to-106 "$mobility_trace/registrations" udp port 434 or '(ip[9] == 4 and ip[29] == 17 and ip[40:2] == 434)'
home_agent "$(agent_folder 102o)/mobile.key"
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

# says FILTER: of the messages of the home agent that runs. heard NUMBER CODE: it has said that so often, at least.
says() { jq -se "$1" "$said" >/dev/null; }
heard() { says "[.[] | select(.event == \"sent\" and .code == $2)] | length >= $1"; }
state() { agent 103 mobility; tail -n 20 "$(agent_log 103)"; tail -n 20 "$said"; }

# It is told when it is withdrawn, and registers anew; whoever has not the key withdraws nothing (RFC 3543).
move 103 x1
eventually 10 dwells 103 "without VPN" x1 || fail "not registered: $(state)"
withdraws() {
    local status=0 lines
    lines=$(on 102o "${repository:?}/tests/mobile_ip/revoker.py" 203.0.113.10 --bind "$outer_agent" --mobile --home "$mobility" \
        --home-agent "$outer_agent" --care-of 203.0.113.10 --spi 256 "${@:2}") || status=$?
    echo "$lines" >>"$mobility_trace/lines"
    [[ $status == "$1" ]] || fail "exit status $status, not $1, of $* $lines $(state)"
}
own_key=$(tr -d '\n' <"$(agent_folder 103)/mobile.key" | od -An -v -tx1 | tr -d ' \n')
withdraws 2 --key "$(<"$other_key")" --wait 0.5
withdraws 2 --key "$own_key" --age 600 --wait 0.5
registrations=$(grep -c '"code": 0' "$said")
at 103 "without VPN" || fail "a stranger withdrew it: $(state)"
withdraws 0 --key "$own_key"
eventually 10 heard $((registrations + 1)) 0 || fail "not registered anew: $(state)"

# At home it needs no home agent, and says so (RFC 5944 §3.6.1.2).
unplug 103
on isp ip route del 198.51.100.0/24
on isp ip address add 198.51.100.254/24 dev to-x2
plug 103 x2
on 103 ip address flush dev eth0
on 103 ip address add 198.51.100.77/24 dev eth0
on 103 ip route replace default via 198.51.100.254 dev eth0
let_go() { says '[.[] | select(.event == "received")] | last | .lifetime == 0 and .care_of == .home and .authentic' && says 'last(.[] | select(.event == "bindings")) | .care_of == []'; }
eventually 10 let_go || fail "not deregistered: $(state)"
unplug 103
on isp ip address del 198.51.100.254/24 dev to-x2
on isp ip route add 198.51.100.0/24 via 192.0.2.2

# The home agent's clock is an hour ahead, and it grants twenty seconds: resynchronised and renewed in time. Behind a NAT that is in
# UDP, which is kept alive.
on isp nft -f - <<'NFT'
table ip lab-nat {
    chain leaving {
        type nat hook postrouting priority srcnat
        oifname "to-106" ip saddr 203.0.113.128/25 masquerade
    }
}
NFT
home_agent "$(agent_folder 102o)/mobile.key" --offset 3600 --lifetime 20 --keepalive 10
move 103 x2
eventually 10 dwells 103 "without VPN" x2 || fail "not resynchronised: $(state)"
says '[.[] | select(.event == "sent")] | .[0].code == 133 and .[1].code == 0 and .[1].udp_tunnel_reply.code == 0' || fail "the answers: $(state)"
answers=$(on 103 ping -c 3 -i 0.2 -W 5 "$outer_agent") || true
[[ $(received "$answers") == 3 ]] || fail "$answers $(state)"
through_tunnel() { [[ $(grep -c '"event": "data".*"inner_destination": "192.0.2.2"' "$said") -ge $1 ]]; }
eventually 20 through_tunnel 4 || fail "not kept alive: $(state)"
eventually 20 heard 2 0 || fail "not renewed: $(state)"
says 'all(.event != "expired")' || fail "the registration ended: $(state)"
on isp nft delete table ip lab-nat

# What is answered with another key is nobody's word, and what is denied with the right one is the home agent's.
home_agent "$other_key"
move 103 x1
eventually 10 heard 1 131 || fail "the wrong key is not refused: $(state)"
at 103 blocked || fail "not blocked: $(state)"
home_agent "$(agent_folder 102o)/mobile.key" --code 136
move 103 x2
eventually 10 heard 1 136 || fail "not denied: $(state)"
eventually 5 grep -q 'refused with code 136' "$(agent_log 103)" || fail "nobody says so: $(state)"
at 103 blocked || fail "not blocked: $(state)"
home_agent "$(agent_folder 102o)/mobile.key"
move 103 x1
eventually 10 dwells 103 "without VPN" x1 || fail "not registered in the end: $(state)"

stop_capture 102o to-106
end_process "scapy-$outer_agent" TERM || true
dissect "$mobility_trace/registrations" "$mobility_trace/lines" "$said"
