# shellcheck shell=bash
# The outer link of a gateway goes down under traffic and comes back, and its routes with it; then the inner one. Nothing
# leaves in the clear meanwhile, and traffic goes on when there is a way again: over the same tunnel where the address
# stayed (IPv4), over a new one where the kernel took it away with the link (IPv6).
#
# topology: fig1-ted
# needs: esp agent

trace=$(state_folder "$lab")/trace

share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16,2001:db8:1::/48 10.0.0.0/8,2001:db8::/40 106=10.2.0.0/16,2001:db8:2::/48
configure_gateway 106 10.2.0.0/16,2001:db8:2::/48 10.0.0.0/8,2001:db8::/40 104=10.1.0.0/16,2001:db8:1::/48
start_agent 104
start_agent 106
for address in 10.2.0.108 2001:db8:2::108; do
    answers=$(on 102 ping -c 3 -i 0.1 -W 9 "$address") || true
    [[ $(received "$answers") == 3 ]] || fail "$answers"
done
before=$(sas_of 104)
[[ $(wc -l <<<"$before") == 4 ]] || fail "SAs: $before"

capture r1 to-r2 "$trace"
start_stream 102 10.2.0.108 v4
start_stream 102 2001:db8:2::108 v6

# come_back: seconds until both streams are answered again.
come_back() {
    local since=$SECONDS label
    for label in v4 v6; do eventually 20 flows "$label" || fail "$1: no answers over $label: $(agent 104 status)"; done
    echo "$1: answered again after $((SECONDS - since)) s"
}

sleep 1
on 104 ip link set to-r1 down
sleep 8
! flows v4 || fail "there is another way"
# As whoever manages the interface does.
on 104 ip link set to-r1 up
on 104 ip route replace default via 192.0.2.1
on 104 ip address replace 2001:db8:f1::104/64 dev to-r1 nodad
on 104 ip -6 route replace default via 2001:db8:f1::1
come_back "outer link"
sas_of_v4() { sas_of "$1" | grep -v :; }
[[ $(sas_of_v4 104) == "$(grep -v : <<<"$before")" ]] || fail "SAs over IPv4: before $before, now $(sas_of 104)"

on 104 ip link set to-102 down
sleep 5
on 104 ip link set to-102 up
on 104 ip address replace 2001:db8:1::104/48 dev to-102 nodad
come_back "inner link"

# What the peer had with the address that was gone goes too.
paired() {
    [[ $(sas_of "$1" | wc -l) == 4 && $(protected "$1" out | wc -l) == 2 ]]
}
for gateway in 104 106; do
    eventually 10 paired "$gateway" || fail "$gateway: $(sas_of "$gateway") $(protected "$gateway" out)"
done
for label in v4 v6; do
    read -r sent lost gap < <(end_stream $label)
    echo "$label: $lost of $sent pings lost, $gap in a row at most"
done
stop_capture r1 to-r2
clear=$(in_the_clear "$trace")
[[ -z $clear ]] || fail "in the clear: $clear"
