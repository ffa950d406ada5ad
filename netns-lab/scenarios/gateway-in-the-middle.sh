# shellcheck shell=bash
# A third gateway of ours stands between the two, and protects something else: the tunnel of the outer ones goes end to end
# through it, its own tunnels work beside, and its traps and enforcement swallow nobody's discovery, IKE or ESP.
#
# topology: fig1-middle
# needs: esp agent

west=10.1.0.0/16 middle=10.5.0.0/16 east=10.2.0.0/16
trace=$(state_folder "$lab")/trace

share_secret 104-105.psk 104 105
share_secret 104-106.psk 104 106
share_secret 105-106.psk 105 106
configure_gateway 104 $west 10.0.0.0/8 105=$middle 106=$east
configure_gateway 105 $middle 10.0.0.0/8 104=$west 106=$east
configure_gateway 106 $east 10.0.0.0/8 104=$west 105=$middle
for gateway in 104 105 106; do start_agent "$gateway"; done
# Both sides of the one in the middle.
capture r1 to-105 "$trace-r1"
capture r2 to-105 "$trace-r2"

# ping_all FROM ADDRESS
ping_all() {
    local answers
    answers=$(on "$1" ping -c 3 -i 0.1 -W 9 "$2") || true
    [[ $(received "$answers") == 3 ]] || fail "from $1 to $2: $answers"
}

# The middle one first, with both, so that its own traps, policies and tunnels are all there when the outer two begin.
ping_all 110 10.1.0.102
ping_all 108 10.5.0.110
counts 105 probes-passed-on=0
ping_all 102 10.2.0.108

# tunnels NODE: between what and what, exactly.
tunnels() {
    policies "$1" | sed -n 's/^src \([^ ]*\) dst \([^ ]*\) .*dir out .*tmpl src \([1-9][^ ]*\) dst \([^ ]*\) .*proto esp .*/\1 \2 \3 \4/p' | sort
}
# is NODE LINE...
is() {
    local seen wanted
    seen=$(tunnels "$1")
    wanted=$(printf '%s\n' "${@:2}" | sort)
    [[ $seen == "$wanted" ]] || fail "$1 has $(echo && echo "$seen") not $(echo && echo "$wanted")"
}
is 104 "$west $middle 192.0.2.104 198.51.100.105" "$west $east 192.0.2.104 203.0.113.106"
is 106 "$east $west 203.0.113.106 192.0.2.104" "$east $middle 203.0.113.106 198.51.100.205"
is 105 "$middle $west 198.51.100.105 192.0.2.104" "$middle $east 198.51.100.205 203.0.113.106"

stop_capture r1 to-105
stop_capture r2 to-105
for side in r1 r2; do
    esp=$(packets "$trace-$side" esp and host 192.0.2.104 and host 203.0.113.106 | wc -l)
    ((esp >= 6)) || fail "at $side: $esp ESP packets of 104 and 106 with each other"
    clear=$(in_the_clear "$trace-$side")
    [[ -z $clear ]] || fail "at $side in the clear: $clear"
done
echo "passed by 105: $(counter 105 packets-passed-discovery) of discovery, $(counter 105 packets-passed-ike) of IKE"

# The hole in the middle one's enforcement is for the heads of discovery and IKE: a clear packet for its host is dropped.
before=$(counter 105 XfrmInPolBlock)
mismatch=$(counter 105 XfrmInTmplMismatch)
capture 110 to-105 "$trace-110"
strangers r1 echo 10.1.0.102 10.5.0.110 --count 5
strangers r1 echo 10.9.0.1 10.5.0.110 --count 5
sleep 1
stop_capture 110 to-105
[[ -z $(packets "$trace-110" icmp) ]] || fail "a clear packet got through: $(packets "$trace-110" icmp)"
counts 105 XfrmInTmplMismatch=$((mismatch + 5)) XfrmInPolBlock=$((before + 5))
