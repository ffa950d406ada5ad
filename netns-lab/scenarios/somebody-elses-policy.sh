# shellcheck shell=bash
# Somebody else's policies have the selectors of the agent's: they are left alone, `status` and the log name them with the
# command that takes them out, everything else is protected, and once they are gone the agent's own take their place.
#
# topology: fig1-ted
# needs: agent

work=$(state_folder "$lab")

share_secret 104-106.psk 104
configure_gateway 104 "10.1.0.0/16,2001:db8:1::/48" "10.0.0.0/8,2001:db8:2::/48" 106=10.2.0.0/16,2001:db8:2::/48
unmarked=(mark 0 mask 0x80000000)
trap=(src 10.1.0.0/16 dst 10.0.0.0/8 dir out)
on 104 ip xfrm policy add "${trap[@]}" "${unmarked[@]}" action block priority 20000
on 104 ip xfrm policy add src 10.0.0.0/8 dst 10.1.0.0/16 dir fwd "${unmarked[@]}" action block priority 20000
on 104 ip xfrm policy add src ::/0 dst ::/0 proto ipv6-icmp type 135 dir in priority 20000
foreign() { policies 104 | grep 'priority 20000' | sort; }
foreign_before=$(foreign)
[[ $(wc -l <<<"$foreign_before") == 3 ]] || fail "set up: $(policies 104)"

# Nothing that should be protected leaves in the clear, whichever policy it meets.
nothing_in_the_clear() {
    on 102 ping -q -c 2 -i 0.1 -W 1 10.2.0.108 >/dev/null && fail "108 answered in the clear"
    on 102 ping -q -c 2 -i 0.1 -W 1 2001:db8:2::108 >/dev/null && fail "108 answered in the clear over IPv6"
    # And what comes in the clear is refused: a request that 106, without an agent, lets out.
    on 108 ping -q -c 2 -i 0.1 -W 1 10.1.0.102 >/dev/null && fail "102 answered in the clear"
    return 0
}

capture r1 to-104 "$work/wire" -Q in
start_agent 104
agent 104 status
refused 104 3 || fail "at the start: $(refusals 104)"
[[ $(foreign) == "$foreign_before" ]] || fail "foreign policies: $(diff <(echo "$foreign_before") <(foreign))"
grep 'ERROR.*src 10.1.0.0/16 dst 10.0.0.0/8 dir out.*priority 20000.*ip xfrm policy deleteall' "$(agent_log 104)" >/dev/null ||
    fail "the log does not name it: $(<"$(agent_log 104)")"
nothing_in_the_clear
acquires() { (($(counter 104 acquires) > $1)); }
eventually 5 acquires 0 || fail "the trap for IPv6 was not met: $(policies 104)"

# Taken out by the very command that the agent names, one by one; the agent's own follow by themselves.
while read -r refusal; do
    command=$(quoted "$refusal")
    # shellcheck disable=SC2086 # words of a command
    on 104 $command || fail "the advice is not a command: $refusal"
done < <(refusals 104)
[[ -z $(foreign) ]] || fail "the commands left $(foreign)"
eventually 5 refused 104 0 || fail "still refused: $(refusals 104)"
for own in 'src 10.1.0.0/16 dst 10.0.0.0/8 dir out priority 14' 'src 10.0.0.0/8 dst 10.1.0.0/16 dir fwd action block priority 15' \
    'proto ipv6-icmp type 135 dir in priority 8'; do
    policies 104 | tr -s ' ' | has "$own" || fail "no $own: $(policies 104)"
done
nothing_in_the_clear
before=$(counter 104 acquires)
on 102 ping -q -c 2 -i 0.2 -W 1 10.2.0.107 >/dev/null && fail "107 answered"
eventually 5 acquires "$before" || fail "the trap is not met"

# One of the agent's own becomes somebody else's while it runs; then that is taken away without being asked for.
on 104 ip xfrm policy update "${trap[@]}" "${unmarked[@]}" action block priority 500
eventually 5 refused 104 1 || fail "altered while running: $(refusals 104)"
refusals 104
nothing_in_the_clear
# shellcheck disable=SC2046 # words of a command
on 104 $(quoted "$(refusals 104)")
eventually 5 refused 104 0 || fail "still refused: $(refusals 104)"

# With a reload, too, nothing is reported twice, and what is no longer wanted is no longer refused.
on 104 ip xfrm policy add src 10.1.0.0/16 dst 10.9.0.0/16 dir out "${unmarked[@]}" action block priority 20000
errors() { grep -c 'ERROR.*refused' "$(agent_log 104)" || true; }
configuration=$(agent_folder 104)/agent.toml
sed -i 's,"10.0.0.0/8",&\, "10.9.0.0/16",' "$configuration"
errors_before=$(errors)
agent 104 reload >/dev/null
refused 104 1 || fail "after reload: $(refusals 104)"
agent 104 reload >/dev/null
((errors_before + 1 == $(errors))) || fail "$(($(errors) - errors_before)) errors for one refusal: $(<"$(agent_log 104)")"
sed -i 's,\, "10.9.0.0/16",,' "$configuration"
agent 104 reload >/dev/null
eventually 5 refused 104 0 || fail "not wanted and yet refused: $(refusals 104)"

stop_agent 104 || fail "104 did not stop"
stop_capture r1 to-104
clear=$(in_the_clear "$work/wire")
[[ -z $clear ]] || fail "in the clear: $clear"
