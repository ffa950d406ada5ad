# shellcheck shell=bash
# Our mobile node, our foreign agent and our home agent: registered through the agent of the link, reached both ways with
# no tunnel on the last link and IP in IP between the agents; a stream lives through moves to a network without an agent and
# back; an agent that starts anew is registered with anew; strangers' advertisements change nothing.
#
# topology: mip-agents
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

correspondent=192.0.2.101
care_of=198.18.0.2
agent_on_link=203.0.112.1

share_secret outer.key 103 102o
share_secret visitor.key 103 109
share_secret agents.key 109 102o
configure 103 <<END
[identity]
id = "laptop.example"

[mobility]
home = "$mobility"
home-agent = "$outer_agent"
spi = 256
algorithm = "hmac-sha256"
key-file = "outer.key"
destinations = "192.0.2.0/24"

[[agent-key]]
foreign-agent = "$agent_on_link"
spi = 300
algorithm = "hmac-sha256"
key-file = "visitor.key"
END
configure 109 <<END
[identity]
id = "fa.example"

[foreign-agent]
link = "to-x3"
address = "$agent_on_link"
prefix-length = 24
care-of = "$care_of"
interval = "2s"

[[agent-key]]
mobile-node = "$mobility"
spi = 300
algorithm = "hmac-sha256"
key-file = "visitor.key"

[[agent-key]]
home-agent = "$outer_agent"
spi = 400
algorithm = "hmac-sha256"
key-file = "agents.key"
END
start_own_agent 102o "$outer_agent" 198.51.100.0/24 "$mobility" outer.key
cat >>"$(agent_folder 102o)/agent.toml" <<END

[[agent-key]]
foreign-agent = "$care_of"
spi = 400
algorithm = "hmac-sha256"
key-file = "agents.key"
END
agent 102o reload >/dev/null
start_agent 109
start_agent 103

# Through the agent of x3, and with an address of its own on x1.
visits() { [[ $(agent 109 visitors --json | jq -c '[.[] | [.home, .home_agent, .reverse, .co_located]]') == "$1" ]]; }
visiting="[[\"$mobility\",\"$outer_agent\",\"direct\",false]]"
is_at() { mobile 103 '.registrations[] | select(.state == "registered") | .care_of' | has -xF "$1"; }
bound_to() { [[ $(agent 102o bindings --json | jq -c '[.[] | [.home, .care_of, .reverse]]') == "[[\"$mobility\",\"$1\",true]]" ]]; }
is_visiting() { is_at "$care_of" && visits "$visiting" && bound_to "$care_of"; }
reached() {
    local answers
    answers=$(on "$1" ping -c 5 -i 0.1 -W 5 "$2") || true
    [[ $(received "$answers") == 5 ]] || fail "$1 to $2: $answers"
}
reached_both_ways() {
    reached 103 "$correspondent"
    reached 101 "$mobility"
}
state() { agent 103 mobility; all_logs; }
all_logs() { tail -n 15 "$(agent_log 103)" "$(agent_log 109)" "$(agent_log 102o)"; }

capture 109 to-x3 "$mobility_trace/x3.pcap"
capture 109 to-isp "$mobility_trace/isp.pcap"
move 103 x3
eventually 10 is_visiting || fail "not registered through the agent: $(agent 103 mobility; all_logs)"
sleep 0.3
reached_both_ways
on 109 ip neigh show dev to-x3 "$mobility" | has "PERMANENT" || fail "the visitor's MAC is not kept: $(on 109 ip neigh)"
on 103 ip neigh show dev eth0 "$agent_on_link" | has "PERMANENT" || fail "the agent's MAC is not kept: $(on 103 ip neigh)"
[[ $(ask 109 .foreign_agent.visitors) == 1 ]] || fail "status knows no visitor"

# A stream lives through moves to an address of its own and back.
start_streams 101 103 "$mobility" 500 1000000
sleep 1
move 103 x1
eventually 10 dwells 103 "without VPN" x1 || fail "x1: $(agent 103 mobility; all_logs)"
bound_to 203.0.113.10 || fail "x1: $(agent 102o bindings)"
sleep 1
move 103 x3
eventually 10 is_visiting || fail "not registered again: $(agent 103 mobility; all_logs)"
sleep 1
end_streams
report_moves

# No tunnel on the last link, but for the moment before the agent of the link is heard; IP in IP between the agents.
stop_capture 109 to-x3
stop_capture 109 to-isp
letters[$care_of]=FA letters[$correspondent]=CN
between=$(headers "$mobility_trace/isp.pcap")
expected="FA>T_HA (4) T>CN
T_HA>FA (4) CN>T"
[[ $(grep -F FA <<<"$between") == "$expected" ]] || fail "between the agents: $between"
on_link=$(headers "$mobility_trace/x3.pcap")
[[ $on_link == *'CN>T'* && $on_link == *'T>CN'* && $on_link != *'FA (4)'* ]] || fail "on the link: $on_link"
asked=$(tshark -n -r "$mobility_trace/x3.pcap" -Y "arp.src.proto_ipv4 == $mobility || arp.dst.proto_ipv4 == $mobility" 2>/dev/null)
[[ -z $asked ]] || fail "somebody asked for T, or in its name: $asked"
advertised=$(tshark -n -r "$mobility_trace/x3.pcap" -Y 'icmp.type == 9 && ip.ttl == 1 && icmp.mip.f == 1' 2>/dev/null | wc -l)
((advertised >= 3)) || fail "$advertised advertisements that tshark knows"
solicited=$(tshark -n -r "$mobility_trace/x3.pcap" -Y 'icmp.type == 10 && ip.dst == 224.0.0.2' 2>/dev/null | wc -l)
((solicited >= 1)) || fail "nobody was asked for"

# More than fits between the agents is answered by the agent, whose answer goes to the home network first.
fits 1476

# Nobody else's packets take the tunnel, and nothing else comes out of it.
capture 109 to-isp "$mobility_trace/others.pcap"
reached 666 "$correspondent"
stop_capture 109 to-isp
[[ -z $(tshark -n -r "$mobility_trace/others.pcap" -Y "ip.proto == 4" 2>/dev/null) ]] || fail "others were wrapped"
on 102o ip link add forged type ipip local "$outer_agent" remote "$care_of"
on 102o ip link set forged up
on 102o ip route add 203.0.112.66/32 dev forged
capture 109 to-x3 "$mobility_trace/forged.pcap"
! on 102o ping -c 2 -i 0.2 -W 1 203.0.112.66 >/dev/null || fail "the home agent of one visitor reached somebody else"
stop_capture 109 to-x3
[[ -z $(tshark -n -r "$mobility_trace/forged.pcap" -Y "icmp.type == 8 && ip.dst == 203.0.112.66" 2>/dev/null) ]] || fail "it came out of the tunnel"
on 102o ip link del forged

# Only what comes out of its tunnel finds a visitor: whoever claims an address takes it from nobody else.
on 109 ip route get "$mobility" | has "dev to-isp" || fail "a visitor has the address for everybody: $(on 109 ip route get "$mobility")"

# An agent that starts anew says so, and is registered with at once.
stop_agent 109 KILL || true
start_agent 109
eventually 10 is_visiting || fail "not registered with the new one: $(agent 103 mobility; agent 109 visitors; all_logs)"
reached_both_ways

# A link that gives no address at all.
on 103 ip address flush dev eth0
eventually 10 is_visiting || fail "not registered without an address: $(agent 103 mobility; all_logs)"
sleep 0.5
[[ $(mobile 103 '.registrations[] | .care_of') == "$care_of" ]] || fail "without an address: $(agent 103 mobility)"
reached_both_ways

# Revoked: the home agent hears that it is done, and the mobile node, for itself alone, that it is not registered any more.
capture 109 to-isp "$mobility_trace/revoked-isp.pcap"
capture 109 to-x3 "$mobility_trace/revoked-x3.pcap"
agent 102o revoke "$mobility" >/dev/null
eventually 5 grep -q revocation-acknowledged "$(agent_log 102o)" || fail "the agent did not acknowledge: $(all_logs)"
grep -q visitor-revoked "$(agent_log 109)" || fail "the agent says nothing of it: $(agent_log 109)"
eventually 10 is_visiting || fail "not registered anew: $(agent 103 mobility; all_logs)"
stop_capture 109 to-isp
stop_capture 109 to-x3
exchanged=$(tshark -n -r "$mobility_trace/revoked-isp.pcap" -Y 'mip.type == 7 || mip.type == 15' -T fields -e ip.src -e mip.type 2>/dev/null)
[[ $exchanged == "$outer_agent"$'\t7\n'"$care_of"$'\t15' ]] || fail "between the agents: $exchanged"
tshark -n -r "$mobility_trace/revoked-x3.pcap" -Y "icmp.type == 9 && ip.dst == $mobility && icmp.mip.seq == 0 && icmp.mip.x == 1" 2>/dev/null |
    has . || fail "the mobile node is not told: $(tshark -n -r "$mobility_trace/revoked-x3.pcap" -Y 'icmp.type == 9' -V 2>/dev/null)"
reached_both_ways

# The foreign agent's administrator does the same: the home agent drops the binding and says so.
capture 109 to-isp "$mobility_trace/revoked-here.pcap"
agent 109 revoke "$mobility" >/dev/null
eventually 5 grep -q revocation-acknowledged "$(agent_log 109)" || fail "the home agent did not acknowledge: $(all_logs)"
[[ $(grep -c mobile-revoked "$(agent_log 102o)") == 2 ]] || fail "the home agent says nothing of it: $(agent_log 102o)"
eventually 10 is_visiting || fail "not registered anew: $(agent 103 mobility; all_logs)"
stop_capture 109 to-isp
exchanged=$(tshark -n -r "$mobility_trace/revoked-here.pcap" -Y 'mip.type == 7 || mip.type == 15' -T fields -e ip.src -e mip.type 2>/dev/null)
[[ $exchanged == "$care_of"$'\t7\n'"$outer_agent"$'\t15' ]] || fail "between the agents: $exchanged"
refused=$(agent 109 revoke 192.0.2.77 2>&1) && fail "it revokes a stranger"
has 'nobody is registered as 192.0.2.77' <<<"$refused" || fail "of a stranger it says: $refused"
reached_both_ways

# A home agent that is not there: the mobile node hears so from the agent, which hears it from ICMP, and asks again.
stop_agent 102o KILL || true
unplug 103
capture 109 to-x3 "$mobility_trace/unreachable.pcap"
move 103 x3
told_unreachable() { tshark -n -r "$mobility_trace/unreachable.pcap" -Y 'mip.type == 3 && mip.code == 82' 2>/dev/null | has .; }
eventually 10 told_unreachable || fail "nobody said that the home agent is not there: $(all_logs)"
stop_capture 109 to-x3
start_agent 102o
eventually 20 is_visiting || fail "not registered when the home agent is back: $(agent 103 mobility; all_logs)"
reached_both_ways

# A stranger was there first, is louder, and offers everything; another one talks nonsense. Nobody has a key with them.
unplug 103
start_process 666 stranger "${repository:?}/tests/mobile_ip/advertiser.py" 203.0.112.66 --every 0.05 --count 400 --noise
move 103 x3
eventually 10 is_visiting || fail "led astray: $(agent 103 mobility; all_logs)"
sleep 1
is_visiting || fail "led astray later: $(agent 103 mobility; all_logs)"
reached_both_ways
[[ $(counter 103 discovery-malformed) -gt 0 ]] || fail "nonsense is not counted"
end_process stranger INT || true

# It goes away for good: its lifetime ends there. What the agent made, it takes with it.
leave_nothing 109
agent 109 reload >/dev/null
stop_agent 109
[[ -z $(on 109 ip route show table all proto 88; on 109 ip neigh show | grep 'proto 88'; on 109 ip -oneline link show | grep -o ' xa-ipip') ]] ||
    fail "left behind: $(on 109 ip route show table all proto 88; on 109 ip neigh; on 109 ip link)"
eventually 20 dwells 103 "without VPN" x3 || fail "without an agent: $(agent 103 mobility; all_logs)"
