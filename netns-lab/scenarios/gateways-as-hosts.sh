# shellcheck shell=bash
# The gateways are the end hosts, on one link: IPv4, and IPv6 with its neighbour discovery.
#
# topology: fig1-host-to-host
# needs: esp agent

trace=$(state_folder "$lab")/trace

share_secret 104-106.psk 104 106
configure_gateway 104 192.0.2.104/32,2001:db8:f1::104/128 192.0.2.0/24,2001:db8:f1::/64 106=self
configure_gateway 106 192.0.2.106/32,2001:db8:f1::106/128 192.0.2.0/24,2001:db8:f1::/64 104=self
capture 104 to-106 "$trace"
start_agent 104
start_agent 106

for address in 192.0.2.106 2001:db8:f1::106; do
    # Neighbours forgotten, so that they must be found again while the traps stand.
    on 104 ip neighbour flush dev to-106
    answers=$(on 104 ping -c 3 -i 0.1 -W 5 "$address") || true
    [[ $(received "$answers") == 3 ]] || fail "$answers"
done

stop_capture 104 to-106
[[ -n $(packets "$trace" esp) && -n $(packets "$trace" ip6 proto 50) ]] || fail "no ESP was seen"
clear=$(packets "$trace" 'icmp or (icmp6 and ip6[40] >= 128 and ip6[40] <= 129)')
[[ -z $clear ]] || fail "in the clear: $clear"
