# shellcheck shell=bash
# Two thousand destinations behind one gateway, in one moment: a handful of probes finds the gateway for all of them, and
# of the packets that came before the tunnel each was either delivered or counted.
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

# destinations FILE: how many different ones its datagrams were for.
destinations() { packets "$1" udp dst port 9000 | awk '{ print $5 }' | sort -u | wc -l; }

share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16 10.0.0.0/8 106=10.2.0.0/16
configure_gateway 106 10.2.0.0/16 10.0.0.0/8 104=10.1.0.0/16
start_agent 104
start_agent 106
capture 106 to-108 "$work/delivered" -B 8192
capture r1 to-r2 "$work/middle" -B 8192

send
tunnel_is_up() { [[ $(ask 104 '.tunnels[].state') == up ]]; }
eventually 30 tunnel_is_up || fail "no tunnel: $(agent 104 status) $(tail -n 5 "$(agent_log 104)")"
settled() { [[ $(ask 104 '.discoveries | length') == 0 ]]; }
eventually 30 settled || fail "discoveries are left: $(agent 104 status)"
sleep 1
stop_capture 106 to-108
delivered=$(destinations "$work/delivered")
overflow=$(ask 104 '.counters["held-overflow"]')

# Now that there is a tunnel, nothing is lost.
capture 106 to-108 "$work/delivered" -B 8192
send
sleep 1
stop_capture 106 to-108
stop_capture r1 to-r2
again=$(destinations "$work/delivered")

probes=$(packets "$work/middle" "$is_probe" | wc -l)
echo "$flows flows: $probes probes; $delivered delivered at first, $overflow beyond the kernel's queue; $again with the tunnel"
agent 104 status
((probes >= 1 && probes <= 8)) || fail "$probes probes"
((delivered >= 100)) || fail "$delivered of the first packets were delivered"
((delivered + overflow == flows)) || fail "of $flows packets, $delivered were delivered and $overflow counted as lost"
((again == flows)) || fail "$again of $flows were delivered with the tunnel"
clear=$(in_the_clear "$work/middle")
[[ -z $clear ]] || fail "in the clear: $clear"
[[ $(sas_of 104 | wc -l) == 2 ]] || fail "more than one pair of SAs: $(sas_of 104)"
