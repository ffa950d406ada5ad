# shellcheck shell=bash
# Outside of the office Alice and Bob talk through a tunnel between their own addresses, ESP with AH around it: whole packets
# are inside. Bob's presence changes under a stream of packets in both directions, and none is lost.
#
# topology: presence-office
# needs: esp agent

# shellcheck source=netns-lab/presence.sh
. "${lab_folder:?}/presence.sh"

rate=20
port=5004
folder=$(state_folder "$lab")

configure_presence 1s 6s 'protocol = ["ah", "esp"]
mode = "tunnel"'
start_presence
eventually 40 both_relaxed "$alice_in_office" "$bob_in_office" || fail "not relaxed in the office: $(what_is)"

# tunnelled NODE ADDRESS: ESP in a tunnel, AH around it, both required, out and in.
tunnelled() {
    local direction
    for direction in out in; do
        [[ $(presence_policies "$1" "$2" "$direction") =~ proto\ esp\ [^t]*reqid\ [^m]*mode\ tunnel\ level\ required.*proto\ ah\ .*mode\ transport\ level\ required ]] ||
            return 1
    done
}
both_tunnelled() { tunnelled alice "$bob_in_office" && tunnelled bob "$alice_in_office"; }

# two_tunnels NODE: there and back.
two_tunnels() {
    local states
    states=$(on "$1" ip xfrm state list nokeys | grep -c 'proto esp spi 0x[0-9a-f]*[1-9a-f].* mode tunnel') || true
    ((states >= 2))
}

say_where bob external
eventually 20 both_tunnelled || fail "no tunnel: $(what_is)"
# What comes out of a tunnel is seen once more by whoever captures what comes in: so what leaves is looked at, at both ends.
for node in alice bob; do capture "$node" to-office "$folder/$node.pcap" -Q out; done
reaches alice "$bob_in_office"
for node in alice bob; do
    stop_capture "$node" to-office
    protected=$(packets "$folder/$node.pcap" "$ah_outside_esp" | wc -l)
    ((protected >= 3)) || fail "$protected packets in AH and ESP from $node: $(packets "$folder/$node.pcap")"
    nothing_clear "$folder/$node.pcap" "$bob_in_office"
done
for node in alice bob; do eventually 10 two_tunnels "$node" || fail "no SAs in tunnel mode at $node: $(what_is)"; done
# 20 octets of IPv4, 28 of AH, 8 + 8 of ESP, the packet, at least 2, 16: in transport mode the inner header is missing.
length=$(tcpdump -n -v -r "$folder/alice.pcap" "$ah_outside_esp and src host $alice_in_office" 2>/dev/null |
    sed -n 's/.*proto AH (51), length \([0-9]*\)).*/\1/p' | head -n 1)
report "a ping of 84 octets takes $length"
((length >= 20 + 28 + 16 + 84 + 2 + 16)) || fail "not the whole packet: $(packets "$folder/alice.pcap")"
[[ $(agent alice policy list --json | jq -r '[.[].row | select(.mode == "tunnel") | .end_point] | unique | .[]') == "$bob_in_office" ]] ||
    fail "not shown: $(agent alice policy list)"
echo "ok  the whole packet inside of ESP inside of AH"

unsay_where bob
eventually 20 both_relaxed "$alice_in_office" "$bob_in_office" || fail "not relaxed again: $(what_is)"
for node in alice bob; do
    start_process "$node" "receive-$node" python3 "$lab_folder/numbered.py" receive "$port"
    eventually 40 grep -q listening "$folder/receive-$node.log" || fail "$node does not listen: $(cat "$folder/receive-$node.log")"
done
start_process alice send-alice python3 "$lab_folder/numbered.py" send "$bob_in_office" "$port" "$rate"
start_process bob send-bob python3 "$lab_folder/numbered.py" send "$alice_in_office" "$port" "$rate"
sleep 1
for ((switch = 1; switch <= 6; switch += 2)); do
    say_where bob external
    eventually 20 both_tunnelled || fail "switch $switch: no tunnel: $(what_is)"
    sleep 2
    unsay_where bob
    eventually 20 both_relaxed "$alice_in_office" "$bob_in_office" || fail "switch $switch: not relaxed: $(what_is)"
done
for node in alice bob; do end_process "send-$node" INT || fail "the stream from $node did not end"; done
sleep 3
for node in alice bob; do end_process "receive-$node" INT || fail "$node did not stop receiving"; done
for node in alice bob; do
    sent=$(tail -n 1 "$folder/send-$node.log") arrived=$(tail -n 1 "$folder/receive-${other[$node]}.log")
    report "from $node: $((sent - arrived)) of $sent packets lost in six switches"
    ((sent > 100)) || fail "only $sent packets were sent from $node"
    ((arrived == sent)) || fail "$((sent - arrived)) of $sent packets from $node were lost: $(what_is)"
done
