# shellcheck shell=bash
# Who only looks as if in the office is not: Bob's cable leads to a network with the office's addresses, the MAC address of
# its gateway, and a way to Alice; the anchor is out of reach. And where Alice is outside and Bob in the office, hers is the
# place that counts. In both cases their packets are inside ESP inside AH.
#
# topology: presence-office
# needs: esp agent

# shellcheck source=netns-lab/presence.sh
. "${lab_folder:?}/presence.sh"

# imitate_office: the imitator stands between Bob and the office, in Bob's eyes as the anchor, in Alice's as Bob.
imitate_office() {
    local mac
    mac=$(on anchor cat /sys/class/net/to-office/address)
    on imitator ip link set to-bob address "$mac"
    on imitator ip address add "$anchor/24" dev to-bob noprefixroute
    on imitator sysctl -q -w net.ipv4.conf.all.arp_ignore=1 \
        net.ipv4.conf.to-bob.proxy_arp=1 net.ipv4.conf.to-office.proxy_arp=1
    # With an address of its own in the office, it does not ask there in the name of the anchor.
    on imitator ip address add 192.168.1.253/32 dev to-office
    on imitator ip route add "$alice_in_office" dev to-office src 192.168.1.253
    on imitator ip route add "$bob_in_office" dev to-bob
}

# With the MAC address of the real gateway, which may forbid and never prove.
configure_presence 2s 6s
mac=$(on anchor cat /sys/class/net/to-office/address)
for node in alice bob; do
    sed -i "/^anchor-address/a gateway-macs = [\"$mac\"]" "$(agent_folder "$node")/agent.toml"
done
start_presence
eventually 40 both_relaxed "$alice_in_office" "$bob_in_office" || fail "not relaxed in the office: $(what_is)"

imitate_office
move bob imitator "$bob_in_office" "$anchor"
# Alice's neighbour entry leads to where Bob was.
on alice ip neighbour flush dev to-office
[[ $(on bob ping -c 1 -W 9 "$anchor" && on bob ip neighbour show "$anchor") == *"$mac"* ]] || fail "the imitation is poor"
eventually 20 both_strict "$alice_in_office" "$bob_in_office" || fail "taken in: $(what_is)"
seen_while bob imitator reaches bob "$alice_in_office"
protected_by_both "$alice_in_office"
# It stays so: more than the dwell time, and the anchor's proof would have been renewed.
sleep 5
seen_while alice office reaches alice "$bob_in_office"
protected_by_both "$bob_in_office"
[[ $(believed alice bob) == external* ]] || fail "Alice believes Bob at $(believed alice bob)"
echo "ok  an imitation of the office: ESP inside AH"

into_office bob
on alice ip neighbour flush dev to-office
eventually 60 both_relaxed "$alice_in_office" "$bob_in_office" || fail "not relaxed in the real office: $(what_is)"
alice_goes_outside
eventually 30 believes bob alice "external $alice_outside" || fail "Bob believes Alice at $(believed bob alice): $(what_is)"
seen_while alice outside reaches alice "$bob_in_office"
protected_by_both "$bob_in_office"
seen_while bob office reaches bob "$alice_outside"
protected_by_both "$alice_outside"
both_strict "$alice_outside" "$bob_in_office" || fail "not strict: $(what_is)"
echo "ok  Alice outside, Bob in the office: ESP inside AH"
