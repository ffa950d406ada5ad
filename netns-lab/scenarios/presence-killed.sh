# shellcheck shell=bash
# Alice's agent dies while Bob is relaxed in the office: within the lifetime the kernel itself is strict again, so that
# packets are protected or blocked. The clock is stepped, either way, with the agents alive: relaxations are withdrawn
# before anything else, and come back when all is proven anew. And the agent dies after that as well.
#
# topology: presence-office
# needs: esp agent

# shellcheck source=netns-lab/presence.sh
. "${lab_folder:?}/presence.sh"

lifetime=4
configure_presence 10s ${lifetime}s
start_presence

# settle WHEN
settle() { eventually 60 both_relaxed "$alice_in_office" "$bob_in_office" || fail "$1: not relaxed: $(what_is)"; }

# die_relaxed WHEN: kill -9, and what the kernel makes of it.
die_relaxed() {
    local out
    stop_agent alice KILL || fail "$1: Alice's agent was not killed"
    sleep $((lifetime + 1))
    strict alice "$bob_in_office" || fail "$1: a lifetime later still relaxed: $(on alice ip -statistics xfrm policy)"
    out=$(state_folder "$lab")/after
    capture alice to-office "$out" -Q out
    # An answer is not owed, only that nothing leaves in the clear.
    on alice ping -q -c 3 -i 0.2 -W 1 "$bob_in_office" >/dev/null || true
    stop_capture alice to-office
    nothing_clear "$out" "$bob_in_office"
    echo "ok  $1: strict within the lifetime"
    start_agent alice
}

settle "at first"
die_relaxed "killed"

# Everything that runs on a machine sees its clock. A guest of scripts/vm has one of its own.
grep -qs ' vm.job=' /proc/cmdline || {
    echo "the clock of this machine is not ours to set"
    exit 0
}

# step SECONDS: all that is measured with $SECONDS must begin and end between steps.
step() { date -s "@$(($(date +%s) + $1))" >/dev/null; }

for seconds in -3600 7200 -3600; do
    settle "before a step by $seconds s"
    step "$seconds"
    # What had been proven has to be proven anew, and then to stand for the dwell time: long enough to be seen.
    for node in alice bob; do
        eventually 9 strict "$node" "${home[${other[$node]}]}" ||
            fail "stepped by $seconds s: $node relaxes on: $(what_is)"
    done
    echo "ok  stepped by $seconds s: strict first"
done

settle "after the steps"
die_relaxed "killed after the steps"
