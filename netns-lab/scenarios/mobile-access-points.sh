# shellcheck shell=bash
# A wireless interface, hostapd's two access points and wpa_supplicant: the dual client knows access points by what nl80211 tells. A
# roam from one to the other of the same network ends the proof of being inside, and asks at once; access points that were
# met before make the guess sure, after a restart too; and who leaves the network is blocked.
#
# topology: mip-fig13-15
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

find_radios
give_radio "${radios[0]}" 105a ap0
give_radio "${radios[1]}" 103 radio0

# Two access points of one network: they join its switch.
cat >"$mobility_trace/hostapd.conf" <<END
interface=ap0
bridge=bridge
driver=nl80211
ssid=enterprise
hw_mode=g
channel=1
bss=ap1
bridge=bridge
ssid=enterprise
END
cat >"$mobility_trace/wpa.conf" <<END
ctrl_interface=$mobility_trace/wpa
network={
    ssid="enterprise"
    key_mgmt=NONE
    scan_freq=2412
}
END
supplicant() { on 103 wpa_cli -p "$mobility_trace/wpa" -i radio0 "$@"; }
# What iw says of it, which has asked the kernel itself.
access_point() { on 103 iw dev radio0 link | awk '/^Connected to/ { print $3 }'; }
uses() { [[ $(access_point) == "${1:-}" ]]; }
uses_any() { [[ -n $(access_point) ]]; }
state() {
    agent 103 mobility
    mobile 103 '.networks[], .adapters[]'
    tail -n 30 "$(agent_log 103)"
    tail -n 5 "$mobility_trace"/{hostapd,supplicant}.log
}

configure_dual ''
start_process 105a hostapd hostapd "$mobility_trace/hostapd.conf"
eventually 10 grep -q 'AP-ENABLED' "$mobility_trace/hostapd.log" || fail "no access points: $(cat "$mobility_trace/hostapd.log")"
start_process 103 supplicant wpa_supplicant -D nl80211 -i radio0 -c "$mobility_trace/wpa.conf"
eventually 15 uses_any || fail "not associated: $(state)"
read -r address way_out < <(lease 103 105a)
ip -n "$(namespace 103)" address add "$address" dev radio0
ip -n "$(namespace 103)" route add default via "$way_out" dev radio0 proto dhcp metric 600

# known ACCESS-POINT TIMES: it was found inside so often at least.
known() { mobile 103 ".networks[] | select(.access_point == \"$1\" and .domain == \"inside\" and .times >= $2) | .times" | has .; }
one=$(access_point)
eventually 15 dwells 103 inside 105a || fail "not inside: $(state)"
eventually 5 known "$one" 1 || fail "$one is not known: $(state)"
other=$(on 105a cat /sys/class/net/ap0/address)
[[ $other != "$one" ]] || other=$(on 105a cat /sys/class/net/ap1/address)
start_stream 101 "$intranet"

# roams ACCESS-POINT TIMES
roams() {
    supplicant roam "$1" | has OK || fail "no roam: $(state)"
    eventually 10 uses "$1" || fail "no roam to $1: $(state)"
    eventually 10 known "$1" "$2" || fail "after the roam to $1: $(state)"
    eventually 5 dwells 103 inside 105a || fail "after the roam to $1 not inside: $(state)"
}
roams "$other" 1
roams "$one" 2
report "roams, sent lost gap: $(end_stream)"
expects() { mobile 103 '.adapters[] | select(.name == "radio0") | .hints | join(", ")' | has "this network was inside before"; }
expects || fail "it was here before: $(state)"

# After a restart nobody tells: it asks.
stop_agent 103 || fail "the agent did not end well"
start_agent 103
eventually 15 dwells 103 inside 105a || fail "after the restart: $(state)"
expects || fail "after the restart it does not know where it is: $(state)"

supplicant disconnect | has OK || fail "no disconnection"
eventually 5 at 103 blocked || fail "not blocked without an access point: $(state)"
