# shellcheck shell=bash
# Claims that nobody vouches for: one that Bob is outside makes Alice strict at once, and no other such claim takes that back
# before its time is over. While Bob is outside, one that he is in the office changes nothing.
#
# topology: presence-office
# needs: esp agent

# shellcheck source=netns-lab/presence.sh
. "${lab_folder:?}/presence.sh"

# claim LOCATION SECONDS: somebody says so of Bob, at Alice's.
claim() { agent alice presence set "${entity[bob]}" --location "$1" --valid "$2" --hint >/dev/null; }

configure_presence 1s 6s
start_presence
eventually 40 both_relaxed "$alice_in_office" "$bob_in_office" || fail "not relaxed in the office: $(what_is)"

claim external 30
strict alice "$bob_in_office" || fail "a claim that he is outside: relaxed on: $(what_is)"
claim office 60
sleep 3
strict alice "$bob_in_office" || fail "another claim took the first one back: $(what_is)"
capture alice to-office "$trace"
reaches alice "$bob_in_office"
stop_capture alice to-office
protected_by_both "$bob_in_office"
echo "ok  a claim makes it strict, and no claim relaxes it"
eventually 60 relaxed alice "$bob_in_office" || fail "not relaxed when the claim was over: $(what_is)"

say_where bob external
eventually 20 both_strict "$alice_in_office" "$bob_in_office" || fail "not strict outside: $(what_is)"
claim office 60
sleep 4
both_strict "$alice_in_office" "$bob_in_office" || fail "a claim relaxed what Bob himself denies: $(what_is)"
echo "ok  what he says himself is not outdone by a claim"
