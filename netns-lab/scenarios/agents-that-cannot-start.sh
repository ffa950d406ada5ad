# shellcheck shell=bash
# Why an agent does not start, each in one line that says what, where and what to do; and that a start that fails leaves
# nothing unprotected and nobody else disturbed.
#
# topology: fig1-host-to-host
# needs: agent

share_secret 104-106.psk 104 106
configure_gateway 104 192.0.2.104/32 192.0.2.0/24 106=self
folder=$(agent_folder 104)
mkdir -p "$folder/run" "$folder/state"

# refused COMMAND... -- WORD...: the agent, started by COMMAND..., ends with status 1 and a last line that has every WORD.
refused() {
    local command=() word line status=0
    while [[ $1 != -- ]]; do
        command+=("$1")
        shift
    done
    shift
    line=$(on 104 timeout 20 "${command[@]}" "$(agent_binary)" run -c "$configuration" 2>&1) || status=$?
    line=$(tail -n 1 <<<"$line")
    echo "$line"
    ((status == 1)) || fail "exit status $status"
    for word; do [[ $line == *"$word"* ]] || fail "the message lacks '$word'"; done
}

configuration=$folder/agent.toml

# Without the capability nothing has been touched.
refused setpriv --bounding-set -net_admin --inh-caps -net_admin -- "CAP_NET_ADMIN is missing" "run the agent as root"
[[ -z $(policies 104) ]] || fail "an agent without privileges left policies: $(policies 104)"

# Another program on the port. What is to be protected is blocked all the same, so that nothing leaves in the clear.
start_strangers 104 other-daemon hold 0.0.0.0 500
refused env -- "UDP port 500" "taken" "ss -ulpn sport = :500" "stop it"
on 104 "$(agent_binary)" doctor >"$folder/doctor" || true
grep -q 'FAILED *UDP port 500: taken by python3 (pid' "$folder/doctor" || fail "doctor does not name it: $(<"$folder/doctor")"
end_process other-daemon || true
capture 104 to-106 "$folder/clear" -Q out
on 104 ping -q -c 2 -i 0.1 -W 1 192.0.2.106 >/dev/null && fail "192.0.2.106 answered in the clear"
stop_capture 104 to-106
[[ -z $(packets "$folder/clear" icmp) ]] || fail "in the clear: $(packets "$folder/clear" icmp)"

# Who does not want an agent after all, takes out what it left.
on 104 "$(agent_binary)" withdraw -c "$configuration"
[[ -z $(policies 104) ]] || fail "left behind: $(policies 104)"
on 104 ping -q -c 2 -i 0.1 -W 5 192.0.2.106 >/dev/null || fail "still blocked"

# A second agent, by mistake or with directories of its own, leaves the first one's objects as they are.
start_agent 104
# Without what became of the pings above: what is wanted while one destination waits, and after it failed.
objects() {
    policies 104 | grep -v 'proto icmp \|priority 13[0-9]* ' | sort
    on 104 nft list table inet xfrm-agent | sed 's/packets [0-9]* bytes [0-9]*//'
}
before=$(objects)
refused env -- "another xfrm-agent runs (pid" "$folder/run"
on 104 "$(agent_binary)" withdraw -c "$configuration" && fail "withdrawn under a running agent"
mkdir -p "$folder/second/run" "$folder/second/state"
cp -p "$folder"/*.psk "$folder/second"
sed "s,$folder,$folder/second,; s,192.0.2.0/24,192.0.2.106/32," "$configuration" >"$folder/second/agent.toml"
chmod 600 "$folder/second/agent.toml"
configuration=$folder/second/agent.toml
refused env -- "UDP port 500" "taken"
[[ $(objects) == "$before" ]] || fail "the second changed: $(diff <(echo "$before") <(objects))"
agent 104 status >/dev/null || fail "the first agent is gone"

# A kernel without ESP: it says so at once, and goes on blocking.
if ! probe_own_kernel >/dev/null; then
    grep 'ERROR this kernel takes no ESP SA.*xfrm-agent doctor' "$(agent_log 104)" || fail "the log does not say so"
    grep -q 'FAILED *ESP with AES-GCM over IPv4' "$folder/doctor" || fail "doctor does not say so: $(<"$folder/doctor")"
fi
