# shellcheck shell=bash
# A tunnel is negotiated, and the kernel refuses part of it: somebody else's policy has its selector, then somebody else's
# SA its SPI. Nothing leaves in the clear, the obstacle is named and left alone, and the tunnel carries traffic as soon
# as it can, by itself.
#
# topology: fig1-ted
# needs: esp agent

trace=$(state_folder "$lab")/trace
unmarked=(mark 0 mask 0x80000000)

share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16 10.0.0.0/8 106=10.2.0.0/16
configure_gateway 106 10.2.0.0/16 10.0.0.0/8 104=10.1.0.0/16
leave_nothing 104 106
start_agent 104
start_agent 106
capture r1 to-r2 "$trace"

answered() {
    local answers
    answers=$(on 102 ping -c 3 -i 0.2 -W "${1:-9}" 10.2.0.108) || true
    [[ $(received "$answers") == 3 ]]
}
# What stands is what can be looked at: `ip` lists a policy whole, with what is beside its selector.
foreign_policy() { policies 104 | grep 'priority 20000'; }

echo "--- a policy with the tunnel's selector"
on 104 ip xfrm policy add src 10.1.0.0/16 dst 10.2.0.0/16 dir out "${unmarked[@]}" action block priority 20000
policy=$(foreign_policy)
answered 4 && fail "108 answered although the tunnel has no policy"
eventually 10 refused 104 1 || fail "refused: $(refusals 104); $(agent 104 status)"
[[ $(ask 104 '.tunnels[].state') == refused ]] || fail "the tunnel does not say so: $(agent 104 tunnels)"
agent 104 status
# It is not negotiated over and over, however long packets wait.
spis=$(sas_of 104)
[[ $(wc -l <<<"$spis") == 2 ]] || fail "SAs: $spis"
answered 4 && fail "108 answered although the tunnel has no policy"
[[ $(sas_of 104) == "$spis" ]] || fail "negotiated again: $spis, now $(sas_of 104)"
[[ $(foreign_policy) == "$policy" ]] || fail "the foreign policy is now $(foreign_policy)"
refusal=$(refusals 104)
command=$(quoted "$refusal")
# shellcheck disable=SC2086 # words of a command
on 104 $command || fail "the advice is not a command: $refusal"
eventually 5 refused 104 0 || fail "still refused: $(refusals 104)"
answered || fail "with the obstacle gone, there is no answer: $(agent 104 status)"
[[ $(ask 104 '.tunnels[].state') == up ]] || fail "the tunnel is not up: $(agent 104 tunnels)"
[[ $(sas_of 104) == "$spis" ]] || fail "negotiated again: $spis, now $(sas_of 104)"

echo "--- an SA with the tunnel's SPI"
stop_agent 104 || fail "104 did not stop"
no_sas() { [[ -z $(sas_of "$1") ]]; }
eventually 5 no_sas 106 || fail "106 keeps $(sas_of 106)"
start_agent 104
# 106 has chosen its SPI and 104 has not heard of it yet: the answers of 106 take their time.
tc -n "$(namespace 106)" qdisc add dev to-r2 root netem delay 2s
start_process 102 waiting ping -c 30 -i 1 -W 30 10.2.0.108
chosen() { spi=$(sas_of 106 | sed -n 's/^192.0.2.104 > 203.0.113.106 //p') && [[ -n $spi ]]; }
eventually 30 chosen || fail "106 has no SA"
on 104 ip xfrm state add src 192.0.2.104 dst 203.0.113.106 proto esp spi "$spi" reqid 77 mode tunnel \
    aead 'rfc4106(gcm(aes))' 0x0102030405060708090a0b0c0d0e0f1011121314 128 || fail "104 has had it already"
foreign_sa() { on 104 ip xfrm state get src 192.0.2.104 dst 203.0.113.106 proto esp spi "$spi"; }
sa=$(foreign_sa)
named() { grep -q "ERROR.*spi $spi.*ip xfrm state delete" "$(agent_log 104)"; }
eventually 20 named || fail "the log does not name $spi: $(tail -n 20 "$(agent_log 104)")"
tc -n "$(namespace 106)" qdisc delete dev to-r2 root
another() { sas_of 104 | grep '192.0.2.104 > 203.0.113.106' | has -v "$spi"; }
eventually 30 another || fail "no other SPI was negotiated: $(agent 104 status)"
answered || fail "no answer with another SPI: $(agent 104 status)"
[[ $(foreign_sa) == "$sa" ]] || fail "the foreign SA: $(diff <(echo "$sa") <(foreign_sa))"
command=$(quoted "$(grep 'ip xfrm state delete' "$(agent_log 104)")")
# shellcheck disable=SC2086 # words of a command
on 104 $command || fail "the advice is not a command: $command"
refused 104 0 || fail "still refused: $(refusals 104)"

stop_capture r1 to-r2
clear=$(in_the_clear "$trace")
[[ -z $clear ]] || fail "in the clear: $clear"
