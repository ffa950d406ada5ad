# shellcheck shell=bash
# What becomes of the kernel when the agent stops. `remove` leaves it as it was before the agent ever ran, and tells the
# peer; `keep` leaves the tunnel carrying traffic, and blocks what has none.
#
# topology: fig1-ted
# needs: esp agent

work=$(state_folder "$lab")

# kernel_of NODE: everything that an agent touches.
kernel_of() {
    on "$1" ip xfrm policy
    on "$1" ip -statistics xfrm policy count
    on "$1" ip xfrm state list nokeys
    on "$1" ip rule
    on "$1" ip -6 rule
    on "$1" ip route show table all
    on "$1" ip -6 route show table all
    on "$1" nft list ruleset
    on "$1" sysctl -a 2>/dev/null | grep -E '^net\.(core\.xfrm|ipv[46]\.(ip_|conf))' | sort
}

untouched() { [[ $(kernel_of "$1") == "${before[$1]}" ]]; }

# set_on_stop keep|remove
set_on_stop() {
    local gateway
    for gateway in 104 106; do
        sed -i "s/^on-stop = .*/on-stop = \"$1\"/" "$(agent_folder "$gateway")/agent.toml"
    done
}

ping_answered() {
    local answers
    answers=$(on 102 ping -c 3 -i 0.1 -W 5 10.2.0.108) || true
    [[ $(received "$answers") == 3 ]] || fail "$1: $answers"
}

share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16 10.0.0.0/8 106=10.2.0.0/16
configure_gateway 106 10.2.0.0/16 10.0.0.0/8 104=10.1.0.0/16
for gateway in 104 106; do sed -i '1a on-stop = "keep"' "$(agent_folder "$gateway")/agent.toml"; done
declare -A before
for gateway in 104 106; do
    # Neighbours that have been asked for make routes of their own.
    on "$gateway" ping -q -c 1 -W 5 192.0.2.1 >/dev/null
    before[$gateway]=$(kernel_of "$gateway")
done

set_on_stop remove
start_agent 104
start_agent 106
ping_answered "a new tunnel"
[[ $(sas_of 104 | wc -l) == 2 ]] || fail "SAs: $(sas_of 104)"
stop_agent 104 || fail "104 did not stop"
eventually 5 untouched 104 || fail "104 left: $(diff <(echo "${before[104]}") <(kernel_of 104))"
no_sas_at_106() { [[ -z $(sas_of 106) ]]; }
eventually 5 no_sas_at_106 || fail "106 was not told: $(sas_of 106)"
# 106 goes on refusing what is not protected; without any agent it passes.
! on 102 ping -q -c 2 -i 0.1 -W 1 10.2.0.108 >/dev/null || fail "106 accepted clear packets"
stop_agent 106 || fail "106 did not stop"
eventually 5 untouched 106 || fail "106 left: $(diff <(echo "${before[106]}") <(kernel_of 106))"
ping_answered "without any agent"
echo "ok  remove"

set_on_stop keep
start_agent 104
start_agent 106
ping_answered "a new tunnel"
stop_agent 104 || fail "104 did not stop"
stop_agent 106 || fail "106 did not stop"
capture r1 to-r2 "$work/middle"
ping_answered "a tunnel that was kept"
! on 102 ping -q -c 2 -i 0.1 -W 1 10.3.0.1 >/dev/null || fail "10.3.0.1 answered"
stop_capture r1 to-r2
esp=$(packets "$work/middle" esp | wc -l)
((esp == 6)) || fail "$esp ESP packets for three pings and their answers"
clear=$(in_the_clear "$work/middle")
[[ -z $clear ]] || fail "in the clear: $clear"
[[ $(sas_of 104 | wc -l) == 2 ]] || fail "SAs: $(sas_of 104)"
echo "ok  keep"

# What was kept is recognised, and removed when that is said.
set_on_stop remove
for gateway in 104 106; do start_agent "$gateway"; done
for gateway in 104 106; do stop_agent "$gateway" || fail "$gateway did not stop"; done
for gateway in 104 106; do
    eventually 5 untouched "$gateway" || fail "$gateway left: $(diff <(echo "${before[$gateway]}") <(kernel_of "$gateway"))"
done
echo "ok  keep, then remove"
