# shellcheck shell=bash
# A stranger on the path answers every probe at once, in his own name and in that of others, before the honest gateway can:
# it costs a detour, and the honest answer wins; nothing goes in the clear, and no SA is made with anybody else.
#
# topology: fig1-ted --delay 100ms
# needs: esp agent

trace=$(state_folder "$lab")/trace
counted() { (($(counter 104 "$1") >= $2)); }

share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16 10.0.0.0/8 106=10.2.0.0/16
configure_gateway 106 10.2.0.0/16 10.0.0.0/8 104=10.1.0.0/16
sed -i 's/^name = "site"/&\non-failure = "clear"/' "$(agent_folder 104)/agent.toml"
start_agent 104
start_agent 106
capture r1 to-104 "$trace"

# Unasked: a response that nobody waits for.
strangers r1 response 198.51.100.1 192.0.2.104 --id 198.51.100.1
eventually 10 counted answers-unasked 1 || counts 104 answers-unasked=1

# In his own name, where IKE finds nobody, although IKE_SA_INIT has been answered along with the probe; in the name of a host
# that does not exist, with nonsense for IKE; and with an ID that is not the sender.
start_strangers r1 forger answer to-104 198.51.100.1 --ike answer
start_strangers r1 forger-of-others answer to-104 192.0.2.77 --local 10.0.0.0/8 --ike noise
start_strangers r1 forger-of-106 answer to-104 203.0.113.106 --id 192.0.2.1 --times 5

sent=$(on 102 ping -c 30 -i 0.5 -W 3 10.2.0.108) || true
echo "with three forgers: $(received "$sent") of 30 pings"
(($(received "$sent") >= 20)) || fail "$sent"

tunnels=$(policies 104 | grep 'dir out .*tmpl src [1-9]')
[[ $tunnels == "src 10.1.0.0/16 dst 10.2.0.0/16 "*"tmpl src 192.0.2.104 dst 203.0.113.106 "* && $(wc -l <<<"$tunnels") == 1 ]] ||
    fail "104 protects: $tunnels"
(($(counter 104 answers-foreign) >= 1)) || fail "responses whose ID is not their sender were not counted"
(($(counter 104 answers) >= 2)) || fail "the forged answers were not heard: the scenario shows nothing"

(($(counter 104 ike-openings-used) >= 1)) || fail "no forged answer to IKE_SA_INIT was followed up: the scenario shows nothing"

# The cookie of the probe that has ended is worth nothing any more.
cookie=$(sed -n 2p "$(state_folder "$lab")/forger.log")
for label in forger forger-of-others forger-of-106; do end_process "$label" || true; done
before=$(counter 104 answers-replayed)
strangers r1 response 198.51.100.1 192.0.2.104 --cookie "$cookie"
strangers r1 response 203.0.113.106 192.0.2.104 --cookie "$cookie"
eventually 10 counted answers-replayed $((before + 2)) || fail "replayed cookies: $(agent 104 status --json | grep '"answers')"

stop_capture r1 to-104
clear=$(in_the_clear "$trace")
[[ -z $clear ]] || fail "in the clear: $clear"
# Whoever is named in a forged response gets a few IKE_SA_INIT, not a flood.
for victim in 198.51.100.1 192.0.2.77; do
    init=$(packets "$trace" "udp and src host 192.0.2.104 and dst host $victim" | wc -l)
    echo "$victim got $init datagrams"
    ((init <= 40)) || fail "$victim got $init datagrams in 20 s"
done
