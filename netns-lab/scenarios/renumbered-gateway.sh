# shellcheck shell=bash
# The outer address of a gateway is replaced by another while the agents run. What was negotiated from the old one goes,
# at both ends; traffic is protected again from the new one, whichever side it comes from; and nothing leaves in the
# clear.
#
# topology: fig1-ted
# needs: esp agent

trace=$(state_folder "$lab")/trace

share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16 10.0.0.0/8 106=10.2.0.0/16
configure_gateway 106 10.2.0.0/16 10.0.0.0/8 104=10.1.0.0/16
start_agent 104
start_agent 106
answers=$(on 102 ping -c 3 -i 0.1 -W 9 10.2.0.108) || true
[[ $(received "$answers") == 3 ]] || fail "$answers"
capture r1 to-r2 "$trace"

# renumber FROM TO: 104 and the way back to it.
renumber() {
    on 104 ip address delete "$1/24" dev to-r1
    sleep "${3:-0}"
    on 104 ip address add "$2/24" dev to-r1
    on 104 ip route replace default via 192.0.2.1
    on r1 ip route replace 10.1.0.0/16 via "$2"
}

# only ADDRESS: one tunnel, every SA of both gateways has this address of 104 as one end.
only() {
    local gateway
    for gateway in 104 106; do
        [[ $(sas_of "$gateway" | wc -l) == 2 ]] || return 1
        [[ $(sas_of "$gateway" | grep -cw "$1") == 2 ]] || return 1
        [[ $(protected "$gateway" out | wc -l) == 1 ]] || return 1
    done
}

state() { for gateway in 104 106; do echo "$gateway: $(sas_of "$gateway"); $(agent "$gateway" status)"; done; }

# settle ADDRESS WHAT STREAM
settle() {
    local since=$SECONDS
    eventually 25 flows "$3" || fail "$2: no answers: $(state)"
    echo "$2: answered again after $((SECONDS - since)) s"
    eventually 10 only "$1" || fail "$2: left behind: $(state)"
    read -r sent lost gap < <(end_stream "$3")
    echo "$2: $lost of $sent pings lost, $gap in a row at most"
}

start_stream 102 10.2.0.108 west
sleep 1
renumber 192.0.2.104 192.0.2.204
settle 192.0.2.204 "traffic from its own side" west

# Only the far side wants something, and does not know that the address is gone.
start_stream 108 10.1.0.102 east
sleep 1
renumber 192.0.2.204 192.0.2.105 3
settle 192.0.2.105 "traffic from the peer's side" east

stop_capture r1 to-r2
clear=$(in_the_clear "$trace")
[[ -z $clear ]] || fail "in the clear: $clear"
