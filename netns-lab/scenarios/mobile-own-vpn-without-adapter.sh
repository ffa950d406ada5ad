# shellcheck shell=bash
# The dual client with our own VPN without an adapter (FIG. 10): the gateway gives no address, the tunnel is for T alone, and S goes
# through it in UDP from T. From inside to outside, behind a NAT and back; the gateway and the agent are killed meanwhile. One TCP
# session and a stream of packets live through every move, nothing is in the clear outside, and a client that may keep no address
# is refused.
#
# topology: mip-fig7
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

# gateway_of LINES: 104 serves 103, which has these lines of its own.
gateway_of() {
    vpn_gateway gw.example vpn.psk 10.30.0.0/24 "$vpn_address" | sed "s/^addresses = .*/$1/" | configure 104
}

# What the gateway sends to T in ESP keeps its source, as what it sends to V does.
on 104 nft insert rule ip lab-nat-106 leaving ip daddr "$mobility" accept
share_secret vpn.psk 103 104
configure_dual_client 10.20.0.0/24 'vpn-warm = true' <<END
$(own_vpn enterprise gw.example vpn.psk "$gateway")
address = "none"

[ike]
liveness = "2s"
give-up = "3s"
END
# T comes by the VPN alone: the gateway takes nothing else for the inside.
start_dual_agents "10.11.0.0/24,10.12.0.0/24,10.20.0.0/24,$mobility/32" to-105h
gateway_of ''
start_agent 104
start_agent 103

place="outside, without a VPN adapter"
state() { agent 103 mobility; agent 103 vpn show; tail -n 30 "$(agent_log 103)"; tail -n 5 "$(agent_log 104)"; refusals 103; policies 103; }
for network in x1 home; do capture isp "to-$network" "$mobility_trace/$network.pcap" ip; done
# Between the gateway and the outer home agent, where the tunnel of T has ended.
capture 102o to-106 "$mobility_trace/dmz.pcap" ip
reaches() {
    local answers
    answers=$(on 103 ping -c 5 -i 0.1 -W 5 "$correspondent") || true
    [[ $(received "$answers") == 5 ]] || fail "$answers $(state)"
    answers=$(on 101 ping -c 5 -i 0.1 -W 5 "$intranet") || true
    [[ $(received "$answers") == 5 ]] || fail "$answers $(state)"
}

# What stands behind everything: there before anything was asked.
guards() { policies 103 | has "^src $mobility/32 dst $inner_agent/32 proto udp dport 434 *dir out action block"; }
guards || fail "nothing keeps what carries S in: $(state)"
# What would carry S, although no tunnel takes it: the captures show whether it leaves.
speak() {
    on 103 python3 -c "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('$mobility', 0))
s.sendto(b'\x04\x04\0\0S', ('$inner_agent', 434))" 2>/dev/null || true
}

# --- a gateway that lets it keep none refuses it, and says so --------------------------------------------------------

move 103 x1
eventually 20 grep -q 'vpn-client-refused.*laptop.example at 198.51.100.5: it asked for no address, and may keep none' "$(agent_log 104)" ||
    fail "the gateway does not refuse: $(state)"
eventually 10 grep -q 'lets us keep no address of ours' "$(agent_log 103)" || fail "the client says nothing: $(state)"
[[ -z $(protected 103 out) ]] || fail "a tunnel all the same: $(protected 103 out)"
[[ $(on 103 ip route show table 7380) == unreachable* ]] || fail "S is not blocked: $(state)"
speak
gateway_of "own-addresses = \"$mobility\""
agent 104 reload >/dev/null || fail "the gateway does not take its configuration"

# --- outside ---------------------------------------------------------------------------------------------------------

eventually 40 dwells 103 "$place" x1 || fail "not outside: $(state)"
reaches
[[ $(protected 103 out) == "src $mobility/32 dst 10.10.0.0/16" ]] || fail "the tunnel is for $(protected 103 out)"
[[ $(protected 103 in) == "src 10.10.0.0/16 dst $mobility/32" ]] || fail "the tunnel is for $(protected 103 in)"
[[ $(protected 104 out) == "src 10.10.0.0/16 dst $mobility/32" ]] || fail "the gateway's is for $(protected 104 out)"
sas_of 103 | has "^$mobility > $gateway " || fail "no SA from T: $(sas_of 103)"
! on 103 ip link show vpn0 >/dev/null 2>&1 || fail "there is an adapter of the VPN"
[[ $(ask 103 '.vpn.addresses | length') == 0 ]] || fail "it was given an address: $(state)"
[[ $(ask 104 '.vpn.clients[0].addresses[0]') == "$mobility" ]] || fail "the gateway shows no client: $(agent 104 vpn show)"
guards || fail "what stood behind has gone: $(state)"
seen=$(headers "$mobility_trace/x1.pcap" 103)
for nesting in 'X>T_HA (4) T>T_gw (50) T>S_HA (17 4) S>CN' 'T_HA>X (4) T_gw>T (50) S_HA>T (17 4) CN>S'; do
    [[ $seen == *"$nesting"* ]] || fail "no $nesting: $seen"
done

# --- every move ------------------------------------------------------------------------------------------------------

start_streams 101 103 "$intranet" 500 500000
sleep 1
came 105a inside
[[ $(ask 103 .vpn.state) == warm ]] || fail "the VPN is $(ask 103 .vpn.state)"
came x1 "$place"
came x2 "$place"
mobile 103 '.addresses[] | select(.name == "T") | .way' | has '^tunnel in UDP 192.168.77.10:434' || fail "T: $(state)"
came 105a inside
end_streams
report_moves
seen=$(headers "$mobility_trace/home.pcap" 103)
for nesting in 'X>T_HA (17 4) T>T_gw (50) T>S_HA (17 4) S>CN' 'T_HA>X (17 4) T_gw>T (50) S_HA>T (17 4) CN>S'; do
    [[ $seen == *"$nesting"* ]] || fail "no $nesting: $seen"
done

# --- killed ----------------------------------------------------------------------------------------------------------

# The agent: what it made stays, and its next run begins with the same guards. (A link that comes and goes more than four times in
# ten seconds is left alone.)
sleep 2
came x1 "$place"
start_stream 103 "$correspondent"
stop_agent 103 KILL || true
guards || fail "what stood behind has gone with the agent"
start_agent 103
eventually 20 dwells 103 "$place" x1 || fail "after the restart: $(state)"
eventually 10 flows || fail "nothing flows after the restart: $(state)"

# The gateway, with all that its kernel had: nothing of S leaves until there is another tunnel.
is_blocked() { at 103 blocked && [[ $(on 103 ip route show table 7380) == unreachable* ]]; }
stop_agent 104 KILL || true
on 104 ip xfrm state flush
eventually 20 is_blocked || fail "S goes on without a gateway: $(state)"
guards || fail "what stood behind has gone with the tunnel"
speak
printf '\n[ike]\nchild-lifetime = "5s"\n' >>"$(agent_folder 104)/agent.toml"
start_agent 104
eventually 40 dwells 103 "$place" x1 || fail "the VPN did not come back: $(state)"
eventually 10 flows || fail "nothing flows again: $(state)"

# New keys, which the gateway asks for.
spi() { sas_of 103 | sed -n "s/^$mobility > $gateway //p" | tail -n 1; }
is_other() { [[ -n $(spi) && $(spi) != "$1" ]]; }
ups=$(grep -c vpn-up "$(agent_log 103)")
start_stream 103 "$correspondent" rekeyed
for _ in 1 2; do
    eventually 20 is_other "$(spi)" || fail "no new keys: $(state)"
done
read -r sent lost _ < <(end_stream rekeyed)
[[ $lost == 0 && $(grep -c vpn-up "$(agent_log 103)") == "$ups" ]] || fail "new keys cost $lost packets of $sent: $(state)"

# Somebody takes the tunnel's policy away: what the pump still sends ends at the block behind it.
on 103 ip xfrm policy del src "$mobility/32" dst 10.10.0.0/16 dir out mark 0 mask 0x80000000 || fail "no policy: $(state)"
sleep 1
end_process stream INT || true

nothing_clear x1 home
stop_capture 102o to-106
# While no agent runs at the gateway, its kernel says that nobody listens to IKE.
clear=$(packets "$mobility_trace/dmz.pcap" "host $mobility and not esp and not udp port 500 and not icmp[icmptype] == icmp-unreach")
[[ -z $clear ]] || fail "what is T's is in the clear in front of the gateway: $clear"
esp=$(packets "$mobility_trace/dmz.pcap" "host $mobility and esp" | wc -l)
report "$esp ESP packets of T in front of the gateway, none in the clear"
