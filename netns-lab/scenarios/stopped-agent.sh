# shellcheck shell=bash
# An agent is stopped (SIGSTOP) for half a minute under traffic, while its peer asks whether it lives: the kernel goes
# on, and when the agent does, it has nothing to make up for. Where the peer has given it up meanwhile, the tunnel is set
# up anew.
#
# topology: fig1-ted
# needs: esp agent

trace=$(state_folder "$lab")/trace

share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16 10.0.0.0/8 106=10.2.0.0/16
configure_gateway 106 10.2.0.0/16 10.0.0.0/8 104=10.1.0.0/16
for gateway in 104 106; do
    sed -i '/^name = "site"/a failure-lifetime = "3s"' "$(agent_folder "$gateway")/agent.toml"
    printf '\n[ike]\nliveness = "10s"\ngive-up = "30s"\n' >>"$(agent_folder "$gateway")/agent.toml"
done
start_agent 104
start_agent 106
capture r1 to-r2 "$trace"
answers=$(on 102 ping -c 3 -i 0.1 -W 9 10.2.0.108) || true
[[ $(received "$answers") == 3 ]] || fail "$answers"
before=$(sas_of 104)
start_stream 102 10.2.0.108

# ike: how many datagrams crossed the middle.
ike() { packets "$trace" 'udp port 500' | wc -l; }

# resume: how much IKE there is in the four seconds after goes to $storm.
resume() {
    local before
    before=$(ike)
    signal_agent 104 CONT
    sleep 4
    # Answers to what was asked again and again meanwhile, and what is asked now.
    storm=$(($(ike) - before))
    ((storm <= 60)) || fail "$storm datagrams in four seconds: $(packets "$trace" 'udp port 500' | tail -n 70)"
}

# one_tunnel: at both gateways, of the same SAs.
one_tunnel() {
    [[ $(sas_of 104 | wc -l) == 2 && $(sas_of 104) == "$(sas_of 106)" ]] &&
        [[ $(protected 104 out | wc -l) == 1 && $(protected 106 out | wc -l) == 1 ]]
}

sleep 1
signal_agent 104 STOP
sleep 30
resume
flows || fail "no answers: $(agent 104 status)"
one_tunnel || fail "104 $(sas_of 104), 106 $(sas_of 106)"
[[ $(sas_of 104) == "$before" ]] || fail "SAs: before $before, now $(sas_of 104)"
read -r sent lost gap < <(end_stream)
echo "30 s: $lost of $sent pings lost, $gap in a row; $storm datagrams of IKE in the 4 s after"
((lost == 0)) || fail "pings were lost"

# Less patience, so that the peer gives up before.
for gateway in 104 106; do
    sed -i 's/^liveness = .*/liveness = "3s"/; s/^give-up = .*/give-up = "5s"/' "$(agent_folder "$gateway")/agent.toml"
    agent "$gateway" reload
done
start_stream 102 10.2.0.108
# Deadlines that were set before the reload pass first.
sleep 8
signal_agent 104 STOP
given_up() { [[ -z $(protected 106 out) ]]; }
eventually 16 given_up || fail "106 does not give 104 up: $(agent 106 status)"
since=$SECONDS
resume
eventually 20 flows || fail "given up by the peer, no tunnel any more: $(agent 104 status) $(agent 106 status)"
since=$((SECONDS - since))
eventually 10 one_tunnel || fail "104 $(sas_of 104), 106 $(sas_of 106)"
read -r sent lost gap < <(end_stream)
echo "given up by the peer: answered again within $since s; $lost of $sent pings lost, $gap in a row"

stop_capture r1 to-r2
clear=$(in_the_clear "$trace")
[[ -z $clear ]] || fail "in the clear: $clear"
