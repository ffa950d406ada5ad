# shellcheck shell=bash
# A gateway is killed and started with another configuration: what it no longer wants is gone ten seconds later, what it
# wants in another mode is in that mode, what it still wants goes on without a gap, and nothing is in the clear that is to
# be protected. Then the key, and then the peer, are not what they were.
#
# topology: fig1-ted
# needs: esp agent

trace=$(state_folder "$lab")/trace
stream=$(state_folder "$lab")/stream.log
folder=$(agent_folder 104)

# proxy NAME LOCAL REMOTE [LINE]
proxy() { printf '[[proxy]]\nname = "%s"\nlocal = ["%s"]\nremote = ["%s"]\nfailure-lifetime = "2s"\n%s\n' "$1" "$2" "$3" "${4:-}"; }
# peer ID FILE PREFIX[,...]
peer() { printf '[[peer]]\nid = "%s"\npsk-file = "%s"\nmay-protect = %s\n' "$1" "$2" "$(toml_list "$3")"; }
identity() { printf '[identity]\nid = "%s"\n' "$1"; }

share_secret 104-106.psk 104 106
share_secret other.psk 104 106
everything=10.2.0.0/16,2001:db8:2::/48,self
{
    identity gw104.example
    proxy site 10.1.0.0/16 10.0.0.0/8
    proxy site6 2001:db8:1::/48 2001:db8:2::/48
    proxy gateways 192.0.2.104/32 203.0.113.106/32
    peer gw106.example 104-106.psk "$everything"
} | configure 104
{
    identity gw106.example
    proxy site 10.2.0.0/16 10.0.0.0/8
    proxy site6 2001:db8:2::/48 2001:db8:1::/48
    proxy gateways 203.0.113.106/32 192.0.2.104/32
    peer gw104.example 104-106.psk 10.1.0.0/16,2001:db8:1::/48,self
} | configure 106
start_agent 104
start_agent 106
capture r1 to-r2 "$trace"

# answered NODE ADDRESS: three pings in a row.
answered() {
    local answers
    answers=$(on "$1" ping -c 3 -i 0.1 -W 9 "$2") || true
    [[ $(received "$answers") == 3 ]] || fail "$1 to $2: $answers $(agent 104 status)"
}
answered 102 10.2.0.108
answered 102 2001:db8:2::108
answered 104 203.0.113.106
before=$(sas_of 104)
[[ $(wc -l <<<"$before") == 6 ]] || fail "104 has not three tunnels: $before"

# left: of the SAs of before, those that are there.
left() { comm -12 <(echo "$before") <(sas_of "$1"); }
none_left() { [[ -z $(left "$1") ]]; }
# wanted_and_there NODE: what the agent wants in its kernel is what is there.
wanted_and_there() { [[ $(ask "$1" '.sas[].spi' | sort) == "$(sas_of "$1" | awk '{ print $4 }' | sort)" ]]; }
# ten_seconds SECONDS: what is left of ten seconds after that moment; and what a client takes on an emulated machine.
ten_seconds() { echo $((10 + $1 - SECONDS + 3)); }

echo "--- one proxy less, one more, one in another mode"
start_process 102 stream ping -i 0.1 -W 5 10.2.0.108
stop_agent 104 KILL || fail "104 was not killed"
{
    identity gw104.example
    proxy site 10.1.0.0/16 10.0.0.0/8
    proxy added 10.1.0.0/16 172.16.0.0/12
    proxy gateways 192.0.2.104/32 203.0.113.106/32 'mode = "transport"'
    peer gw106.example 104-106.psk "$everything"
} | configure 104
start_agent 104
started=$SECONDS
eventually "$(ten_seconds "$started")" none_left 104 || fail "104 keeps $(left 104)"
eventually "$(ten_seconds "$started")" none_left 106 || fail "106 keeps $(left 106)"
eventually 5 wanted_and_there 104 || fail "104 has $(sas_of 104) and wants $(ask 104 '.sas')"
policies 104 | grep '2001:db8:2::/48' && fail "what is not wanted is there"
policies 104 | has 'dst 172.16.0.0/12 ' || fail "what is wanted now is not there: $(policies 104)"
answered 104 203.0.113.106
policies 104 | has '^src 192.0.2.104/32 dst 203.0.113.106/32 .*dir out .*proto esp reqid [1-9][0-9]* mode transport' ||
    fail "not in transport mode: $(policies 104)"
end_process stream INT || fail "the pings did not end"
read -r sent received <<<"$(sed -n 's/^\([0-9]*\) packets transmitted, \([0-9]*\) received.*/\1 \2/p' "$stream")"
echo "what stays wanted: $received of $sent pings answered, every 100 ms"
((received * 100 >= sent * 98)) || fail "$((sent - received)) of $sent pings were lost"

echo "--- another key than the peer's"
before=$(sas_of 104)
stop_agent 104 || fail "104 did not stop"
sed -i 's/104-106.psk/other.psk/' "$folder/agent.toml"
start_agent 104
started=$SECONDS
eventually "$(ten_seconds "$started")" none_left 104 || fail "104 keeps $(left 104)"
on 102 ping -q -c 2 -i 0.1 -W 1 10.2.0.108 >/dev/null && fail "108 answered, although no key is shared"
grep -q 'authentication with gw106.example failed' "$(agent_log 104)" || fail "it does not say why: $(<"$(agent_log 104)")"
# The peer gets it, too.
sed -i 's/104-106.psk/other.psk/' "$(agent_folder 106)/agent.toml"
agent 106 reload
agent 104 reload
# What failed a moment ago may stay blocked for its two seconds.
eventually 15 on 102 ping -q -c 1 -W 2 10.2.0.108 >/dev/null || fail "with the same key: $(agent 104 status)"
# Only now does 106 know that the other has started afresh.
started=$SECONDS
answered 102 10.2.0.108
eventually "$(ten_seconds "$started")" none_left 106 || fail "106 keeps $(left 106)"

echo "--- without the peer"
before=$(sas_of 104)
stop_agent 104 || fail "104 did not stop"
{
    identity gw104.example
    proxy site 10.1.0.0/16 10.0.0.0/8
    peer gw107.example other.psk 10.3.0.0/16
} | configure 104
start_agent 104
started=$SECONDS
eventually "$(ten_seconds "$started")" none_left 104 || fail "104 keeps $(left 104)"
policies 104 | grep 'mode tunnel' && fail "a tunnel's policy is there"
on 102 ping -q -c 2 -i 0.1 -W 1 10.2.0.108 >/dev/null && fail "108 answered, although nobody may speak for it"

stop_capture r1 to-r2
clear=$(in_the_clear "$trace"; packets "$trace" 'icmp and host 203.0.113.106 and host 192.0.2.104')
[[ -z $clear ]] || fail "in the clear: $clear"
