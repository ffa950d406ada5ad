# shellcheck shell=bash
# Two gateways and a dead prefix under one remote prefix: the live ones are both found, and lose at most the first packet.
#
# topology: fig1-two-gateways
# needs: esp agent

share_secret 104-106.psk 104 106
share_secret 104-107.psk 104 107
configure_gateway 104 10.1.0.0/16 10.0.0.0/8 106=10.2.0.0/16 107=10.3.0.0/16
configure_gateway 106 10.2.0.0/16 10.0.0.0/8 104=10.1.0.0/16
configure_gateway 107 10.3.0.0/16 10.0.0.0/8 104=10.1.0.0/16
for gateway in 104 106 107; do start_agent "$gateway"; done
capture r1 to-r2 "$(state_folder "$lab")/trace"

on 102 ping -q -c 5 -i 0.1 -W 1 10.9.0.1 >/dev/null &
dead=$!
on 102 ping -c 4 -i 0.1 -W 3 10.3.0.109 >"$(state_folder "$lab")/to-109" &
to_109=$!
to_108=$(on 102 ping -c 4 -i 0.1 -W 3 10.2.0.108) || true
wait "$to_109" || true
wait "$dead" && fail "the dead destination answered"
to_109=$(<"$(state_folder "$lab")/to-109")
(($(received "$to_108") >= 3)) || fail "108: $to_108"
(($(received "$to_109") >= 3)) || fail "109: $to_109"

stop_capture r1 to-r2
clear=$(in_the_clear "$(state_folder "$lab")/trace")
[[ -z $clear ]] || fail "in the clear: $clear"
