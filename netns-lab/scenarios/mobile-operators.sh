# shellcheck shell=bash
# FIG. 16: two gateways, and an operator's home agent beside each. Whoever comes out takes the one that answers first, keeps it while
# outside, behind a NAT as well, and does without one whose home agent is silent. One TCP session and a stream live through all of
# it with S alone, and outside nothing is in the clear.
#
# topology: mip-fig16 --delay 20ms
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

# Of 116, what the letters do not know.
south=192.0.2.130 # its home agent
letters[198.51.100.133]=T letters[10.30.0.133]=V letters[192.0.2.129]=T_gw letters[$south]=T_HA

for gateway_node in 104 114; do share_secret "vpn-$gateway_node.psk" 103 "$gateway_node"; done
share_secret inner.key 103 102i
share_secret north.key 103 102o
share_secret south.key 103 112o
# vpn NODE ADDRESS, site NAME HOME HOME-AGENT NODE: of 103.
vpn() {
    printf '[[peer]]\nid = "gw%s.example"\npsk-file = "vpn-%s.psk"\nmay-protect = "10.10.0.0/16"\n' "$1" "$1"
    printf '[[vpn]]\nname = "by-%s"\npeer = "gw%s.example"\ngateway = "%s"\nsubnets = "10.10.0.0/16"\n' "$1" "$1" "$2"
}
site() {
    printf '[[mobility-site]]\nname = "%s"\nhome = "%s"\nhome-agent = "%s"\nspi = 256\n' "$1" "$2" "$3"
    printf 'algorithm = "hmac-sha256"\nkey-file = "%s.key"\nvpn = "by-%s"\n' "$1" "$4"
}
{
    printf '[identity]\nid = "laptop.example"\n'
    vpn 104 "$gateway"
    vpn 114 192.0.2.129
    cat <<TOML
[mobility]
home = "$intranet"
home-agent = "$inner_agent"
spi = 256
algorithm = "hmac-sha256"
key-file = "inner.key"
destinations = "10.0.0.0/8"
inside-ranges = "10.0.0.0/8"
vpn-warm = false
TOML
    site north "$mobility" "$outer_agent" 104
    site south 198.51.100.133 "$south" 114
} | configure 103
# gateway_of NODE POOL ADDRESS
gateway_of() {
    vpn_gateway "gw$1.example" "vpn-$1.psk" "$2" "$3" | configure "$1"
    start_agent "$1"
}
gateway_of 104 10.30.0.0/25 "$vpn_address"
gateway_of 114 10.30.0.128/25 10.30.0.133
start_own_agent 102i "$inner_agent" 10.20.0.0/24 "$intranet" inner.key 10.11.0.0/24,10.12.0.0/24,10.30.0.0/24
start_own_agent 102o "$outer_agent" 198.51.100.0/25 "$mobility" north.key
start_own_agent 112o "$south" 198.51.100.128/25 198.51.100.133 south.key
start_agent 103

state() { agent 103 mobility; tail -n 30 "$(agent_log 103)"; refusals 103; }
for network in "isp to-x1" "isq to-x3" "isq to-home"; do
    # shellcheck disable=SC2086 # a node and its interface
    capture $network "$mobility_trace/${network#*to-}.pcap" ip
done
outside="outside, with a VPN adapter"
# by SITE: it is used, and S is reached.
by() {
    local answers
    [[ $(mobile 103 .site) == "$1" ]] || fail "by $(mobile 103 .site), not $1: $(state)"
    answers=$(on 103 ping -c 3 -i 0.2 -W 5 "$correspondent") || true
    [[ $(received "$answers") == 3 ]] || fail "$answers $(state)"
}

move 103 x1
eventually 20 dwells 103 "$outside" x1 || fail "not outside: $(state)"
by north
start_streams 101 103 "$intranet" 200 300000
sleep 1
# T stays where it is.
came x3 "$outside"
by north
came 105a inside
came x3 "$outside"
by south
came x2 "$outside"
by south
mobile 103 '.addresses[] | select(.name == "T") | .way' | has '^tunnel in UDP' || fail "T: $(state)"
came 105b inside
# The nearer one does not answer.
stop_agent 112o || fail "the home agent did not end well"
came x3 "$outside"
by north
sleep 1
end_streams
report_moves

t_over_each "isp to-x1" "isq to-x3" "isq to-home"
