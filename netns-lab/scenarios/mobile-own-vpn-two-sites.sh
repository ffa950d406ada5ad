# shellcheck shell=bash
# FIG. 16 with FIG. 10: two gateways of our own, each of which lets the laptop keep the T that the operator beside it gives. The site
# that answers first is used, its T alone is in a tunnel, and what carries S is blocked from the other T as well. A stream of packets and a
# TCP session live through the change of sites, and nothing of S is in the clear outside.
#
# topology: mip-fig16 --delay 20ms
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

# Of 116, what the letters do not know.
south=192.0.2.130     # its home agent
other=198.51.100.133  # T there
letters[$other]=T letters[192.0.2.129]=T_gw letters[$south]=T_HA

share_secret inner.key 103 102i
share_secret north.key 103 102o
share_secret south.key 103 112o
# site NAME NODE GATEWAY T HOME-AGENT: of 103, and the gateway that lets it keep T.
site() {
    own_vpn "by-$2" "gw$2.example" "vpn-$2.psk" "$3"
    cat <<TOML
address = "none"

[[mobility-site]]
name = "$1"
home = "$4"
home-agent = "$5"
spi = 256
algorithm = "hmac-sha256"
key-file = "$1.key"
vpn = "by-$2"

TOML
}
# serve NODE T DMZ: it translates nothing that goes to T.
serve() {
    share_secret "vpn-$1.psk" 103 "$1"
    vpn_gateway "gw$1.example" "vpn-$1.psk" 10.30.0.0/24 none | sed "s/^addresses = .*/own-addresses = \"$2\"/" | configure "$1"
    on "$1" nft insert rule ip "lab-nat-$3" leaving ip daddr "$2" accept
    start_agent "$1"
}
serve 104 "$mobility" 106
serve 114 "$other" 116
# Towards each T by the gateway that has its tunnel.
on 102i ip route add "$other/32" via 10.10.0.3
{
    printf '[identity]\nid = "laptop.example"\n\n'
    site north 104 "$gateway" "$mobility" "$outer_agent"
    site south 114 192.0.2.129 "$other" "$south"
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
} | configure 103
start_own_agent 102i "$inner_agent" 10.20.0.0/24 "$intranet" inner.key "10.11.0.0/24,10.12.0.0/24,$mobility/32,$other/32"
start_own_agent 102o "$outer_agent" 198.51.100.0/25 "$mobility" north.key
start_own_agent 112o "$south" 198.51.100.128/25 "$other" south.key
start_agent 103

state() { agent 103 mobility; agent 103 vpn show; tail -n 30 "$(agent_log 103)"; refusals 103; policies 103; }
place="outside, without a VPN adapter"
for network in "isp to-x1" "isq to-x3" "isq to-home"; do
    # shellcheck disable=SC2086 # a node and its interface
    capture $network "$mobility_trace/${network#*to-}.pcap" ip
done
# by SITE T: it is used, that T alone is in a tunnel, and S is reached.
by() {
    local answers home
    [[ $(mobile 103 .site) == "$1" ]] || fail "by $(mobile 103 .site), not $1: $(state)"
    [[ $(protected 103 out) == "src $2/32 dst 10.10.0.0/16" ]] || fail "tunnels for $(protected 103 out): $(state)"
    for home in "$mobility" "$other"; do
        policies 103 | has "^src $home/32 dst $inner_agent/32 proto udp dport 434 *dir out action block" || fail "$home is open: $(state)"
    done
    answers=$(on 103 ping -c 3 -i 0.2 -W 5 "$correspondent") || true
    [[ $(received "$answers") == 3 ]] || fail "$answers $(state)"
}

move 103 x1
eventually 20 dwells 103 "$place" x1 || fail "not outside: $(state)"
by north "$mobility"
start_streams 101 103 "$intranet" 200 300000
sleep 1
came 105a inside
[[ -z $(protected 103 out) ]] || fail "not down inside: $(state)"
came x3 "$place"
by south "$other"
came x2 "$place"
by south "$other"
# The operator's home agent falls silent.
stop_agent 112o || fail "the home agent did not end well"
move 103 105b
eventually 15 dwells 103 inside 105b || fail "105b: $(state)"
sleep 1
came x3 "$place"
by north "$mobility"
sleep 1
end_streams
report_moves

t_over_each "isp to-x1" "isq to-x3" "isq to-home"
