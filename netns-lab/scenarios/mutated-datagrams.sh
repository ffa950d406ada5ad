# shellcheck shell=bash
# A million datagrams that were honest once, thrown at a gateway: its agent lives, answers its administrator, does not grow,
# and still sets a tunnel up. An emulated machine gets as many as it takes in little more than a minute.
#
# topology: fig1-ted
# needs: agent

wanted=${MUTANTS:-1000000}
seconds=75
# What may be added when all tables that strangers can fill have been filled.
growth_kib=4096

# mutants COUNT SECONDS SEED
mutants() { on r1 python3 "$lab_folder/mutants.py" "$repository/fuzz/corpus" 203.0.113.106 10.2.0.108 "$pid" "$@"; }

share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16 10.0.0.0/8 106=10.2.0.0/16
configure_gateway 106 10.2.0.0/16 10.0.0.0/8 104=10.1.0.0/16
start_agent 106
pid=$(process_of 106)
echo "resident at start: $(resident "$pid") KiB"

# Tables with bounds fill up first.
mutants $((wanted / 10)) 10 1
before=$(resident "$pid")
mutants "$wanted" "$seconds" 2
after=$(resident "$pid")
echo "resident after the first tenth: $before KiB, after all: $after KiB"
agent 106 status --json | jq -c '.counters | with_entries(select(.value > 0 and (.key | test("^(ike|probes|answers)"))))'
((after <= before + growth_kib)) || fail "the agent grew by $((after - before)) KiB"
runs agent-106 || fail "the agent ended"
[[ $(ask 106 '.tunnels | length') == 0 ]] || fail "a stranger has a tunnel"

if probe_own_kernel >/dev/null; then
    start_agent 104
    on 102 ping -c 3 -i 0.2 -W 30 10.2.0.108 || fail "no tunnel afterwards"
fi
