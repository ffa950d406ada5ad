# shellcheck shell=bash
# No room in the state directory or the runtime directory: at the start, while running, at a reload and at the stop. The
# agent runs and protects, says what it cannot keep, changes no setting that it could not give back, and makes up for it
# when there is room again; no file is ever half written.
#
# topology: fig1-host-to-host
# needs: agent

share_secret 104-106.psk 104
configure_gateway 104 192.0.2.104/32 192.0.2.0/24 106=self
folder=$(agent_folder 104)
log=$(agent_log 104)
settings=$folder/run/kernel-settings.json
memory=$folder/state/once-protected.json
for directory in run state; do
    mkdir -p "$folder/$directory"
    mount -t tmpfs -o size=16k,mode=755 small "$folder/$directory"
done
# fill run|state, make_room run|state
fill() { ! dd if=/dev/zero of="$folder/$1/filler" bs=1k count=64 status=none 2>/dev/null || fail "$1 is not full"; }
make_room() { rm "$folder/$1/filler"; }

larval_drop() { on 104 sysctl -n net.core.xfrm_larval_drop; }
drops() { [[ $(larval_drop) == "$1" ]]; }
acq_expires() { on 104 sysctl -n net.core.xfrm_acq_expires; }
thresholds() { on 104 ip -s -s xfrm policy count | sed -n 's/.*thresholds: \(.*\)/\1/p'; }
original="$(larval_drop) $(acq_expires) $(thresholds)"
given_back() { [[ "$(larval_drop) $(acq_expires) $(thresholds)" == "$original" ]]; }
[[ $(larval_drop) == 1 ]] || fail "set up: $original"

blocked() { ! on 104 ping -q -c 2 -i 0.1 -W 1 192.0.2.106 >/dev/null; }
# whole FILE: it is not there, or can be read.
whole() { [[ ! -e $1 ]] || jq -e . "$1" >/dev/null; }
all_whole() {
    local file
    for file in "$settings" "$memory"; do
        whole "$file" || fail "half written: $(<"$file")"
    done
    [[ -z $(find "$folder/run" "$folder/state" -name '*.new') ]] || fail "left: $(ls "$folder/run" "$folder/state")"
}

protects() { policies 104 | has "dst $1"; }

echo "--- full at the start"
fill run
fill state
start_agent 104
agent 104 status | sed -n '/^Refused/,/^$/p'
refused 104 2 || fail "it does not say that two sysctls could not be set: $(refusals 104)"
grep -q 'runtime directory.*ENOSPC' <<<"$(refusals 104)" || fail "without the reason: $(refusals 104)"
drops 1 || fail "a sysctl was altered that could not be remembered"
all_whole
blocked || fail "106 answered in the clear"

echo "--- room again"
make_room run
eventually 30 refused 104 0 || fail "still refused: $(refusals 104)"
drops 0 || fail "the sysctl was not set"
[[ -s $settings ]] || fail "what it was is not remembered"
all_whole

echo "--- full while running, reload, stop"
fill run
sed -i 's,"192.0.2.0/24",&\, "203.0.113.0/24",' "$folder/agent.toml"
agent 104 reload
eventually 10 protects 203.0.113.0/24 || fail "after reload: $(policies 104)"
blocked || fail "106 answered in the clear"
stop_agent 104 || fail "104 did not stop"
given_back || fail "not given back: $(larval_drop) $(acq_expires) $(thresholds), not $original"
[[ ! -e $settings ]] || fail "remembered although given back: $(<"$settings")"
grep -v 'kernel refused' "$log" | grep 'ERROR' | grep -v 'takes no ESP SA' && fail "errors without a reason"

echo "--- started again, killed, and stopped with a full disk"
make_room run
start_agent 104
drops 0 || fail "the sysctl was not set"
stop_agent 104 KILL || fail "104 was not killed"
fill run
start_agent 104
drops 0 || fail "the sysctl was not kept"
refused 104 0 || fail "what is remembered already needs no room: $(refusals 104)"
stop_agent 104 || fail "104 did not stop"
given_back || fail "not given back after a kill: $(larval_drop) $(acq_expires) $(thresholds), not $original"
all_whole

echo "--- a damaged memory"
[[ -z $(policies 104) ]] || on 104 "$(agent_binary)" withdraw -c "$folder/agent.toml" >/dev/null
rm -f "$folder"/*/filler
echo '[{"src":' >"$memory"
on 104 timeout 20 "$(agent_binary)" run -c "$folder/agent.toml" >"$folder/refusal" 2>&1 && fail "it started with $(<"$memory")"
tail -n 1 "$folder/refusal"
grep -q "$memory.*delete it" "$folder/refusal" || fail "it does not say why: $(<"$folder/refusal")"
blocked || fail "106 answered in the clear"
