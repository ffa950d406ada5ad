# shellcheck shell=bash
# Alice and Bob are in the office, which an anchor attests: plain traffic. Bob's presence says `external`, and nothing else
# changes: the next packet is inside ESP inside AH, both ways. His presence says that he is back: plain again, after the
# dwell time. Meanwhile Alice asks Bob's machine for its policy and his presence, and registers what she was shown.
#
# topology: presence-office
# needs: esp agent

# shellcheck source=netns-lab/presence.sh
. "${lab_folder:?}/presence.sh"

configure_presence 2s 6s
start_presence

# Strict from the start; relaxed only once both have proven that they are in the office.
both_relaxed "$alice_in_office" "$bob_in_office" && fail "relaxed before anything was proven"
eventually 40 both_relaxed "$alice_in_office" "$bob_in_office" || fail "not relaxed in the office: $(what_is)"
eventually 5 believes alice bob "office $bob_in_office" || fail "Alice believes Bob at $(believed alice bob)"
eventually 5 believes bob alice "office $alice_in_office" || fail "Bob believes Alice at $(believed bob alice)"
seen_while alice office reaches alice "$bob_in_office"
plain "$bob_in_office"
echo "ok  in the office: in the clear"

# FIG. 4, 8 and 9: what Bob's machine applies to Alice, and where he is.
answer=$(agent alice request "$bob_in_office" --policy --presence --json)
[[ $(jq -r .peer <<<"$answer") == bob.example ]] || fail "who answered? $answer"
presence=$(jq -r '.presence.granted | "\(.entity) \(.addresses[0]) \(.user) \(.location)"' <<<"$answer")
[[ $presence == "${entity[bob]} $bob_in_office Bob office" ]] || fail "Bob's presence: $answer"
[[ $(jq -r '[.policy.granted[].action] | unique | join(" ")' <<<"$answer") == none ]] || fail "Bob's policy: $answer"

# FIG. 6 and 7, from the databases.
agent alice presence list | has "${entity[bob]}.*$bob_in_office.*Bob.*office" || fail "no row of Bob: $(agent alice presence list)"
agent alice policy list | has "$bob_in_office.*none" || fail "no row of the policy: $(agent alice policy list)"

# Only the presence changes.
say_where bob external
capture alice to-office "$trace"
reaches bob "$alice_in_office"
stop_capture alice to-office
protected_by_both "$bob_in_office"
eventually 10 both_strict "$alice_in_office" "$bob_in_office" || fail "not strict outside: $(what_is)"
for node in alice bob; do eventually 10 four_sas "$node" || fail "not four SAs: $(what_is)"; done
believes alice bob "external $bob_in_office" || fail "Alice believes Bob at $(believed alice bob)"
echo "ok  external: ESP inside AH"

# FIG. 13, registered: what is required by hand stays required when he is back.
proposal=$(agent alice policy propose "${entity[bob]}" --json)
[[ $(jq -r '[.[].row | select(.direction == "out") | .protocols | .ah and .esp] | all' <<<"$proposal") == true ]] ||
    fail "proposed: $proposal"
number=$(agent alice policy register --source "$alice_in_office" --destination "$bob_in_office" --transport udp \
    --direction out --action ipsec --protocol ah --protocol esp --level require --json | jq -r .number)
since=$SECONDS
unsay_where bob
strict alice "$bob_in_office" || fail "relaxed without waiting: $(what_is)"
eventually 30 relaxed bob "$alice_in_office" || fail "not relaxed again: $(what_is)"
((SECONDS - since >= 2)) || fail "relaxed before the dwell time was over"
eventually 10 relaxed alice "$bob_in_office" || fail "not relaxed again: $(what_is)"
seen_while alice office reaches alice "$bob_in_office"
plain "$bob_in_office"
# UDP is protected by the registered row; the rest by the rows beneath.
seen_while alice office on alice bash -c "for _ in 1 2 3; do echo x >/dev/udp/$bob_in_office/9; sleep 0.2; done"
[[ -n $(packets "$trace" "$ah_outside_esp") ]] || fail "UDP is not protected: $(packets "$trace")"
[[ -z $(packets "$trace" udp port 9) ]] || fail "UDP in the clear: $(packets "$trace")"
agent alice policy remove "$number" >/dev/null
echo "ok  back in the office: in the clear, but for what was registered"
