# shellcheck shell=bash
# Bob is really elsewhere: outside, at 133.134.10.10, his traffic with Alice is inside ESP inside AH; in the office, to
# which he moves with the cable, it is plain; and it is protected again as soon as he is outside once more. Alice is never
# told his address: his machine tells hers.
#
# topology: presence-external
# needs: esp agent

# shellcheck source=netns-lab/presence.sh
. "${lab_folder:?}/presence.sh"

configure_presence 2s 6s
start_presence

# outside_protected WHEN
outside_protected() {
    eventually 40 believes alice bob "external $bob_outside" || fail "$1: Alice believes Bob at $(believed alice bob): $(what_is)"
    seen_while alice office reaches alice "$bob_outside"
    protected_by_both "$bob_outside"
    seen_while bob outside reaches bob "$alice_in_office"
    protected_by_both "$alice_in_office"
    eventually 10 both_strict "$alice_in_office" "$bob_outside" || fail "$1: not strict: $(what_is)"
    for node in alice bob; do eventually 10 four_sas "$node" || fail "$1: not four SAs: $(what_is)"; done
    echo "ok  $1: ESP inside AH"
}

outside_protected "outside"
# FIG. 11.
answer=$(agent alice request "$bob_outside" --presence --json)
presence=$(jq -r '.presence.granted | "\(.entity) \(.addresses[0]) \(.user) \(.location)"' <<<"$answer")
[[ $presence == "${entity[bob]} $bob_outside Bob external" ]] || fail "Bob's presence: $answer"

into_office bob
eventually 40 both_relaxed "$alice_in_office" "$bob_in_office" || fail "not relaxed in the office: $(what_is)"
seen_while alice office reaches alice "$bob_in_office"
plain "$bob_in_office"
echo "ok  in the office: in the clear"

# What Alice sends to the place where Bob was gets no better treatment while he is on his way.
bob_goes_outside
outside_protected "outside again"
eventually 10 strict alice "$bob_in_office" || fail "Bob's place in the office stays relaxed: $(what_is)"
