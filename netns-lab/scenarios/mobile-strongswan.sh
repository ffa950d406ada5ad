# shellcheck shell=bash
# strongSwan is the VPN between the systems, over its VICI socket: with a virtual IP, which is V (FIG. 9), and without, where S
# goes in UDP from T (FIG. 10). The headers of both are in captures; while charon has no policy, or none for T, nothing of S leaves.
#
# topology: mip-fig13-15
# needs: esp agent strongswan

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

# charon NODE LINE: strongSwan there, with this line in its configuration.
charon() {
    local folder
    folder=$(agent_folder "$1")
    mkdir -p "$folder"
    cat >"$folder/strongswan.conf" <<END2
charon-systemd {
  load = random nonce openssl sha2 hmac kdf gcm curve25519 kernel-netlink socket-default vici
  install_routes = no
  install_virtual_ip = no
  $2
  plugins {
    vici {
      socket = unix://$folder/vici
    }
  }
}
END2
    start_process "$1" "charon-$1" env "STRONGSWAN_CONF=$folder/strongswan.conf" /usr/sbin/charon-systemd
}

# connection NAME LOCAL-ID REMOTE-ID LINES CHILD-LINES: one of swanctl.conf.
connection() {
    cat <<END2
  $1 {
    version = 2
    mobike = no
    $4
    local {
      auth = psk
      id = $2
    }
    remote {
      auth = psk
      id = $3
    }
    children {
      intranet {
        esp_proposals = aes128gcm16
        $5
      }
    }
  }
END2
}

# swan NODE: takes standard input for its connections.
swan() {
    local folder
    folder=$(agent_folder "$1")
    {
        echo "connections {"
        cat
        echo "}"
        echo "secrets { ike-1 { secret = swordfish } }"
        echo "pools { v { addrs = $vpn_address/32 } }"
    } >"$folder/swanctl.conf"
    eventually 60 swanctl --load-all --clear --file "$folder/swanctl.conf" --uri "unix://$folder/vici" >"$folder/swanctl.log" 2>&1 ||
        fail "strongSwan did not take its configuration: $(cat "$folder/swanctl.log" "$mobility_trace/charon-$1.log")"
}

# What goes to T in ESP keeps its source, as what goes to V does.
on 104 nft insert rule ip lab-nat-106 leaving ip daddr "$mobility" accept
charon 104 ""
{
    connection with-v gw.example laptop-v.example "local_addrs = $gateway
    remote_addrs = $mobility
    pools = v" "local_ts = 10.10.0.0/16"
    connection without-v gw.example laptop-t.example "local_addrs = $gateway
    remote_addrs = $mobility" "local_ts = 10.10.0.0/16"
} | swan 104
charon 103 "port = 0
  port_nat_t = 0"
{
    connection with-v laptop-v.example gw.example "local_addrs = $mobility
    remote_addrs = $gateway
    vips = 0.0.0.0" "remote_ts = 10.10.0.0/16"
    connection without-v laptop-t.example gw.example "local_addrs = $mobility
    remote_addrs = $gateway" "remote_ts = 10.10.0.0/16"
} | swan 103

client() {
    configure_dual_client '' <<END2
[[vpn]]
name = "enterprise"
vici = "$(agent_folder 103)/vici"
connection = "$1"
child = "intranet"
END2
}
client with-v
# T comes by the VPN alone: the gateway takes nothing else for the inside.
start_dual_agents "10.11.0.0/24,10.12.0.0/24,$mobility/32"
start_agent 103

state() {
    agent 103 mobility
    agent 103 vpn show
    tail -n 30 "$(agent_log 103)"
    tail -n 20 "$mobility_trace/charon-103.log"
    refusals 103
    policies 103
}
capture isp to-x1 "$mobility_trace/x1.pcap" ip
capture isp to-x2 "$mobility_trace/x2.pcap" ip

# outside NETWORK PLACE: there, and both ends reach each other.
outside() {
    local answers
    eventually 30 dwells 103 "$2" "$1" || fail "not $2 in $1: $(state)"
    answers=$(on 103 ping -c 5 -i 0.1 -W 5 "$correspondent") || true
    [[ $(received "$answers") == 5 ]] || fail "$answers $(state)"
    answers=$(on 101 ping -c 5 -i 0.1 -W 5 "$intranet") || true
    [[ $(received "$answers") == 5 ]] || fail "$answers $(state)"
}
nests() {
    local seen nesting file=$1
    shift
    seen=$(headers "$mobility_trace/$file.pcap" 103)
    for nesting; do
        [[ $seen == *"$nesting"* ]] || fail "no $nesting: $seen"
    done
}
is_blocked() { [[ $(on 103 ip route show table 7380) == unreachable* ]]; }

# --- FIG. 9 --------------------------------------------------------------------------------------------------------

move 103 x1
outside x1 "outside, with a VPN adapter"
[[ $(ask 103 '.vpn.addresses[0]') == "$vpn_address" ]] || fail "another V: $(state)"
nests x1 'X>T_HA (4) T>T_gw (50) V>S_HA (4) S>CN' 'T_HA>X (4) T_gw>T (50) S_HA>V (4) CN>S'

# The gateway ends it: told by charon, and set up again.
lost=$(grep -c vpn-connecting "$(agent_log 103)")
swanctl --terminate --ike with-v --uri "unix://$(agent_folder 104)/vici" >/dev/null 2>&1 || true
again() { (($(grep -c vpn-connecting "$(agent_log 103)") > lost)); }
eventually 15 again || fail "nobody noticed: $(state)"
outside x1 "outside, with a VPN adapter"

# Inside, warm, and out again.
move 103 105a
eventually 15 dwells 103 inside 105a || fail "not inside: $(state)"
[[ $(ask 103 .vpn.state) == warm ]] || fail "the VPN is $(ask 103 .vpn.state)"
move 103 x2
outside x2 "outside, with a VPN adapter"

# --- FIG. 10 -------------------------------------------------------------------------------------------------------

stop_agent 103
swanctl --terminate --ike with-v --uri "unix://$(agent_folder 103)/vici" >/dev/null 2>&1 || true
stop_capture isp to-x2
capture isp to-x2 "$mobility_trace/x2-without.pcap" ip
client without-v
start_agent 103
outside x2 "outside, without a VPN adapter"
nests x2-without 'X>T_HA (4) T>T_gw (50) T>S_HA (17 4) S>CN' 'T_HA>X (4) T_gw>T (50) S_HA>T (17 4) CN>S'
move 103 x1
outside x1 "outside, without a VPN adapter"

# Its policy vanishes, while charon believes that all is well: S stops, and nothing of it leaves. (`deleteall` would take our own
# block with it.)
start_stream 103 "$correspondent"
sleep 1
on 103 ip xfrm policy del src "$mobility/32" dst 10.10.0.0/16 dir out || fail "no policy: $(state)"
eventually 10 is_blocked || fail "S goes on without a policy: $(state)"
end_process stream INT || true

stop_capture isp to-x1
stop_capture isp to-x2
for file in x1 x2 x2-without; do
    clear=$(clear_outside "$mobility_trace/$file.pcap" "$registration_probe")
    [[ -z $clear ]] || fail "in the clear in $file: $clear"
done
