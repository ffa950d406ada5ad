# shellcheck shell=bash
# The gateways are the end hosts, on one link: IPv4, and IPv6 with its neighbour discovery; in tunnel and in transport mode.
#
# topology: fig1-host-to-host
# needs: esp agent

# play MODE: agents from scratch, pings of both families, verdict.
play() {
    local mode=$1 node peer address answers clear
    for node in 104 106; do
        peer=$((210 - node))
        configure_gateway "$node" "192.0.2.$node/32,2001:db8:f1::$node/128" 192.0.2.0/24,2001:db8:f1::/64 "$peer=self"
        sed -i "s/^name = \"site\"/&\nmode = \"$mode\"/" "$(agent_folder "$node")/agent.toml"
        # Outgoing packets only: what comes out of a tunnel is seen on the interface once more, in the clear.
        capture "$node" "to-$peer" "$(state_folder "$lab")/$mode-$node" -Q out
        start_agent "$node"
    done

    for address in 192.0.2.106 2001:db8:f1::106; do
        # Neighbours forgotten, so that they must be found again while the traps stand.
        for node in 104 106; do on "$node" ip neighbour flush dev "to-$((210 - node))"; done
        answers=$(on 104 ping -c 3 -i 0.1 -W 9 "$address") || true
        [[ $(received "$answers") == 3 ]] || fail "$mode: $answers"
    done
    # A connection, to a port where nobody listens: the refusal comes through ESP, too.
    [[ $(on 106 bash -c 'echo >/dev/tcp/192.0.2.104/9' 2>&1) == *"Connection refused"* ]] || fail "$mode: no answer over TCP"

    is_protected 104 192.0.2.104/32 192.0.2.106/32 "$mode"
    is_protected 106 192.0.2.106/32 192.0.2.104/32 "$mode"
    is_protected 104 2001:db8:f1::104/128 2001:db8:f1::106/128 "$mode"
    is_protected 106 2001:db8:f1::106/128 2001:db8:f1::104/128 "$mode"

    for node in 104 106; do
        stop_agent "$node" || fail "$node did not stop"
        stop_capture "$node" "to-$((210 - node))"
        seen "$mode-$node" "esp" 4
        seen "$mode-$node" "ip6 proto 50" 3
        clear=$(packets "$(state_folder "$lab")/$mode-$node" 'icmp or tcp or (icmp6 and ip6[40] >= 128 and ip6[40] <= 129)')
        [[ -z $clear ]] || fail "$mode: in the clear: $clear"
    done
    echo "$mode: 3 of 3 pings each over IPv4 and IPv6, all in ESP"
}

# is_protected NODE LOCAL REMOTE MODE: by exactly one policy out and one in, of that mode.
is_protected() {
    local here=$2 there=$3 direction selector count
    for direction in out in; do
        selector="src $here dst $there "
        [[ $direction == out ]] || selector="src $there dst $here "
        count=$(policies "$1" | grep "^$selector" | grep -c "dir $direction .*proto esp reqid [1-9][0-9]* mode $4" || true)
        ((count == 1)) || fail "$1 has $count policies $direction for $selector, mode $4: $(policies "$1")"
    done
}

# seen CAPTURE FILTER NUMBER: at least as many.
seen() {
    local number
    number=$(packets "$(state_folder "$lab")/$1" "$2" | wc -l)
    ((number >= $3)) || fail "$1: $number packets of '$2', fewer than $3"
}

share_secret 104-106.psk 104 106
play tunnel
# With `on-stop = "keep"` tunnels outlive their agents, and these would be of the other mode.
for node in 104 106; do
    on "$node" ip xfrm state flush
    on "$node" ip xfrm policy flush
done
play transport
