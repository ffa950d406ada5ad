# shellcheck shell=bash
# One Mobile IP system, inside (FIG. 2), or in the box of the gateway (FIG. 3): outside, S is in a tunnel from V within the VPN, which is
# set up anew over every address that the network gives. One TCP session lives through all of it, and nothing is in the clear outside.
# IPv6 of the inside is in the tunnel of S (RFC 5454).
#
# topology: mip-fig2
# topology: mip-fig3
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

own_v6=2001:db8:60::5
share_secret vpn.psk 103 104
configure 103 <<TOML
[identity]
id = "laptop.example"

$(own_vpn enterprise gw.example vpn.psk "$gateway")

[mobility]
home = "$intranet"
home-agent = "$inner_agent"
spi = 256
algorithm = "hmac-sha256"
key-file = "inner.key"
destinations = "10.0.0.0/8"
inside-ranges = "10.0.0.0/8"
networks = "$own_v6/128"

[[mobility-site]]
name = "enterprise"
vpn = "enterprise"
TOML
gateway_lines() { vpn_gateway gw.example vpn.psk 10.30.0.0/24 "$vpn_address"; }
trusted=10.11.0.0/24,10.12.0.0/24,10.30.0.0/24
if [[ $lab == mip-fig3 ]]; then
    share_secret inner.key 103 104
    {
        gateway_lines
        cat <<TOML
[home-agent]
address = "$inner_agent"
home-network = "10.20.0.0/24"
trusted-networks = $(toml_list "$trusted")
[[mobile-node]]
home = "$intranet"
spi = 256
algorithm = "hmac-sha256"
key-file = "inner.key"
networks = "$own_v6/128"
TOML
    } | configure 104
else
    share_secret inner.key 103 102i
    networks=$own_v6/128 start_own_agent 102i "$inner_agent" 10.20.0.0/24 "$intranet" inner.key "$trusted"
    gateway_lines | configure 104
fi
start_agent 104
start_agent 103

state() { agent 103 mobility; tail -n 30 "$(agent_log 103)"; refusals 103; refusals 104; }
for network in x1 x2; do capture isp "to-$network" "$mobility_trace/$network.pcap" ip; done
# over NETWORK: outside, and the VPN runs over the address there.
over() {
    local address
    read -r address _ < <(lease 103 "$1")
    at 103 "outside, with a VPN adapter" && [[ $(ask 103 .vpn.local) == "${address%/*}"* ]]
}
keeper=102i
[[ $lab != mip-fig3 ]] || keeper=104
on "$keeper" ip address add 2001:db8:105::2/64 dev to-105 nodad
on 101 ip address add 2001:db8:105::101/64 dev to-105 nodad
on 101 ip route add "$own_v6" via 2001:db8:105::2
reaches() {
    local answers words
    for words in "$correspondent" "-I $own_v6 2001:db8:105::101"; do
        # shellcheck disable=SC2086 # an address, and perhaps which one to send from
        answers=$(on 103 ping -c 5 -i 0.1 -W 5 $words) || true
        [[ $(received "$answers") == 5 ]] || fail "$answers $(state)"
    done
}

move 103 x1
eventually 15 over x1 || fail "not outside: $(state)"
reaches
seen=$(headers "$mobility_trace/x1.pcap" 103)
for nesting in 'X>T_gw (50) V>S_HA (4) S>CN' 'X>T_gw (50) V>S_HA (4) S>S_HA' 'T_gw>X (50) S_HA>V (4) CN>S' 'T_gw>X (50) S_HA>V (4) S_HA>S'; do
    [[ $seen == *"$nesting"* ]] || fail "no $nesting: $seen"
done

start_streams 101 103 "$intranet" 200 300000
sleep 1
move 103 x2
eventually 20 over x2 || fail "x2: $(state)"
reaches
came 105a inside
reaches
move 103 x1
eventually 20 over x1 || fail "x1 again: $(state)"
reaches
sleep 1
end_streams
report_moves

nothing_clear x1 x2
