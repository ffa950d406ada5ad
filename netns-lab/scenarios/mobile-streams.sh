# shellcheck shell=bash
# The streams that the agent is judged with, where routes by hand stand in for it: between the two inside networks nothing
# stays lost and the TCP session lives, and a move that takes 300 ms is reported as such.
#
# topology: mip-fig13-15

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

# follow NETWORK: S is reached through the lease there.
follow() {
    read -r held _ < <(lease 103 "$1")
    on r ip route replace "$intranet/32" via "${held%/*}"
}
on 103 ip address add "$intranet/32" dev lo
for node in 101 104; do on "$node" ip route replace "$intranet/32" via 10.10.0.254; done
move 103 105a
follow 105a
start_streams 101 103 "$intranet" 500 1000000
sleep 1
move 103 105b
follow 105b
sleep 1.5
move 103 105a
sleep 0.3
follow 105a
sleep 1.5
end_streams
moves=$(report_streams)
echo "$moves"
[[ $(wc -l <<<"$moves") == 2 ]] || fail "not two moves: $moves"
read -r place lost gap tcp < <(tail -n 1 <<<"$moves")
[[ $place == 105a ]] || fail "the last move went to $place"
awk -v lost="$lost" -v gap="$gap" -v tcp="$tcp" 'BEGIN { exit !(gap >= 300 && gap < 2000 && lost >= 0.8 * 500 * 0.3 && lost < 1.2 * gap / 2 + 10 && tcp >= 300) }' ||
    fail "300 ms without a way are reported as $moves"
