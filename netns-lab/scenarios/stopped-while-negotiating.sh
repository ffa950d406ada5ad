# shellcheck shell=bash
# An agent is stopped (SIGSTOP) in the middle of a conversation. What came meanwhile waits in its sockets, and counts
# when it goes on: what nobody was there to hear was no silence.
#
# topology: fig1-ted --delay 250ms
# needs: esp agent

share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16 10.0.0.0/8 106=10.2.0.0/16
configure_gateway 106 10.2.0.0/16 10.0.0.0/8 104=10.1.0.0/16
leave_nothing 104 106

# The exchange type, at octet 18 of the ISAKMP header.
is_auth='src host 192.0.2.104 and udp dst port 500 and udp[26] = 35'

seen() { [[ -n $(packets "$@") ]]; }

# round NODE SECONDS FILTER: stops the agent on NODE for so long when FILTER was seen on its way.
round() {
    local node=$1 seconds=$2 filter=$3 trace
    trace=$(state_folder "$lab")/trace-$node-$seconds
    start_agent 104
    start_agent 106
    capture r1 to-r2 "$trace"
    start_stream 102 10.2.0.108
    eventually 10 seen "$trace" "$filter" || fail "never seen: $filter"
    signal_agent "$node" STOP
    sleep "$seconds"
    signal_agent "$node" CONT
    local since=$SECONDS
    eventually 20 flows || fail "no tunnel after $node was stopped for $seconds s: $(agent 104 status) $(agent 106 status)"
    since=$((SECONDS - since))
    sleep 3
    for gateway in 104 106; do
        [[ $(sas_of "$gateway" | wc -l) == 2 ]] || fail "$gateway has the SAs $(sas_of "$gateway")"
        [[ $(protected "$gateway" out | wc -l) == 1 ]] || fail "$gateway protects $(protected "$gateway" out)"
    done
    read -r sent lost gap < <(end_stream)
    echo "$node stopped for $seconds s at '$filter': pings again after $since s; $lost of $sent lost, $gap in a row"
    stop_capture r1 to-r2
    local clear
    clear=$(in_the_clear "$trace")
    [[ -z $clear ]] || fail "in the clear: $clear"
    stop_agent 104 || fail "104 did not stop"
    stop_agent 106 || fail "106 did not stop"
}

round 104 6 "$is_probe"
round 106 6 "$is_auth"
# By then 106 has forgotten the IKE_SA_INIT that came with the probe.
round 104 31 "$is_probe"
