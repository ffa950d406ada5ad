# shellcheck shell=bash
# An administrator deletes the SAs of a tunnel that has only just come up. The kernel holds what is sent meanwhile and
# announces none of it, for the larval SA of the first packet is still there. Nothing of it is lost, nor in the clear.
#
# topology: fig1-ted
# needs: esp agent

trace=$(state_folder "$lab")/trace
share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16 10.0.0.0/8 106=10.2.0.0/16
configure_gateway 106 10.2.0.0/16 10.0.0.0/8 104=10.1.0.0/16
start_agent 104
start_agent 106
capture r1 to-r2 "$trace"
start_stream 102 10.2.0.108
comes_up() { [[ $(sas_of 104 | wc -l) == 2 ]]; }
eventually 5 comes_up || fail "no tunnel: $(agent 104 status)"
before=$(sas_of 104)
# The packets of its discovery are out, their trap still there.
sleep 0.2
while read -r spi; do
    on 104 ip xfrm state deleteall proto esp spi "$spi"
done < <(awk '{ print $NF }' <<<"$before")
comes_again() { comes_up && [[ -z $(comm -12 <(echo "$before") <(sas_of 104)) ]]; }
eventually 10 comes_again || fail "no other tunnel: $(agent 104 status)"
flows || fail "nothing flows in the new tunnel: $(agent 104 status)"
read -r sent lost gap < <(end_stream)
echo "$lost of $sent pings lost, $gap in a row at most"
((lost == 0)) || fail "$lost of $sent pings were lost"
stop_capture r1 to-r2
clear=$(in_the_clear "$trace")
[[ -z $clear ]] || fail "in the clear: $clear"
