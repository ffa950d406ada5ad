# shellcheck shell=bash
# The agent of either gateway is killed under traffic from both sides and started again: the kernel goes on, what others
# put there is left alone, everything of before is in use or gone ten seconds after the start, and nothing leaves in the
# clear; nor does it when an agent comes back with a configuration that no longer wants the tunnel.
#
# topology: fig1-ted
# needs: esp agent

trace=$(state_folder "$lab")/trace
declare -A outside=([104]=192.0.2.104 [106]=203.0.113.106) peer=([104]=106 [106]=104) foreign_before

# What somebody else put there by hand.
add_foreign() {
    local here=${outside[$1]}
    on "$1" ip xfrm policy add src 10.77.0.0/16 dst 10.78.0.0/16 dir out priority 500 \
        tmpl src "$here" dst 192.0.2.9 proto esp reqid 77 mode tunnel
    on "$1" ip xfrm policy add src 10.78.0.0/16 dst 10.77.0.0/16 dir in priority 500 \
        tmpl src 192.0.2.9 dst "$here" proto esp reqid 77 mode tunnel
    on "$1" ip xfrm state add src "$here" dst 192.0.2.9 proto esp spi 0x77777777 reqid 77 mode tunnel \
        aead 'rfc4106(gcm(aes))' 0x0102030405060708090a0b0c0d0e0f1011121314 128
    foreign_before[$1]=$(foreign "$1")
}

foreign() {
    policies "$1" | grep 10.77.0.0/16 | sort
    on "$1" ip xfrm state get src "${outside[$1]}" dst 192.0.2.9 proto esp spi 0x77777777
}

foreign_untouched() {
    local now
    now=$(foreign "$1")
    [[ $now == "${foreign_before[$1]}" ]] || fail "foreign objects of $1: $(diff <(echo "${foreign_before[$1]}") <(echo "$now"))"
}

# spis NODE: of the agent's SAs in the kernel. wanted_spis NODE: those that the agent says it has.
spis() { on "$1" ip xfrm state list nokeys | sed -n 's/.*spi \(0x[0-9a-f]*\).*reqid \([0-9]*\).*/\2 \1/p' | awk '$1 > 1000 { print $2 }' | sort; }
wanted_spis() { agent "$1" status --json | sed -n '/"sas"/,/\]/ s/^ *"spi": "\(.*\)",$/\1/p' | sort; }
agree() { [[ $(spis "$1") == "$(wanted_spis "$1")" ]]; }

# tunnel_policies NODE: those that point out, through the tunnel.
tunnel_policies() { policies "$1" | { grep "dir out .*tmpl src ${outside[$1]} dst ${outside[${peer[$1]}]}" || true; }; }

# unused NODE: reqids of the agent's policies that no SA has. Traps have none.
unused() {
    comm -23 <(policies "$1" | sed -n 's/.* reqid \([0-9]*\) .*/\1/p' | awk '$1 > 1000' | sort -u) \
        <(on "$1" ip xfrm state list nokeys | sed -n 's/.* reqid \([0-9]*\) .*/\1/p' | sort -u)
}

answered() {
    local answers
    answers=$(on 102 ping -c 3 -i 0.1 -W 9 10.2.0.108) || true
    [[ $(received "$answers") == 3 ]] || fail "$1: $answers"
}

# end_stream HOST: prints how many of its pings were answered.
end_stream() {
    local sent answered
    end_process "stream-$1" INT || fail "the pings from $1 did not end"
    read -r sent answered < <(sed -n 's/^\([0-9]*\) packets transmitted, \([0-9]*\) received.*/\1 \2/p' \
        "$(state_folder "$lab")/stream-$1.log")
    report "pings from $1 every 100 ms: $answered of $sent answered, $((sent - answered)) lost"
    ((answered * 100 >= sent * 97)) || fail "$((sent - answered)) of $sent pings from $1 were lost"
}

# kill_under_traffic NODE
kill_under_traffic() {
    local victim=$1 other=${peer[$1]} before left now
    eventually 10 agree "$victim" || fail "$victim: in the kernel $(spis "$victim"), wanted $(wanted_spis "$victim")"
    before=$(spis "$victim")
    [[ $(wc -w <<<"$before") == 2 ]] || fail "$victim has the SAs $before"
    start_process 102 stream-102 ping -i 0.1 -W 5 10.2.0.108
    start_process 108 stream-108 ping -i 0.1 -W 5 10.1.0.102
    sleep 2
    stop_agent "$victim" KILL || fail "$victim was not killed"
    sleep 3
    start_agent "$victim"
    # Ten seconds, and what the client itself takes on an emulated machine.
    sleep 10
    eventually 5 agree "$victim" || fail "$victim: in the kernel $(spis "$victim"), wanted $(wanted_spis "$victim")"
    left=$(comm -12 <(echo "$before") <(spis "$victim"))
    [[ -z $left ]] || fail "SAs of before the kill are still at $victim: $left"
    mapfile -t now < <(spis "$victim")
    ((${#now[@]} == 2)) || fail "$victim has ${#now[@]} SAs: ${now[*]}"
    eventually 10 agree "$other" || fail "$other: in the kernel $(spis "$other"), wanted $(wanted_spis "$other")"
    [[ $(spis "$other") == "$(spis "$victim")" ]] || fail "$victim has $(spis "$victim"), $other $(spis "$other")"
    [[ $(tunnel_policies "$victim" | wc -l) == 1 ]] || fail "policies for the tunnel: $(tunnel_policies "$victim")"
    [[ -z $(unused "$victim") ]] || fail "$victim has policies of no use: $(policies "$victim")"
    foreign_untouched "$victim"
    report "$victim was killed and started again"
    end_stream 102
    end_stream 108
}

share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16 10.0.0.0/8 106=10.2.0.0/16
configure_gateway 106 10.2.0.0/16 10.0.0.0/8 104=10.1.0.0/16
for gateway in 104 106; do
    add_foreign "$gateway"
    start_agent "$gateway"
done
answered "at first"
capture r1 to-r2 "$trace"

kill_under_traffic 104
kill_under_traffic 106

# Killed again; the new configuration believes 106 for other addresses only.
stop_agent 104 KILL || fail "104 was not killed"
sed -i 's,^may-protect = .*,may-protect = ["10.3.0.0/16"],' "$(agent_folder 104)/agent.toml"
start_agent 104
gone() { [[ -z $(spis 104) && -z $(tunnel_policies 104) ]]; }
eventually 12 gone || fail "104 keeps what it no longer wants: $(spis 104) $(policies 104)"
foreign_untouched 104
on 102 ping -q -c 3 -i 0.1 -W 1 10.2.0.108 >/dev/null && fail "108 answered"

# And as it was, without a restart: what failed meanwhile is tried afresh.
sed -i 's,^may-protect = .*,may-protect = ["10.2.0.0/16"],' "$(agent_folder 104)/agent.toml"
agent 104 reload
answered "after reload"

stop_capture r1 to-r2
clear=$(in_the_clear "$trace")
[[ -z $clear ]] || fail "in the clear: $clear"
