# shellcheck shell=bash
# Outside, behind a router that wants to be taken for the inside: it has the addresses of networks inside, the MAC of their
# gateway, their agents' advertisements, ARP for everybody, recorded answers of the inner home agent, and everything that can
# be forged without a key. In 100 attacks drawn from a seed (SEED=) the client is never inside, nothing of S is in the clear,
# and the stream goes on in the VPN. With the key, one forgery is enough: that it lacks nothing else.
#
# topology: mip-fig7
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

attacker=${repository:?}/tests/mobile_ip/fake_inside.py
seed=${SEED:-$RANDOM$RANDOM}
echo "SEED=$seed repeats it"

configure_dual 10.20.0.0/24 10.11.0.0/24,10.12.0.0/24,10.20.0.0/24 to-105h
# What it hears of agents is a guess, and the attacker knows which.
stop_agent 103
sed -i '/^inside-ranges/a inside-agents = ["10.10.0.2", "10.11.0.1", "10.12.0.1", "10.20.0.1", "10.20.0.2"]' \
    "$(agent_folder 103)/agent.toml"
start_agent 103

state() { agent 103 mobility; tail -n 40 "$(agent_log 103)"; refusals 103; tail -n 3 "$mobility_trace/attacker.log"; }

# Inside, where the client gets to know the gateway and an accomplice records.
capture r to-105a "$mobility_trace/recorded.pcap" udp port 434
move 103 105a
eventually 15 dwells 103 inside 105a || fail "not inside: $(state)"
move 103 105b
eventually 15 dwells 103 inside 105b || fail "not inside: $(state)"
move 103 105a
eventually 15 dwells 103 inside 105a || fail "not inside: $(state)"
stop_capture r to-105a
gateway_mac=$(on r cat /sys/class/net/to-105a/address)
client_mac=$(on 103 cat /sys/class/net/eth0/address)

# The attacker's router: whatever the client sends to these addresses comes to it, and packets for outside go on.
on home ip link set to-x2 address "$gateway_mac"
for address in 10.11.0.1/16 10.12.0.1/24 10.20.0.1/24 10.10.0.1/24 10.30.0.1/24 198.51.100.1/24; do
    on home ip address add "$address" dev to-x2 noprefixroute
done
for address in 10.10.0.2 10.20.0.2; do on home ip address add "$address/32" dev to-x2; done
for prefix in 10.11.0.0/16 10.12.0.0/24 10.20.0.0/24 10.10.0.0/24; do on home ip route add "$prefix" dev to-x2; done
on home sysctl -q -w net.ipv4.conf.to-x2.rp_filter=0 net.ipv4.conf.all.rp_filter=0
# Only the attacker answers for the home agents.
on home nft -f - <<'NFT'
table ip attacker {
    chain input {
        type filter hook input priority filter
        ip daddr { 10.10.0.2, 10.20.0.2 } drop
    }
}
NFT

move 103 x2
outside="outside, with a VPN adapter"
eventually 20 dwells 103 "$outside" x2 || fail "not outside: $(state)"
start_streams 101 103 "$intranet" 100 20000
start_process 103 to-agent ping -i 0.2 -W 5 -I "$intranet" "$inner_agent"
found_inside() { grep -c 'kind="mobility-found".* is inside\|kind="mobility-moved".*→ inside' "$(agent_log 103)" || true; }
before=$(found_inside)
((before > 0)) || fail "the log does not say when it was inside: $(state)"
capture home to-x2 "$mobility_trace/attacked.pcap" "ether src $client_mac and ip"

start_attacker() {
    start_process home "$1" "$attacker" to-x2 --upstream to-isp --mac "$gateway_mac" --client-mac "$client_mac" \
        --namespace "$(namespace 103)" --home "$intranet" --mobility "$mobility" --vpn-address "$vpn_address" \
        --correspondent "$correspondent" --inner "$inner_agent,10.20.0.2" --outer "$outer_agent" \
        --recorded "$mobility_trace/recorded.pcap" "${@:2}"
    eventually 60 grep -q '"ready"' "$mobility_trace/$1.log" || fail "no attacker: $(cat "$mobility_trace/$1.log")"
}
started=$(date +%s)
start_attacker attacker --seed "$seed" --attacks 100
while runs attacker; do
    place=$(mobile 103 .place)
    [[ $place != inside ]] || fail "taken for the inside: $(state)"
    (($(date +%s) < started + 150)) || fail "the attacks do not end: $(state)"
    sleep 0.3
done
took=$(($(date +%s) - started))
ended=$(grep '"ended"' "$mobility_trace/attacker.log") || fail "the attacker: $(tail -n 20 "$mobility_trace/attacker.log")"
[[ $(found_inside) == "$before" ]] || fail "it was inside for a moment: $(grep -c . "$(agent_log 103)") lines, $(state)"

eventually 20 dwells 103 "$outside" x2 || fail "not outside after the attacks: $(state)"
pings=$(grep -c 'bytes from' "$mobility_trace/to-agent.log")
sleep 3
(($(grep -c 'bytes from' "$mobility_trace/to-agent.log") > pings)) || fail "S does not reach the inner home agent: $(state)"
end_process to-agent INT || true
end_streams
# Of the last packets that were sent none is missing.
read -r _ _ count < <(tail -n 1 "$mobility_trace/streams-send.log")
flowing=$(awk -v count="$count" '$1 >= count - 100 { seen++ } END { print seen + 0 }' "$mobility_trace/numbers")
((flowing >= 99)) || fail "of the last 100 packets of the stream $flowing came: $(state)"
stop_capture home to-x2

# What the client sent that has S or V where anybody can read it, but for registrations. Errors may quote a forgery, in which S is
# named, but no header of S.
hidden="ip.addr == $intranet || ip.addr == $vpn_address || (frame contains 0a:14:00:05 && !esp && !(icmp.type == 3))"
clear=$(tshark -n -r "$mobility_trace/attacked.pcap" -Y "($hidden) && !($registration_probe)" 2>/dev/null)
[[ -z $clear ]] || fail "in the clear: $(head -n 20 <<<"$clear") $(state)"
asked=$(jq .requests <<<"$ended")
sent=$(jq '[.sent[]] | add' <<<"$ended")
kinds=$(jq '.sent | length' <<<"$ended")
refused=$(ask 103 '.counters["registrations-suspicious"] // 0')
((asked >= 50 && sent >= 500 && kinds >= 24 && refused >= 50)) || fail "the attacks are poor: $refused refused, $ended"
lost=$(awk 'BEGIN { last = -1 } { if ($1 > last + 1) lost += $1 - last - 1; last = $1 } END { print lost + 0, NR }' "$mobility_trace/numbers")
report "SEED=$seed: 100 attacks in $took s, $asked requests answered with forgeries, $sent packets of $kinds kinds: 0 in the clear; of the stream lost and received: $lost"

# The same forgery with the right key.
start_attacker with-key --key "$(tr -d '\n' <"$(agent_folder 103)/inner.key")"
on 103 ip address flush dev eth0
on 103 ip address add 10.11.0.50/24 dev eth0
on 103 ip route replace default via 10.11.0.1 dev eth0 proto dhcp metric 100
eventually 15 at 103 inside || fail "who has the key is not believed either: the attacks prove nothing: $(state)"
