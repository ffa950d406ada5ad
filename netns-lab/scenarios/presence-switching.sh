# shellcheck shell=bash
# Bob's presence changes twenty times, to external and back, under streams of 100 packets a second in both directions. None
# of them is lost, and once a host has switched to protection it sends none in the clear: seen by captures on both hosts.
#
# topology: presence-office
# needs: esp agent

# shellcheck source=netns-lab/presence.sh
. "${lab_folder:?}/presence.sh"

switches=20
rate=100
port=5004
folder=$(state_folder "$lab")
times=$folder/times

configure_presence 1s 6s
start_presence
eventually 40 both_relaxed "$alice_in_office" "$bob_in_office" || fail "not relaxed in the office: $(what_is)"

echo "ok  relaxed in the office at $SECONDS s"
for node in alice bob; do
    capture "$node" to-office "$folder/$node.pcap" -Q out
    start_process "$node" "receive-$node" python3 "$lab_folder/numbered.py" receive "$port"
    eventually 40 grep -q listening "$folder/receive-$node.log" || fail "$node does not listen: $(cat "$folder/receive-$node.log")"
done
start_process alice send-alice python3 "$lab_folder/numbered.py" send "$bob_in_office" "$port" "$rate"
start_process bob send-bob python3 "$lab_folder/numbered.py" send "$alice_in_office" "$port" "$rate"
streams() { [[ -n $(packets "$folder/$1.pcap" "udp port $port" | head -n 1) ]]; }
for node in alice bob; do eventually 40 streams "$node" || fail "nothing is sent from $node"; done

# When the strict time of each switch begins and ends, as `FROM TO`: it begins when Bob's agent has answered. Whether both
# relaxed in between is seen by the captures: to ask the kernel as well takes an emulated machine too long.
for ((switch = 1; switch <= switches; switch += 2)); do
    say_where bob external
    from=$(date +%s.%N)
    eventually 20 both_strict "$alice_in_office" "$bob_in_office" || fail "switch $switch: not strict: $(what_is)"
    sleep 1.5
    echo "$from $(date +%s.%N)" >>"$times"
    unsay_where bob
    sleep 2.5
    echo "ok  switches $switch and $((switch + 1)) at $SECONDS s"
done
eventually 10 both_relaxed "$alice_in_office" "$bob_in_office" || fail "not relaxed in the end: $(what_is)"

# number_of LABEL: what it printed last.
number_of() { tail -n 1 "$folder/$1.log"; }

for node in alice bob; do end_process "send-$node" INT || fail "the stream from $node did not end"; done
sleep 3
for node in alice bob; do
    end_process "receive-$node" INT || fail "$node did not stop receiving"
    stop_capture "$node" to-office
done
for node in alice bob; do
    sent=$(number_of "send-$node") arrived=$(number_of "receive-${other[$node]}")
    report "from $node: $((sent - arrived)) of $sent packets lost in $switches switches"
    ((sent > switches * rate / 2)) || fail "only $sent packets were sent from $node"
    ((arrived == sent)) || fail "$((sent - arrived)) of $sent packets from $node were lost"
done

# clear_after_protected NODE AT_ONCE: packets of the stream in the clear in strict times, after the first protected one of
# that time, or after its beginning if AT_ONCE is yes.
clear_after_protected() {
    {
        sed 's/^/strict /' "$times"
        tcpdump -n -tt -r "$folder/$1.pcap" "$ah_outside_esp" 2>/dev/null | sed 's/ .*/ protected/'
        tcpdump -n -tt -r "$folder/$1.pcap" "udp port $port" 2>/dev/null | sed 's/ .*/ clear/'
    } | awk -v at_once="$2" '
        $1 == "strict" { from[++n] = $2; to[n] = $3; first[n] = at_once == "yes" ? $2 : $3; next }
        { for (i = 1; i <= n; i++) if ($1 >= from[i] && $1 <= to[i]) {
            if ($2 == "protected") { seen[i] = 1; if ($1 < first[i]) first[i] = $1 }
            else if ($1 > first[i]) clear++ } }
        $2 == "clear" { for (i = 1; i < n; i++) if ($1 > to[i] && $1 < from[i + 1]) between[i] = 1 }
        END {
            for (i = 1; i <= n; i++) if (!seen[i]) { unseen++; printf "nothing protected from %s to %s\n", from[i], to[i] > "/dev/stderr" }
            for (i = 1; i < n; i++) if (!between[i]) stayed++
            print clear + 0, unseen + 0, stayed + 0
        }'
}
# Alice learns of it a round trip later: hers counts from her own switch on.
for node in alice:no bob:yes; do
    read -r clear unseen stayed < <(clear_after_protected "${node%:*}" "${node#*:}")
    report "from ${node%:*}: $clear packets in the clear after a switch to protection"
    ((clear == 0)) || fail "${node%:*} sent $clear packets in the clear"
    ((unseen == 0)) || fail "in $unseen strict times nothing from ${node%:*} was protected"
    ((stayed == 0)) || fail "$stayed times ${node%:*} did not relax"
done
