# shellcheck shell=bash
# A laptop sets up our VPN to our gateway, is given an address, and speaks from it: ESP outside, its address inside. The
# gateway is killed and comes back: what is sent meanwhile is held, and nothing goes in the clear.
#
# topology: vpn-client
# needs: esp agent

trace=$(state_folder "$lab")/trace
inside=$(state_folder "$lab")/inside

share_secret vpn.psk laptop gateway
configure laptop <<'END'
[identity]
id = "laptop.example"

[ike]
liveness = "2s"
give-up = "3s"

[[peer]]
id = "gw.example"
psk-file = "vpn.psk"
may-protect = "10.10.0.0/16"

[[vpn]]
name = "north"
peer = "gw.example"
gateway = "192.0.2.1"
subnets = "10.10.0.0/16"
END
configure gateway <<'END'
[identity]
id = "gw.example"

[[peer]]
id = "laptop.example"
psk-file = "vpn.psk"
may-protect = "nothing"

[vpn-gateway]
pool = "10.30.0.0/24"
subnets = "10.10.0.0/16"
dns = "10.10.0.53"

[[vpn-client]]
peer = "laptop.example"
addresses = "10.30.0.5"
END
start_agent gateway
start_agent laptop
capture router to-gateway "$trace"
capture gateway to-intranet "$inside"

state() { [[ $(ask laptop .vpn.state) == "$1" ]]; }
state down || fail "it is up without having been asked for"

agent laptop vpn up
eventually 10 state up || fail "$(agent laptop vpn show)"
address=$(ask laptop '.vpn.addresses[0]')
[[ $address == 10.30.0.5 ]] || fail "the gateway gave it $address"
[[ $(ask laptop '.vpn.dns[0]') == 10.10.0.53 ]] || fail "no name server"
[[ $(ask gateway '.vpn.clients[0].addresses[0]') == 10.30.0.5 ]] || fail "$(agent gateway vpn show)"
on laptop ip address add "$address/32" dev lo
on laptop ip route add 10.10.0.0/16 via 203.0.113.1 src "$address"

answers=$(on laptop ping -c 5 -i 0.1 -W 5 10.10.0.7) || true
[[ $(received "$answers") == 5 ]] || fail "$answers"
answers=$(on intranet ping -c 5 -i 0.1 -W 5 "$address") || true
[[ $(received "$answers") == 5 ]] || fail "$answers"

# Nobody else's address goes anywhere.
! on intranet ping -c 1 -W 1 10.30.0.6 >/dev/null || fail "10.30.0.6 answers"

start_stream laptop 10.10.0.7
stop_agent gateway KILL || true
on gateway ip xfrm state flush
on gateway ip xfrm policy flush
eventually 20 state failed || eventually 5 state connecting || fail "it did not notice: $(agent laptop vpn show)"
start_agent gateway
eventually 40 state up || fail "it did not come back: $(agent laptop vpn show)"
eventually 10 flows || fail "nothing flows again"
end_stream >/dev/null

agent laptop vpn down
eventually 5 state down
no_clients() { [[ $(ask gateway '.vpn.clients | length') == 0 ]]; }
eventually 5 no_clients || fail "the gateway still has $(ask gateway .vpn.clients)"

stop_capture router to-gateway
stop_capture gateway to-intranet
clear=$(packets "$trace" "net 10.0.0.0/8")
[[ -z $clear ]] || fail "in the clear: $clear"
# While no agent runs at the gateway, its kernel says that nobody listens to IKE.
others=$(packets "$trace" "not esp and not (udp port 500) and not arp and not ip6 and not icmp[icmptype] == icmp-unreach")
[[ -z $others ]] || fail "neither ESP nor IKE: $others"
esp=$(packets "$trace" esp | wc -l)
((esp >= 20)) || fail "$esp ESP packets for ten pings and their answers"
within=$(packets "$inside" "icmp and host $address" | wc -l)
((within >= 20)) || fail "$within packets of $address inside"
report "$esp ESP packets outside, $within of $address inside, none in the clear"
