# shellcheck shell=bash
# Behind a NAT, which IP in IP does not pass: the outer tunnel is in UDP (RFC 3519), carried in user space at both ends, and the
# VPN and the inner tunnel go through it as through any other. One TCP session and a stream live through the moves in front of
# it, behind it, and inside, and through the death of the agent behind it; outside, nothing is in the clear. T is what the outer home
# agent gives: it stays through all of that, and when it is taken back the VPN begins anew over another one.
#
# topology: mip-fig7
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

unset "letters[$mobility]"
mobility=198.51.100.129
letters[$mobility]=T
# shellcheck disable=SC2034 # for mobility.sh
outer_name=laptop@example.org pool=198.51.100.128/30
configure_dual 10.20.0.0/24 10.11.0.0/24,10.12.0.0/24,10.20.0.0/24 to-105h

state() { agent 103 mobility; tail -n 30 "$(agent_log 103)"; refusals 103; agent 102o bindings; tail -n 5 "$(agent_log 102o)"; }
for network in x1 home; do capture isp "to-$network" "$mobility_trace/$network.pcap" ip; done

# outer_way PATTERN: what carries T.
outer_way() { mobile 103 '.addresses[] | select(.name == "T") | .way' | has "$1"; }
# has_t: its adapter has it, and nothing else; it is kept; and its home agent knows whose it is.
has_t() {
    local held
    held=$(on 103 ip -4 -oneline address show mobility0 | awk '{ print $4 }')
    [[ $held == "$mobility/32" ]] || fail "mobility0 has ${held:-nothing}: $(state)"
    [[ $(jq -r .home "$(agent_folder 103)"/state/home-address.json) == "$mobility" ]] || fail "not kept: $(state)"
    agent 102o bindings | has "^$mobility  *$outer_name " || fail "no name: $(state)"
}

# Until T is given there is none, and nothing of S leaves.
mobile 103 .waits_for | has "the time of day\|$outer_name" || fail "it waits for nothing: $(state)"
! on 103 ip link show mobility0 >/dev/null 2>&1 || fail "an adapter without an address: $(state)"
[[ $(on 103 ip route show table 7380) == unreachable* ]] || fail "S is not blocked: $(state)"
move 103 x2
eventually 15 dwells 103 "outside, with a VPN adapter" x2 || fail "not outside: $(state)"
outer_way '^tunnel in UDP 192.168.77.10:434 to 192.0.2.2:434 over eth0' || fail "T: $(state)"
answers=$(on 103 ping -c 5 -i 0.1 -W 5 "$correspondent") || true
[[ $(received "$answers") == 5 ]] || fail "$answers $(state)"
has_t
sas_of 103 | has "^$mobility > $gateway " || fail "the VPN is not over T: $(sas_of 103)"
# As large as a packet of S can be, in fragments where it must not be.
for size in 1000 1472 3000; do
    answers=$(on 103 ping -c 3 -i 0.1 -W 5 -s "$size" -M dont "$correspondent") || true
    [[ $(received "$answers") == 3 ]] || fail "of $size octets: $answers $(state)"
done
seen=$(headers "$mobility_trace/home.pcap" 103)
for nesting in 'X>T_HA (17 4) T>T_gw (50) V>S_HA (4) S>CN' 'T_HA>X (17 4) T_gw>T (50) S_HA>V (4) CN>S'; do
    [[ $seen == *"$nesting"* ]] || fail "no $nesting: $seen"
done

start_streams 101 103 "$intranet" 500 1000000
sleep 1
came x1 "outside, with a VPN adapter"
outer_way "^tunnel 203.0.113.10 to" || fail "T: $(state)"
has_t
came x2 "outside, with a VPN adapter"
came 105a inside
came x2 "outside, with a VPN adapter"

# Killed behind the NAT: its adapters stay, and nobody reads them. The next run has T before anybody is asked.
stop_agent 103 KILL || true
has_t
start_agent 103
eventually 15 dwells 103 "outside, with a VPN adapter" x2 || fail "after the restart: $(state)"
sleep 3
# And the home agent: what its store had is carried again without a registration.
stop_agent 102o KILL || true
start_agent 102o
sleep 3
has_t

# Taken back: another T, and with it another VPN, which nobody of S hears of.
sed -i "s/128\/30/136\/30/" "$(agent_folder 102o)/agent.toml"
agent 102o reload >/dev/null || fail "no reload: $(state)"
was=$mobility mobility=198.51.100.137
unset "letters[$was]"
letters[$mobility]=T
came x1 "outside, with a VPN adapter"
has_t
sas_of 103 | has "^$mobility > $gateway " || fail "the VPN is not over the new T: $(sas_of 103)"
! sas_of 103 | has "$was" || fail "something of the VPN before is left: $(sas_of 103)"
seen=$(headers "$mobility_trace/x1.pcap" 103)
for nesting in 'X>T_HA (4) T>T_gw (50) V>S_HA (4) S>CN' 'T_HA>X (4) T_gw>T (50) S_HA>V (4) CN>S'; do
    [[ $seen == *"$nesting"* ]] || fail "no $nesting: $seen"
done
end_streams
report_moves
[[ $(ask 103 '.counters["udp-tunnel-packets-received"]') -gt 1000 ]] || fail "nothing was carried: $(state)"

nothing_clear x1 home
