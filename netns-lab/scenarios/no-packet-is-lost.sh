# shellcheck shell=bash
# The packets that set a tunnel up are held, not lost, whichever side begins; and none crosses in the clear.
#
# topology: fig1-ted
# topology: fig1-ted --delay 50ms
# topology: fig1-middle
# needs: esp agent

trace=$(state_folder "$lab")/trace

start_gateways() {
    local gateway
    for gateway in $(nodes gateway); do start_agent "$gateway"; done
}

stop_gateways() {
    local gateway
    for gateway in $(nodes gateway); do stop_agent "$gateway" || fail "$gateway did not stop"; done
}

# ping_all FROM ADDRESS
ping_all() {
    local answers
    answers=$(on "$1" ping -c 3 -i 0.1 -W 5 "$2") || true
    [[ $(received "$answers") == 3 ]] || fail "from $1 to $2: $answers"
}

share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16,2001:db8:1::/48 10.0.0.0/8,2001:db8::/40 106=10.2.0.0/16,2001:db8:2::/48
configure_gateway 106 10.2.0.0/16,2001:db8:2::/48 10.0.0.0/8,2001:db8::/40 104=10.1.0.0/16,2001:db8:1::/48
if [[ $lab == fig1-middle ]]; then
    share_secret 104-105.psk 104 105
    configure_gateway 105 10.5.0.0/16,2001:db8:5::/48 10.0.0.0/8,2001:db8::/40 104=10.1.0.0/16,2001:db8:1::/48
fi
# shellcheck disable=SC2046 # names
leave_nothing $(nodes gateway)

capture r2 to-106 "$trace"
for family in inet inet6; do
    west=$(addresses 102 "$family")
    east=$(addresses 108 "$family")

    start_gateways
    ping_all 102 "$east"
    stop_gateways

    start_gateways
    ping_all 108 "$west"
    stop_gateways

    # Both at once.
    start_gateways
    ping_all 102 "$east" &
    first=$!
    ping_all 108 "$west"
    wait "$first"
    stop_gateways
done
stop_capture r2 to-106

[[ -n $(packets "$trace" 'esp or ip6 proto 50') ]] || fail "no ESP was seen"
clear=$(in_the_clear "$trace")
[[ -z $clear ]] || fail "in the clear: $clear"
