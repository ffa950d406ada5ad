# shellcheck shell=bash
# Two gateways whose proxies have nothing in common: no tunnel, nothing in the clear, and the status of both says which of
# protocol, address or port it was.
#
# topology: fig1-ted
# needs: esp agent

work=$(state_folder "$lab")

# set_proxy NODE PEER LINE...: the proxy of a gateway, line by line.
set_proxy() {
    local node=$1 peer=$2
    shift 2
    {
        printf '[identity]\nid = "gw%s.example"\n\n[discovery]\ntimeout = "2s"\n\n[[proxy]]\nname = "site"\n' "$node"
        printf '%s\n' "$@"
        printf '\n[[peer]]\nid = "gw%s.example"\npsk-file = "104-106.psk"\nmay-protect = ["10.0.0.0/8"]\n' "$peer"
    } | configure "$node"
}

# Whether host 108 answers a connection to this port.
connects() { on 102 timeout 4 bash -c "exec 3<>/dev/tcp/10.2.0.108/$1" 2>/dev/null; }

# disagree WHAT: a connection to port 80 fails because WHAT could not be reconciled.
disagree() {
    local what=$1 gateway reason
    for gateway in 104 106; do agent "$gateway" reload >/dev/null || fail "$gateway did not reload"; done
    ! connects 80 || fail "$what: connected"
    reason=$(ask 104 '.failures | map(.reason) | join(", ")')
    [[ $reason == "203.0.113.106 answered, but $what could not be reconciled" ]] || fail "104 says: $reason"
    reason=$(ask 106 '.refused_probes | map(.from + " " + .reason) | join(", ")')
    [[ $reason == "192.0.2.104 $what could not be reconciled" ]] || fail "106 says: $reason"
    for gateway in 104 106; do
        # A table: the sentence may go over several lines.
        [[ $(agent "$gateway" status | tr -s ' \n' ' ') == *"$what could not be reconciled"* ]] ||
            fail "$(agent "$gateway" status)"
    done
    [[ -z $(sas_of 104)$(sas_of 106)$(protected 104 out)$(protected 106 out) ]] || fail "a tunnel"
    echo "ok  $what"
}

start_process 108 httpd busybox httpd -f -p 80 -h /
share_secret 104-106.psk 104 106
west='local = "10.1.0.0/16"' east='local = "10.2.0.0/16"'
set_proxy 104 106 "$west" 'remote = "10.2.0.0/16"' 'protocol = "tcp"'
set_proxy 106 104 "$east" 'remote = "10.1.0.0/16"' 'protocol = "udp"'
start_agent 104
start_agent 106
capture r1 to-r2 "$work/middle"
disagree protocol

set_proxy 104 106 "$west" 'remote = "10.2.0.0/16"'
set_proxy 106 104 "$east" 'remote = "10.7.0.0/16"'
disagree address

set_proxy 104 106 "$west" 'remote = "10.2.0.0/16"' 'protocol = "tcp"' 'remote-port = 80'
set_proxy 106 104 "$east" 'remote = "10.1.0.0/16"' 'protocol = "tcp"' 'local-port = 443'
disagree port

stop_capture r1 to-r2
clear=$(in_the_clear "$work/middle")
[[ -z $clear ]] || fail "in the clear: $clear"
