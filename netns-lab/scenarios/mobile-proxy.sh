# shellcheck shell=bash
# FIG. 4: our mobile node registers with our proxy agent in the DMZ, and that in its name with our home agent inside. Packets go both
# ways through two tunnels, as captures on each side show, in GRE, and behind a NAT in UDP; a move outside is answered without a word
# to the inside; a mobile node that shares nothing with us registers in UDP; a forged request changes nothing; and nothing is left
# behind.
#
# topology: mip-fig4
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

key=000102030405060708090a0b0c0d0e0f
mobile_node=${repository:?}/tests/mobile_ip/mobile_node.py
other=10.20.0.6

share_secret outer.key 103 108
share_secret inner.key 108 102i
for node in 108 102i; do (umask 077 && echo "0x$key" >"$(agent_folder "$node")/other.key"); done

configure 102i <<TOML
[identity]
id = "ha.example"
[home-agent]
address = "$inner_agent"
home-network = "10.20.0.0/24"
[[mobile-node]]
home = "$intranet"
spi = 256
algorithm = "hmac-sha256"
key-file = "inner.key"
[[mobile-node]]
home = "$other"
spi = 257
key-file = "other.key"
TOML
configure 108 <<TOML
[identity]
id = "proxy.example"
[proxy-agent]
address = "$outer_agent"
home-agent = "$inner_agent"
encapsulations = "gre"
[[surrogate]]
home = "$intranet"
spi = 256
algorithm = "hmac-sha256"
key-file = "outer.key"
inside-spi = 256
inside-algorithm = "hmac-sha256"
inside-key-file = "inner.key"
[[surrogate]]
home = "$other"
spi = 256
key-file = "other.key"
inside-spi = 257
inside-key-file = "other.key"
TOML
configure 103 <<TOML
[identity]
id = "laptop.example"
[mobility]
home = "$intranet"
home-agent = "$outer_agent"
spi = 256
algorithm = "hmac-sha256"
key-file = "outer.key"
destinations = "10.0.0.0/8"
TOML
leave_nothing 108
start_agent 102i
start_agent 108
start_agent 103

state() { agent 103 mobility; agent 108 status; agent 102i bindings; tail -n 20 "$(agent_log 108)"; refusals 108; }
wraps() { [[ $(bindings 108) == "[[\"$intranet\",\"203.0.113.10\",\"$1\",true]]" ]]; }
bindings() { agent "$1" bindings --json | jq -c '[.[] | [.home, .care_of, .encapsulation, .reverse]]'; }
for network in x1 x2; do capture isp "to-$network" "$mobility_trace/$network.pcap" ip; done
capture 102i to-105 "$mobility_trace/inside.pcap" ip
capture 101 to-105 "$mobility_trace/servers.pcap" icmp

move 103 x1
eventually 15 dwells 103 "without VPN" x1 || fail "not registered: $(state)"
[[ $(bindings 108) == "[[\"$intranet\",\"203.0.113.10\",\"ipip\",true]]" ]] || fail "108 has $(bindings 108)"
[[ $(bindings 102i) == "[[\"$intranet\",\"$outer_agent\",\"ipip\",true]]" ]] || fail "102i has $(bindings 102i)"

# Whoever begins.
answers=$(on 101 ping -c 5 -i 0.1 -W 5 "$intranet") || true
[[ $(received "$answers") == 5 ]] || fail "$answers $(state)"
answers=$(on 103 ping -c 5 -i 0.1 -W 5 "$correspondent") || true
[[ $(received "$answers") == 5 ]] || fail "$answers $(state)"

# Outside it moves alone.
move 103 x2
eventually 15 dwells 103 "without VPN" x2 || fail "not registered: $(state)"
answers=$(on 103 ping -c 5 -i 0.1 -W 5 "$correspondent") || true
[[ $(received "$answers") == 5 ]] || fail "$answers $(state)"
[[ $(bindings 108) == "[[\"$intranet\",\"203.0.113.138\",\"ipip\",true]]" ]] || fail "108 has $(bindings 108)"

# Another one, in UDP; and somebody without its key.
registers() {
    local status=0
    said=$(on 103 "$mobile_node" "$outer_agent" --home "$other" --key "$key" --udp force "${@:2}") || status=$?
    [[ $status == "$1" ]] || fail "exit status $status, not $1, of $* $said $(state)"
}
registers 2 --spoil authenticator --wait 0.5
[[ $(counter 108 registrations-suspicious) == 1 ]] || fail "nobody suspects: $(state)"
registers 0 --keep-alives 1
jq -se 'last(.[] | select(.event == "received")) | .code == 0 and .udp_tunnel_reply == {code: 0, forced: true, keepalive: 110}' \
    <<<"$said" >/dev/null || fail "$said"
bindings 108 | has -F "[\"$other\",\"203.0.113.138\",\"ipip in UDP\",true]" || fail "108 has $(bindings 108)"
bindings 102i | has -F "[\"$other\",\"$outer_agent\",\"ipip\",true]" || fail "102i has $(bindings 102i)"
registers 0 --lifetime 0
gone() { ! bindings "$1" | has -F "$other"; }
for node in 108 102i; do eventually 5 gone "$node" || fail "$node has $(bindings "$node")"; done

# Ours behind a NAT: user space carries the outer tunnel at both ends, and the kernel the inner one.
on isp nft -f - <<'NFT'
table ip lab-nat-106 {
    chain leaving {
        type nat hook postrouting priority srcnat
        oifname "to-106" ip saddr 203.0.113.128/25 masquerade
    }
}
NFT
# And in GRE where there is none, which the home agent does not hear of.
stop_agent 103 KILL || true
echo 'encapsulation = "gre"' >>"$(agent_folder 103)/agent.toml"
start_agent 103
move 103 x1
eventually 15 dwells 103 "without VPN" x1 || fail "not registered: $(state)"
eventually 5 wraps gre || fail "108 has $(bindings 108)"
for answers in "$(on 103 ping -c 5 -i 0.1 -W 5 "$correspondent")" "$(on 101 ping -c 5 -i 0.1 -W 5 -s 1400 "$intranet")"; do
    [[ $(received "$answers") == 5 ]] || fail "$answers $(state)"
done
move 103 x2
eventually 15 dwells 103 "without VPN" x2 || fail "not registered: $(state)"
[[ $(bindings 108) == "[[\"$intranet\",\"192.0.2.254\",\"ipip in UDP\",true]]" ]] || fail "108 has $(bindings 108)"
for answers in "$(on 103 ping -c 5 -i 0.1 -W 5 "$correspondent")" "$(on 101 ping -c 5 -i 0.1 -W 5 -s 1400 "$intranet")"; do
    [[ $(received "$answers") == 5 ]] || fail "$answers $(state)"
done

for captured in "isp to-x1" "isp to-x2" "102i to-105" "101 to-105"; do
    # shellcheck disable=SC2086 # a node and its interface
    stop_capture $captured
done
shows() {
    local seen nesting
    seen=$(headers "$mobility_trace/$1.pcap")
    for nesting in "${@:2}"; do [[ $'\n'$seen$'\n' == *$'\n'"$nesting"$'\n'* ]] || fail "no $nesting in $1: $seen"; done
}
for network in x1 x2; do
    shows "$network" 'X>T_HA (4) S>CN' 'T_HA>X (4) CN>S'
    clear=$(clear_outside "$mobility_trace/$network.pcap" "ip.proto == 4 || gre || mip")
    [[ -z $clear ]] || fail "without a tunnel in $network: $clear"
done
shows x1 'X>T_HA (47) S>CN' 'T_HA>X (47) CN>S'
shows x2 'X>T_HA (17 4) S>CN' 'T_HA>X (17 4) CN>S'
# 102 is what the letters call the proxy agent, too.
shows inside 'T_HA>S_HA (4) S>CN' 'S_HA>T_HA (4) CN>S'
shows servers 'S>CN' 'CN>S'
asked=$(tshark -n -r "$mobility_trace/inside.pcap" -Y "mip.type == 1 && mip.homeaddr == $intranet" 2>/dev/null | wc -l)
((asked == 1)) || fail "$asked requests inside for four places outside"

stop_agent 103 || fail "the mobile node did not end well"
stop_agent 108 || fail "the proxy agent did not end well"
left=$(on 108 ip route show table all proto 88; on 108 ip -oneline link show | grep -o 'xa-ipip\|xa-gre\|xa-udp'; on 108 nft list tables | grep xfrm-agent) || true
[[ -z $left ]] || fail "left behind: $left"
