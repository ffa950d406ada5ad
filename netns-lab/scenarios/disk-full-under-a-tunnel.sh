# shellcheck shell=bash
# A tunnel comes up while the state directory is full, so that what was once protected cannot be kept: the tunnel works,
# the log says so, and it is kept as soon as there is room, at a reload or at the stop. What was kept before stays whole.
#
# topology: fig1-host-to-host
# needs: esp agent

share_secret 104-106.psk 104 106
configure_gateway 104 192.0.2.104/32 192.0.2.0/24 106=self
configure_gateway 106 192.0.2.106/32 192.0.2.0/24 104=self
leave_nothing 104
folder=$(agent_folder 104)/state
memory=$folder/once-protected.json
mkdir -p "$folder"
mount -t tmpfs -o size=16k,mode=755 small "$folder"
fill() { ! dd if=/dev/zero of="$folder/filler" bs=1k count=64 status=none 2>/dev/null || fail "it is not full"; }
make_room() { rm "$folder/filler"; }

fill
start_agent 104
start_agent 106
answers=$(on 104 ping -c 3 -i 0.1 -W 9 192.0.2.106) || true
[[ $(received "$answers") == 3 ]] || fail "$answers"
eventually 5 grep 'ERROR.*would not know what was once protected.*No space left' "$(agent_log 104)" || fail "the log does not say so"
[[ $(ls "$folder") == filler ]] || fail "on a full disk: $(ls -l "$folder")"

make_room
agent 104 reload
eventually 5 grep -q 192.0.2.106 "$memory" || fail "not kept although there is room: $(tail "$(agent_log 104)")"

kept=$(<"$memory")
fill
agent 104 forget 192.0.2.0/24
as_before() { [[ $(<"$memory") == "$kept" && $(ls "$folder") == $'filler\nonce-protected.json' ]]; }
eventually 5 as_before || fail "changed on a full disk: $(<"$memory") $(ls -l "$folder")"
answers=$(on 104 ping -c 3 -i 0.1 -W 9 192.0.2.106) || true
[[ $(received "$answers") == 3 ]] || fail "$answers"
make_room
stop_agent 104 || fail "104 did not stop"
[[ $(jq length "$memory") == 0 ]] || fail "not made up for at the stop: $(<"$memory")"
