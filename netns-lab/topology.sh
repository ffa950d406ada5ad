# shellcheck shell=bash
# Turns a topology file into network namespaces and back. The words of a topology file:
#
#   host NAME                    a node that does not forward
#   gateway NAME, router NAME    nodes that forward; on a gateway an agent may run
#   switch NAME                  a node that joins its links to one Ethernet
#   link A[:ADDR[,ADDR...]] B[:ADDR[,ADDR...]] [middle]
#                                a veth pair, with the addresses of its two ends; at A the interface is called to-B.
#                                `middle`: where `lab up --delay --loss` applies, in each direction
#   route NODE default|PREFIX[,PREFIX...] via GATEWAY[,GATEWAY...]
#                                each prefix through the gateway of its own address family
#   blackhole NODE PREFIX[,PREFIX...]
#                                packets there vanish without an answer
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
    local netem=("$@") file word rest number=0
    local -A batch=() # ip(8) commands of each node, run together at the end: one process instead of dozens
    local -A switches=()
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
        *) false ;;
        esac || die "$file:$number: cannot do '$word $rest'"
    done <"$file"
    run_batches
    wait_until_ready
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
            # ours, as the tunnels that some kernels have in each namespace.
            ip -n "$(namespace "$node")" address show up | has 'state DOWN\|LOWERLAYERDOWN\|tentative' || continue 2
            sleep 0.05
        done
        die "$file: node $node: its links did not come up"
    done
}

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
