# shellcheck shell=bash
# The networks of mobility themselves, with no agent: in each network that mobile node 103 can be plugged into, by either
# card, it reaches what the figure lets it reach and nothing else, and keeps nothing of the network before. With 10.10.0.101
# inside, 192.0.2.1 the gateway and, where there is one, the outer home agent.
#
# topology: mip-fig1
# topology: mip-fig2
# topology: mip-fig3
# topology: mip-fig4
# topology: mip-fig7
# topology: mip-fig8
# topology: mip-fig13-15
# topology: mip-fig16

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

inside=(10.10.0.101)
[[ -z $inner_agent ]] || inside+=("$inner_agent")
outside=("$gateway")
[[ -z $outer_agent ]] || outside+=("$outer_agent")

# answers ADDRESS...: each. silent ADDRESS...: none.
answers() {
    local address
    for address; do on 103 ping -q -c 1 -W 5 "$address" >/dev/null || fail "103 in $network by $card does not reach $address"; done
}
silent() {
    local address
    for address; do
        ! on 103 ping -q -c 1 -W 0.5 "$address" >/dev/null || fail "103 in $network by $card reaches $address"
    done
}

for card in eth0 wlan0; do
    for network in $(networks_of 103); do
        move 103 "$network" "$card"
        read -r address way_out < <(lease 103 "$network")
        answers "$way_out" "${outside[@]}"
        case $network in
        105*) answers "${inside[@]}" ;;
        *) silent "${inside[@]}" ;;
        esac
        held=$(ip -n "$(namespace 103)" -4 -oneline address show dev "$card" | awk '{ print $4 }')
        [[ $held == "$address" ]] || fail "103 in $network has $held, not $address alone"
        held=$(on 103 ip -4 route show dev "$card" | awk '$1 == "default" { print $3 }')
        [[ $held == "$way_out" ]] || fail "103 in $network has the default routes $held"
    done
    unplug 103 "$card"
    held=$(on 103 ip -4 route show)$(on 103 ip -4 neighbour show)
    [[ -z $held ]] || fail "of $network is left: $held"
done

# Two cards at once, the wired one first.
move 103 x1 wlan0
move 103 105a eth0
held=$(on 103 ip -4 route get 192.0.2.1)
[[ $held == *"via 10.11.0.1 dev eth0"* ]] || fail "with both cards: $held"
unplug 103 eth0
held=$(on 103 ip -4 route get 192.0.2.1)
[[ $held == *"dev wlan0"* ]] || fail "with wlan0 alone: $held"
