# shellcheck shell=bash
# Turns a topology file into network namespaces and back. The words of a topology file:
#
#   host NAME                    a node that does not forward
#   gateway NAME, router NAME    nodes that forward; on a gateway an agent may run
#   switch NAME                  a node that joins its links to one Ethernet: a network
#   card NODE CARD [SWITCH]      a network card of the node, plugged into that network, or into none: the scenario plugs it
#                                elsewhere (mobility.sh). The interface is called CARD
#   lease NODE SWITCH ADDR GATEWAY
#                                what a card of the node gets in that network: an address and the way out
#   link A[:ADDR[,ADDR...]] B[:ADDR[,ADDR...]] [middle]
#                                a veth pair, with the addresses of its two ends; at A the interface is called to-B.
#                                `middle`: where `lab up --delay --loss` applies, in each direction
#   route NODE default|PREFIX[,PREFIX...] via GATEWAY[,GATEWAY...]
#                                each prefix through the gateway of its own address family
#   blackhole NODE PREFIX[,PREFIX...]
#                                packets there vanish without an answer
#   nat NODE PEER                what NODE forwards from private addresses to PEER leaves in its name, except towards 10.0.0.0/8, so that what is
#                                about to enter a VPN stays as it is
#   firewall NODE PEER[,PEER...] what comes from PEER is not forwarded to 10.0.0.0/8, except answers and what came by IPsec
#   allow NODE FROM TO           that firewall lets packets from the one address to the other through
#
# Interfaces are created inside the namespaces, so that the host's own networking is never touched, not even briefly.

lab_runtime=/run/xfrm-lab

topology_file() { echo "$lab_folder/topologies/$1"; }
state_folder() { echo "$lab_runtime/$1"; }
namespace() { echo "xa-$lab-$1"; }
is_up() { [[ -d $(state_folder "$1") ]]; }

# The namespaces of the topology in $lab. Asked of the kernel, so that remains of a broken run are found as well.
# (Names of nodes have no dash: xa-fig1-ted-104 is node 104 of fig1-ted, and none of a topology called fig1.)
namespaces() { ip netns list | awk -v prefix="xa-$lab-" 'index($1, prefix) == 1 && substr($1, length(prefix) + 1) !~ /-/ { print $1 }'; }

# build_topology [NETEM...]: NETEM are the words of `tc qdisc add ... netem` for the middle link.
build_topology() {
    local netem=("$@") file word rest number=0 cards=() card
    local -A batch=() # ip(8) commands of each node, run together at the end: one process instead of dozens
    local -A switches=()
    local loose='' # the switch beside which cables lie that are plugged in nowhere
    file=$(topology_file "$lab")
    while read -r word rest; do
        number=$((number + 1))
        case $word in
        '' | '#'*) continue ;;
        esac
        # shellcheck disable=SC2086 # a line is words
        case $word in
        host) add_node 0 $rest ;;
        gateway | router) add_node 1 $rest ;;
        switch) add_switch $rest ;;
        link) add_link $rest ;;
        route) add_route $rest ;;
        blackhole) add_blackhole $rest ;;
        card) add_card $rest ;;
        lease) check_lease $rest ;;
        nat) add_nat $rest ;;
        firewall) add_firewall $rest ;;
        allow) add_allow $rest ;;
        *) false ;;
        esac || die "$file:$number: cannot do '$word $rest'"
    done <"$file"
    run_batches
    wait_until_ready
    for card in "${cards[@]}"; do
        # shellcheck disable=SC2086 # node, network and card
        plug $card
    done
}

# add_node FORWARDING NAME
add_node() {
    local forwarding=$1 node=$2 name
    [[ $node != *-* ]] || return
    name=$(namespace "$node")
    ip netns add "$name" || return
    # rp_filter is what Debian sets. No duplicate address detection: addresses must be usable at once.
    ip netns exec "$name" sysctl -q -w \
        net.ipv4.ip_forward="$forwarding" net.ipv6.conf.all.forwarding="$forwarding" \
        net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.default.rp_filter=2 \
        net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 \
        net.ipv6.conf.default.accept_ra=0 || return
    batch[$node]=$'link set lo up\n'
}

# add_switch NAME
add_switch() {
    add_node 0 "$1" || return
    batch[$1]+=$'link add bridge type bridge mcast_snooping 0\nlink set bridge up\n'
    switches[$1]=yes
    loose=${loose:-$1}
}

# add_card NODE CARD [SWITCH]: its cable is a veth pair, whose other end `plug` moves from switch to switch.
add_card() {
    local node=$1 card=$2 network=${3:-}
    [[ -n ${batch[$node]:-} && -n $loose && (-z $network || -n ${switches[$network]:-}) ]] || return
    ip -n "$(namespace "$node")" link add "$card" type veth peer name "$node-$card" netns "$(namespace "$loose")" || return
    batch[$node]+="link set $card up"$'\n'
    echo "$loose" >"$(state_folder "$lab")/cable-$node-$card"
    if [[ -n $network ]]; then cards+=("$node $network $card"); fi
}

# check_lease NODE SWITCH ADDR GATEWAY: `plug` reads it when the time comes.
check_lease() { [[ $# == 4 && -n ${batch[$1]:-} && -n ${switches[$2]:-} && $3 == */* ]]; }

# add_nat NODE PEER
add_nat() {
    [[ -n ${batch[$1]:-} && -n ${batch[$2]:-} ]] || return
    ip netns exec "$(namespace "$1")" nft -f - <<END
table ip lab-nat-$2 {
    chain leaving {
        type nat hook postrouting priority srcnat
        oifname "to-$2" ip saddr { 10.0.0.0/8, 192.168.0.0/16 } ip daddr != 10.0.0.0/8 masquerade
    }
}
END
}

# add_firewall NODE PEER[,PEER...]
add_firewall() {
    local node=$1 peer peers='' ipsec='meta secpath exists accept'
    [[ -n ${batch[$node]:-} ]] || return
    for peer in ${2//,/ }; do
        [[ -n ${batch[$peer]:-} ]] || return
        peers+="\"to-$peer\", "
    done
    # A kernel without IPsec does not know the word, and nothing comes by IPsec there.
    ip netns exec "$(namespace "$node")" nft --check -f - <<<"table ip a { chain b { $ipsec; }; }" 2>/dev/null || ipsec=''
    ip netns exec "$(namespace "$node")" nft -f - <<END
table ip lab-firewall {
    chain forwarded {
        type filter hook forward priority filter
        ct state established,related accept
        $ipsec
        iifname { $peers } ip daddr 10.0.0.0/8 drop
    }
}
END
}

# add_link A[:ADDR,...] B[:ADDR,...] [middle]
add_link() {
    local a=${1%%:*} b=${2%%:*} place=${3:-}
    [[ -n ${batch[$a]:-} && -n ${batch[$b]:-} ]] || return
    ip -n "$(namespace "$a")" link add "to-$b" type veth peer name "to-$a" netns "$(namespace "$b")" || return
    add_interface "$a" "to-$b" "${1:${#a}+1}"
    add_interface "$b" "to-$a" "${2:${#b}+1}"
    if [[ $place == middle && ${#netem[@]} -gt 0 ]]; then
        tc -n "$(namespace "$a")" qdisc add dev "to-$b" root netem limit 100000 "${netem[@]}" || return
        tc -n "$(namespace "$b")" qdisc add dev "to-$a" root netem limit 100000 "${netem[@]}" || return
    fi
}

# add_interface NODE INTERFACE [ADDR,...]
add_interface() {
    local node=$1 interface=$2 address
    for address in ${3//,/ }; do
        if [[ $address == *:* ]]; then
            batch[$node]+="address add $address dev $interface nodad"$'\n'
        else
            batch[$node]+="address add $address dev $interface"$'\n'
        fi
    done
    if [[ -n ${switches[$node]:-} ]]; then
        batch[$node]+="link set $interface master bridge"$'\n'
    fi
    batch[$node]+="link set $interface up"$'\n'
}

# add_route NODE default|PREFIX,... via GATEWAY,...
add_route() {
    local node=$1 prefixes=$2 gateways=$4 prefix gateway
    [[ -n ${batch[$node]:-} && $3 == via ]] || return
    for gateway in ${gateways//,/ }; do
        for prefix in ${prefixes//,/ }; do
            if [[ $prefix == default || $(family "$prefix") == "$(family "$gateway")" ]]; then
                batch[$node]+="route add $prefix via $gateway"$'\n'
            fi
        done
    done
}

# add_blackhole NODE PREFIX,...
add_blackhole() {
    local node=$1 prefix
    [[ -n ${batch[$node]:-} ]] || return
    for prefix in ${2//,/ }; do
        batch[$node]+="route add blackhole $prefix"$'\n'
    done
}

# add_allow NODE FROM TO: after the lines of the firewall and of the NAT. What begins at TO is not translated.
add_allow() {
    local nft=(ip netns exec "$(namespace "$1")" nft) table
    "${nft[@]}" insert rule ip lab-firewall forwarded ip saddr "$2" ip daddr "$3" accept || return
    for table in $("${nft[@]}" list tables ip | awk '$3 ~ /^lab-nat-/ { print $3 }'); do
        "${nft[@]}" insert rule ip "$table" leaving ip saddr "$3" ip daddr "$2" accept || return
    done
}

# A file names links before routes, so that the gateways of a node's routes are on a link by then.
run_batches() {
    local node
    for node in "${!batch[@]}"; do
        ip -n "$(namespace "$node")" -batch - <<<"${batch[$node]}" || die "$file: node $node: ip(8) refused, see above"
    done
}

wait_until_ready() {
    local node _
    for node in "${!batch[@]}"; do
        for _ in {1..100}; do
            # A veth end is UP when its peer is; a tentative address is not usable yet. What is not set up is no link of
            # ours, as the tunnels that some kernels have in each namespace; and a card may be plugged in nowhere.
            ip -n "$(namespace "$node")" address show up | has '\(to-\|bridge\).* state \(DOWN\|LOWERLAYERDOWN\)\|tentative' || continue 2
            sleep 0.05
        done
        die "$file: node $node: its links did not come up"
    done
}

# --- cards: what of a node can be plugged elsewhere ------------------------------------------------------------------

# plug NODE NETWORK [CARD]: the cable of the card (the node's first) goes into that network, where the node gets its lease.
# An address that the card had elsewhere must be gone by then: see unplug.
plug() {
    local address gateway
    read -r address gateway < <(lease "$1" "$2") || die "$1 has no lease for $2"
    plug_with "$1" "$2" "$address" "$gateway" "${3:-}"
}

# plug_with NODE NETWORK ADDRESS GATEWAY [CARD]: it gets these.
plug_with() {
    local node=$1 network=$2 address=$3 gateway=$4 card cable from metric nodad=''
    card=${5:-$(first_card "$node")}
    cable=$node-$card
    from=$(<"$(state_folder "$lab")/cable-$cable")
    [[ $address != *:* ]] || nodad=nodad
    # What DHCP clients ask of routes: wired before wireless.
    metric=100
    [[ $card != wl* ]] || metric=600
    [[ $from == "$network" ]] || ip -n "$(namespace "$from")" link set "$cable" netns "$(namespace "$network")"
    ip -n "$(namespace "$network")" -batch - <<<"link set $cable master bridge
link set $cable up"
    echo "$network" >"$(state_folder "$lab")/cable-$cable"
    ip -n "$(namespace "$node")" -batch - <<<"address add $address dev $card $nodad
route replace default via $gateway dev $card proto dhcp metric $metric"
}

# unplug NODE [CARD]: carrier goes, and then what a DHCP client takes away: address, routes, neighbours.
unplug() {
    local node=$1 card cable
    card=${2:-$(first_card "$node")}
    cable=$node-$card
    ip -n "$(namespace "$(<"$(state_folder "$lab")/cable-$cable")")" -batch - <<<"link set $cable down
link set $cable nomaster"
    ip -n "$(namespace "$node")" -batch - <<<"address flush dev $card
neighbour flush dev $card"
}

# first_card NODE. lease NODE NETWORK: `ADDRESS GATEWAY`. networks_of NODE: where it has a lease.
first_card() { awk -v node="$1" '$1 == "card" && $2 == node && !n++ { print $3 }' "$(topology_file "$lab")"; }
lease() { awk -v node="$1" -v network="$2" '$1 == "lease" && $2 == node && $3 == network { print $4, $5 }' "$(topology_file "$lab")"; }
networks_of() { awk -v node="$1" '$1 == "lease" && $2 == node { print $3 }' "$(topology_file "$lab")"; }

family() { if [[ $1 == *:* ]]; then echo inet6; else echo inet; fi; }

# Ends what the lab started in the namespaces of $lab, removes these, and forgets. Safe to repeat.
demolish_topology() {
    local name
    end_processes
    for name in $(namespaces); do
        ip netns pids "$name" | while read -r process; do
            say "$name: process $process ($(ps -o args= -p "$process")) is not the lab's and keeps the namespace alive"
        done
        ip netns delete "$name"
    done
    # What a scenario mounted there.
    awk -v folder="$(state_folder "$lab")/" 'index($2, folder) == 1 { print $2 }' /proc/mounts |
        xargs --no-run-if-empty umount --lazy
    rm -rf "$(state_folder "$lab")"
    rmdir "$lab_runtime" 2>/dev/null || true
}

# Ends whatever runs in the namespaces of $lab: for a topology that existed for one scenario only.
evict() {
    local name
    end_processes
    for name in $(namespaces); do
        ip netns pids "$name" | xargs --no-run-if-empty kill -KILL 2>/dev/null || true
    done
}

# --- processes that the lab leaves running: captures and agents --------------------------------------------------

# start_process NODE LABEL COMMAND...: in the background, in a session of its own, with LABEL.log and LABEL.pid in the
# state folder.
start_process() {
    local node=$1 base
    base=$(state_folder "$lab")/$2
    shift 2
    setsid ip netns exec "$(namespace "$node")" "$@" </dev/null >"$base.log" 2>&1 &
    local process=$!
    disown
    echo "$node $process" >"$base.pid"
    # `runs` can tell only once it has entered the namespace.
    while kill -0 "$process" 2>/dev/null && ! runs "$(basename "$base")"; do
        sleep 0.01
    done
}

# runs LABEL: a process id may long be somebody else's, so it counts only inside the node's namespace.
runs() {
    local node process
    read -r node process 2>/dev/null <"$(state_folder "$lab")/$1.pid" || return
    ip netns pids "$(namespace "$node")" 2>/dev/null | has -x "$process"
}

# end_process LABEL [SIGNAL]: succeeds if it ended by that signal within ten seconds, otherwise kills it.
end_process() {
    local label=$1 signal=${2:-TERM} process status=0 base _
    base=$(state_folder "$lab")/$label
    if runs "$label"; then
        read -r _ process <"$base.pid"
        kill -"$signal" "$process" 2>/dev/null || true
        for _ in {1..200}; do
            runs "$label" || break
            sleep 0.05
        done
        if runs "$label"; then
            say "$label did not end on SIG$signal; killing it"
            status=1
        fi
        # And what it started itself: the session that start_process gave it.
        kill -KILL -- "-$process" 2>/dev/null || true
    fi
    rm -f "$base.pid"
    return "$status"
}

end_processes() {
    local file
    for file in "$(state_folder "$lab")"/*.pid; do
        [[ -e $file ]] || continue
        end_process "$(basename "$file" .pid)" || true
    done
}
