# shellcheck shell=bash
# The home agent and the mobile node of tests/mobile_ip against each other: what our own are tested against later. They
# agree on every code and extension, tunnel through the NAT before x2, and tshark dissects all of it as meant.
#
# topology: mip-fig7

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

key=000102030405060708090a0b0c0d0e0f
peers=${repository:?}/tests/mobile_ip
trace=$mobility_trace/registrations
inner_log=$mobility_trace/inner.log

start_home_agent() {
    start_process "$1" "$2" "$peers/home_agent.py" "$3" --key "$key" "${@:4}"
    eventually 60 grep -q listening "$mobility_trace/$2.log" || fail "no home agent: $(cat "$mobility_trace/$2.log")"
}
start_home_agent 102i inner "$inner_agent" --home 10.20.0.0/24 --trusted 10.11.0.0/24 --trusted 10.12.0.0/24
start_home_agent 102o outer "$outer_agent" --home 198.51.100.0/24 --keepalive 20

# inside STATUS WORD..., outside STATUS WORD...: a registration with the one or the other, its lines in $said.
inside() { register "$1" "$inner_agent" --home "$intranet" "${@:2}"; }
outside() { register "$1" "$outer_agent" --home "$mobility" "${@:2}"; }
register() {
    local status=0
    said=$(on 103 "$peers/mobile_node.py" "${@:2}" --key "$key") || status=$?
    [[ $status == "$1" ]] || fail "exit status $status, not $1, of $* $said $(tail -n 4 "$inner_log")"
}
says() { jq -se "last(.[] | select(.event == \"received\")) | $1" >/dev/null <<<"$said" || fail "not $1: $said"; }

move 103 105a
capture 103 eth0 "$trace" udp port 434
inside 0
says '.code == 0 and .trusted_network and .lifetime == 300'
inside 0 --age 30 --expect 133
inside 0 --age 30 --resynchronize
first=$(date +%s)
printf -v replayed '%08x00000000' "$((first + 2208988800 - 2))"
inside 0 --identification "$replayed" --expect 133
inside 0 --spoil authenticator --expect 131
inside 2 --spoil truncated --wait 0.5
inside 0 --field 10.10.0.9 --expect 136
inside 0 --home 10.20.9.5 --expect 129
inside 0 --udp force --encapsulation 47 --expect 142
inside 0 --lifetime 0 --care-of "$intranet"
tail -n 2 "$inner_log" | jq -se '.[0].event == "bindings" and .[0].care_of == []' >/dev/null || fail "still bound: $(tail -n 2 "$inner_log")"
stop_capture 103 eth0
inner_trace=$trace.inner
mv "$trace" "$inner_trace"

move 103 x1
inside 2 --wait 0.5
capture 103 eth0 "$trace" udp port 434
outside 0 --udp ask
says '.code == 0 and .udp_tunnel_reply.code == 64 and (.trusted_network | not)'
outside 0 --udp force --keep-alives 1
says '.udp_tunnel_reply == {code: 0, forced: true, keepalive: 20}'
stop_capture 103 eth0
plain_trace=$trace.plain
mv "$trace" "$plain_trace"

move 103 x2
capture 103 eth0 "$trace" udp port 434
outside 0 --udp ask --keep-alives 2
says '.udp_tunnel_reply == {code: 0, forced: false, keepalive: 20}'
stop_capture 103 eth0

# Each field and each extension, as the home agents got and said it.
dissect "$inner_trace,$plain_trace,$trace" "$inner_log" "$mobility_trace/outer.log"
in_udp=$(tshark -r "$trace" -Y 'mip.type == 4 && mip.nattt.nexthdr == 4 && icmp' 2>/dev/null | wc -l)
((in_udp == 4)) || fail "$in_udp packets in the UDP tunnel, not 4: $(tshark -r "$trace" 2>/dev/null)"
