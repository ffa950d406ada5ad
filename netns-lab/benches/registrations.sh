# shellcheck shell=bash
# How many registrations a second our home agent takes through its store and the kernel, with $NODES mobile nodes (10,000):
# all of them register, then all again, and after kill -9 all are back. On mip-fig1; see registrations.py. Beside the rate, which
# is of this machine with the mobile nodes on it, stands what each costs the agent's threads, store and kernel calls included.

nodes=${NODES:-10000}
key=000102030405060708090a0b0c0d0e0f
agent_address=192.0.2.2
registrations=${lab_folder:?}/benches/registrations.py

python3 "$registrations" configuration "$agent_address" "$nodes" | configure 102o
(umask 077 && echo "0x$key" >"$(agent_folder 102o)/node.key")
start_agent 102o
all_bound() { [[ $(ask 102o .home_agent.bindings) == "$nodes" ]]; }
# of_agent FILE: of its process, in /proc.
of_agent() {
    local process
    read -r _ process <"$(state_folder "$lab")/agent-102o.pid"
    cat "/proc/$process/$1"
}
resident() { of_agent status | awk '/VmRSS/ { print $2 }'; }
# In hundredths of a second.
busy() { of_agent stat | awk '{ print $14 + $15 }'; }
unbound=$(resident)
for what in new renewed; do
    before=$(busy)
    report "$what: $(on isp python3 "$registrations" register "$agent_address" "$nodes" --key "$key")"
    report "$what: $((($(busy) - before) * 10000 / nodes)) us of the agent each"
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
