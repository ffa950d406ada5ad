# shellcheck shell=bash
# Our foreign agent between a mobile node and a home agent that share no code with it: what it passes on they believe, what
# it must not offer it denies with the right code, and packets go both ways for as long as the registration lasts. With keys with
# both it wants its challenge answered (RFC 4721) and is told of revocations (RFC 3543); tshark reads all messages as they do.
#
# topology: mip-agents
# needs: agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

correspondent=192.0.2.101
care_of=203.0.112.1
peers=${repository:?}/tests/mobile_ip
lines=$mobility_trace/lines

share_secret mobile.key 102o
key=$(tr -d '\n' <"$(agent_folder 102o)/mobile.key" | od -An -v -tx1 | tr -d ' \n')
start_scapy_agent 102o "$outer_agent" "$(agent_folder 102o)/mobile.key" --home 198.51.100.0/24 --lifetime 300
configure 109 <<END
[identity]
id = "fa.example"

[foreign-agent]
link = "to-x3"
address = "$care_of"
lifetime = "5m"
encapsulations = "gre"
END
start_agent 109
capture 109 any "$mobility_trace/registrations" udp port 434

# The mobile node's end, by hand: its packets and requests leave by the card, from the home address.
move 103 x3
on 103 ip address add "$mobility/32" dev lo
on 103 ip route add "$correspondent" via "$care_of" dev eth0 src "$mobility"

# registers STATUS WORD...: the lines of what was said are in $said.
registers() {
    local status=0
    said=$(on 103 "$peers/mobile_node.py" "$care_of" --field "$outer_agent" --home "$mobility" --bind "$mobility" --device eth0 \
        --care-of "$care_of" --key "$key" --ttl 255 --flags T "${@:2}") || status=$?
    echo "$said" >>"$lines"
    [[ $status == "$1" ]] || fail "exit status $status, not $1, of $* $said $(tail -n 4 "$(agent_log 109)")"
}
# What a foreign agent denies is not signed: the mobile node does not believe it, and prints it.
denied() {
    local code
    code=$(jq -sr 'last(.[] | select(.event == "received")) | .code' <<<"$said")
    [[ $code == "$1" ]] || fail "code $code, not $1: $said"
}
visitors() { agent 109 visitors --json | jq -c '[.[] | [.home, .home_agent, .care_of, .reverse, .left_seconds > 0]]'; }
has_left() { [[ $(visitors) == '[]' ]]; }
reached_both_ways() {
    local answers
    answers=$(on 103 ping -c 3 -i 0.2 -W 5 -I "$mobility" "$correspondent") || true
    [[ $(received "$answers") == 3 ]] || fail "from the mobile node: $answers"
    answers=$(on 101 ping -c 3 -i 0.2 -W 5 "$mobility") || true
    [[ $(received "$answers") == 3 ]] || fail "to the mobile node: $answers"
}

# Denied by the agent itself: too long, another's care-of address, from behind a router (RFC 3024), itself as home agent.
registers 2 --lifetime 600 --wait 1
denied 69
sleep 1.1
registers 2 --care-of 203.0.112.9 --wait 1
denied 77
sleep 1.1
registers 2 --ttl 64 --wait 1
denied 76
sleep 1.1
registers 2 --field "$care_of" --wait 1
denied 194
[[ $(visitors) == '[]' ]] || fail "a visitor: $(visitors)"

# Denied by the home agent: passed on as it is, and no visitor of it.
sleep 1.1
registers 0 --spoil authenticator --expect 131 --lifetime 300
[[ $(visitors) == '[]' ]] || fail "a visitor: $(visitors)"

capture 109 to-isp "$mobility_trace/between.pcap" ip
registers 0 --lifetime 300
[[ $(visitors) == "[[\"$mobility\",\"$outer_agent\",\"$care_of\",\"direct\",true]]" ]] || fail "visitors: $(visitors)"
reached_both_ways
stop_capture 109 to-isp
letters[$care_of]=FA letters[$correspondent]=CN
nested=$(headers "$mobility_trace/between.pcap" | grep -F FA)
expected="FA>T_HA (4) T>CN
T_HA>FA (4) CN>T"
[[ $nested == "$expected" ]] || fail "between the agents: $nested"
agent 109 visitors | has "$mobility" || fail "$(agent 109 visitors)"

# In GRE where it asks for that; what is not offered is denied.
sleep 1.1
registers 2 --flags TM --wait 1
denied 72
capture 109 to-isp "$mobility_trace/gre.pcap" ip
registers 0 --lifetime 300 --flags TG
reached_both_ways
stop_capture 109 to-isp
nested=$(headers "$mobility_trace/gre.pcap" | grep -F FA)
[[ $nested == "${expected//(4)/(47)}" ]] || fail "between the agents: $nested"

# Without a reverse tunnel its packets are routed as everybody's.
capture 109 to-isp "$mobility_trace/routed.pcap" ip
registers 0 --lifetime 300 --flags ''
reached_both_ways
stop_capture 109 to-isp
nested=$(headers "$mobility_trace/routed.pcap")
[[ $nested == *"T_HA>FA (4) CN>T"* && $nested == *"T>CN"* && $nested != *"FA>T_HA (4)"* ]] || fail "without a reverse tunnel: $nested"

# It goes home, or wherever: nothing of it stays.
registers 0 --lifetime 0
[[ $(visitors) == '[]' ]] || fail "still a visitor: $(visitors)"
left=$(on 109 ip route show table all proto 88 "$mobility"; on 109 ip rule | grep -F "$mobility" || true)
[[ -z $left ]] || fail "left behind: $left"
! on 109 nft list ruleset | grep -F "$outer_agent" || fail "an entry stayed"

# A lifetime that ends ends it as well.
registers 0 --lifetime 3
[[ $(visitors) != '[]' ]] || fail "no visitor"
eventually 8 has_left || fail "it stays for ever: $(visitors)"

# With a key with each, and a challenge: a request without it, or with one of before, is denied.
agent_key=f0e0d0c0b0a090807060504030201000
visit_key=0f1e2d3c4b5a69788796a5b4c3d2e1f0
(umask 077 && echo "0x$agent_key" >"$(agent_folder 109)/agents.key" && echo "0x$visit_key" >"$(agent_folder 109)/visitor.key")
cat >>"$(agent_folder 109)/agent.toml" <<END
challenge = true

[[agent-key]]
mobile-node = "$mobility"
spi = 300
key-file = "visitor.key"

[[agent-key]]
home-agent = "$outer_agent"
spi = 400
key-file = "agents.key"
END
stop_agent 109
start_agent 109
said_there=$mobility_trace/scapy-$outer_agent.log
end_process "scapy-$outer_agent" TERM || true
cat "$said_there" >>"$lines"
start_scapy_agent 102o "$outer_agent" "$(agent_folder 102o)/mobile.key" --home 198.51.100.0/24 --lifetime 300 --agent-key "$agent_key"
registers 2 --visit-key "$agent_key" --solicit --wait 1
denied 67
registers 2 --visit-key "$visit_key" --wait 1
denied 105
registers 0 --visit-key "$visit_key" --solicit
used=$(jq -sr '.[] | select(.event == "advertisement") | .challenge' <<<"$said")
[[ $(jq -sr 'last(.[] | select(.event == "received")) | [.extensions[].type] | contains([32, 33])' <<<"$said") == true ]] ||
    fail "not signed for the link: $said"
registers 2 --visit-key "$visit_key" --challenge "$used" --wait 1
denied 106
registers 2 --visit-key "$visit_key" --challenge 00112233445566778899aabbccddeeff --wait 1
denied 104
[[ $(visitors) != '[]' ]] || fail "no visitor"
reached_both_ways

# The home agent withdraws; whoever has not the key, or repeats what is old, does not.
withdraws() {
    local status=0
    said=$(on 102o "$peers/revoker.py" "$care_of" --bind "$outer_agent" --home "$mobility" --home-agent "$outer_agent" \
        --care-of "$care_of" --key "$agent_key" "${@:2}") || status=$?
    echo "$said" >>"$lines"
    [[ $status == "$1" ]] || fail "exit status $status, not $1, of $* $said $(tail -n 4 "$(agent_log 109)")"
}
withdraws 2 --spoil authenticator --wait 0.5
withdraws 2 --spoil unsigned --wait 0.5
withdraws 2 --age 600 --wait 0.5
[[ $(visitors) != '[]' ]] || fail "a stranger withdrew it"
withdraws 0
[[ $(visitors) == '[]' ]] || fail "still a visitor: $(visitors)"

stop_capture 109 any
dissect "$mobility_trace/registrations" "$lines" "$said_there"
