# shellcheck shell=bash
# A clear packet that should have come through a tunnel is dropped where it arrives, forwarded or for the gateway itself,
# with a tunnel and without one; each is counted, and where on-failure says `clear` it is let in.
#
# topology: fig1-ted
# needs: esp agent

share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16 10.2.0.0/16 106=10.2.0.0/16
configure_gateway 106 10.2.0.0/16 10.1.0.0/16 104=10.1.0.0/16
start_agent 104
start_agent 106

# dropped NUMBER COUNTER: of 5 clear packets each to the host and to the gateway, the host sees none, and COUNTER
# grows by NUMBER.
dropped() {
    local before trace
    trace=$(state_folder "$lab")/behind
    before=$(counter 106 "$2")
    capture 108 to-106 "$trace"
    capture 106 to-r2 "$trace-answers" -Q out
    strangers r2 echo 10.1.0.102 10.2.0.108 --count 5
    strangers r2 echo 10.1.0.102 10.2.0.106 --count 5
    eventually 10 grew "$2" $((before + $1)) || fail "$2 grew by $(($(counter 106 "$2") - before)), not $1"
    sleep 0.5
    counts 106 "$2=$((before + $1))"
    stop_capture 108 to-106
    stop_capture 106 to-r2
    [[ -z $(packets "$trace" icmp) ]] || fail "the host got $(packets "$trace" icmp)"
    [[ -z $(packets "$trace-answers" icmp) ]] || fail "the gateway answered $(packets "$trace-answers" icmp)"
}
saw_others() { (($(packets "$(state_folder "$lab")/others" icmp and src host 198.51.100.2 | wc -l) >= $1)); }
grew() { (($(counter 106 "$1") >= $2)); }

# No tunnel yet: the enforcement of the configuration.
dropped 10 XfrmInPolBlock

answers=$(on 102 ping -c 3 -i 0.1 -W 9 10.2.0.108) || true
[[ $(received "$answers") == 3 ]] || fail "$answers"
# With the tunnel, its policies ask for the template that the packet does not have.
dropped 10 XfrmInTmplMismatch

# Outside of the proxies nothing is refused.
capture 108 to-106 "$(state_folder "$lab")/others"
strangers r2 echo 198.51.100.2 10.2.0.108 --count 5
eventually 10 saw_others 5 || fail "packets from elsewhere were refused"
stop_capture 108 to-106

# `clear`: whoever speaks no IPsec may come in. Nor does 104: it would answer the discovery that 108's answers begin, and
# with a tunnel they would be refused again.
stop_agent 104 || fail "104 did not stop"
stop_agent 106 || fail "106 did not stop"
on 106 ip xfrm policy flush
on 106 ip xfrm state flush
rm -rf "$(agent_folder 106)/state"
sed -i 's/^name = "site"/&\non-failure = "clear"/' "$(agent_folder 106)/agent.toml"
start_agent 106
capture 108 to-106 "$(state_folder "$lab")/clear"
strangers r2 echo 10.1.0.102 10.2.0.108 --count 5
came_in() { (($(packets "$(state_folder "$lab")/clear" icmp and src host 10.1.0.102 | wc -l) == 5)); }
eventually 10 came_in || fail "a clear proxy refused clear packets"
