# shellcheck shell=bash
# How many registrations a second our home agent takes through its store and the kernel, with $NODES mobile nodes (10,000):
# all of them register, then all again, and after kill -9 all are back. On mip-fig1; see registrations.py.

nodes=${NODES:-10000}
key=000102030405060708090a0b0c0d0e0f
agent_address=192.0.2.2
registrations=${lab_folder:?}/benches/registrations.py

python3 "$registrations" configuration "$agent_address" "$nodes" | configure 102o
(umask 077 && echo "0x$key" >"$(agent_folder 102o)/node.key")
start_agent 102o
all_bound() { [[ $(ask 102o .home_agent.bindings) == "$nodes" ]]; }
resident() {
    local process
    read -r _ process <"$(state_folder "$lab")/agent-102o.pid"
    awk '/VmRSS/ { print $2 }' "/proc/$process/status"
}
unbound=$(resident)
for what in new renewed; do
    report "$what: $(on isp python3 "$registrations" register "$agent_address" "$nodes" --key "$key")"
    all_bound || fail "$(ask 102o .home_agent.bindings) bindings"
done
routes=$(on 102o ip route show proto 88 | grep -c encap)
((routes == nodes)) || fail "$routes routes of $nodes"
report "resident: $unbound kB with none, $(((($(resident) - unbound) * 1024) / nodes)) octets more for each binding; in the store \
$(($(stat -c %s "$(agent_folder 102o)/state/bindings.redb") / nodes))"
stop_agent 102o KILL || true
began=$(date +%s.%N)
start_agent 102o
all_bound || fail "after kill -9: $(ask 102o .home_agent.bindings) bindings"
report "back after kill -9 in $(awk -v began="$began" -v now="$(date +%s.%N)" 'BEGIN { printf "%.1f", now - began }') s"
