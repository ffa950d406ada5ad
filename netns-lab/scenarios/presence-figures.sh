# shellcheck shell=bash
# The rows of FIG. 6 and FIG. 7 from the commands: John is in the office and asked over IKE, Bob is set by hand; the policies
# towards both are proposed, registered, listed beside what the kernel holds, and removed. Every command is read as JSON.
#
# topology: presence-office
# needs: esp agent

# shellcheck source=netns-lab/presence.sh
. "${lab_folder:?}/presence.sh"

# The figures do not name who asks.
entity[alice]=me@example.com
entity[bob]=peerA@example.com user[bob]=John
configure_presence 1s 6s
for node in alice bob; do
    sed -i '/^\[\[rule]]/,$ s/^action = /transport = "udp"\n&/' "$(agent_folder "$node")/agent.toml"
done
start_presence
eventually 40 believes alice bob "office $bob_in_office" || fail "John is not in the office: $(what_is)"

json() { agent alice "$@" --json; }

# --- FIG. 6 --------------------------------------------------------------------------------------------------------

[[ $(json presence set peerB@example.com --address "$bob_outside" --user Bob --location external | jq .done) == true ]] ||
    fail "Bob's presence was not set"
rows=$(json presence list | jq -r '.[] | select(.own | not) | .believed.presence | [.entity, .addresses[0], .user, .location] | join(" ")')
[[ $rows == "peerA@example.com 192.168.1.2 John office"$'\n'"peerB@example.com 133.134.10.10 Bob external" ]] ||
    fail "FIG. 6: $rows"
(($(json presence list | jq '[.[] | .believed.presence.time | select(. > 0)] | length') == 3)) || fail "a time is missing: $(json presence list)"
(($(json presence show peerA@example.com | jq '.[0].history | length') >= 1)) || fail "no history: $(json presence show peerA@example.com)"
answer=$(json request "$bob_in_office")
[[ $(jq -r '.presence.granted | "\(.entity) \(.addresses[0]) \(.user) \(.location)"' <<<"$answer") == \
    "peerA@example.com 192.168.1.2 John office" ]] || fail "FIG. 9: $answer"
echo "ok  FIG. 6: what is believed of John and of Bob"

# --- FIG. 7 --------------------------------------------------------------------------------------------------------

# udp_rows: as the figure prints them, those about udp that go out.
udp_rows() {
    jq -r '.[].row | select(.transport == "udp" and .direction == "out")
        | [.source, .destination, .direction, .action, ([.protocols | to_entries[] | select(.value) | .key] | join("+")), .level // "-"]
        | join(" ")' | sort -u
}
john_is_relaxed() { [[ $(json policy propose peerA@example.com | udp_rows) == "192.168.1.1/32 192.168.1.2/32 out none  -" ]]; }
eventually 20 john_is_relaxed || fail "FIG. 7, John: $(json policy propose peerA@example.com)"
row=(--source "$alice_in_office" --destination "$bob_outside" --transport udp --direction out --action ipsec
    --protocol ah --protocol esp --level require)
number=$(json policy register "${row[@]}" | jq .number)
listed=$(json policy list | udp_rows)
[[ $listed == *"192.168.1.1/32 133.134.10.10/32 out ipsec ah+esp require"* ]] || fail "FIG. 7, Bob: $listed"
[[ $(json policy list | jq -r --argjson number "$number" '.[] | select(.number == $number) | .row.mode') == null ]] ||
    fail "FIG. 13 ticks no mode: $(json policy list)"
# What the kernel has for John's row is shown beside it, and is what `ip xfrm policy` says.
kernel=$(json policy list | jq -r '.[] | select(.row.transport == "udp" and .row.direction == "out" and .row.action == "none") | .kernel')
[[ $kernel == *"dst 192.168.1.2/32 proto udp dir out mark 0x0 mask 0x20000000"* ]] || fail "beside John's row: $kernel"
[[ $(presence_policies alice "$bob_in_office" out) == *"proto udp"*"mark 0/0x20000000"* ]] || fail "not in the kernel: $(what_is)"
# A row that can never be is refused, with its reason.
refused=$(json policy register "${row[@]}" --mode tunnel --end-point 192.0.2.1 2>&1) && fail "a tunnel to anywhere was registered"
[[ $refused == *"the peer's own address"* ]] || fail "refused with $refused"
[[ $(json policy remove "$number" | jq .done) == true ]] || fail "the row stays"
[[ $(json policy list) != *"\"number\":"* ]] || fail "the row stays: $(json policy list)"
[[ $(json presence clear peerB@example.com | jq .done) == true ]] || fail "Bob's presence stays"
[[ $(json presence list) != *peerB@example.com*location* ]] || fail "Bob's presence stays: $(json presence list)"
echo "ok  FIG. 7: proposed, registered, beside the kernel's, removed"
