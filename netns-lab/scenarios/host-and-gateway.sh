# shellcheck shell=bash
# Each gateway is an end host as well: what it protects includes itself, and the site's tunnel and the gateways' own
# traffic, from their LAN addresses and from the ones that their IKE runs between, go through ESP alike.
#
# topology: fig1-ted
# needs: esp agent

trace=$(state_folder "$lab")/trace

share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16,192.0.2.104/32 10.2.0.0/16,203.0.113.106/32 106=self,10.2.0.0/16
configure_gateway 106 10.2.0.0/16,203.0.113.106/32 10.1.0.0/16,192.0.2.104/32 104=self,10.1.0.0/16
start_agent 104
start_agent 106
capture r1 to-r2 "$trace"

# ping_all FROM ADDRESS [OPTION...]
ping_all() {
    local answers
    answers=$(on "$1" ping -c 3 -i 0.1 -W 9 "${@:3}" "$2") || true
    [[ $(received "$answers") == 3 ]] || fail "from $1 to $2: $answers"
}

ping_all 102 10.2.0.108
ping_all 102 10.2.0.106
ping_all 104 10.2.0.108 -I 10.1.0.104
# The outer addresses: to the peer's, and from ours to its site.
ping_all 104 203.0.113.106
ping_all 106 10.1.0.102
ping_all 108 192.0.2.104
# Its own LAN, as ever.
ping_all 104 10.1.0.102
ping_all 106 10.2.0.108

pairs() {
    policies "$1" | sed -n 's/^src \([^ ]*\) dst \([^ ]*\) .*dir out .*tmpl src [1-9].*mode tunnel.*/\1 \2/p' | sort | paste -sd,
}
here="10.1.0.0/16 10.2.0.0/16,10.1.0.0/16 203.0.113.106/32,192.0.2.104/32 10.2.0.0/16,192.0.2.104/32 203.0.113.106/32"
there="10.2.0.0/16 10.1.0.0/16,10.2.0.0/16 192.0.2.104/32,203.0.113.106/32 10.1.0.0/16,203.0.113.106/32 192.0.2.104/32"
[[ $(pairs 104) == "$here" ]] || fail "104 protects $(pairs 104)"
[[ $(pairs 106) == "$there" ]] || fail "106 protects $(pairs 106)"

stop_capture r1 to-r2
clear=$(in_the_clear "$trace"; packets "$trace" icmp)
[[ -z $clear ]] || fail "in the clear: $clear"
esp=$(packets "$trace" esp | wc -l)
((esp >= 36)) || fail "$esp ESP packets for 18 pings and their answers"
echo "18 of 18 pings, $esp ESP packets"
