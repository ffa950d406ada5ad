# shellcheck shell=bash
# A laptop walks out of a WLAN: its signal becomes weak, and the other adapter, of a larger metric, carries before the access point is
# out of reach; when it is strong again, the WLAN does. Of 200 packets a second each way none is lost, also when the access point, left
# as too weak, goes. `mobility` shows the signal.
#
# topology: mip-fig13-15
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

find_radios

# The kernel's own air is as strong everywhere.
signal() { echo "$1" >"$mobility_trace/signal"; }
signal -40
# In the namespace where the radios were made, by a shell that stays in the node's, where the lab looks for it.
# shellcheck disable=SC2016 # for the shell that it starts
start_process 103 air bash -c 'nsenter --net=/proc/1/ns/net python3 "$@"; exit' _ "$lab_folder/air.py" "$mobility_trace/signal" \
    "$(<"${radios[0]}/macaddress")" "$(<"${radios[1]}/macaddress")"
eventually 40 grep -q open "$mobility_trace/air.log" || fail "no air: $(cat "$mobility_trace/air.log")"
give_radio "${radios[0]}" x1 ap0
give_radio "${radios[1]}" 103 radio0

cat >"$mobility_trace/hostapd.conf" <<END
interface=ap0
bridge=bridge
driver=nl80211
ssid=cafe
hw_mode=g
channel=1
END
# It sets the kernel's alarm at -70 dBm, as network managers do, and looks for no other network.
cat >"$mobility_trace/wpa.conf" <<END
ctrl_interface=$mobility_trace/wpa
network={
    ssid="cafe"
    key_mgmt=NONE
    scan_freq=2412
    bgscan="simple:600:-70:600"
}
END
state() {
    agent 103 mobility
    on 103 iw dev radio0 link
    tail -n 30 "$(agent_log 103)"
    tail -n 5 "$mobility_trace"/{air,hostapd,supplicant}.log
}
associated() { on 103 iw dev radio0 link | grep -q '^Connected to'; }

configure_dual ''
start_process x1 hostapd hostapd "$mobility_trace/hostapd.conf"
eventually 10 grep -q 'AP-ENABLED' "$mobility_trace/hostapd.log" || fail "no access point: $(cat "$mobility_trace/hostapd.log")"
start_process 103 supplicant wpa_supplicant -D nl80211 -i radio0 -c "$mobility_trace/wpa.conf"
eventually 20 associated || fail "not associated: $(state)"
read -r address way_out < <(lease 103 x1)
ip -n "$(namespace 103)" address add "$address" dev radio0
ip -n "$(namespace 103)" route add default via "$way_out" dev radio0 proto dhcp metric 50
outside="outside, with a VPN adapter"
eventually 20 dwells 103 "$outside" x1 || fail "not outside: $(state)"
# The other one.
plug 103 x2 wlan0

start_streams 101 103 "$intranet" 200 100000
start_streams_back 200
sleep 1

# shown WEAK: what `mobility` says of the radio, whose signal it is that was set.
shown() { mobile 103 '.adapters[] | select(.name == "radio0") | "\(.signal_dbm < -80) \(.weak)"' | has -xF "$1 $1"; }
# walks SIGNAL NETWORK WEAK: the signal becomes that, and what carries is that network.
walks() {
    echo "$(date +%s.%N) $2" >>"$mobility_trace/moves"
    signal "$1"
    eventually 45 dwells 103 "$outside" "$2" || fail "$1 dBm: $(state)"
    eventually 5 shown "$3" || fail "$1 dBm is not shown: $(state)"
    sleep 2.5
}
walks -90 x2 true
walks -45 x1 false
walks -90 x2 true
agent 103 mobility | has -E 'radio0 .*signal -[89][0-9] dBm, weak' || fail "not shown: $(state)"
# Round the corner.
echo "$(date +%s.%N) gone" >>"$mobility_trace/moves"
end_process hostapd KILL || true
sleep 3
eventually 5 dwells 103 "$outside" x2 || fail "without an access point: $(state)"

none_lost
