# shellcheck shell=bash
# Alice and Bob compress what they protect. The kernels hold SAs of IPComp beside those of ESP and AH, and policies that
# compress where that helps; what can be compressed is shorter on the wire, what cannot goes as it is, and nothing is lost.
#
# topology: presence-external
# needs: esp agent

# shellcheck source=netns-lab/presence.sh
. "${lab_folder:?}/presence.sh"

configure_presence 2s 6s 'protocol = ["ah", "esp", "ipcomp"]'
start_presence
eventually 40 believes alice bob "external $bob_outside" || fail "Alice believes Bob at $(believed alice bob): $(what_is)"

# pings LABEL COUNT SIZE PATTERN: from Alice to Bob, of which none is lost; what went over her link is in $trace.
pings() {
    local answers
    answers=$(on alice ping -c "$2" -i 0.2 -W 9 -s "$3" -p "$4" "$bob_outside") || true
    [[ $(received "$answers") == "$2" ]] || fail "$1: $answers $(what_is)"
}

# two_compressions NODE: there and back.
two_compressions() {
    local states
    states=$(on "$1" ip xfrm state list nokeys | sed ':a; N; $!ba; s/\n[ \t]\+/ /g' |
        grep -c 'proto comp spi 0x0000[0-9a-f]*[1-9a-f].* mode transport .*comp deflate') || true
    ((states >= 2))
}

# compressed_policies NODE ADDRESS: compression if possible, then ESP, and AH outermost, both ways.
compressed_policies() {
    local direction
    for direction in out in; do
        [[ $(presence_policies "$1" "$2" "$direction") =~ proto\ comp\ .*level\ use.*\ proto\ esp\ .*level\ required.*\ proto\ ah\ .*level\ required ]] ||
            fail "the policies of $1 for what goes $direction: $(what_is)"
    done
}

pings "the first" 3 1000 00
for node in alice bob; do
    eventually 10 two_compressions "$node" || fail "no IPComp at $node: $(what_is)"
done
compressed_policies alice "$bob_outside"
compressed_policies bob "$alice_in_office"
echo "ok  the kernels compress, then encrypt, then authenticate"

[[ $(agent alice policy list --json | jq -r '.[].row.protocols | select(.esp) | .ipcomp') != *false* ]] ||
    fail "not shown: $(agent alice policy list)"

# lengths: of each packet in AH that $trace has from Alice, its IPv4 length.
lengths() { tcpdump -n -v -r "$trace" "$ah_outside_esp and src host $alice_in_office" 2>/dev/null | sed -n 's/.*proto AH (51), length \([0-9]*\)).*/\1/p'; }

# A thousand equal octets take less than three hundred; nothing that is random gets longer by the attempt.
seen_while alice office pings "equal octets" 20 1000 00
(($(lengths | wc -l) == 20)) || fail "not twenty packets in AH: $(packets "$trace")"
longest=$(lengths | sort -n | tail -n 1)
report "1000 equal octets by ICMP: at most $longest octets with IPv4, AH, ESP and IPComp"
((longest < 300)) || fail "not compressed: $(packets "$trace")"

random() {
    on alice python3 -c '
import os, socket, sys
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(20):
    try:
        out.sendto(os.urandom(1000), (sys.argv[1], 9))
    except ConnectionRefusedError:
        pass' "$bob_outside"
    sleep 1
}
seen_while alice office random
shortest=$(lengths | sort -n | head -n 1)
report "1000 random octets by UDP: at least $shortest octets"
((shortest > 1028)) || fail "random octets that became shorter: $(packets "$trace")"

seen_while alice office pings "short ones" 20 16 00
nothing_clear "$trace" "$bob_outside"
echo "ok  long and equal, random, and short: all protected, and none lost"
