# shellcheck shell=bash
# Discovery alone grants nothing: a gateway with the wrong key, one that nobody has heard of, and one that may not protect
# those addresses get no SA, and no packet goes in the clear for it, although on-failure says `clear`.
#
# topology: fig1-ted
# needs: esp agent

trace=$(state_folder "$lab")/trace
capture r1 to-r2 "$trace"
share_secret 104-106.psk 104 106
cp "$(agent_folder 104)/104-106.psk" "$(state_folder "$lab")/right.psk"

# play CASE: the configurations as they should be, spoilt by spoil_CASE; a ping from each side; no tunnel.
play() {
    local case=$1 node answers
    cp "$(state_folder "$lab")/right.psk" "$(agent_folder 106)/104-106.psk"
    configure_gateway 104 10.1.0.0/16 10.2.0.0/16 106=10.2.0.0/16
    configure_gateway 106 10.2.0.0/16 10.1.0.0/16 104=10.1.0.0/16
    for node in 104 106; do
        sed -i 's/^name = "site"/&\non-failure = "clear"/' "$(agent_folder "$node")/agent.toml"
        # Nothing is left for the next one.
        sed -i 's/^\[agent\]/&\non-stop = "remove"/' "$(agent_folder "$node")/agent.toml"
    done
    "spoil_$case"
    start_agent 104
    start_agent 106
    answers=$(on 102 ping -c 3 -i 0.1 -W 1 10.2.0.108) && fail "$case: $answers"
    eventually 30 failed 104 || fail "$case: 104 does not say what failed: $(agent 104 status)"
    answers=$(on 108 ping -c 3 -i 0.1 -W 1 10.1.0.102) && fail "$case: $answers"
    eventually 30 failed 106 || fail "$case: 106 does not say what failed: $(agent 106 status)"
    # And while the failure lasts.
    answers=$(on 102 ping -c 3 -i 0.1 -W 1 10.2.0.108) && fail "$case: $answers"
    for node in 104 106; do
        ! on "$node" ip xfrm state list nokeys | has "reqid [1-9]" ||
            fail "$case: an SA on $node: $(on "$node" ip xfrm state list nokeys)"
        echo "$case, $node: $(failure "$node")"
    done
    "verdict_$case"
    stop_agent 104 || fail "104 did not stop"
    stop_agent 106 || fail "106 did not stop"
}

failure() { agent "$1" status --json | sed -n '/"failures"/,/\]/ s/^ *"reason": "\(.*\)",$/\1/p' | head -n 1; }
failed() { [[ -n $(failure "$1") ]]; }
# at_least NODE COUNTER NUMBER
at_least() { (($(counter "$1" "$2") >= $3)) || fail "$1 counts $2=$(counter "$1" "$2"), less than $3"; }

spoil_wrong_key() { share_secret 104-106.psk 106; }
verdict_wrong_key() {
    at_least 104 ike-authentication-failed 1
    at_least 106 ike-authentication-failed 1
    [[ $(failure 104) == *"pre-shared keys differ"* ]] || fail "$(failure 104)"
}

# 106 believes somebody whom 104 is not.
spoil_unknown() { sed -i 's/^id = "gw104.example"/id = "gw999.example"/' "$(agent_folder 106)/agent.toml"; }
verdict_unknown() { at_least 106 ike-authentication-failed 1; }

# 104 is known to 106, for addresses that are not those of its proxy.
spoil_foreign_addresses() { sed -i 's,^may-protect = .*,may-protect = ["10.7.0.0/16"],' "$(agent_folder 106)/agent.toml"; }
verdict_foreign_addresses() {
    at_least 106 ike-not-authorized 1
    [[ $(failure 106) == *"may protect"* ]] || fail "$(failure 106)"
}

play wrong_key
play unknown
play foreign_addresses

stop_capture r1 to-r2
clear=$(in_the_clear "$trace")
[[ -z $clear ]] || fail "in the clear: $clear"
[[ -n $(packets "$trace" "$is_probe") ]] || fail "nobody probed"
