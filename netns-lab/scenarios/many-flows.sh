# shellcheck shell=bash
# Two thousand destinations behind one gateway, in one moment: a handful of probes finds the gateway for all of them, and
# lost is only what came while a hundred packets were held already, which is all that the kernel holds, and no tunnel was in.
#
# topology: fig1-ted
# needs: esp agent

work=$(state_folder "$lab")
flows=2000

# 108 is all of 10.2.64.0/18.
ip -n "$(namespace 106)" route add 10.2.64.0/18 via 10.2.0.108
ip -n "$(namespace 108)" route add local 10.2.64.0/18 dev lo

# send: one datagram to each destination, from one process.
send() {
    # shellcheck disable=SC2016
    on 102 bash -c '
        for ((n = 0; n < '"$flows"'; n++)); do
            echo x >"/dev/udp/10.2.$((64 + n / 200)).$((n % 200 + 1))/9000"
        done'
}

# destinations FILE: what its datagrams were for, each once and a line each, in the order of their arrival: `ADDRESS TIME`.
destinations() { tcpdump -n -tt -r "$1" udp dst port 9000 2>/dev/null | awk '!seen[$5]++ { print $5, $1 }'; }
# lost_without_need: those of the first hundred, and of what came once a packet had left in the tunnel, that are missing.
lost_without_need() {
    local tunnelled
    tunnelled=$(tcpdump -n -tt -r "$work/left" esp 2>/dev/null | awk 'NR == 1 { print $1 }')
    awk -v tunnelled="$tunnelled" 'NR == FNR { delivered[$1]; next }
        !($1 in delivered) && (FNR <= 100 || $2 > tunnelled) { print FNR, $0 }' <(destinations "$work/delivered") <(destinations "$work/came")
}

share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16 10.0.0.0/8 106=10.2.0.0/16
configure_gateway 106 10.2.0.0/16 10.0.0.0/8 104=10.1.0.0/16
start_agent 104
start_agent 106
capture 104 to-102 "$work/came" -Q in
capture 104 to-r1 "$work/left" -Q out
capture 106 to-108 "$work/delivered"
capture r1 to-r2 "$work/middle"

send
tunnel_is_up() { [[ $(ask 104 '.tunnels[].state') == up ]]; }
eventually 30 tunnel_is_up || fail "no tunnel: $(agent 104 status) $(tail -n 5 "$(agent_log 104)")"
settled() { [[ $(ask 104 '.discoveries | length') == 0 ]]; }
eventually 30 settled || fail "discoveries are left: $(agent 104 status)"
sleep 1
stop_capture 104 to-102
stop_capture 104 to-r1
stop_capture 106 to-108
delivered=$(destinations "$work/delivered" | wc -l)
lost=$(lost_without_need)

# Now that there is a tunnel, nothing is lost.
capture 106 to-108 "$work/delivered"
send
sleep 1
stop_capture 106 to-108
stop_capture r1 to-r2
again=$(destinations "$work/delivered" | wc -l)

probes=$(packets "$work/middle" "$is_probe" | wc -l)
echo "$flows flows: $probes probes; $delivered delivered at first, $again with the tunnel"
agent 104 status
((probes >= 1 && probes <= 8)) || fail "$probes probes"
((delivered >= 100)) || fail "$delivered of the first packets were delivered"
[[ -z $lost ]] || fail "lost without need (which one, destination, time): $lost"
((again == flows)) || fail "$again of $flows were delivered with the tunnel"
clear=$(in_the_clear "$work/middle")
[[ -z $clear ]] || fail "in the clear: $clear"
[[ $(sas_of 104 | wc -l) == 2 ]] || fail "more than one pair of SAs: $(sas_of 104)"
