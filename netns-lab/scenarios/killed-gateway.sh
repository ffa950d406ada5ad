# shellcheck shell=bash
# An agent is killed under traffic and started again: the kernel goes on, what others put there is left alone, everything
# of before is in use or gone ten seconds after the start, and nothing leaves in the clear; nor does it when the agent
# comes back with a configuration that no longer wants the tunnel.
#
# topology: fig1-ted
# needs: esp agent

trace=$(state_folder "$lab")/trace
stream=$(state_folder "$lab")/stream.log

share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16 10.0.0.0/8 106=10.2.0.0/16
configure_gateway 106 10.2.0.0/16 10.0.0.0/8 104=10.1.0.0/16
start_agent 104
start_agent 106
answers=$(on 102 ping -c 3 -i 0.1 -W 9 10.2.0.108) || true
[[ $(received "$answers") == 3 ]] || fail "$answers"

# What somebody else put there by hand.
on 104 ip xfrm policy add src 10.77.0.0/16 dst 10.78.0.0/16 dir out priority 500 \
    tmpl src 192.0.2.104 dst 192.0.2.9 proto esp reqid 77 mode tunnel
on 104 ip xfrm policy add src 10.78.0.0/16 dst 10.77.0.0/16 dir in priority 500 \
    tmpl src 192.0.2.9 dst 192.0.2.104 proto esp reqid 77 mode tunnel
on 104 ip xfrm state add src 192.0.2.104 dst 192.0.2.9 proto esp spi 0x77777777 reqid 77 mode tunnel \
    aead 'rfc4106(gcm(aes))' 0x0102030405060708090a0b0c0d0e0f1011121314 128
foreign() {
    policies 104 | grep 10.77.0.0/16 | sort
    on 104 ip xfrm state get src 192.0.2.104 dst 192.0.2.9 proto esp spi 0x77777777
}
foreign_before=$(foreign)

# spis NODE: of the agent's SAs in the kernel. wanted_spis NODE: those that the agent says it has.
spis() { on "$1" ip xfrm state list nokeys | sed -n 's/.*spi \(0x[0-9a-f]*\).*reqid \([0-9]*\).*/\2 \1/p' | awk '$1 > 1000 { print $2 }' | sort; }
wanted_spis() { agent "$1" status --json | sed -n '/"sas"/,/\]/ s/^ *"spi": "\(.*\)",$/\1/p' | sort; }
agree() { [[ $(spis "$1") == "$(wanted_spis "$1")" ]]; }
spis_before=$(spis 104)
[[ $(wc -w <<<"$spis_before") == 2 ]] || fail "104 has the SAs $spis_before"

capture r1 to-r2 "$trace"
start_process 102 stream ping -i 0.1 -W 5 10.2.0.108
sleep 2

stop_agent 104 KILL || fail "104 was not killed"
sleep 3
start_agent 104
# Ten seconds, and what the client itself takes on an emulated machine.
sleep 10
[[ $(foreign) == "$foreign_before" ]] || fail "foreign objects: $(diff <(echo "$foreign_before") <(foreign))"
eventually 5 agree 104 || fail "104: in the kernel $(spis 104), wanted $(wanted_spis 104)"
left=$(comm -12 <(echo "$spis_before") <(spis 104))
[[ -z $left ]] || fail "SAs of before the kill are still there: $left"
mapfile -t now < <(spis 104)
((${#now[@]} == 2)) || fail "104 has ${#now[@]} SAs: ${now[*]}"
eventually 10 agree 106 || fail "106: in the kernel $(spis 106), wanted $(wanted_spis 106)"
tunnels=$(policies 104 | grep -c 'dir out .*tmpl src 192.0.2.104 dst 203.0.113.106' || true)
((tunnels == 1)) || fail "$tunnels policies for the tunnel: $(policies 104)"

end_process stream INT || fail "the pings did not end"
summary=$(sed -n 's/^\([0-9]*\) packets transmitted, \([0-9]*\) received.*/\1 \2/p' "$stream")
read -r sent answered <<<"$summary"
echo "killed and started again under pings every 100 ms: $answered of $sent answered"
((answered * 100 >= sent * 97)) || fail "$((sent - answered)) of $sent pings were lost"

# Killed again; the new configuration believes 106 for other addresses only.
stop_agent 104 KILL || fail "104 was not killed"
sed -i 's,^may-protect = .*,may-protect = ["10.3.0.0/16"],' "$(agent_folder 104)/agent.toml"
start_agent 104
gone() { [[ -z $(spis 104) ]] && ! policies 104 | grep -q 'tmpl src 192.0.2.104 dst 203.0.113.106'; }
eventually 12 gone || fail "104 keeps what it no longer wants: $(spis 104) $(policies 104)"
[[ $(foreign) == "$foreign_before" ]] || fail "foreign objects: $(diff <(echo "$foreign_before") <(foreign))"
on 102 ping -q -c 3 -i 0.1 -W 1 10.2.0.108 >/dev/null && fail "108 answered"

# And as it was, without a restart: what failed meanwhile is tried afresh.
sed -i 's,^may-protect = .*,may-protect = ["10.2.0.0/16"],' "$(agent_folder 104)/agent.toml"
agent 104 reload
answers=$(on 102 ping -c 3 -i 0.1 -W 9 10.2.0.108) || true
[[ $(received "$answers") == 3 ]] || fail "after reload: $answers"

stop_capture r1 to-r2
clear=$(in_the_clear "$trace")
[[ -z $clear ]] || fail "in the clear: $clear"
