# shellcheck shell=bash
# The clock is set forward by a day, twice, and back by an hour, as by whoever keeps the time. Tunnels go on, their keys
# are replaced when they are due, new tunnels come up, and what waited for one while the clock went back is announced
# again when it is sent again. A tunnel of less than a second the kernel takes for a day old: it comes up once more.
#
# topology: fig1-ted
# needs: esp agent

# Everything that runs on a machine sees its clock. A guest of scripts/vm has one of its own.
grep -qs ' vm.job=' /proc/cmdline || skip "needs a guest: the clock of this machine is not ours to set"

trace=$(state_folder "$lab")/trace

# step SECONDS: all that is measured with $SECONDS must begin and end between steps.
step() { date -s "@$(($(date +%s) + $1))" >/dev/null; }

share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16,2001:db8:1::/48 10.0.0.0/8,2001:db8::/40 106=10.2.0.0/16,2001:db8:2::/48
configure_gateway 106 10.2.0.0/16,2001:db8:2::/48 10.0.0.0/8,2001:db8::/40 104=10.1.0.0/16,2001:db8:1::/48
for gateway in 104 106; do
    sed -i '/^name = "site"/a failure-lifetime = "3s"' "$(agent_folder "$gateway")/agent.toml"
    printf '\n[ike]\nchild-lifetime = "15s"\n' >>"$(agent_folder "$gateway")/agent.toml"
done
# What no gateway protects ends half-way, rather than wander between two default routes.
on r1 ip route add blackhole 10.3.0.0/16
start_agent 104
start_agent 106
capture r1 to-r2 "$trace"
answers=$(on 102 ping -c 3 -i 0.1 -W 9 10.2.0.108) || true
[[ $(received "$answers") == 3 ]] || fail "$answers"
start_stream 102 10.2.0.108

# replaced SAS: whether 104 has other SAs by now, and only those.
replaced() {
    local now
    now=$(sas_of 104)
    [[ $(wc -l <<<"$now") == 2 && -z $(comm -12 <(echo "$1") <(echo "$now")) ]]
}

tunnels_lost() { grep -c tunnel-down "$(agent_log 104)" || true; }

# The kernel judges an SA by the clock once, a second after it was added. Then timers count.
before=$(sas_of 104)
step 86400
eventually 25 replaced "$before" || fail "a tunnel of less than a second is not replaced: $before $(sas_of 104)"
sleep 1.2
before=$(sas_of 104) lost=$(tunnels_lost)
step 86400
flows || fail "the tunnel went with the day"
eventually 25 replaced "$before" || fail "keys that were due are not replaced: $before $(sas_of 104)"
[[ $(tunnels_lost) == "$lost" ]] || fail "the tunnel went with the day, and came up once more"
echo "ok  two days later"

# Two wait for a tunnel: to a site that has none, and over IPv6 to one whose gateway cannot answer yet.
signal_agent 106 STOP
start_process 102 nowhere ping -i 0.2 10.3.0.1
start_process 102 late ping -i 0.2 2001:db8:2::108
waits() { [[ $(on 104 ip xfrm state list nokeys) == *'spi 0x00000000'* ]]; }
eventually 5 waits || fail "nothing waits"
step -3600
signal_agent 106 CONT
before=$(sas_of 104)
flows || fail "the tunnel went with the hour"
eventually 10 flows late || fail "no new tunnel: $(agent 104 status)"
# The site that has no tunnel is looked for again and again.
times_looked_for() { ask 104 '.counters["discoveries-failed"] // 0'; }
looked_for() { (($(times_looked_for) > $1)); }
failed=$(times_looked_for)
eventually 30 looked_for "$failed" || fail "packets without a tunnel are no longer announced: $(agent 104 status)
    $(on 104 ip xfrm state list nokeys)"
failed=$(times_looked_for)
eventually 30 looked_for "$failed" || fail "packets without a tunnel were announced once more, and then no longer"
end_process late INT || fail "late pings did not end"
echo "ok  an hour earlier"

step -169200
read -r sent lost gap < <(end_stream)
echo "$lost of $sent pings lost, $gap in a row at most"
((lost <= 2)) || fail "$lost of $sent pings were lost"
stop_capture r1 to-r2
clear=$(in_the_clear "$trace")
[[ -z $clear ]] || fail "in the clear: $clear"
