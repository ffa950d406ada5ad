# shellcheck shell=bash
# What an administrator asks of a running agent: probe, look, follow, change the configuration, forget.
#
# topology: fig1-ted
# needs: esp agent

work=$(state_folder "$lab")

# equal WHAT EXPECTED FOUND
equal() { [[ $2 == "$3" ]] || fail "$1: expected '$2', found '$3'"; }

# answers NODE COMMAND... -- FILTER: what jq makes of its JSON.
answers() {
    local node=$1 words=()
    shift
    while [[ $1 != -- ]]; do
        words+=("$1")
        shift
    done
    agent "$node" "${words[@]}" --json | jq -r "$2"
}

share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16 10.2.0.0/16 106=10.2.0.0/16
configure_gateway 106 10.2.0.0/16 10.0.0.0/8 104=10.1.0.0/16
start_agent 104
start_agent 106
start_process 104 events "$(agent_binary)" --socket "$(agent_folder 104)/run/control.sock" events --json
happened() { [[ -n $(jq -r "select(.kind == \"$1\")" "$work/events.log") ]]; }

# A probe by hand tells what would be agreed on, and sets nothing up.
report=$(answers 104 discover 10.2.0.108 -- '.error, (.answers[] | .responder, .offered[], .intersection)')
equal discover $'\n203.0.113.106\n10.2.0.0/16 <> 10.0.0.0/8 any\n10.1.0.0/16 <> 10.2.0.0/16 any' "$report"
! agent 104 discover 10.9.0.1 --from 10.1.0.102 >"$work/report" || fail "$(<"$work/report")"
equal "discover where nobody is" $'probe for 10.1.0.102 > 10.9.0.1 icmp\nnobody answered' "$(<"$work/report")"
equal tunnels 0 "$(answers 104 tunnels -- length)"
equal SAs '' "$(sas_of 104)$(sas_of 106)"

# Lists agree with the kernel.
on 102 ping -q -c 3 -i 0.1 -W 5 10.2.0.108 >/dev/null || fail "no ping"
equal tunnels "gw106.example up tunnel 192.0.2.104 203.0.113.106 10.1.0.0/16 > 10.2.0.0/16 any" \
    "$(answers 104 tunnels -- '.[] | "\(.peer) \(.state) \(.mode) \(.local) \(.remote) \(.selectors | join(", "))"')"
equal SAs "$(sas_of 104)" "$(answers 104 sas -- '.[] | "\(.src) > \(.dst) \(.spi)"' | sort)"
equal policies "$(policies_of 104 | grep -c ' dir ')" "$(answers 104 policies -- length)"
eventually 5 happened tunnel-up || fail "events: $(<"$work/events.log")"
happened candidate || fail "events: $(<"$work/events.log")"

# A file with a mistake changes nothing, and is told with its place.
kept=$(sas_of 104)
cp "$work/104/agent.toml" "$work/good"
echo 'retransmitt = "1s"' >>"$work/104/agent.toml"
! agent 104 reload >"$work/refused" 2>&1 || fail "a mistake was accepted"
line=$(wc -l <"$work/104/agent.toml")
[[ $(<"$work/refused") == *"agent.toml:$line:1: "* ]] || fail "the refusal: $(<"$work/refused")"
equal SAs "$kept" "$(sas_of 104)"

# A proxy more: its trap is in, and the tunnel stays. A proxy less: the tunnel goes, on both sides.
traps() { policies_of 104 | grep -c '^src 10.1.0.0/16 dst 10.9.0.0/16 dir out' || true; }
equal traps 0 "$(traps)"
{
    cat "$work/good"
    printf '\n[[proxy]]\nname = "more"\nlocal = "10.1.0.0/16"\nremote = "10.9.0.0/16"\n'
} >"$work/104/agent.toml"
agent 104 reload | has more || fail "reload does not say what changed"
one_trap() { [[ $(traps) == 1 ]]; }
eventually 5 one_trap || fail "no trap for the new proxy: $(policies_of 104)"
equal SAs "$kept" "$(sas_of 104)"
on 102 ping -q -c 3 -i 0.1 -W 5 10.2.0.108 >/dev/null || fail "no ping after the reload"

sed '/^\[\[proxy\]\]/,/^$/ s/10\.2\.0\.0/10.9.0.0/' "$work/good" >"$work/104/agent.toml"
agent 104 reload >"$work/reloaded" || fail "$(<"$work/reloaded")"
no_sas() { [[ -z $(sas_of 104)$(sas_of 106) ]]; }
eventually 10 no_sas || fail "SAs outlive their proxy: 104 $(sas_of 104), 106 $(sas_of 106)"
equal policies 0 "$(policies_of 104 | grep -c 'dst 10.2.0.0/16')"
happened tunnel-down || fail "events: $(<"$work/events.log")"
happened reloaded || fail "events: $(<"$work/events.log")"

equal forget "let go of 10.2.0.0/16" "$(agent 104 forget 10.2.0.0/16)"
equal "forget again" "nothing there was ever protected" "$(agent 104 forget 10.2.0.0/16)"
