# shellcheck shell=bash
# What the scenarios of presence share: Alice and Bob, where they are, and what their packets look like. Sourced by a
# scenario on one of the topologies presence-*.

alice_in_office=192.168.1.1
bob_in_office=192.168.1.2
alice_outside=133.134.10.11
bob_outside=133.134.10.10
anchor=192.168.1.254
outside_gateway=133.134.10.1

declare -A entity=([alice]=peerA@example.com [bob]=peerB@example.com) user=([alice]=Alice [bob]=Bob)
declare -A other=([alice]=bob [bob]=alice) home=([alice]=$alice_in_office [bob]=$bob_in_office)

# --- configuration -----------------------------------------------------------------------------------------------

# configure_presence DWELL LIFETIME [RULE]: alice, bob, and the anchor which attests that they are in the office. There they
# talk in the clear, everywhere else through AH and ESP, or as the lines of RULE say.
configure_presence() {
    local dwell=$1 lifetime=$2 node
    local rule=${3:-'protocol = ["ah", "esp"]'}
    share_secret alice-bob.psk alice bob
    share_secret alice-anchor.psk alice anchor
    share_secret bob-anchor.psk bob anchor
    for node in alice bob; do
        {
            identity "$node"
            peer "${other[$node]}" alice-bob.psk
            peer anchor "$node-anchor.psk"
            cat <<END

[presence]
entity = "${entity[$node]}"
user = "${user[$node]}"
dwell = "$dwell"
lifetime = "$lifetime"

[[contact]]
entity = "${entity[${other[$node]}]}"
peer = "${other[$node]}.example"
address = "${home[${other[$node]}]}"
tell = ["policy", "presence"]

[[site]]
location = "office"
addresses = ["192.168.1.0/24"]
anchor = "anchor.example"
anchor-address = "$anchor"

[[rule]]
location = "office"
action = "none"

[[rule]]
action = "ipsec"
$rule
level = "require"
END
        } | configure "$node"
    done
    {
        identity anchor
        peer alice alice-anchor.psk
        peer bob bob-anchor.psk
        cat <<END

[presence]
entity = "anchor@example.com"

[[site]]
location = "office"
addresses = ["192.168.1.0/24"]
anchor = "anchor.example"
END
    } | configure anchor
}

identity() { printf '[identity]\nid = "%s.example"\n' "$1"; }
peer() { printf '\n[[peer]]\nid = "%s.example"\npsk-file = "%s"\nmay-protect = "self"\n' "$1" "$2"; }

start_presence() {
    local node
    for node in anchor alice bob; do start_agent "$node"; done
}

# --- who is where ------------------------------------------------------------------------------------------------

# move NODE LINK ADDRESS GATEWAY: one cable is pulled, then another put in.
move() {
    local node=$1 link=$2 address=$3 gateway=$4 old
    for old in $(ip -n "$(namespace "$node")" -brief link | sed -n 's/^\(to-[a-z]*\).*/\1/p'); do
        on "$node" ip link set "$old" down
        on "$node" ip address flush dev "$old"
    done
    on "$node" ip address add "$address/24" dev "to-$link"
    on "$node" ip link set "to-$link" up
    on "$node" ip route replace default via "$gateway"
}

into_office() { move "$1" office "${home[$1]}" "$anchor"; }
alice_goes_outside() { move alice outside "$alice_outside" "$outside_gateway"; }
bob_goes_outside() { move bob outside "$bob_outside" "$outside_gateway"; }

# say_where NODE LOCATION: its owner says so, for ten minutes. unsay_where NODE: what can be proven holds again.
say_where() { agent "$1" presence set "${entity[$1]}" --location "$2" --valid 600 >/dev/null; }
unsay_where() { agent "$1" presence clear "${entity[$1]}" >/dev/null; }

# believed NODE WHOSE: the location and address that NODE believes WHOSE machine to be at, as `office 192.168.1.2`.
believed() {
    agent "$1" presence list --json | jq -r --arg entity "${entity[$2]}" \
        '.[] | select(.entity == $entity) | .believed.presence | "\(.location) \(.addresses[0])"'
}
believes() { [[ $(believed "$1" "$2") == "$3" ]]; }

# --- what the kernel holds ---------------------------------------------------------------------------------------

# presence_policies NODE ADDRESS out|in: the policies between NODE and one address, a line each, levels shown.
presence_policies() {
    local end=dst
    [[ $3 == out ]] || end=src
    on "$1" ip -statistics xfrm policy | sed ':a; N; $!ba; s/[ \t]*\n[ \t]\+/ /g' | grep -E "$end $2(/32)? .*dir $3 " || true
}

# relaxed NODE ADDRESS: packets go in the clear both ways, for now. strict NODE ADDRESS: they do not, either way: nothing
# relaxes the policies beneath, which require AH and ESP.
mark='mark 0/0x20000000'
relaxed() { [[ $(presence_policies "$1" "$2" out) == *"$mark"* && $(presence_policies "$1" "$2" in) == *"$mark"* ]]; }
strict() {
    local direction policies
    for direction in out in; do
        policies=$(presence_policies "$1" "$2" "$direction")
        [[ $policies != *"$mark"* ]] || return 1
        two_templates "$policies" || return 1
    done
}
two_templates() { [[ $1 =~ proto\ esp\ .*level\ required.*\ proto\ ah\ .*level\ required ]]; }

both_relaxed() { relaxed alice "$2" && relaxed bob "$1"; }
both_strict() { strict alice "$2" && strict bob "$1"; }

# four_sas NODE: AH and ESP, there and back.
four_sas() {
    local states
    states=$(on "$1" ip xfrm state list nokeys | grep -c 'proto \(ah\|esp\) spi 0x[0-9a-f]*[1-9a-f]') || true
    ((states == 4))
}

what_is() {
    local node
    for node in alice bob; do
        echo "--- $node"
        agent "$node" presence list || true
        agent "$node" policy list || true
        on "$node" ip -statistics xfrm policy
        on "$node" ip xfrm state list nokeys
        tail -n 40 "$(agent_log "$node")"
    done
}

# --- packets -----------------------------------------------------------------------------------------------------

# AH right behind the IPv4 header, and ESP inside it.
ah_outside_esp='ip proto 51 and ip[20] = 50'
# What must not be seen where protection is required: anything but AH and IKE.
clear_packets='ip and not ip proto 51 and not udp port 500 and not udp port 4500'

# reaches FROM ADDRESS: three pings, none of them lost.
reaches() {
    local answers
    answers=$(on "$1" ping -c 3 -i 0.2 -W 9 "$2") || true
    [[ $(received "$answers") == 3 ]] || fail "from $1 to $2: $answers $(what_is)"
}

# seen_while NODE LINK COMMAND...: what goes over that link of NODE meanwhile is in $trace.
trace=$(state_folder "${lab:?}")/trace
seen_while() {
    local node=$1 link=$2
    shift 2
    capture "$node" "to-$link" "$trace"
    "$@"
    stop_capture "$node" "to-$link"
}

# plain ADDRESS, protected_by_both ADDRESS: how the packets in $trace from and to that address went.
plain() {
    [[ -n $(packets "$trace" "icmp and host $1") ]] || fail "no clear packet was seen: $(packets "$trace")"
    [[ -z $(packets "$trace" "ip proto 51 and host $1") ]] || fail "not in the clear: $(packets "$trace")"
}
protected_by_both() {
    local from to
    from=$(packets "$trace" "$ah_outside_esp and src host $1" | wc -l)
    to=$(packets "$trace" "$ah_outside_esp and dst host $1" | wc -l)
    ((from >= 3 && to >= 3)) || fail "$from packets from $1 and $to to it in AH and ESP: $(packets "$trace")"
    nothing_clear "$trace" "$1"
}

# nothing_clear FILE ADDRESS
nothing_clear() {
    local clear
    clear=$(packets "$1" "$clear_packets and host $2")
    [[ -z $clear ]] || fail "in the clear: $clear"
}
