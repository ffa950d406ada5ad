# shellcheck shell=bash
# The middle link loses three packets of ten in each direction, so half of all round trips fail. Twenty tunnels are set up
# with nothing there before, over IPv4 and IPv6, whichever side begins; each carries an answer within the bound, and
# nothing crosses in the clear. Prints the seconds from the first packet to the first answer.
#
# topology: fig1-ted --delay 50ms --loss 30%
# needs: esp agent

# In such weather one discovery in four hundred hears nothing for its four seconds. It is begun again when its failure
# has lasted for half a minute.
bound=45

trace=$(state_folder "$lab")/trace
times=$(state_folder "$lab")/times

# know_neighbour ROUTER ROUTER: without asking, because three questions lost in a row are the link's failure, not a tunnel's.
know_neighbour() {
    local address link
    link=$(on "$2" cat "/sys/class/net/to-$1/address")
    for address in $(on "$2" ip -oneline address show dev "to-$1" | awk '{ sub("/.*", "", $4); print $4 }'); do
        on "$1" ip neighbour replace "$address" lladdr "$link" dev "to-$2" nud permanent
    done
}

# both COMMAND: for 104 and for 106, at the same time.
both() {
    "$@" 104 &
    local first=$!
    "$@" 106
    wait "$first"
}

no_sas() { [[ -z $(sas_of 104)$(sas_of 106) ]]; }

# Agents that start are costly where they are emulated, so every tenth run has new ones. Before the others, each gateway
# is told to believe the other no more, which ends the IKE SA and everything that came of it, and then to believe it again.
start_anew() {
    if runs "agent-104"; then both stop_agent || fail "a gateway did not stop"; fi
    both start_agent
}

# rename_peer NODE FROM TO
rename_peer() {
    sed -i "s/^id = \"gw$2.example\"/id = \"gw$3.example\"/" "$(agent_folder "$1")/agent.toml"
}

part() {
    rename_peer 104 106 nobody
    rename_peer 106 104 nobody
    both reload
    eventually 10 no_sas || fail "SAs stayed: $(sas_of 104) $(sas_of 106)"
    rename_peer 104 nobody 106
    rename_peer 106 nobody 104
    both reload
}

# By signal, because clients are processes that start, too.
reload() {
    local process
    read -r _ process <"$(state_folder "$lab")/agent-$1.pid"
    kill -HUP "$process"
}

# first_answer FROM ADDRESS: one ping after the other, until one is answered.
first_answer() {
    local began=$EPOCHREALTIME
    on "$1" ping -q -c 1 -i 0.2 -w "$bound" "$2" >/dev/null || return
    awk -v began="$began" -v answered="$EPOCHREALTIME" 'BEGIN { printf "%.1f\n", answered - began }'
}

share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16,2001:db8:1::/48 10.0.0.0/8,2001:db8::/40 106=10.2.0.0/16,2001:db8:2::/48
configure_gateway 106 10.2.0.0/16,2001:db8:2::/48 10.0.0.0/8,2001:db8::/40 104=10.1.0.0/16,2001:db8:1::/48
leave_nothing 104 106
capture r1 to-r2 "$trace"
know_neighbour r1 r2
know_neighbour r2 r1

for ((run = 0; run < 20; run++)); do
    family=$( ((run % 2)) && echo inet6 || echo inet)
    hosts=(102 108)
    if ((run / 2 % 2)); then hosts=(108 102); fi
    if ((run % 10)); then part; else start_anew; fi
    no_sas || fail "run $run: there are SAs already: $(sas_of 104) $(sas_of 106)"
    first_answer "${hosts[0]}" "$(addresses "${hosts[1]}" "$family")" >>"$times" ||
        fail "run $run, from ${hosts[0]} over $family: no answer in $bound s"
    # Packets that are still under way would begin the next tunnel.
    sleep 0.3
done
stop_capture r1 to-r2

report "$(sort -n "$times" | awk '
    { time[NR] = $1 }
    END { printf "%d tunnels; first answer after %.1f s (median), %.1f s (slowest)",
              NR, (time[int((NR + 1) / 2)] + time[int(NR / 2) + 1]) / 2, time[NR] }')"
report "each: $(paste -sd' ' "$times")"
[[ -n $(packets "$trace" esp) && -n $(packets "$trace" 'ip6 proto 50') ]] || fail "no ESP was seen"
clear=$(in_the_clear "$trace")
[[ -z $clear ]] || fail "in the clear: $clear"
